"""apphub_publish on real folders; the programs that read, index and sign packages are stood in for."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_publish

if TYPE_CHECKING:
    from collections.abc import Callable

    Runner = Callable[..., dict[str, Any]]

NOBLE = "deb/ubuntu/noble"


class Programs:
    """The programs as far as the module uses them. A package file holds its fields as a line; `BROKEN` is broken."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.key = ""
        self.failing = ""

    def __call__(self, command: list[str], cwd: str | None = None, env: dict[str, str] | None = None) -> bytes:
        self.calls.append(command)
        if command[0] == self.failing:
            raise FailureError(Code.APPHUB_TOOL_FAILED, f"{command[0]} failed: no space left")
        answer = getattr(self, "_" + command[0].replace("-", "_"))
        return answer(command, cwd, env) or b""

    @staticmethod
    def _read(path: str) -> bytes:
        content = Path(path).read_bytes()
        if b"BROKEN" in content:
            raise FailureError(Code.APPHUB_TOOL_FAILED, "unexpected end of file")
        return content.split(b"\n")[0]

    def _dpkg_deb(self, command: list[str], *_: Any) -> bytes:
        return self._read(command[-1])

    def _rpm(self, command: list[str], *_: Any) -> bytes:
        return self._read(command[-1])

    def _rpmkeys(self, command: list[str], *_: Any) -> bytes:
        return self._read(command[-1])

    def _rpmsign(self, command: list[str], _cwd: Any, env: dict[str, str] | None) -> None:
        assert env is not None
        assert env["GNUPGHOME"]
        for path in command[command.index("--addsign") + 1 :]:
            Path(path).write_bytes(Path(path).read_bytes() + b"signed\n")

    def _gpg(self, command: list[str], *_: Any) -> bytes | None:
        if "--list-secret-keys" in command:
            return f"sec:u:3072:1:X:1:::u:::sc:::::::\nfpr:::::::::{self.key}:\n".encode() if self.key else b""
        if "--quick-generate-key" in command:
            self.key = "A" * 40
        elif "--export" in command:
            return f"key {self.key}\n".encode()
        elif "--output" in command and "-" not in command:
            Path(command[command.index("--output") + 1]).write_text(f"by {self.key}\n")
        return None

    def _gpgconf(self, *_: Any) -> None:
        pass

    def _apt_ftparchive(self, command: list[str], cwd: str | None, _env: Any) -> bytes:
        if "packages" in command:
            assert cwd is not None
            return " ".join(sorted(path.name for path in Path(cwd, command[-1]).rglob("*.deb"))).encode()
        return " ".join(command).encode()

    def _createrepo_c(self, command: list[str], *_: Any) -> None:
        repodata = Path(command[-1], "repodata")
        repodata.mkdir()
        (repodata / "repomd.xml").write_text("\n".join(sorted(p.name for p in Path(command[-1]).rglob("*.rpm"))))

    def ran(self, name: str) -> int:
        return sum(command[0] == name for command in self.calls)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    stand_in = Programs()
    monkeypatch.setattr(commands, "run", stand_in)
    return stand_in


class Hub:
    """A folder of packages and the tree published of it."""

    def __init__(self, base: Path, run_module: Runner) -> None:
        self.source = base / "source"
        self.root = base / "apphub"
        self.home = base / "gnupg"
        self.home.mkdir()
        self._run = run_module
        self.put(f"{NOBLE}/slurmd_24_amd64.deb", "slurmd\t24.11.5-4\tamd64")
        self.put(f"{NOBLE}/munge_0.5_amd64.deb", "munge\t0.5.16-1\tamd64")
        self.put("rpm/el9/slurm-slurmd.x86_64.rpm", "slurm-slurmd\t22.05.8-4.el9\tx86_64")

    def put(self, name: str, content: str) -> Path:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
        return path

    def publish(self, **options: Any) -> dict[str, Any]:
        options = {"sources": [str(self.source)], "root": str(self.root), "gnupg_home": str(self.home), **options}
        return self._run(apphub_publish, **options)

    def published(self, name: str) -> Path:
        """Return the place of a package of which there is one."""
        (path,) = self.served.rglob(name)
        return path

    @property
    def served(self) -> Path:
        return self.root / "current" / "pkgs"

    def catalog(self) -> dict[str, Any]:
        repositories: dict[str, Any] = json.loads((self.served / "catalog.json").read_text())["repositories"]
        return repositories


@pytest.fixture
def hub(tmp_path: Path, run_module: Runner, programs: Programs) -> Hub:
    del programs
    return Hub(tmp_path, run_module)


def states(result: dict[str, Any]) -> dict[str, str]:
    return {name: one["state"] for name, one in result["repositories"].items()}


def test_first_run_publishes_signed_repositories_and_makes_the_key(hub: Hub) -> None:
    result = hub.publish()
    assert states(result) == {NOBLE: "new", "rpm/el9": "new"}
    assert result["fingerprint"] == "A" * 40
    dists = hub.served / "deb/ubuntu/dists/noble"
    assert (dists / "main/binary-amd64/Packages").read_text() == "munge_0.5_amd64.deb slurmd_24_amd64.deb"
    assert (dists / "InRelease").read_text() == (dists / "Release.gpg").read_text() == f"by {'A' * 40}\n"
    assert (hub.served / "rpm/el9/x86_64/repodata/repomd.xml.asc").is_file()
    assert (hub.served / "apphub.asc").is_file()


def test_catalog_names_each_version_with_the_checksum_of_the_published_file(hub: Hub) -> None:
    hub.publish()
    entry = hub.catalog()["rpm/el9"]["packages"]["slurm-slurmd"]["22.05.8-4.el9"]
    published = hub.served / entry["file"]
    assert published.read_text().endswith("signed\n")
    assert entry == {
        "arch": "x86_64",
        "file": entry["file"],
        "sha256": hashlib.sha256(published.read_bytes()).hexdigest(),
    }
    assert f"{entry['sha256']}  {entry['file']}\n" in (hub.served / "SHA256SUMS").read_text()


def test_second_run_changes_nothing_and_reads_no_package(hub: Hub, programs: Programs) -> None:
    hub.publish()
    before = (hub.root / "current").readlink()
    programs.calls.clear()
    result = hub.publish()
    assert result["changed"] is False
    assert (hub.root / "current").readlink() == before
    assert programs.ran("dpkg-deb") == programs.ran("rpm") == programs.ran("apt-ftparchive") == 0


def test_touched_but_equal_package_changes_nothing(hub: Hub) -> None:
    hub.publish()
    os.utime(hub.source / NOBLE / "munge_0.5_amd64.deb", (1, 1))
    assert hub.publish()["changed"] is False


def test_only_the_repository_with_the_new_package_is_built(hub: Hub, programs: Programs) -> None:
    hub.publish()
    old = hub.published("munge_0.5_amd64.deb").stat().st_ino
    programs.calls.clear()
    hub.put(f"{NOBLE}/slurmd_25_amd64.deb", "slurmd\t25.05.1-1\tamd64")
    result = hub.publish()
    assert states(result) == {NOBLE: "rebuilt", "rpm/el9": "unchanged"}
    assert f"{NOBLE}: slurmd 25.05.1-1 amd64" in result["diff"]["after"]
    assert f"{NOBLE}: slurmd 25.05.1-1 amd64" not in result["diff"]["before"]
    assert programs.ran("createrepo_c") == 0
    assert sorted(hub.catalog()[NOBLE]["packages"]["slurmd"]) == ["24.11.5-4", "25.05.1-1"]
    assert hub.published("munge_0.5_amd64.deb").stat().st_ino == old
    assert (hub.served / "rpm/el9/x86_64/repodata/repomd.xml.asc").is_file()


def test_removed_version_and_repository_are_published_no_more(hub: Hub) -> None:
    hub.publish()
    (hub.source / NOBLE / "slurmd_24_amd64.deb").unlink()
    (hub.source / "rpm/el9/slurm-slurmd.x86_64.rpm").unlink()
    assert states(hub.publish()) == {NOBLE: "rebuilt", "rpm/el9": "removed"}
    assert list(hub.catalog()) == [NOBLE]
    assert "slurmd_24" not in (hub.served / "deb/ubuntu/dists/noble/main/binary-amd64/Packages").read_text()
    # What clients begin with is gone; the packages stay for those that have begun.
    assert not list(hub.served.rglob("repomd.xml"))
    assert hub.published("slurmd_24_amd64.deb")
    for number in range(3):
        hub.put(f"{NOBLE}/v{number}_amd64.deb", f"v{number}\t1\tamd64")
        hub.publish()
    assert not list(hub.served.rglob("slurmd_24_amd64.deb"))
    assert not (hub.served / "rpm").exists()


@pytest.mark.parametrize("lost", ["munge_0.5_amd64.deb", "InRelease"])
def test_lost_file_is_put_back(hub: Hub, lost: str) -> None:
    hub.publish()
    hub.published(lost).unlink()
    assert states(hub.publish()) == {NOBLE: "repaired", "rpm/el9": "unchanged"}
    assert hub.published(lost).is_file()
    assert hub.publish()["changed"] is False


def test_flipped_byte_is_found_and_mended_when_asked_to_verify(hub: Hub) -> None:
    hub.publish()
    published = hub.published("munge_0.5_amd64.deb")
    before = published.read_bytes()
    published.write_bytes(before[:-2] + b"X\n")
    assert hub.publish()["changed"] is False
    assert states(hub.publish(verify=True)) == {NOBLE: "repaired", "rpm/el9": "unchanged"}
    assert published.read_bytes() == before
    assert hub.publish(verify=True)["changed"] is False


def test_lost_catalog_is_put_back(hub: Hub) -> None:
    hub.publish()
    (hub.served / "catalog.json").unlink()
    assert hub.publish()["changed"] is True
    assert NOBLE in hub.catalog()


def test_check_mode_tells_the_same_and_changes_nothing(hub: Hub, programs: Programs) -> None:
    foreseen = hub.publish(check=True)
    assert not hub.root.exists()
    assert programs.key == ""
    done = hub.publish()
    assert foreseen["repositories"] == done["repositories"]
    assert foreseen["diff"]["after"] == done["diff"]["after"]


def test_broken_package_is_refused_by_name_and_the_old_tree_stays(hub: Hub) -> None:
    hub.publish()
    broken = hub.put(f"{NOBLE}/slurmd_26_amd64.deb", "BROKEN")
    result = hub.publish()
    assert result["failed"] is True
    assert str(broken) in result["msg"]
    assert "broken" in result["msg"]
    assert "slurmd_26" not in (hub.served / "catalog.json").read_text()


def test_failure_while_building_leaves_the_old_tree_and_the_next_run_goes_on(hub: Hub, programs: Programs) -> None:
    hub.publish()
    before = (hub.root / "current").readlink()
    hub.put("rpm/el9/munge.x86_64.rpm", "munge\t0.5.15-1.el9\tx86_64")
    programs.failing = "createrepo_c"
    assert "no space left" in hub.publish()["msg"]
    assert (hub.root / "current").readlink() == before
    programs.failing = ""
    assert states(hub.publish())["rpm/el9"] == "rebuilt"


def test_another_key_signs_everything_anew(hub: Hub, programs: Programs) -> None:
    hub.publish()
    programs.key = "B" * 40
    assert set(states(hub.publish()).values()) == {"new"}
    assert (hub.served / "deb/ubuntu/dists/noble/InRelease").read_text() == f"by {'B' * 40}\n"


def test_old_trees_are_kept_up_to_the_number_wanted(hub: Hub) -> None:
    for version in range(5):
        hub.put(f"{NOBLE}/v{version}_amd64.deb", f"v{version}\t1\tamd64")
        hub.publish(keep=2)
    assert sorted(path.name for path in (hub.root / "generations").iterdir()) == ["3", "4", "5"]


def test_rpms_stay_as_they_are_when_signing_is_off(hub: Hub, programs: Programs) -> None:
    hub.publish(sign_rpms=False)
    assert programs.ran("rpmsign") == 0
    published = hub.published("slurm-slurmd.x86_64.rpm")
    assert published.read_bytes() == (hub.source / "rpm/el9/slurm-slurmd.x86_64.rpm").read_bytes()


def test_each_architecture_has_its_index_and_noarch_is_in_all(hub: Hub) -> None:
    hub.put("rpm/el9/arm.aarch64.rpm", "slurm-slurmd\t22.05.8-4.el9\taarch64")
    hub.put("rpm/el9/any.noarch.rpm", "slurm-docs\t1-1\tnoarch")
    hub.publish()
    for arch, own in (("aarch64", "arm.aarch64.rpm"), ("x86_64", "slurm-slurmd.x86_64.rpm")):
        listed = (hub.served / "rpm/el9" / arch / "repodata/repomd.xml").read_text()
        assert listed == f"any.noarch.rpm\n{own}"
    entry = hub.catalog()["rpm/el9"]["packages"]["slurm-slurmd"]["22.05.8-4.el9"]
    assert [entry["arch"], *(other["arch"] for other in entry["others"])] == ["aarch64", "x86_64"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("munge.deb", "munge\t1\tamd64", "Put it below deb/DISTRIBUTION/CODENAME"),
        ("rpm/rocky/munge.rpm", "munge\t1\tx86_64", "Put it below rpm/RELEASE, such as rpm/el9"),
        ("rpm/el9/munge.noarch.rpm", "munge\t1\tx86_64", "is for x86_64, but its name does not end in .x86_64.rpm"),
        (f"{NOBLE}/munge_1_armel.deb", "munge\t1\tarmel", "is for armel, nothing was published"),
        (f"{NOBLE}/copy_amd64.deb", "munge\t0.5.16-1\tamd64", "are the same package (munge 0.5.16-1 amd64)"),
    ],
)
def test_misplaced_packages_are_refused_with_the_remedy(hub: Hub, name: str, content: str, message: str) -> None:
    hub.put(name, content)
    result = hub.publish()
    assert message in result["msg"]
    assert result["failure"]["code"] == "apphub-package-invalid"
    assert not hub.served.exists()


def test_sources_add_up_and_must_agree(hub: Hub, tmp_path: Path) -> None:
    own = tmp_path / "own" / NOBLE
    own.mkdir(parents=True)
    sources = [str(hub.source), str(tmp_path / "own")]
    (own / "own_1_amd64.deb").write_text("own\t1\tamd64\n")
    (own / "munge_0.5_amd64.deb").write_text("munge\t0.5.16-1\tamd64\n")
    assert hub.publish(sources=sources)["repositories"][NOBLE]["packages"] == 3
    (own / "munge_0.5_amd64.deb").write_text("munge\t0.5.17-1\tamd64\n")
    assert "have one name and different content" in hub.publish(sources=sources)["msg"]


@pytest.mark.parametrize(
    ("absent", "left"), [(["24.1"], 2), (["24.11"], 1), (["24.11.5-4"], 1), (["24.11", "99.1"], 1), ([], 2)]
)
def test_absent_version_is_not_published_and_the_rest_is(hub: Hub, absent: list[str], left: int) -> None:
    hub.put(f"{NOBLE}/slurmd_25_amd64.deb", "slurmd\t25.05.1-1\tamd64")
    hub.publish(absent_versions=absent)
    assert len(hub.catalog()[NOBLE]["packages"]["slurmd"]) == left
    assert "munge" in hub.catalog()[NOBLE]["packages"]
    assert hub.publish(absent_versions=absent)["changed"] is False


def test_last_version_of_slurm_is_not_taken_away(hub: Hub) -> None:
    hub.publish()
    result = hub.publish(absent_versions=["22.05"])
    assert "there would be no Slurm in rpm/el9, nothing was published: its versions are 22.05.8-4.el9" in result["msg"]
    assert "slurm-slurmd" in hub.catalog()["rpm/el9"]["packages"]


def test_failure_leaves_nothing_of_what_was_begun(hub: Hub, programs: Programs) -> None:
    programs.failing = "createrepo_c"
    hub.publish()
    assert list((hub.root / "generations").iterdir()) == []


def test_missing_or_empty_source_does_not_empty_the_server(hub: Hub, tmp_path: Path) -> None:
    hub.publish()
    assert "/nowhere does not exist" in hub.publish(sources=["/nowhere"])["msg"]
    (tmp_path / "empty").mkdir()
    assert "There is no package in" in hub.publish(sources=[str(tmp_path / "empty")])["msg"]
    assert NOBLE in hub.catalog()


def test_checksum_of_the_key_is_told_as_clients_compute_it(hub: Hub) -> None:
    assert hub.publish(check=True)["key_sha256"] == ""
    told = hub.publish()["key_sha256"]
    assert told == hashlib.sha256((hub.served / "apphub.asc").read_bytes()).hexdigest()
    assert hub.publish()["key_sha256"] == told
