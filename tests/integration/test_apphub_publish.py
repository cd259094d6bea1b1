"""apphub_publish with the real programs, and what apt, dnf and a client that never rests get from it over HTTP."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import jinja2
import pytest
import yaml
from ansible_collections.ai_infra.slurm.plugins.module_utils import apphub_index, apphub_packages, apphub_tree
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_publish

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
NOBLE = "deb/ubuntu/noble"
EL9 = "rpm/el9"
OLD, NEW = "24.11.5-4", "25.05.1-1"


TOOLS = {"apt-ftparchive": "apt-utils", "createrepo_c": "createrepo-c", "rpmbuild": "rpm", "dnf": "dnf-plugins-core"}
MISSING = [f"{tool} (Debian's package {package})" for tool, package in TOOLS.items() if not shutil.which(tool)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


def run(*command: str | Path, ok: bool = True, **options: Any) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=120, **options
    )
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def deb(folder: Path, name: str, version: str, arch: str, **fields: str) -> Path:
    """Make a real package that was made for the test: it holds nothing but a file with its version."""
    folder.mkdir(parents=True, exist_ok=True)
    stage = folder / "stage"
    (stage / "DEBIAN").mkdir(parents=True)
    (stage / "usr/share").mkdir(parents=True)
    (stage / "usr/share" / name).write_text(version)
    lines = {"Package": name, "Version": version, "Architecture": arch, "Maintainer": "test <t@example.org>"}
    lines.update({"Description": "made for the test", **fields})
    (stage / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    path = folder / f"{name}_{version}_{arch}.deb"
    run("dpkg-deb", "--root-owner-group", "--build", stage, path)
    shutil.rmtree(stage)
    return path


def rpm(folder: Path, name: str, version: str, arch: str, what: str = "-bb") -> Path:
    """Make a real RPM that was made for the test."""
    folder.mkdir(parents=True, exist_ok=True)
    top = folder / "rpmbuild"
    top.mkdir()
    number, release = version.split("-")
    spec = top / "package.spec"
    spec.write_text(
        f"Name: {name}\nVersion: {number}\nRelease: {release}\nSummary: made for the test\nLicense: none\n"
        "%description\nMade for the test.\n%files\n"
    )
    run("rpmbuild", what, "--target", arch, "--define", f"_topdir {top}", "--define", "_build_id_links none", spec)
    (made,) = top.rglob("*.rpm")
    path = folder / made.name
    made.rename(path)
    shutil.rmtree(top)
    return path


class Hub:
    """A source folder, what is published of it, and its address."""

    def __init__(self, base: Path, url: str) -> None:
        self.base = base
        self.url = url
        self.source = base / "source"
        self.home = base / "gnupg"
        self.root = base / "apphub"

    def publish(self, **options: Any) -> dict[str, Any]:
        params = {name: argument.get("default") for name, argument in apphub_publish.ARGUMENTS.items()}
        params.update(sources=[str(self.source)], root=str(self.root), gnupg_home=str(self.home), **options)
        signer = apphub_index.Signer(str(self.home))
        try:
            with apphub_tree.lock(str(self.root)):
                return apphub_publish.publish(params, signer, check_mode=False)
        finally:
            signer.close()

    def get(self, path: str) -> bytes:
        # The address is the test's own.
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=20) as response:  # noqa: S310
            content: bytes = response.read()
        return content

    def is_there(self, path: str) -> bool:
        try:
            self.get(path)
        except urllib.error.HTTPError:
            return False
        return True

    def apt(self, arch: str, *command: str, ok: bool = True) -> str:
        """Run apt on a machine of an architecture, with nothing installed and no source but this."""
        home = self.base / f"apt-{arch}"
        for folder in ("etc/apt.conf.d", "etc/preferences.d", "lists/partial", "cache/archives/partial", "work"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        (home / "status").touch()
        (home / "key.asc").write_bytes(self.get("apphub.asc"))
        (home / "etc/sources.list").write_text(f"deb [signed-by={home}/key.asc] {self.url}/deb/ubuntu noble main\n")
        settings = {
            "APT::Architecture": arch,
            "APT::Architectures": arch,
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Acquire::http::Proxy": "false",
            "Dir::Etc": f"{home}/etc",
            "Dir::State::lists": f"{home}/lists",
            "Dir::State::status": f"{home}/status",
            "Dir::Cache": f"{home}/cache",
        }
        words = [word for setting in settings.items() for word in ("-o", "{}={}".format(*setting))]
        return run(command[0], *words, *command[1:], ok=ok, cwd=home / "work")

    def dnf(self, arch: str, *command: str) -> str:
        """Run dnf on a machine of an architecture, with nothing installed and no source but this."""
        home = self.base / f"dnf-{arch}"
        (home / "work").mkdir(parents=True, exist_ok=True)
        (home / "key.asc").write_bytes(self.get("apphub.asc"))
        conf = home / "dnf.conf"
        conf.write_text(
            f"[main]\nreposdir={home}/none\n[apphub]\nname=a\nenabled=1\nproxy=_none_\n"
            f"baseurl={self.url}/{EL9}/$basearch/\ngpgkey=file://{home}/key.asc\ngpgcheck=1\nrepo_gpgcheck=1\n"
        )
        return run(
            "dnf", "--config", conf, "--installroot", home / "root", "--releasever", "9", "--forcearch", arch,
            "--disableplugin=local", "--assumeyes", "--refresh", *command, cwd=home / "work",
        )  # fmt: skip


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    # As nginx does it, the link is followed anew for each request.
    handler = functools.partial(_Quiet, directory=str(tmp_path / "apphub/current/pkgs"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Hub(tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


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
        assert (both.base / f"apt-{arch}/work/slurmd_{version}_{arch}.deb").is_file()


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_dnf_gets_every_version_for_its_architecture(both: Hub, arch: str) -> None:
    both.publish()
    listed = both.dnf(arch, "--quiet", "repoquery", "--queryformat", "%{name}-%{version}-%{release}.%{arch}")
    wanted = {f"slurm-slurmd-{version}.{arch}" for version in (OLD, NEW)} | {f"slurm-doc-{NEW}.noarch"}
    assert set(re.findall(r"(?m)^slurm\S+$", listed)) == wanted
    both.dnf(arch, "download", f"slurm-slurmd-{OLD}")
    package = both.base / f"dnf-{arch}/work/slurm-slurmd-{OLD}.{arch}.rpm"
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
    with pytest.raises(apphub_packages.PublishError, match=rf"no Slurm in {NOBLE}.*{OLD}, {NEW}"):
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
    before = (both.root / "current").readlink(), apphub_index.tree(str(both.root))
    make, words = WRONG[what]
    culprit = make(both)  # type: ignore[operator]
    if what == "text":
        culprit.write_text("<html>404 Not Found</html>")
    with pytest.raises(apphub_packages.PublishError, match=f"^{re.escape(str(culprit))} {words}"):
        both.publish()
    assert ((both.root / "current").readlink(), apphub_index.tree(str(both.root))) == before
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
    repomd = ET.fromstring(hub.get(f"{base}/repodata/repomd.xml"))  # noqa: S314
    files = []
    for data in repomd.iterfind("r:data", spaces):
        path = f"{base}/{data.find('r:location', spaces).attrib['href']}"  # type: ignore[union-attr]
        files.append((path, data.findtext("r:checksum", "", spaces)))
        if data.attrib["type"] == "primary":
            primary = ET.fromstring(gzip.decompress(hub.get(path)))  # noqa: S314
            for package in primary.iterfind("c:package", spaces):
                name = package.find("c:location", spaces).attrib["href"]  # type: ignore[union-attr]
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


def test_client_that_never_rests_always_gets_what_the_index_names(both: Hub) -> None:
    both.publish()
    rounds = {"apt": 0, "dnf": 0}
    seen = set()
    stop = threading.Event()
    errors: list[Exception] = []

    def fetch(kind: str, follow: Any) -> None:
        while not stop.is_set():
            try:
                files = follow(both)
                _fetch(both, files)
            except Exception as error:  # noqa: BLE001 - the test's thread tells it
                errors.append(error)
                return
            seen.add((kind, files[0][1]))
            rounds[kind] += 1

    clients = [
        threading.Thread(target=fetch, args=("apt", _apt_files)),
        threading.Thread(target=fetch, args=("dnf", _dnf_files)),
    ]
    for client in clients:
        client.start()
    try:
        for turn in range(8):
            assert both.publish(absent_versions=[OLD] if turn % 2 else [])["changed"] is bool(turn)
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert not errors, errors
    # They were there before, in between and after.
    assert min(rounds.values()) > 8, rounds
    assert {kind for kind, _ in seen} == {"apt", "dnf"}


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
    with pytest.raises(apphub_packages.PublishError, match="passphrase"):
        both.publish()
    assert not (both.root / "current").exists()


@pytest.fixture
def node(both: Hub) -> Hub:
    """A node with the old version of this AppHub and the role's preferences, and a mirror with a still newer one."""
    for version in (OLD, NEW):
        deb(both.source / NOBLE, "slurm-client", version, "amd64", Depends=f"slurmd (= {version})")
    both.publish()
    role = ROOT / "roles/apphub-client"
    exclusive = yaml.safe_load((role / "vars/main.yml").read_text())["__apphub_client_exclusive"]
    template = jinja2.Template((role / "templates/etc/apt/preferences.d/apphub.pref.j2").read_text())
    home = both.base / "apt-amd64"
    (home / "etc/preferences.d").mkdir(parents=True)
    # The mirror has another origin in apt's eyes, though it is on this machine, too.
    deb(both.base / "mirror", "slurmd", "26.05.1-1", "amd64")
    (both.base / "mirror/Packages").write_text(run("apt-ftparchive", "packages", ".", cwd=both.base / "mirror"))
    (home / "etc/sources.list.d").mkdir()
    (home / "etc/sources.list.d/mirror.list").write_text(f"deb [trusted=yes] file:{both.base}/mirror ./\n")
    (home / "etc/preferences.d/apphub.pref").write_text(
        template.render(__apphub_client_exclusive=exclusive, __apphub_client_host="127.0.0.1")
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


def test_run_for_another_version_moves_slurm_to_it(node: Hub) -> None:
    version = node.base / "apt-amd64/etc/preferences.d/00apphub-version.pref"
    version.write_text(f"Package: slurm* libslurm*\nPin: version {NEW}\nPin-Priority: 995\n")
    assert moved(node, "install", f"slurm-client={NEW}") == {("slurmd", NEW), ("slurm-client", NEW)}


def test_what_is_not_installed_comes_from_apphub_only(node: Hub) -> None:
    (node.base / "apt-amd64/status").write_text("")
    assert moved(node, "install", "slurmd") == {("slurmd", NEW)}
    assert moved(node, "install", f"slurmd={OLD}") == {("slurmd", OLD)}
