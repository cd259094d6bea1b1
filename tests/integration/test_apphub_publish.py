"""apphub_publish with the real programs, and what apt, dnf and a client that never rests get from it over HTTP."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import os
import re
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import repositories
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import FailureError
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_apt

from .apphub import EL9, MISSING, NOBLE, ROOT, Hub, deb, repository_file, rpm, run, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Prepare = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
OLD, NEW = "24.11.5-4", "25.05.1-1"
install = apphub_apt.install


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with served(tmp_path) as hub:
        yield hub


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of Slurm for two architectures in each format."""
    folder = tmp_path_factory.mktemp("packages")
    for version in (OLD, NEW):
        for arch in ("amd64", "arm64"):
            deb(folder / NOBLE, "slurmd", version, arch)
        for arch in ("x86_64", "aarch64"):
            rpm(folder / EL9, "slurm-slurmd", version, arch)
    deb(folder / NOBLE, "slurm-doc", NEW, "all")
    rpm(folder / EL9, "slurm-doc", NEW, "noarch")
    return folder


@pytest.fixture
def both(hub: Hub, packages: Path) -> Hub:
    shutil.copytree(packages, hub.source)
    return hub


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_apt_gets_every_version_for_its_architecture(both: Hub, arch: str) -> None:
    both.publish()
    both.apt(arch, "apt-get", "update")
    listed = both.apt(arch, "apt-cache", "madison", "slurmd", "slurm-doc")
    assert re.findall(r"(slurm\S+) \| +(\S+)", listed) == [("slurmd", NEW), ("slurmd", OLD), ("slurm-doc", NEW)]
    for version in (OLD, NEW):
        both.apt(arch, "apt-get", "download", f"slurmd={version}")
        assert (both.base / f"apt-{arch}/fetched/slurmd_{version}_{arch}.deb").is_file()


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_dnf_gets_every_version_for_its_architecture(both: Hub, arch: str) -> None:
    both.publish()
    listed = both.dnf(arch, "--quiet", "repoquery", "--queryformat", "%{name}-%{version}-%{release}.%{arch}")
    wanted = {f"slurm-slurmd-{version}.{arch}" for version in (OLD, NEW)} | {f"slurm-doc-{NEW}.noarch"}
    assert set(re.findall(r"(?m)^slurm\S+$", listed)) == wanted
    both.dnf(arch, "download", f"slurm-slurmd-{OLD}")
    package = both.base / f"dnf-{arch}/fetched/slurm-slurmd-{OLD}.{arch}.rpm"
    keys = both.base / f"dnf-{arch}/keys"
    keys.mkdir()
    run("rpmkeys", "--dbpath", keys, "--import", both.base / f"dnf-{arch}/key.asc")
    assert "signatures OK" in run("rpmkeys", "--dbpath", keys, "--checksig", package)


def test_apt_refuses_an_index_that_the_key_did_not_sign(both: Hub) -> None:
    both.publish()
    release = both.root / "current/pkgs/deb/ubuntu/dists/noble/InRelease"
    release.write_text(release.read_text().replace("Suite: noble", "Suite: other"))
    assert "BADSIG" in both.apt("amd64", "apt-get", "update", ok=False)


def test_version_is_taken_away_and_comes_back(both: Hub) -> None:
    both.publish()
    result = both.publish(absent_versions=["25.05"])
    assert result["repositories"][NOBLE] == {"state": "rebuilt", "packages": 2}
    assert both.publish(absent_versions=["25.05"])["changed"] is False
    both.apt("amd64", "apt-get", "update")
    assert NEW not in both.apt("amd64", "apt-cache", "madison", "slurmd", "slurm-doc")
    assert NEW not in both.dnf("x86_64", "repoquery")
    with pytest.raises(FailureError, match=rf"no Slurm in {NOBLE}.*{OLD}, {NEW}"):
        both.publish(absent_versions=["25.05", "24.11.5"])
    assert both.publish()["repositories"][EL9] == {"state": "rebuilt", "packages": 5}


def _truncated(hub: Hub, folder: str) -> Path:
    make, name = (deb, "slurmctld") if folder == NOBLE else (rpm, "slurm-slurmctld")
    path = make(hub.source / folder, name, NEW, "amd64" if folder == NOBLE else "x86_64")
    path.write_bytes(path.read_bytes()[:-40])
    return path


def _renamed(hub: Hub, folder: str) -> Path:
    path = deb(hub.source / folder, "slurmctld", NEW, "amd64")
    return path.rename(path.with_name(f"slurmctld_{NEW}_arm64.deb"))


WRONG = {
    "truncated deb": (functools.partial(_truncated, folder=NOBLE), "is broken"),
    "truncated rpm": (functools.partial(_truncated, folder=EL9), "is broken"),
    "deb of an architecture that is not served": (
        lambda hub: deb(hub.source / NOBLE, "slurmctld", NEW, "i386"),
        "is for i386.*serves amd64, arm64",
    ),
    "rpm of an architecture that is not served": (
        lambda hub: rpm(hub.source / EL9, "slurm-slurmctld", NEW, "i686"),
        "is for i686.*serves x86_64, aarch64",
    ),
    "rpm of sources": (lambda hub: rpm(hub.source / EL9, "slurm", NEW, "x86_64", "-bs"), r"is for building \(src\)"),
    "deb with the name of another architecture": (
        functools.partial(_renamed, folder=NOBLE),
        r"is for amd64, but its name does not end in _amd64\.deb",
    ),
    "text": (lambda hub: hub.source / NOBLE / "slurmctld_1_amd64.deb", "is broken"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_package_is_refused_by_name_and_what_is_published_stays(both: Hub, what: str) -> None:
    both.publish()
    before = (both.root / "current").readlink(), repositories.tree(str(both.root))
    make, words = WRONG[what]
    culprit = make(both)  # type: ignore[operator] # a parameter
    if what == "text":
        culprit.write_text("<html>404 Not Found</html>")
    with pytest.raises(FailureError, match=f"^{re.escape(str(culprit))} {words}"):
        both.publish()
    assert ((both.root / "current").readlink(), repositories.tree(str(both.root))) == before
    culprit.unlink()
    assert both.publish()["changed"] is False


def _apt_files(hub: Hub) -> list[tuple[str, str]]:
    """Return the files that InRelease leads to now, with their checksums, read as apt does."""
    dists = "deb/ubuntu/dists/noble"
    release = hub.get(f"{dists}/InRelease").decode()
    assert "Acquire-By-Hash: yes" in release
    files = []
    for checksum, path in re.findall(r"^ ([0-9a-f]{64}) +\d+ (\S+/Packages\.gz)$", release, re.MULTILINE):
        index = f"{dists}/{path.rpartition('/')[0]}/by-hash/SHA256/{checksum}"
        files.append((index, checksum))
        listed = gzip.decompress(hub.get(index)).decode()
        found = re.findall(r"^Filename: (\S+)$.*?^SHA256: (\S+)$", listed, re.MULTILINE | re.DOTALL)
        files += [(f"deb/ubuntu/{name}", checksum) for name, checksum in found]
    return files


def _dnf_files(hub: Hub) -> list[tuple[str, str]]:
    """Return the files that repomd.xml leads to now, with their checksums, read as dnf does."""
    base = f"{EL9}/x86_64"
    spaces = {"r": "http://linux.duke.edu/metadata/repo", "c": "http://linux.duke.edu/metadata/common"}
    # What is read was written by createrepo_c a moment ago.
    repomd = ET.fromstring(hub.get(f"{base}/repodata/repomd.xml"))  # noqa: S314 - what the test published
    files = []
    for data in repomd.iterfind("r:data", spaces):
        path = f"{base}/{data.find('r:location', spaces).attrib['href']}"  # type: ignore[union-attr] # the test fails when it is missing
        files.append((path, data.findtext("r:checksum", "", spaces)))
        if data.attrib["type"] == "primary":
            primary = ET.fromstring(gzip.decompress(hub.get(path)))  # noqa: S314 - what the test published
            for package in primary.iterfind("c:package", spaces):
                name = package.find("c:location", spaces).attrib["href"]  # type: ignore[union-attr] # the test fails when it is missing
                files.append((f"{base}/{name}", package.findtext("c:checksum", "", spaces)))
    return files


def _fetch(hub: Hub, files: list[tuple[str, str]]) -> None:
    for path, checksum in files:
        assert hashlib.sha256(hub.get(path)).hexdigest() == checksum, path


@pytest.mark.parametrize("follow", [_apt_files, _dnf_files], ids=["apt", "dnf"])
def test_client_in_the_middle_of_a_download_goes_on_until_the_tree_is_pruned(both: Hub, follow: Any) -> None:
    both.publish()
    begun = follow(both)
    assert len(begun) > 4
    for turn in (1, 2):
        # Everything that it has read about is not published any more.
        both.publish(absent_versions=[OLD] if turn == 1 else [NEW])
        _fetch(both, begun)
        assert {path for path, _ in follow(both)} != {path for path, _ in begun}
    both.publish(absent_versions=[OLD])
    gone = [path for path, _ in begun if not both.is_there(path)]
    assert [path for path in gone if "Packages" in path or "repodata" in path or "by-hash" in path]
    assert both.publish(absent_versions=[OLD])["changed"] is False


def _all_saw_a_change(seen: dict[str, list[str]]) -> bool:
    return all(len(set(indexes)) > 1 for indexes in seen.values())


@contextlib.contextmanager
def _clients(fetches: dict[str, Callable[[], str]]) -> Iterator[dict[str, list[str]]]:
    """Let each client fetch without rest; gives the indexes that each saw."""
    seen: dict[str, list[str]] = {kind: [] for kind in fetches}
    stop = threading.Event()
    errors: list[Exception] = []

    def never_rest(kind: str) -> None:
        while not stop.is_set():
            try:
                seen[kind].append(fetches[kind]())
            except Exception as error:  # noqa: BLE001 - the test's thread tells it
                errors.append(error)
                return

    clients = [threading.Thread(target=never_rest, args=[kind]) for kind in fetches]
    for client in clients:
        client.start()
    try:
        yield seen
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert not errors, errors


def test_clients_that_never_rest_always_get_what_the_index_names(both: Hub) -> None:
    both.publish()

    def follow(way: Any) -> str:
        files = way(both)
        _fetch(both, files)
        return str(files[0][1])

    def apt() -> str:
        both.apt("arm64", "apt-get", "update")
        both.apt("arm64", "apt-get", "download", f"slurmd={NEW}")
        return both.apt("arm64", "apt-cache", "madison", "slurmd")

    ways = {"apt's way": functools.partial(follow, _apt_files), "dnf's way": functools.partial(follow, _dnf_files)}
    with _clients(ways | {"apt": apt}) as seen:
        turn = 0
        # at first apt may be in step with every other turn
        while turn < 8 or (turn < 40 and not _all_saw_a_change(seen)):
            assert both.publish(absent_versions=[OLD] if turn % 2 else [])["changed"] is bool(turn)
            turn += 1
    for kind, indexes in seen.items():
        # Each was there all the time, and saw more than one tree.
        assert len(indexes) > 5, (kind, len(indexes))
        assert len(set(indexes)) > 1, kind


def _key(home: Path, passphrase: str = "") -> str:
    home.mkdir(mode=0o700)
    run("gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", passphrase,
        "--quick-generate-key", "AppHub of the organisation", "rsa3072", "sign", "never")  # fmt: skip
    listed = run("gpg", "--homedir", home, "--list-secret-keys", "--with-colons")
    with contextlib.suppress(OSError):
        run("gpgconf", "--homedir", home, "--kill", "all")
    (fingerprint,) = re.findall(r"(?m)^fpr:+([0-9A-F]+):", listed)
    return str(fingerprint)


def test_key_is_made_once_and_a_key_can_be_brought_along(both: Hub, tmp_path: Path) -> None:
    made = both.publish()["fingerprint"]
    assert both.publish(absent_versions=[OLD])["fingerprint"] == made
    other = _key(tmp_path / "other")
    shutil.rmtree(both.home)
    exported = tmp_path / "key"
    run("gpg", "--homedir", tmp_path / "other", "--batch", "--output", exported, "--export-secret-keys")
    both.home.mkdir(mode=0o700)
    run("gpg", "--homedir", both.home, "--batch", "--import", exported)
    result = both.publish(absent_versions=[OLD])
    assert result["fingerprint"] == other
    assert {fate["state"] for fate in result["repositories"].values()} == {"new"}
    both.apt("amd64", "apt-get", "update")
    both.dnf("x86_64", "download", "slurm-slurmd")
    assert both.publish(absent_versions=[OLD])["changed"] is False


def test_key_with_a_passphrase_is_refused_with_the_remedy(both: Hub) -> None:
    _key(both.home, "secret")
    with pytest.raises(FailureError, match="passphrase"):
        both.publish()
    assert not (both.root / "current").exists()


@pytest.fixture
def node(both: Hub) -> Hub:
    """A node with the old version of this AppHub and the role's preferences, and a mirror with a still newer one."""
    for version in (OLD, NEW):
        deb(both.source / NOBLE, "slurm-client", version, "amd64", Depends=f"slurmd (= {version})")
    both.publish()
    variables = yaml.safe_load((ROOT / "roles/apphub-client/vars/main.yml").read_text())
    exclusive = variables["__apphub_client_exclusive"]
    home = both.base / "apt-amd64"
    (home / "etc/preferences.d").mkdir(parents=True)
    # The mirror has another origin in apt's eyes, though it is on this machine, too.
    deb(both.base / "mirror", "slurmd", "26.05.1-1", "amd64")
    (both.base / "mirror/Packages").write_text(run("apt-ftparchive", "packages", ".", cwd=both.base / "mirror"))
    (home / "etc/sources.list.d").mkdir()
    (home / "etc/sources.list.d/mirror.list").write_text(f"deb [trusted=yes] file:{both.base}/mirror ./\n")
    (home / "etc/preferences.d/apphub.pref").write_text(
        repository_file("/etc/apt/preferences.d/apphub.pref", exclusive=exclusive, host="127.0.0.1")
    )
    (home / "status").write_text(
        "".join(
            f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {OLD}\n"
            f"Maintainer: t\nDescription: t\n{needs}\n"
            for name, needs in (("slurmd", ""), ("slurm-client", f"Depends: slurmd (= {OLD})\n"))
        )
    )
    both.apt("amd64", "apt-get", "update")
    return both


def moved(hub: Hub, *command: str) -> set[str]:
    return set(re.findall(r"(?m)^Inst (\S+) .*?\((\S+)", hub.apt("amd64", "apt-get", "--simulate", *command)))


@pytest.mark.parametrize("command", ["upgrade", "dist-upgrade"])
def test_upgrade_of_the_system_does_not_move_slurm(node: Hub, command: str) -> None:
    assert moved(node, command) == set()
    # Without what keeps it, it would move: to what AppHub has, and not to what the mirror has.
    preferences = node.base / "apt-amd64/etc/preferences.d/apphub.pref"
    preferences.write_text(preferences.read_text().replace("Pin-Priority: 995", "Pin-Priority: 100"))
    assert moved(node, command) == {("slurmd", NEW), ("slurm-client", NEW)}


@pytest.fixture
def prepare(node: Hub, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that runs apphub_apt on the node, with its apt; nothing is cut off there, as dpkg would say."""
    home = node.base / "apt-amd64"
    settings = node.apt_settings("amd64").items()
    (home / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings))
    monkeypatch.setenv("APT_CONFIG", str(home / "apt.conf"))
    monkeypatch.setattr(apphub_apt, "finish_interrupted", lambda _exclusive: [])
    monkeypatch.setattr(apphub_apt, "restore_dependencies", list)
    # Other tests try that with the same apt; here it would be done on this machine.
    monkeypatch.setattr(apphub_apt, "install", lambda *_packages, **_mode: [])
    stated = {
        "url": node.url.removesuffix("/pkgs"),
        "source": str(home / "etc/sources.list"),
        "preferences": str(home / "etc/preferences.d/00apphub-version.pref"),
        "exclusive": ["slurm*"],
        "packages": ["munge", "slurmd"],
        "version": "",
        "lock_timeout": 10.0,
    }

    def run_it(*, check: bool = False, **options: str) -> dict[str, Any]:
        return apphub_apt.run({**stated, **options}, check_mode=check)

    return run_it


@pytest.mark.parametrize(("stated", "meant"), [("25", NEW), ("25.05", NEW), (NEW, NEW), ("24.11", OLD), (OLD, OLD)])
def test_a_run_for_a_version_makes_it_the_candidate(node: Hub, prepare: Prepare, stated: str, meant: str) -> None:
    (node.base / "apt-amd64/status").write_text("")
    assert prepare(version=stated, check=True)["changed"]
    assert moved(node, "install", "slurmd") == {("slurmd", NEW)}
    assert prepare(version=stated)["version"] == meant
    assert moved(node, "install", "slurm-client") == {("slurmd", meant), ("slurm-client", meant)}
    assert not prepare(version=stated)["changed"]


def test_a_run_for_another_version_moves_slurm_to_it_and_no_upgrade_moves_it_on(node: Hub, prepare: Prepare) -> None:
    prepare(version=NEW)
    assert moved(node, "install", f"slurm-client={NEW}") == {("slurmd", NEW), ("slurm-client", NEW)}
    status = node.base / "apt-amd64/status"
    status.write_text(status.read_text().replace(OLD, NEW))
    newest = "25.05.2-1"
    for name, needs in (("slurmd", {}), ("slurm-client", {"Depends": f"slurmd (= {newest})"})):
        deb(node.source / NOBLE, name, newest, "amd64", **needs)
    time.sleep(1.1)  # apt asks only for what is newer, in whole seconds
    node.publish()
    assert prepare(version=NEW)["changed"] is False
    assert moved(node, "dist-upgrade") == set()
    assert prepare(version="")["changed"]
    assert moved(node, "install", f"slurm-client={newest}", f"slurmd={newest}") == {
        ("slurmd", newest),
        ("slurm-client", newest),
    }


def test_what_would_be_installed_is_what_apt_says(node: Hub, prepare: Prepare) -> None:
    prepare(version=NEW)
    packages = ["slurmd", "slurm-client"]
    assert install("http://hub", packages, NEW, check_mode=True) == ["slurm-client", "slurmd"]
    assert install("http://hub", packages, OLD, check_mode=True) == [], "that is what is there"
    with pytest.raises(
        FailureError, match=r"slurm-none cannot be installed from http://hub: .*Unable to locate package"
    ):
        install("http://hub", ["slurm-none"], "", check_mode=True)
    assert moved(node, "install", f"slurmd={NEW}", f"slurm-client={NEW}") == {("slurmd", NEW), ("slurm-client", NEW)}


def test_a_version_that_apphub_does_not_have_is_refused_with_those_that_it_has(node: Hub, prepare: Prepare) -> None:
    with pytest.raises(FailureError, match=rf"has no slurmd 24\.1 for this machine, but {NEW}, {OLD}\."):
        prepare(version="24.1")
    assert not (node.base / "apt-amd64/etc/preferences.d/00apphub-version.pref").exists()


def test_a_list_that_cannot_be_read_is_an_error_that_names_it(node: Hub, prepare: Prepare) -> None:
    for index in (node.root / "current").rglob("noble/*Release"):
        index.write_text("broken")
        # apt has read it within the same second, and asks only for what is newer.
        os.utime(index, (time.time() + 60,) * 2)
    with pytest.raises(FailureError, match=r"The list of http://\S+/pkgs/deb cannot be read: .*Release"):
        prepare()


def test_what_is_not_installed_comes_from_apphub_only(node: Hub) -> None:
    (node.base / "apt-amd64/status").write_text("")
    assert moved(node, "install", "slurmd") == {("slurmd", NEW)}
    assert moved(node, "install", f"slurmd={OLD}") == {("slurmd", OLD)}
