"""How clients get to an AppHub: failover, ends to every wait, own authorities, passwords, proxies; by real servers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import importlib.util
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.ai_infra.slurm.plugins.action import apphub_select
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import network
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_apt

from ..apphub import repository_file  # noqa: TID252 - tests are no package

ROOT = Path(__file__).parents[3]
WEB = {"timeout": 1, "ca": "", "login": "", "proxy": ""}
NAME, PASSWORD = "node", "s3cret$%&#'"
LOGIN = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()


def choose(*urls, **options):
    return apphub_select.choose({**WEB, "urls": urls, "key_sha256": "", "insecure": True, **options})


def server(url, **options):
    return http_client.Server({**WEB, "url": url, **options})


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """An authority of our own, and a certificate of it for localhost."""
    base = tmp_path_factory.mktemp("ca")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=base, check=True, capture_output=True, timeout=60)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Our own authority",
            "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    openssl("req", *key, "-keyout", "hub.key", "-out", "hub.csr", "-subj", "/CN=localhost")
    (base / "ext").write_text("subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", "hub.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "hub.pem")  # fmt: skip
    return base


@pytest.fixture
def tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "hub.pem", authority / "hub.key")
    return context


@pytest.fixture
def silent():
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://localhost:{listening.getsockname()[1]}"


@pytest.fixture
def stammering():
    """The address of a server that sends the head of its answer bit by bit."""
    ended = threading.Event()

    def work(listening):
        with contextlib.suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                while not ended.wait(0.2):
                    connection.sendall(b"X")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=work, args=(listening,), daemon=True)
        thread.start()
        yield f"http://localhost:{listening.getsockname()[1]}"
        ended.set()
        thread.join(5)


class Proxy(http.server.BaseHTTPRequestHandler):
    """A proxy that notes what it was asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.path, timeout=5) as answer:
            content = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_CONNECT(self):
        self.server.asked.append(self.path)
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port)), timeout=5) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=self.pump, args=(there, self.connection))
            back.start()
            self.pump(self.connection, there)
            back.join()

    @staticmethod
    def pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def proxy():
    """A proxy; `asked` has what went through it."""
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    listening.daemon_threads = True
    listening.asked = []
    listening.url = f"http://localhost:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield listening
    listening.shutdown()
    listening.server_close()


def test_the_first_that_can_be_used_is_chosen_and_the_others_say_why_not(hub, serve, silent, tls, tmp_path):
    stopped, dripping, locked, trusted, empty = serve(hub), serve(hub), serve(hub), serve(hub, context=tls), serve(hub)
    stopped.stop()
    dripping.drip = True
    locked.ask_for(NAME, PASSWORD)
    empty.root = tmp_path
    good, spare = serve(hub), serve(hub)
    urls = [stopped.url, silent, dripping.url, locked.url, trusted.url, empty.url, "http://no-such-host.invalid"]
    result = choose(*urls, good.url + "/", spare.url)
    assert result["url"] == good.url
    assert result["key"] == (hub.pkgs / "apphub.asc").read_text()
    assert "rpm/el9" in result["catalog"]["repositories"]
    said = [one["answer"] for one in result["tried"]]
    assert said[0] == "/healthz: Connection refused."
    assert said[1] == "/healthz: No answer within 1 s."
    assert said[2].startswith("/healthz: Not finished within 1")
    assert said[3] == "/healthz: HTTP 401 Unauthorized."
    assert "certificate" in said[4]
    assert said[5] == "/pkgs/catalog.json: HTTP 404 File not found."
    assert "Name or service not known" in said[6] or "resolution" in said[6]
    assert said[7:] == ["ok"]
    assert spare.asked == [], "an address behind the first good one is left alone"


def test_a_server_that_never_ends_the_head_of_its_answer_is_given_up(stammering):
    assert choose(stammering)["tried"][0]["answer"] == "/healthz: No answer within 1 s."


def chosen_by_ansible(url):
    """Run the action beside an interpreter that is missing; return the exit status and the result."""
    away = {"ansible_connection": "local", "ansible_python_interpreter": "/missing/python"}
    options = {**WEB, "urls": [url], "key_sha256": "", "insecure": True}
    paths = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")}
    done = subprocess.run(
        ["ansible", "-i", "n1,", "n1", "--check", "--one-line", "-e", json.dumps(away),
         "-m", "ai_infra.slurm.apphub_select", "-a", json.dumps(options)],
        env=os.environ | paths, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    shown = done.stdout.partition(" => ")[2]
    assert shown, done.stdout + done.stderr
    return done.returncode, json.loads(shown)


def test_it_is_chosen_on_the_control_machine_without_a_module_run(hub, serve):
    running = serve(hub)
    status, result = chosen_by_ansible(running.url)
    assert (status, result["url"]) == (0, running.url)
    assert running.asked == ["/healthz", "/pkgs/catalog.json", "/pkgs/apphub.asc"]


def test_that_none_can_be_used_is_a_failure_with_what_was_tried(hub, serve):
    stopped = serve(hub)
    stopped.stop()
    status, result = chosen_by_ansible(stopped.url)
    assert (status, result["failure"]["code"]) == (2, "apphub-unreachable")
    assert result["failure"]["reason"].endswith(f"Tried in this order:\n  {stopped.url}: /healthz: Connection refused.")
    assert "Start it" in result["failure"]["remedy"]


def test_the_next_server_takes_over_when_the_first_stops(hub, serve):
    first, second = serve(hub), serve(hub)
    assert choose(first.url, second.url)["url"] == first.url
    first.stop()
    assert choose(first.url, second.url)["url"] == second.url


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<html>", "It serves no catalog of packages"),
        ("[]", "It serves no catalog of packages"),
        ('{"format": 2, "repositories": {}}', "has format 2, but this version reads format 1"),
    ],
)
def test_a_server_that_is_no_apphub_is_not_used(hub, serve, content, said):
    hub.break_open("catalog.json").write_text(content)
    result = choose(serve(hub).url)
    assert result["url"] == ""
    assert said in result["tried"][0]["answer"]


def test_only_a_server_with_the_right_key_is_used(hub, serve):
    checksum = hashlib.sha256((hub.pkgs / "apphub.asc").read_bytes()).hexdigest()
    assert choose(serve(hub).url, key_sha256=checksum.upper())["url"]
    result = choose(serve(hub).url, key_sha256="0" * 64)
    assert result["url"] == ""
    assert f"Its key has the checksum {checksum}" in result["tried"][0]["answer"]


def test_a_key_of_which_nothing_is_known_is_not_trusted_over_http(hub, serve):
    served = serve(hub)
    (tried,) = choose(served.url, insecure=False)["tried"]
    assert tried["code"] == "apphub-key-unknown"
    assert served.asked == [], "nothing that it could say would count"
    assert choose(served.url, insecure=False, key_sha256=hub.key_sha256)["url"] == served.url


def test_https_is_enough_without_the_checksum_of_the_key(hub, serve, tls, authority):
    url = serve(hub, context=tls).url
    assert choose(url, insecure=False, ca=(authority / "ca.pem").read_text())["url"] == url


def test_a_redirect_from_https_to_http_is_not_followed(hub, serve, tls, authority):
    secure, plain = serve(hub, context=tls), serve(hub)
    secure.redirect = plain.url
    (tried,) = choose(secure.url, insecure=False, ca=(authority / "ca.pem").read_text())["tried"]
    assert "It redirects from https to http" in tried["answer"]
    assert plain.asked == []


def test_the_role_refuses_an_unknown_key_and_says_what_to_state(hub, serve):
    url = serve(hub).url
    status, said = select(apphub_client_urls=[url], apphub_insecure=False)
    assert status != 0
    assert "apphub-key-unknown" in said
    assert "apphub_client_key_sha256" in said
    assert "apphub_insecure=true" in said
    status, said = select(apphub_client_urls=[url], apphub_insecure=False, apphub_client_key_sha256=hub.key_sha256)
    assert status == 0, said
    status, said = select(apphub_client_urls=[url], apphub_insecure=True)
    assert status == 0, said


def test_a_server_is_trusted_by_the_authority_that_is_named(hub, serve, tls, authority):
    url = serve(hub, context=tls).url
    ours = (authority / "ca.pem").read_text()
    assert server(url, ca=ours).get("healthz") == b"ok\n"
    with pytest.raises(FailureError, match="certificate") as refused:
        server(url).get("healthz")
    assert refused.value.failure.code is Code.APPHUB_CERTIFICATE_INVALID
    with pytest.raises(FailureError, match="not valid for") as refused:
        server(url.replace("localhost", "127.0.0.1"), ca=ours).get("healthz")
    assert refused.value.failure.code is Code.APPHUB_CERTIFICATE_INVALID
    with pytest.raises(FailureError, match="no certificates that can be read"):
        server(url, ca="no certificate")


def test_a_server_that_asks_gets_the_password_and_another_one_does_not(hub, serve):
    locked, other = serve(hub), serve(hub)
    locked.ask_for(NAME, PASSWORD)
    other.ask_for(NAME, PASSWORD)
    assert server(locked.url, login=LOGIN).get("healthz") == b"ok\n"
    with pytest.raises(FailureError, match="HTTP 401") as refused:
        server(locked.url, login="Ym9iOmJvYg==").get("healthz")
    assert refused.value.failure.code is Code.APPHUB_LOGIN_REFUSED
    locked.redirect = other.url
    with pytest.raises(FailureError, match="HTTP 401"):
        server(locked.url, login=LOGIN).get("pkgs/catalog.json")
    assert other.asked == ["/pkgs/catalog.json"], "it was asked, but without the password"


def test_a_password_in_an_address_is_refused(hub, serve):
    del hub, serve
    for options in ({"url": "http://a:b@hub"}, {"url": "http://hub", "proxy": "http://a:b@proxy"}):
        with pytest.raises(FailureError, match="must not have a name and a password in it"):
            server(**options)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_used_when_named_and_ignored_when_not(  # noqa: PLR0913, PLR0917 - fixtures come by name
    hub, serve, tls, authority, proxy, monkeypatch, scheme
):
    served = serve(hub, context=tls if scheme == "https" else None)
    ours = {"ca": (authority / "ca.pem").read_text()}
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    assert server(served.url, **ours).get("healthz") == b"ok\n"
    assert proxy.asked == [], "what the environment says is for others"
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name)
    # What is told wins over what the environment excepts.
    monkeypatch.setenv("no_proxy", "localhost")
    assert server(served.url, proxy=proxy.url, **ours).get("healthz") == b"ok\n"
    assert proxy.asked == [served.url + "/healthz" if scheme == "http" else served.url.removeprefix("https://")]


def test_a_download_that_breaks_off_is_noticed(hub, serve):
    served = serve(hub)
    path = hub.find("deb/ubuntu/pool/noble/**/munge_*.deb")

    def half(self, source, target):
        target.write(source.read()[:100])
        self.close_connection = True

    served.RequestHandlerClass.func.copyfile, kept = half, served.RequestHandlerClass.func.copyfile
    try:
        with pytest.raises(FailureError, match="broke off"):
            server(served.url).get("pkgs/" + path)
    finally:
        served.RequestHandlerClass.func.copyfile = kept


def test_a_machine_may_ask_for_health_before_it_knows_authority_and_password(hub, serve, tls):
    served = serve(hub, context=tls)
    assert network.fetch(served.url + "/healthz", 2) == {"ok": True, "message": "HTTP 200"}
    served.ask_for(NAME, PASSWORD)
    assert network.fetch(served.url + "/healthz", 2) == {"ok": True, "message": "HTTP 401 Unauthorized"}


class Apt:
    """A real apt with folders of its own, configured by the role's templates."""

    def __init__(self, base, hub):
        self.base = base
        # Its downloads run as another user.
        base.chmod(0o755)
        for folder in ("state/lists/partial", "cache/archives/partial", "keyrings", "sources.list.d", "auth.conf.d"):
            (base / folder).mkdir(parents=True)
        (base / "status").touch()
        shutil.copy(hub.pkgs / "apphub.asc", base / "keyrings/apphub.asc")

    def configure(self, url, ca="", proxy="", login=""):
        """Do as the role does."""
        source = {"url": url, "host": "localhost", "repository": "deb/ubuntu/noble", "authority": ca, "proxy": proxy}
        made = {
            name: repository_file(f"/etc/apt/{name}", **source).replace("/etc/apt/", f"{self.base}/")
            for name in ("apt.conf.d/90apphub", "sources.list.d/apphub.sources")
        }
        (self.base / "sources.list.d/apphub.sources").write_text(made["sources.list.d/apphub.sources"])
        (self.base / "apt.conf").write_text(
            made["apt.conf.d/90apphub"]
            + f'Dir::Etc "{self.base}"; Dir::State "{self.base}/state"; Dir::Cache "{self.base}/cache";'
            f' Dir::State::status "{self.base}/status"; Dir::Etc::netrcparts "{self.base}/auth.conf.d";'
            ' Dir::Etc::parts "/nowhere"; APT::Architecture "amd64"; Acquire::Languages "none";\n'
        )
        if ca:
            shutil.copy(ca, self.base / "keyrings/apphub-ca.pem")
        auth = self.base / "auth.conf.d/apphub.conf"
        auth.unlink(missing_ok=True)
        if login:
            auth.touch(0o600)
            auth.write_text(f"machine {url} login {NAME} password {login}\n")

    def run(self, *arguments, **environment):
        done = subprocess.run(
            ["apt-get", "--quiet", "--option=APT::Update::Error-Mode=any", *arguments],
            env={"PATH": os.environ["PATH"], "APT_CONFIG": str(self.base / "apt.conf"), "LC_ALL": "C", **environment},
            cwd=self.base, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def apt(hub):
    if shutil.which("apt-get") is None:
        pytest.skip("needs apt")
    # Pytest's own folders are closed to the user as whom apt downloads.
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        yield Apt(Path(base), hub)


def fetches(apt):
    """Update and download a package; what apt said when it failed."""
    for arguments in (["update"], ["download", "munge"]):
        status, said = apt.run(*arguments)
        if status:
            return said
    assert list(apt.base.glob("munge_*.deb"))
    return ""


def test_apt_trusts_the_authority_that_the_role_brings_and_no_other(apt, hub, serve, tls, authority):
    url = serve(hub, context=tls).url
    apt.configure(url)
    assert "certificate" in fetches(apt)
    apt.configure(url, ca=str(authority / "ca.pem"))
    assert fetches(apt) == ""


@pytest.mark.parametrize("secure", [False, True])
def test_apt_gives_the_password_from_a_file_that_only_root_reads(  # noqa: PLR0913, PLR0917 - fixtures come by name
    apt, hub, serve, tls, authority, secure
):
    served = serve(hub, context=tls if secure else None)
    served.ask_for(NAME, PASSWORD)
    ca = str(authority / "ca.pem") if secure else ""
    apt.configure(served.url, ca=ca)
    assert "401" in fetches(apt)
    apt.configure(served.url, ca=ca, login=PASSWORD)
    assert fetches(apt) == ""


def test_apt_uses_a_proxy_when_told_and_no_other(apt, hub, serve, proxy):
    url = serve(hub).url
    apt.configure(url)
    (apt.base / "apt.conf").open("a").write(f'Acquire::http::Proxy "{proxy.url}";\n')
    status, said = apt.run("update", http_proxy=proxy.url)
    assert status == 0, said
    assert proxy.asked == []
    apt.configure(url, proxy=proxy.url)
    assert fetches(apt) == ""
    assert any(path.startswith(f"{url}/pkgs/deb/ubuntu/dists/noble/") for path in proxy.asked)
    assert any("munge_" in path for path in proxy.asked)


def test_apt_gives_a_server_up_that_does_not_answer(apt, silent):
    """By the options with which the list is read, with a tenth of their seconds."""
    options = [option for option in apphub_apt.UPDATE if option.startswith("--option=Acquire::")]
    assert len(options) == 3
    apt.configure(silent)
    status, said = apt.run(*(option.replace("=10", "=1") for option in options), "update")
    assert status != 0
    assert "Connection failed" in said or "timed out" in said


def select(**variables):
    """Run the role's choice on this machine; its exit code and output."""
    done = subprocess.run(
        ["ansible", "localhost", "-m", "ansible.builtin.include_role", "-a", "name=apphub-client tasks_from=select",
         "-e", json.dumps({"apphub_client_timeout": 1, "apphub_insecure": True, **variables}), "-vvv"],
        cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_role_takes_the_next_address_and_shows_no_password(hub, serve, tls, authority):
    first, second = serve(hub), serve(hub, context=tls)
    first.stop()
    second.ask_for(NAME, PASSWORD)
    login = {"apphub_client_username": NAME, "apphub_client_password": PASSWORD}
    status, said = select(
        apphub_client_urls=[first.url, second.url], apphub_client_ca=str(authority / "ca.pem"), **login
    )
    assert status == 0, said
    assert f"apphub_client_url: {second.url}" in said
    assert PASSWORD not in said
    assert LOGIN not in said


def test_the_role_says_what_each_address_answered(hub, serve, silent):
    stopped = serve(hub)
    stopped.stop()
    status, said = select(apphub_client_urls=[stopped.url, silent])
    assert status != 0
    assert f"{stopped.url}: /healthz: Connection refused." in said
    assert f"{silent}: /healthz: No answer within 1 s." in said
    assert "Nothing was changed" in said


@pytest.mark.parametrize("name", ["apphub_client_urls", "apphub_client_proxy"])
def test_the_role_refuses_a_password_in_an_address(name):
    url = f"http://{NAME}:hunter2@localhost:1"
    variables = {"apphub_client_urls": ["http://localhost:1"], name: [url] if name.endswith("urls") else url}
    status, said = select(**variables)
    assert status != 0
    assert "must not stand in apphub_client_urls or apphub_client_proxy" in said
    assert "hunter2" not in said


def test_the_benchmark_counts_clients_that_fail(hub, serve):
    spec = importlib.util.spec_from_file_location("bench_apphub", ROOT / "tests/bench/apphub.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    measured = bench.measure(serve(hub).url, clients=2, pairs=1)
    assert measured["apphub_2_clients_errors"] == 0
    hub.flip(hub.find("deb/ubuntu/pool/noble/**/munge_*.deb"))
    assert bench.measure(serve(hub).url, clients=2, pairs=1)["apphub_2_clients_errors"] == 2
