"""Machines reach an AppHub behind https, with an authority of its own, that asks for a password."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from testing import INVENTORY, lab_host, run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME, PASSWORD = "node", "S3cr%et$1#pw"
NGINX = """server {
    listen 8443 ssl;
    ssl_certificate /etc/nginx/secured/hub.pem;
    ssl_certificate_key /etc/nginx/secured/hub.key;
    auth_basic AppHub;
    auth_basic_user_file /etc/nginx/secured/users;
    location / { proxy_pass http://127.0.0.1:8081; }
}
"""
FILES = {"rocky1": "/etc/yum.repos.d/apphub.repo", "ubuntu1": "/etc/apt/auth.conf.d/apphub.conf"}
AUTHORITY = {"rocky1": "/etc/pki/tls/certs/apphub-ca.pem", "ubuntu1": "/etc/apt/keyrings/apphub-ca.pem"}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Put https and a password before the AppHub; the variables with which a machine gets there, in a file."""
    base = tmp_path_factory.mktemp("tls")
    inventory = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    address = inventory["all"]["children"]["apphub"]["hosts"]["apphub"]["ansible_host"]

    def openssl(*arguments: str) -> str:
        return subprocess.run(
            ["openssl", *arguments], cwd=base, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Our authority",
            "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    openssl("req", *key, "-keyout", "hub.key", "-out", "hub.csr", "-subj", "/CN=apphub")
    (base / "ext").write_text(f"subjectAltName=IP:{address}\n")
    openssl("x509", "-req", "-in", "hub.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "hub.pem")  # fmt: skip
    (base / "users").write_text(f"{NAME}:{openssl('passwd', '-6', PASSWORD)}")
    apphub = lab_host("apphub")
    apphub.check_output("mkdir -p /etc/nginx/secured")
    for name in ("hub.pem", "hub.key", "users"):
        apphub.check_output("printf %%s %s > /etc/nginx/secured/%s", (base / name).read_text(), name)
    apphub.check_output("printf %%s %s > /etc/nginx/conf.d/secured.conf && systemctl reload nginx", NGINX)
    variables = {"apphub_client_urls": [f"https://{address}:8443"], "apphub_client_ca": str(base / "ca.pem")}
    variables |= {"apphub_client_username": NAME, "apphub_client_password": PASSWORD}
    (base / "vars.yml").write_text(yaml.safe_dump(variables))
    yield base / "vars.yml"
    apphub.check_output("rm -r /etc/nginx/secured /etc/nginx/conf.d/secured.conf && systemctl reload nginx")


def test_machines_install_and_nobody_sees_the_password(secured: Path) -> None:
    watch = "while :; do cat /proc/[0-9]*/cmdline | tr '\\0' ' '; sleep 0.05; done > /root/seen 2>/dev/null"
    for name in FILES:
        lab_host(name).check_output("systemd-run --quiet --unit watch sh -c %s", watch)
    done = run_playbook("../molecule/apphub/install", "-e", f"@{secured}", "--diff", "-vvv")
    assert done.returncode == 0, done.stdout
    assert PASSWORD not in done.stdout
    for name, path in FILES.items():
        host = lab_host(name)
        host.check_output("systemctl stop watch")
        assert host.package("munge").is_installed
        assert host.file(path).mode == 0o600
        assert host.file(path).user == "root"
        assert PASSWORD in host.file(path).content_string
        assert "python" in host.file("/root/seen").content_string, "something was seen"
        assert PASSWORD not in host.file("/root/seen").content_string
        assert host.run("journalctl --no-pager | grep --fixed-strings --quiet %s", PASSWORD).rc == 1
        assert host.check_output("grep --recursive --fixed-strings --files-with-matches %s /etc", PASSWORD) == path


def test_a_second_run_changes_nothing(secured: Path) -> None:
    done = run_playbook("../molecule/apphub/install", "-e", f"@{secured}")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("changed=0") == len(FILES)


def test_the_check_goes_the_same_way(secured: Path) -> None:
    done = run_playbook("check_apphub", "-e", f"@{secured}")
    assert done.returncode == 0, done.stdout
    assert ":8443" in done.stdout


@pytest.mark.parametrize(
    ("variable", "said"),
    [("apphub_client_password", "HTTP 401"), ("apphub_client_ca", "certificate")],
)
def test_without_one_of_them_nothing_is_changed_and_the_reason_said(secured: Path, variable: str, said: str) -> None:
    done = run_playbook("../molecule/apphub/install", "-e", f"@{secured}", "-e", f'{{"{variable}": ""}}')
    assert done.returncode == 2
    assert said in done.stdout
    assert "Nothing was changed" in done.stdout


def test_nothing_of_it_is_left_where_it_is_no_more_needed() -> None:
    done = run_playbook("../molecule/apphub/install", "--diff")
    assert done.returncode == 0, done.stdout
    assert PASSWORD not in done.stdout
    for name in FILES:
        host = lab_host(name)
        assert not host.file(AUTHORITY[name]).exists
        assert host.run("grep --recursive --fixed-strings --quiet %s /etc", PASSWORD).rc == 1
