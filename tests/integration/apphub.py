"""An AppHub that the real programs publish, served over HTTP, with apt and dnf as its clients."""

from __future__ import annotations

import contextlib
import functools
import http.server
import posixpath
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import yaml
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import generations
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.gpg import Signer
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_publish

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
NOBLE = "deb/ubuntu/noble"
EL9 = "rpm/el9"
TOOLS = {"apt-ftparchive": "apt-utils", "createrepo_c": "createrepo-c", "rpmbuild": "rpm", "dnf": "dnf-plugins-core"}
MISSING = [f"{tool} (Debian's package {package})" for tool, package in TOOLS.items() if not shutil.which(tool)]


def repository_file(path: str, **source: Any) -> str:
    """Return a file of apt's repository as the role writes it.

    Args:
        path: Where it lies on a machine.
        source: What of apphub_client_source it is made of; all else is empty.
    """
    (system,) = yaml.safe_load((ROOT / "roles/operating-system/vars/main/Debian.yml").read_text()).values()
    (content,) = (item["content"] for item in system["repository_files"] if item["path"] == path)
    environment = jinja2.Environment(keep_trailing_newline=True, trim_blocks=True)  # noqa: S701 - no HTML
    environment.filters |= {"dirname": posixpath.dirname, "basename": posixpath.basename}
    return environment.from_string(content).render(apphub_client_source=source)


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
        params.update(sources=[str(self.source)], root=str(self.root), gnupg_home=str(self.home))
        params.update(options)
        signer = Signer(str(self.home))
        try:
            with generations.lock(str(self.root)):
                return apphub_publish.publish(params, signer, check_mode=False)
        finally:
            signer.close()

    def get(self, path: str) -> bytes:
        # The address is the test's own.
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=20) as response:  # noqa: S310 - the test's own server
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
        settings = self.apt_settings(arch)
        words = [word for setting in settings.items() for word in ("-o", "{}={}".format(*setting))]
        return run(command[0], *words, *command[1:], ok=ok, cwd=self.base / f"apt-{arch}/fetched")

    def apt_settings(self, arch: str) -> dict[str, str]:
        """Make the machine and return what apt must be told to be there."""
        home = self.base / f"apt-{arch}"
        for folder in ("etc/apt.conf.d", "etc/preferences.d", "lists/partial", "cache/archives/partial", "fetched"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        (home / "status").touch()
        (home / "key.asc").write_bytes(self.get("apphub.asc"))
        (home / "etc/sources.list").write_text(f"deb [signed-by={home}/key.asc] {self.url}/deb/ubuntu noble main\n")
        return {
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

    def dnf(self, arch: str, *command: str) -> str:
        """Run dnf on a machine of an architecture, with nothing installed and no source but this."""
        home = self.base / f"dnf-{arch}"
        (home / "fetched").mkdir(parents=True, exist_ok=True)
        (home / "key.asc").write_bytes(self.get("apphub.asc"))
        conf = home / "dnf.conf"
        conf.write_text(
            f"[main]\nreposdir={home}/none\n[apphub]\nname=a\nenabled=1\nproxy=_none_\n"
            f"baseurl={self.url}/{EL9}/$basearch/\ngpgkey=file://{home}/key.asc\ngpgcheck=1\nrepo_gpgcheck=1\n"
        )
        return run(
            "dnf", "--config", conf, "--installroot", home / "root", "--releasever", "9", "--forcearch", arch,
            "--disableplugin=local", "--assumeyes", "--refresh", *command, cwd=home / "fetched",
        )  # fmt: skip


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        pass


@contextlib.contextmanager
def served(base: Path) -> Iterator[Hub]:
    """Serve what is published below a folder. As nginx does it, the link is followed anew for each request."""
    handler = functools.partial(_Quiet, directory=str(base / "apphub/current/pkgs"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Hub(base, f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
