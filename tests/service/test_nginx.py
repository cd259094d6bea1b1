"""deploy/nginx/slurmscale.conf in a real nginx before a real service: TLS, a path, the page and its stream."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fakes.waiting import wait_for
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parents[2]
HOST = "ops.example.org"
LIMIT = 60


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def certify(directory):
    """Make a key and a certificate that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now.replace(year=2099)
    )
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    (directory / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "key.pem").write_bytes(private)


@contextlib.contextmanager
def running(argv, **options):
    process = subprocess.Popen(argv, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(LIMIT)


@pytest.fixture
def behind(tmp_path, empty_database):
    """Return the port of nginx before a service, and the token of a viewer."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx, "nginx is missing: molecule/lab/install_tools.sh test"
    service, port = free_port(), free_port()
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    shutil.copy(empty_database, data / "slurmscale.db")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURMSCALE_")} | {
        "PYTHONPATH": str(ROOT / "python_lib"), "SLURMSCALE_DATA_DIR": str(data), "SLURMSCALE_ROOT_PATH": "/slurmscale",
        "SLURMSCALE_TRUSTED_PROXIES": "127.0.0.1", "SLURMSCALE_ALLOWED_HOSTS": HOST,
    }  # fmt: skip
    command = [sys.executable, "-c", "from slurmscale.cli import main; main()"]

    def run(*arguments):
        done = subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, timeout=LIMIT, check=True
        )
        return done.stdout.strip()

    run("user", "add", "vera", "--role", "viewer", "--no-password")
    token = run("token", "create", "vera")
    certify(tmp_path)
    site = (ROOT / "deploy/nginx/slurmscale.conf").read_text()
    for theirs, ours in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        (f"/etc/ssl/{HOST}.pem", f"{tmp_path}/cert.pem"),
        (f"/etc/ssl/{HOST}.key", f"{tmp_path}/key.pem"),
        ("127.0.0.1:8765", f"127.0.0.1:{service}"),
    ):
        assert site.count(theirs) == 1
        site = site.replace(theirs, ours)
    kinds = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = tmp_path / "nginx.conf"
    conf.write_text(f"daemon off;\npid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{kinds}{site}\n}}\n")
    with (
        (tmp_path / "nginx.log").open("w") as log,
        running([*command, "serve", "--port", str(service)], env=environment, stderr=subprocess.DEVNULL),
        running([nginx, "-c", str(conf), "-e", "stderr"], stderr=log),
    ):
        yield port, token


def test_the_page_its_files_and_its_stream_are_below_the_path_of_the_example(behind, tmp_path):
    port, token = behind
    trusted = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    # The name is in no name service.
    base, headers = f"https://127.0.0.1:{port}", {"Host": HOST, "Authorization": f"Bearer {token}"}
    trusted.check_hostname = False
    with httpx2.Client(verify=trusted, headers=headers, timeout=LIMIT) as client:

        def answers():
            with contextlib.suppress(httpx2.TransportError):
                return client.get(f"{base}/slurmscale/readyz").status_code == httpx2.codes.OK
            return False

        wait_for(answers)
        first = client.get(f"{base}/slurmscale/")
        assert first.headers["Location"] == "/slurmscale/slurm"
        page = client.get(f"{base}{first.headers['Location']}")
        assert page.status_code == httpx2.codes.OK
        files = re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]+)"', page.text)
        assert files
        for name in files:
            found = client.get(str(page.url.join(name)))
            assert (str(found.url).startswith(f"{base}/slurmscale/"), found.status_code) == (True, httpx2.codes.OK), (
                name
            )
        assert client.get(f"{base}/slurmscale/api/auth/me").json()["name"] == "vera"
    url = f"wss://{HOST}/slurmscale/api/slurm/ws"
    with (
        socket.create_connection(("127.0.0.1", port), LIMIT) as connection,
        connect(
            url, sock=connection, ssl=trusted, subprotocols=["slurmscale.v1"],
            additional_headers={"Authorization": f"Bearer {token}"}, open_timeout=LIMIT,
        ) as viewer,
    ):  # fmt: skip
        assert '"status"' in viewer.recv(LIMIT)
