"""A real AppHub: packages made for the test, published and signed by the product, behind a real web server."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import shutil
import socketserver
import subprocess
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import store
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.gpg import Signer
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_publish

NOBLE = "deb/ubuntu/noble"
EL9 = "rpm/el9"
VERSION = "24.11.5-4"


def program(*command, **options):
    """Run a program; its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def make_deb(folder, name, version=VERSION, depends=""):
    """Build a package with dpkg-deb."""
    tree = folder / f".{name}"
    (tree / "DEBIAN").mkdir(parents=True)
    fields = {"Package": name, "Version": version, "Architecture": "amd64", "Maintainer": "t", "Description": "t"}
    fields |= {"Depends": depends} if depends else {}
    (tree / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
    program("dpkg-deb", "--build", "--root-owner-group", str(tree), str(folder / f"{name}_{version}_amd64.deb"))
    shutil.rmtree(tree)


def make_rpms(folder, *packages):
    """Build packages with rpmbuild; each of them (name, version, release, what it requires)."""
    for name, version, release, requires in packages:
        spec = folder / f"{name}.spec"
        spec.write_text(
            f"Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: t\nLicense: t\nAutoReqProv: no\n"
            + (f"Requires: {requires}\n" if requires else "")
            + "%description\nt\n%files\n"
        )
        top = folder / ".build"
        program("rpmbuild", "-bb", "--quiet", "--target", "x86_64", "--define", f"_topdir {top}", str(spec))
        spec.unlink()
    for built in (folder / ".build").rglob("*.rpm"):
        shutil.move(built, folder / built.name)
    shutil.rmtree(folder / ".build")


class Hub:
    """A folder of packages, the tree published of it, and its key."""

    def __init__(self, base):
        self.base = base
        self.sources = base / "packages"
        self.root = base / "apphub"
        self.home = base / "gnupg"
        self.signer = Signer(str(self.home))

    def fill(self):
        """Make the packages of a compute node for one release of each kind."""
        debs, rpms = self.sources / NOBLE, self.sources / EL9
        debs.mkdir(parents=True)
        rpms.mkdir(parents=True)
        make_deb(debs, "munge", "0.5.16-1")
        make_deb(debs, "libslurm42t64")
        make_deb(debs, "slurmd", depends=f"munge, libslurm42t64 (= {VERSION}) | libslurm42 (= {VERSION}), libc6")
        make_deb(debs, "slurm-client", depends=f"libslurm42t64 (= {VERSION})")
        make_rpms(
            rpms,
            ("munge", "0.5.15", "1.el9", ""),
            ("slurm", "22.05.8", "4.el9", "munge"),
            ("slurm-slurmd", "22.05.8", "4.el9", "slurm = 22.05.8-4.el9"),
        )

    def add(self, repository, name, version=VERSION, depends=""):
        """Put one more package into an apt repository's folder."""
        make_deb(self.sources / repository, name, version, depends)

    def publish(self, **options):
        """Publish what is in the folder, by the module's own code."""
        params = {name: option.get("default") for name, option in apphub_publish.ARGUMENTS.items()}
        params |= {"sources": [str(self.sources)], "root": str(self.root), "gnupg_home": str(self.home), **options}
        return apphub_publish.publish(params, self.signer, check_mode=False)

    def publish_bundle(self):
        """Publish a client bundle that was made for the test, with the index that the product writes for it."""
        bundles = store.Store(str(self.root / "bundles"), {}, self.signer.fingerprint())
        name = "slurm-client-24.11.5-linux-amd64.tar.gz"
        data = b"an archive"
        sha256 = hashlib.sha256(data).hexdigest()
        facts = {
            "version": "24.11.5",
            "arch": "amd64",
            "libc": "glibc",
            "glibc": "2.34",
            "sha256": sha256,
            "sums": sha256,
            "size": len(data),
            "origin": "o",
        }
        bundles.wanted = {f"slurm-client/{name}": facts}
        bundles.fresh = {f"slurm-client/{name}": data}
        bundles.publish(self.signer, 2)

    @property
    def key_sha256(self):
        """By which clients know the key, as whoever publishes tells them."""
        return hashlib.sha256(self.signer.public_key()).hexdigest()

    @property
    def pkgs(self):
        """What is served."""
        return self.root / "current" / "pkgs"

    def gpg(self, *arguments, home=None):
        """Run gpg in the signing key's home."""
        command = ["gpg", "--homedir", str(home or self.home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        return program(*command, "--passphrase", "", *arguments)

    def find(self, pattern):
        """Return the path below /pkgs of the one published file that fits."""
        folders = (self.pkgs, self.root / "bundles/current/pkgs")
        (found,) = [path.relative_to(folder) for folder in folders for path in folder.glob(pattern) if path.is_file()]
        return str(found)

    def break_open(self, path):
        """Make a published file one's own, which was a hard link; return it."""
        file = self.root / "bundles/current/pkgs" / path if path.startswith("slurm-") else self.pkgs / path
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
        return file

    def flip(self, path):
        """Flip a bit in the middle of a published file."""
        file = self.break_open(path)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves as the role's nginx does, and notes who asked for what."""

    def __init__(self, *arguments, served, **options):
        self.served = served
        super().__init__(*arguments, **options)

    def translate_path(self, path):
        root = self.served.root
        if path.startswith("/pkgs/slurm-"):
            root = root / "bundles"
        return str(root / "current" / path.lstrip("/"))

    def do_GET(self):
        served = self.served
        served.asked.append(self.path)
        if served.login and self.headers.get("Authorization") != served.login:
            self.send_error(401)
        elif served.redirect and self.path.startswith("/pkgs/"):
            self.send_response(302)
            self.send_header("Location", served.redirect + self.path)
            self.end_headers()
        elif served.drip:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            while not served.ended:
                self.wfile.write(b".")
                time.sleep(0.2)
        elif self.path == "/healthz":
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"ok\n")
        else:
            super().do_GET()

    def log_message(self, *_arguments):
        pass


class Served(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A web server on this machine."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root, context=None):
        self.root = root
        self.asked = []
        self.login = ""
        self.redirect = ""
        self.drip = False
        self.ended = False
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, served=self))
        scheme = "http"
        if context is not None:
            scheme = "https"
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"{scheme}://localhost:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, *_arguments):
        """A client that hangs up is no error of the test."""

    def ask_for(self, username, password):
        """Serve only those who know the password."""
        self.login = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    def stop(self):
        self.ended = True
        self.shutdown()
        self.server_close()


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """An AppHub that was published once; each test gets a copy."""
    # gpg's agent needs a short path for its socket.
    hub = Hub(tmp_path_factory.mktemp("h"))
    hub.fill()
    hub.home.mkdir(mode=0o700)
    hub.publish()
    hub.publish_bundle()
    hub.signer.close()
    return hub


@pytest.fixture
def hub(published, tmp_path_factory):
    copy = Hub(tmp_path_factory.mktemp("h"))
    for folder in ("packages", "apphub", "gnupg"):
        shutil.copytree(published.base / folder, copy.base / folder, symlinks=True)
    yield copy
    copy.signer.close()


@pytest.fixture
def serve():
    """Return a function that serves an AppHub; the servers end with the test."""
    started = []

    def start(hub, **options):
        started.append(Served(Path(hub.root), **options))
        return started[-1]

    yield start
    for server in started:
        if not server.ended:
            server.stop()
