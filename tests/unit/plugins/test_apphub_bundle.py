"""apphub_bundle on install trees of ELF files made for the test; dpkg-deb is stood in for where packages are read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import archive, contents, sources
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_bundle
from fakes.elf import GLIBC, MACHINES, MUSL, elf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Runner = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf (Debian's package binutils)")
SCRIPTS_FOLDER = Path(__file__).parents[3] / "roles/apphub/files/client-bundle"
SCRIPTS = {name: (SCRIPTS_FOLDER / name).read_text() for name in archive.SCRIPTS}


class Tree:
    """An install tree as Slurm's `make install` leaves it, with stand-ins for its files."""

    def __init__(self, root: Path, loader: str = MUSL, libc: str = "libc.musl-x86_64.so.1") -> None:
        self.root = root
        self.libc = libc
        for name in contents.COMMANDS:
            self.put(f"usr/bin/{name}", elf(("libslurmfull.so", libc), loader, tail=name.encode()))
        self.put("usr/lib/slurm/libslurmfull.so", elf((libc,)))
        self.put("usr/lib/slurm/auth_munge.so", elf(("libmunge.so.2", libc)))
        self.put("usr/lib/libmunge.so.2.0.1", elf((libc,), tail=b"munge"))
        (root / "usr/lib/libmunge.so.2").symlink_to("libmunge.so.2.0.1")

    def put(self, path: str, data: bytes) -> Path:
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(data)
        return full


class Hub:
    """An AppHub's bundles, made of install trees."""

    def __init__(self, base: Path, run_module: Runner) -> None:
        self.base = base
        self.root = base / "bundles"
        self._run = run_module

    def publish(self, *trees: tuple[Path, str], check: bool = False, **options: Any) -> dict[str, Any]:
        options.setdefault("scripts", SCRIPTS)
        return self._run(
            apphub_bundle,
            check=check,
            trees=[{"path": str(path), "version": version} for path, version in trees],
            root=str(self.root),
            gnupg_home=str(self.base / "gnupg"),
            **options,
        )

    @property
    def folder(self) -> Path:
        return self.root / "current/pkgs/slurm-apk"

    def members(self, name: str) -> dict[str, bytes]:
        with tarfile.open(self.folder / name) as tar:
            return {item.name: stream.read() for item in tar if (stream := tar.extractfile(item)) is not None}


@pytest.fixture
def hub(tmp_path: Path, run_module: Runner) -> Hub:
    return Hub(tmp_path, run_module)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


def test_a_bundle_has_the_commands_their_plugins_and_libraries_but_not_the_c_library(hub: Hub, tree: Tree) -> None:
    tree.put("lib/libc.musl-x86_64.so.1", elf())
    tree.put("usr/lib/libstranger.so.1", elf())
    result = hub.publish((tree.root, "24.11.5"))
    assert result["changed"]
    info = result["bundles"]["slurm-apk/slurm-client-24.11.5-alpine.tar.gz"]
    assert info["state"] == "new"
    assert (info["arch"], info["libc"], info["loader"], info["libraries"]) == ("amd64", "musl", MUSL, ["libmunge.so.2"])
    assert info["from_host"] == []
    files = hub.members("slurm-client-24.11.5-alpine.tar.gz")
    lib = "usr/local/slurm/lib"
    binaries = {path for path in files if path.startswith((lib + "/commands", lib + "/slurm")) or ".so" in path}
    assert binaries == {
        *(f"{lib}/commands/{name}" for name in contents.COMMANDS),
        f"{lib}/slurm/libslurmfull.so",
        f"{lib}/slurm/auth_munge.so",
        f"{lib}/libmunge.so.2",
    }
    assert files[f"{lib}/libmunge.so.2"].endswith(b"munge")
    assert files["usr/local/slurm/VERSION"] == b"24.11.5\n"
    assert {"install.sh", "uninstall.sh", "README.md", "SHA256SUMS", "etc/slurm/slurm.conf.example"} < set(files)
    assert f"loader={MUSL}\n".encode() in files["usr/local/slurm/bin/sinfo"]
    assert b"@" not in files["README.md"].replace(b"$@", b"")


def test_the_checksums_inside_are_those_of_every_file(hub: Hub, tree: Tree) -> None:
    hub.publish((tree.root, "24.11.5"))
    files = hub.members("slurm-client-24.11.5-alpine.tar.gz")
    sums = dict(reversed(line.split("  ")) for line in files.pop("SHA256SUMS").decode().splitlines())
    assert sums == {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}


def test_a_second_run_changes_nothing_and_opens_no_file(hub: Hub, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.publish((tree.root, "24.11.5"))
    monkeypatch.setattr(contents, "pick", lambda *_: pytest.fail("opened"))
    result = hub.publish((tree.root, "24.11.5"))
    assert not result["changed"]
    assert result["diff"]["before"] == result["diff"]["after"]
    assert os.readlink(hub.root / "current") == "generations/1"  # noqa: PTH115 - the text of the link


def test_the_same_content_gives_the_same_bytes_whatever_its_times(hub: Hub, tree: Tree) -> None:
    hub.publish((tree.root, "24.11.5"))
    for path in tree.root.rglob("*"):
        os.utime(path, (1, 1))
    assert not hub.publish((tree.root, "24.11.5"))["changed"]
    # And the new times are remembered: the next run has nothing to open.
    state = json.loads((hub.root / "current/state.json").read_text())
    assert (
        state["origins"][str(tree.root)]["stamp"]
        == sources.from_trees([{"path": str(tree.root), "version": "24.11.5"}])[0].stamp
    )


def test_a_changed_program_and_a_changed_script_make_the_bundle_anew(hub: Hub, tree: Tree) -> None:
    path = "slurm-apk/slurm-client-24.11.5-alpine.tar.gz"
    first = hub.publish((tree.root, "24.11.5"))["bundles"][path]["sha256"]
    tree.put("usr/bin/sinfo", elf((tree.libc,), MUSL, tail=b"changed"))
    second = hub.publish((tree.root, "24.11.5"))["bundles"][path]
    assert second["state"] == "rebuilt"
    scripts = dict(SCRIPTS, **{"install.sh": "#!/bin/sh\n"})
    third = hub.publish((tree.root, "24.11.5"), scripts=scripts)["bundles"][path]
    assert third["state"] == "rebuilt"
    assert len({first, second["sha256"], third["sha256"]}) == 3


def test_check_mode_tells_and_changes_nothing(hub: Hub, tree: Tree) -> None:
    told = hub.publish((tree.root, "24.11.5"), check=True)
    assert told["changed"]
    assert not hub.root.exists()
    done = hub.publish((tree.root, "24.11.5"))
    assert told["diff"]["after"] == done["diff"]["after"] != ""


def test_latest_links_to_the_highest_version_by_number(hub: Hub, tree: Tree, tmp_path: Path) -> None:
    other = Tree(tmp_path / "other")
    hub.publish((tree.root, "9.11.5"), (other.root, "24.5.0"))
    latest = hub.folder / "slurm-client-latest-alpine.tar.gz"
    assert latest.resolve().name == "slurm-client-24.5.0-alpine.tar.gz"
    index = json.loads((hub.folder / "index.json").read_text())
    assert index["latest"] == {latest.name: "slurm-client-24.5.0-alpine.tar.gz"}
    assert set(index["bundles"]) == {"slurm-client-24.5.0-alpine.tar.gz", "slurm-client-9.11.5-alpine.tar.gz"}
    result = hub.publish((tree.root, "9.11.5"))
    assert result["removed"] == ["slurm-apk/slurm-client-24.5.0-alpine.tar.gz"]
    assert latest.resolve().name == "slurm-client-9.11.5-alpine.tar.gz"


def test_a_new_version_leaves_the_other_bundle_as_it_is(hub: Hub, tree: Tree, tmp_path: Path) -> None:
    hub.publish((tree.root, "22.05.8"))
    before = (hub.folder / "slurm-client-22.05.8-alpine.tar.gz").stat().st_ino
    result = hub.publish((tree.root, "22.05.8"), (Tree(tmp_path / "other").root, "24.11.5"))
    assert {info["state"] for info in result["bundles"].values()} == {"unchanged", "new"}
    assert (hub.folder / "slurm-client-22.05.8-alpine.tar.gz").stat().st_ino == before


@pytest.mark.parametrize("broken", ["slurm-client-24.11.5-alpine.tar.gz", "index.json", "SHA256SUMS"])
@pytest.mark.parametrize("cut", [False, True])
def test_a_lost_or_damaged_file_is_made_again(hub: Hub, tree: Tree, broken: str, cut: bool) -> None:  # noqa: FBT001 - a parameter
    hub.publish((tree.root, "24.11.5"))
    whole = (hub.folder / broken).read_bytes()
    (hub.folder / broken).unlink()
    if cut:
        (hub.folder / broken).write_bytes(whole[:-1])
    assert hub.publish((tree.root, "24.11.5"))["changed"]
    assert (hub.folder / broken).read_bytes() == whole


@pytest.mark.parametrize("state", ["{", "[]", '{"format": 0, "texts": []}'])
def test_a_state_that_cannot_be_read_is_no_state(hub: Hub, tree: Tree, state: str) -> None:
    hub.publish((tree.root, "24.11.5"))
    (hub.root / "current/state.json").write_text(state)
    assert hub.publish((tree.root, "24.11.5"))["changed"]
    assert not hub.publish((tree.root, "24.11.5"))["changed"]


def test_only_as_many_old_trees_as_told_are_kept(hub: Hub, tree: Tree) -> None:
    for version in ("1.0", "2.0", "3.0", "4.0"):
        hub.publish((tree.root, version), keep=1)
    assert sorted(path.name for path in (hub.root / "generations").iterdir()) == ["3", "4"]


def test_another_architecture_on_alpine_has_a_name_of_its_own(hub: Hub, tmp_path: Path) -> None:
    tree = tmp_path / "arm"
    for name in contents.COMMANDS:
        path = tree / "usr/bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(elf(machine=MACHINES["arm64"]))
    info = hub.publish((tree, "24.11.5"))["bundles"]["slurm-apk/slurm-client-24.11.5-alpine-arm64.tar.gz"]
    assert (info["arch"], info["loader"], info["plugins"]) == ("arm64", "", "")


def test_a_tree_that_is_no_good_is_refused_by_name_and_nothing_is_published(hub: Hub, tree: Tree) -> None:
    (tree.root / "usr/bin/sacctmgr").unlink()
    assert f"{tree.root} has no bin/sacctmgr" in hub.publish((tree.root, "1"))["msg"]
    tree.put("usr/bin/sacctmgr", b"#!/bin/sh\n")
    assert f"Of {tree.root}: sacctmgr is no 64-bit ELF file" in hub.publish((tree.root, "1"))["msg"]
    tree.put("usr/bin/sacctmgr", elf((), MUSL, machine=MACHINES["arm64"]))
    mixed = hub.publish((tree.root, "1"))["msg"]
    assert "mixes architectures" in mixed
    assert "sacctmgr is for arm64" in mixed
    tree.put("usr/bin/sacctmgr", elf(("libc.so.6",), MUSL))
    assert "mixes C libraries" in hub.publish((tree.root, "1"))["msg"]
    assert "does not exist" in hub.publish((tree.root / "none", "1"))["msg"]
    assert not (hub.root / "current").exists()


def test_two_trees_of_one_version_are_refused(hub: Hub, tree: Tree, tmp_path: Path) -> None:
    other = Tree(tmp_path / "other")
    assert hub.publish((tree.root, "24.11.5"), (other.root, "24.11.5"))["failure"] == {
        "code": "client-bundle-input-invalid",
        "reason": f"{tree.root} and {other.root} both give slurm-client-24.11.5-alpine.tar.gz.",
        "remedy": "Remove one.",
    }


def test_a_tree_for_glibc_is_no_bundle_for_alpine(hub: Hub, tmp_path: Path) -> None:
    tree = Tree(tmp_path / "glibc", GLIBC, "libc.so.6")
    assert "is linked with glibc, but this bundle is for musl" in hub.publish((tree.root, "1"))["msg"]


def test_missing_scripts_are_named(hub: Hub, tree: Tree) -> None:
    scripts = {name: text for name, text in SCRIPTS.items() if name != "install.sh"}
    assert hub.publish((tree.root, "1"), scripts=scripts)["msg"] == "The option scripts lacks install.sh."


class Packages:
    """A folder of DEBs that `dpkg-deb` reads from here: fields, and files below a tree."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.fields: dict[str, list[str]] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.opened: list[str] = []
        monkeypatch.setattr(commands, "run", self._show)
        monkeypatch.setattr(commands, "output_of", self._unpack)
        monkeypatch.setattr(sources, "_newer", lambda one, two: (one > two) - (one < two))

    def put(self, repository: str, package: str, needs: str = "", *, provides: str = "", **files: bytes) -> None:
        name, version, arch = package.split(" ")
        path = self.folder / repository / f"{name}_{version}_{arch}.deb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(version)
        self.fields[str(path)] = [name, version, arch, "", needs, provides]
        self.files[str(path)] = files

    def release(self, repository: str, version: str, glibc: str, arch: str = "amd64", machine: int = 62) -> None:
        """Put Slurm's packages as Debian cuts them."""
        base = "usr/lib/x86_64-linux-gnu"
        commands = {
            f"usr/bin/{name}": elf(("libslurmfull.so", "libreadline.so.8"), GLIBC, (glibc,), machine=machine)
            for name in contents.COMMANDS
        }
        needs = f"libreadline8, slurm-plugins (= {version}), libc6 (>= {glibc}) | libc6-other"
        self.put(repository, f"slurm-client {version} {arch}", needs, **commands)
        plugins = {
            f"{base}/slurm-wlm/libslurmfull.so": elf(("libm.so.6",), machine=machine),
            f"{base}/slurm-wlm/auth_munge.so": elf(("libmunge.so.2",), machine=machine),
        }
        self.put(repository, f"slurm-plugins {version} {arch}", "libmunge2:any (>= 0.5)", **plugins)

    def _show(self, command: list[str], **_: Any) -> bytes:
        assert command[:2] == ["dpkg-deb", "--show"]
        return "\t".join(self.fields[command[-1]]).encode()

    @contextlib.contextmanager
    def _unpack(self, command: list[str]) -> Iterator[io.BytesIO]:
        assert command[:2] == ["dpkg-deb", "--fsys-tarfile"]
        path = command[-1]
        self.opened.append(self.fields[path][0])
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in self.files[path].items():
                member = tarfile.TarInfo("./" + name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        buffer.seek(0)
        yield buffer


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    made = Packages(tmp_path / "packages", monkeypatch)
    made.release("deb/ubuntu/noble", "24.11.5-4+deb13u1", "2.38")
    lib = "usr/lib/x86_64-linux-gnu"
    noble = "deb/ubuntu/noble"
    for version in ("0.5.16-1", "0.5.15-1"):
        files = {f"{lib}/libmunge.so.2": elf(("libc.so.6",), tail=version.encode())}
        made.put(noble, f"libmunge2t64 {version} amd64", provides="libmunge2 (= 0.5), libmunge-any", **files)
    made.put(noble, "slurmctld 24.11.5-4+deb13u1 amd64")
    return made


def test_packages_give_a_bundle_of_what_the_client_needs(hub: Hub, packages: Packages) -> None:
    result = hub.publish(sources=[str(packages.folder)])
    info = result["bundles"]["slurm-client/slurm-client-24.11.5-linux-amd64.tar.gz"]
    assert (info["version"], info["glibc"], info["libraries"]) == ("24.11.5", "2.38", ["libmunge.so.2"])
    # No package has it, so that the machine must.
    assert info["from_host"] == ["libreadline.so.8"]
    assert info["plugins"] == "/usr/lib/x86_64-linux-gnu/slurm-wlm"
    assert "slurmctld" not in packages.opened
    with tarfile.open(hub.root / "current/pkgs/slurm-client/slurm-client-24.11.5-linux-amd64.tar.gz") as tar:
        stream = tar.extractfile("usr/local/slurm/lib/libmunge.so.2")
        assert stream is not None
        assert stream.read().endswith(b"0.5.16-1")
        modes = {item.name: (item.mode, item.uid, item.uname) for item in tar}
    assert modes["install.sh"] == modes["usr/local/slurm/bin/sinfo"] == (0o755, 0, "root")
    assert modes["usr/local/slurm/VERSION"] == (0o644, 0, "root")


def test_each_release_and_architecture_gets_its_own_bundle(hub: Hub, packages: Packages) -> None:
    packages.release("deb/ubuntu/noble", "23.02.1-1", "2.35")
    packages.release("deb/ubuntu/noble", "24.11.5-4+deb13u1", "2.38", "arm64", MACHINES["arm64"])
    bundles = hub.publish(sources=[str(packages.folder)])["bundles"]
    assert {Path(path).name for path in bundles} == {
        "slurm-client-23.02.1-linux-amd64.tar.gz",
        "slurm-client-24.11.5-linux-amd64.tar.gz",
        "slurm-client-24.11.5-linux-arm64.tar.gz",
    }
    assert bundles["slurm-client/slurm-client-23.02.1-linux-amd64.tar.gz"]["glibc"] == "2.35"
    arm = bundles["slurm-client/slurm-client-24.11.5-linux-arm64.tar.gz"]
    # libmunge2 is there for the other architecture only.
    assert arm["from_host"] == ["libmunge.so.2", "libreadline.so.8"]


def test_an_absent_version_has_no_bundle_and_a_client_that_knew_of_it_still_gets_it(
    hub: Hub, packages: Packages
) -> None:
    packages.release("deb/ubuntu/noble", "23.02.1-1", "2.35")
    old = "slurm-client/slurm-client-23.02.1-linux-amd64.tar.gz"
    assert old in hub.publish(sources=[str(packages.folder)])["bundles"]
    result = hub.publish(sources=[str(packages.folder)], absent_versions=["23.02"])
    assert result["removed"] == [old]
    pkgs = hub.root / "current/pkgs"
    assert old.rpartition("/")[2] not in (pkgs / "slurm-client/index.json").read_text()
    # It read the index before.
    assert (pkgs / old).is_file()
    assert not hub.publish(sources=[str(packages.folder)], absent_versions=["23.02"])["changed"]


def test_of_two_repositories_with_one_version_the_older_system_gives_the_bundle(hub: Hub, packages: Packages) -> None:
    packages.release("deb/ubuntu/jammy", "24.11.5-1~backport", "2.35")
    first = hub.publish(sources=[str(packages.folder)])
    info = first["bundles"]["slurm-client/slurm-client-24.11.5-linux-amd64.tar.gz"]
    assert (info["glibc"], info["origin"]) == ("2.35", "deb/ubuntu/jammy")
    packages.opened.clear()
    assert not hub.publish(sources=[str(packages.folder)])["changed"]
    assert packages.opened == []
    for path in (packages.folder / "deb/ubuntu/jammy").iterdir():
        path.unlink()
    info = hub.publish(sources=[str(packages.folder)])["bundles"][
        "slurm-client/slurm-client-24.11.5-linux-amd64.tar.gz"
    ]
    assert (info["glibc"], info["origin"], info["state"]) == ("2.38", "deb/ubuntu/noble", "rebuilt")
