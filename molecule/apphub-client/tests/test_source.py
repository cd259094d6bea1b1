"""AppHub as the only source of Slurm and munge."""

from __future__ import annotations

import re
import time

import pytest
from testing import in_container, lab_host, run_command, run_roles, unwrap

MACHINES = ["rocky1", "ubuntu1"]
FILES = {
    "rocky1": ["/etc/yum.repos.d/apphub.repo", "/etc/pki/rpm-gpg/RPM-GPG-KEY-apphub"],
    "ubuntu1": [
        "/etc/apt/apt.conf.d/90apphub",
        "/etc/apt/keyrings/apphub.asc",
        "/etc/apt/preferences.d/apphub.pref",
        "/etc/apt/sources.list.d/apphub.sources",
    ],
}

PROXY = """
import http.server, urllib.request
class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("/opt/asked", "a") as file:
            print(self.path, file=file)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        content = opener.open(self.path, timeout=10).read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
http.server.ThreadingHTTPServer(("0.0.0.0", 3128), Proxy).serve_forever()
"""
NO_PROXY_THERE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_is_installed_by_naming_the_source(machine: str) -> None:
    host = lab_host(machine)
    assert all(host.file(path).exists for path in FILES[machine])
    assert not host.package("munge").is_installed


def test_apt_takes_nothing_of_slurm_from_elsewhere_not_even_a_newer_one() -> None:
    host = lab_host("ubuntu1")
    control = "Package: munge\nVersion: 99\nArchitecture: all\nMaintainer: none <none@none>\nDescription: none\n"
    host.check_output(
        "mkdir -p /opt/other/munge/DEBIAN && cd /opt/other && printf %s > munge/DEBIAN/control"
        " && dpkg-deb --build munge . && { cat munge/DEBIAN/control; echo Filename: ./munge_99_all.deb;"
        " echo Size: $(wc -c < munge_99_all.deb);"
        " echo SHA256: $(sha256sum < munge_99_all.deb | cut -d ' ' -f 1); } > Packages"
        " && echo 'deb [trusted=yes] file:/opt/other ./' > /etc/apt/sources.list.d/other.list && apt-get update -qq",
        control,
    )
    try:
        policy = host.check_output("apt-cache policy munge")
        candidate = re.search(r"Candidate: (\S+)", policy)
        assert candidate
        assert candidate.group(1) != "99"
        assert re.search(r"^ +99 -1$", policy, re.MULTILINE)
        assert ":8081/pkgs/deb/ubuntu" in host.check_output("apt-get install --print-uris -y munge | grep munge_")
    finally:
        host.check_output("rm -r /opt/other /etc/apt/sources.list.d/other.list && apt-get update -qq")


def test_the_first_address_that_answers_is_used(apphub_url: str) -> None:
    run = run_roles("ubuntu1", "apphub-client", apphub_client_urls=["http://127.0.0.1:9", apphub_url])
    assert run.returncode == 0, run.stdout
    assert (
        f"URIs: {apphub_url}/pkgs/" in lab_host("ubuntu1").file("/etc/apt/sources.list.d/apphub.sources").content_string
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_a_server_that_does_not_answer_the_machine_is_given_up(machine: str, apphub_url: str) -> None:
    """The control machine reaches AppHub, the machine does not: its packets to there come to nothing."""
    address = lab_host("apphub").backend.hostname
    assert run_roles(machine, "apphub-client").returncode == 0
    run_command(in_container(machine, f"ip route add blackhole {address}"))
    begun = time.monotonic()
    try:
        run = run_roles(machine, "apphub-client", "apphub-client/install", apphub_client_packages=["munge"])
    finally:
        run_command(in_container(machine, f"ip route del blackhole {address}"))
    assert run.returncode != 0
    assert time.monotonic() - begun < 90
    # apt fails at the list already, dnf at the package.
    said = unwrap(run.stdout)
    assert re.search(rf"code: package-installation-failed reason: '?[\w ]+ {apphub_url}", said), said
    assert "Compare with" in said
    assert not lab_host(machine).package("munge").is_installed


@pytest.mark.parametrize("machine", MACHINES)
def test_only_a_proxy_that_is_stated_is_used(machine: str, apphub_url: str) -> None:
    """A proxy on the machine writes down what it is asked for; the environment names another, which does not exist."""
    host = lab_host(machine)
    host.check_output("printf %%s %s > /opt/proxy.py", PROXY)
    host.check_output("systemd-run --quiet --unit proxy python3 /opt/proxy.py")
    try:
        for proxy in ("", f"http://{host.backend.hostname}:3128"):
            run = run_roles(
                machine, "apphub-client", "apphub-client/install", "apphub-client/remove",
                apphub_client_packages=["munge"], apphub_client_proxy=proxy, environment=NO_PROXY_THERE,
            )  # fmt: skip
            assert run.returncode == 0, run.stdout
            asked = host.run("cat /opt/asked").stdout
            # The control machine asks for the catalog through it, too.
            assert bool(re.search(f"{apphub_url}/pkgs/(deb|rpm)/", asked)) is bool(proxy), asked
    finally:
        host.check_output("systemctl stop proxy; rm -f /opt/proxy.py /opt/asked")


@pytest.mark.parametrize("machine", MACHINES)
def test_a_version_that_apphub_lacks_is_refused_with_what_there_is(machine: str) -> None:
    run = run_roles(machine, "preflight/probe", "apphub-client/install", apphub_client_slurm_version="99.1")
    assert run.returncode != 0
    assert re.search(r"of AppHub has no slurm\S* 99\.1; there are .*Nothing was changed here", unwrap(run.stdout))
    assert "publish_apphub.yml" in run.stdout
    assert not lab_host(machine).package("munge").is_installed


@pytest.mark.parametrize("machine", MACHINES)
def test_installed_from_apphub_and_removed_without_a_trace(machine: str) -> None:
    host = lab_host(machine)
    installed = run_roles(machine, "apphub-client", "apphub-client/install", apphub_client_packages=["munge"])
    assert installed.returncode == 0, installed.stdout
    assert host.package("munge").is_installed
    removed = run_roles(machine, "preflight/probe", "apphub-client/remove")
    assert removed.returncode == 0, removed.stdout
    assert not host.package("munge").is_installed
    assert not any(host.file(path).exists for path in FILES[machine])
    assert "slurm" not in host.run("cat /etc/dnf/dnf.conf").stdout
