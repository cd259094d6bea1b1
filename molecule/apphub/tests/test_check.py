"""check_apphub on a real AppHub: each thing is broken in turn, named with its remedy, and fixed by it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from testing import INVENTORY, lab_host, run_playbook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

    Check = Callable[..., list[dict[str, Any]]]

PREFIX = os.environ.get("LAB_PREFIX", "lab-test")
PACKAGE = "ls /srv/apphub/current/pkgs/deb/*/pool/*/*/munge_*.deb"


@pytest.fixture(scope="module")
def apphub() -> Host:
    return lab_host("apphub")


@pytest.fixture
def wrong(tmp_path: Path) -> Check:
    """Return a function that runs the check and returns what is wrong; exit code, table and report must agree."""

    def check(*arguments: str) -> list[dict[str, Any]]:
        done = run_playbook("check_apphub", "-e", f"report={tmp_path}/report.json", *arguments)
        report = json.loads((tmp_path / "report.json").read_text())
        found = [one for one in report["findings"] if not one["ok"]]
        assert report["well"] is not bool(found)
        assert done.returncode == (2 if found else 0), done.stdout
        assert all(one["remedy"] and one["remedy"] in done.stdout for one in found)
        assert "changed=0" in done.stdout
        return found

    return check


def publish(*arguments: str) -> None:
    done = run_playbook("publish_apphub", *arguments)
    assert done.returncode == 0, done.stdout


def test_nothing_is_wrong_with_what_was_just_published(wrong: Check) -> None:
    assert wrong() == []


def test_a_stopped_server(wrong: Check, apphub: Host) -> None:
    apphub.check_output("systemctl stop nginx")
    try:
        (found,) = wrong()
    finally:
        apphub.check_output("systemctl start nginx")
    assert (found["check"], found["reason"]) == ("server", "Connection refused.")
    assert "systemctl start nginx" in found["remedy"]
    assert wrong() == []


def test_a_deleted_file(wrong: Check, apphub: Host) -> None:
    path = apphub.check_output(PACKAGE)
    apphub.check_output("rm %s", path)
    (found,) = wrong()
    assert found["check"] == "files"
    assert path.endswith(found["subject"])
    assert "404" in found["reason"]
    assert "puts lost files back" in found["remedy"]
    publish()
    assert wrong() == []


def test_a_flipped_byte(wrong: Check, apphub: Host) -> None:
    path = apphub.check_output(PACKAGE)
    flip = "f = open(sys.argv[1], 'r+b'); f.seek(999); b = f.read(1)[0]; f.seek(999); f.write(bytes([b ^ 1]))"
    apphub.check_output("python3 -c %s %s", f"import sys; {flip}", path)
    (found,) = wrong()
    assert path.endswith(found["subject"])
    assert "Its checksum is" in found["reason"]
    assert "-e apphub_verify=true" in found["remedy"]
    publish("-e", "apphub_verify=true")
    assert wrong() == []


def test_a_full_disk(wrong: Check, apphub: Host) -> None:
    apphub.check_output("cp -a /srv/apphub /srv/copy")
    size = int(apphub.check_output("du -sm /srv/copy").split()[0]) + 8
    # A mount needs a right that the host itself has not, and whoever made it has.
    inside = ["podman", "exec", "--privileged", f"slurmscale-{PREFIX}-apphub"]
    subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", "/srv/apphub"], check=True)
    try:
        apphub.check_output("cp -a /srv/copy/. /srv/apphub")
        apphub.run("head -c 1G /dev/zero > /srv/apphub/full")
        (found,) = wrong()
    finally:
        subprocess.run([*inside, "umount", "--lazy", "/srv/apphub"], check=True)
    apphub.check_output("rm -r /srv/copy")
    assert (found["where"], found["check"], found["subject"]) == ("apphub", "space", "/srv/apphub")
    assert found["reason"] == "0 MB are free, less than 1024 MB."
    assert "enlarge the file system" in found["remedy"]
    assert wrong() == []


def test_an_expired_key(wrong: Check, apphub: Host) -> None:
    home = "/var/lib/apphub/gnupg"
    listed = apphub.check_output("gpg --homedir %s --with-colons --list-keys", home)
    fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
    expire = f"gpg --homedir {home} --batch --quick-set-expire {fingerprint}"
    apphub.check_output(f"{expire} seconds=20")
    publish()
    apphub.check_output("sleep 21")
    (found,) = wrong()
    assert found["check"] == "key"
    assert found["reason"].startswith("It expired on 20")
    assert f"--quick-set-expire {fingerprint} 0" in found["remedy"]
    apphub.check_output(f"{expire} 0")
    publish()
    assert wrong() == []


def test_a_key_that_is_not_the_one_that_clients_know(wrong: Check) -> None:
    (found,) = wrong("-e", f"apphub_client_key_sha256={'0' * 64}")
    assert found["check"] == "key"
    assert "apphub_client_key_sha256" in found["remedy"]


def test_packages_that_are_missing(wrong: Check, apphub: Host) -> None:
    keep = "mkdir /srv/kept && cp -r /srv/packages /srv/kept && rm /srv/kept/packages/deb/*/*/slurm-client_*.deb"
    apphub.check_output(keep)
    publish("-e", '{"apphub_sources": ["/srv/kept/packages"]}')
    found = wrong("-e", '{"apphub_client_repositories": ["rpm/el8"]}')
    publish()
    apphub.check_output("rm -r /srv/kept")
    assert {one["reason"].partition(";")[0] for one in found if one["check"] == "repository"} == {"It is not published"}
    assert any(one["reason"] == "There is no package slurm-client." for one in found if one["check"] == "packages")
    assert all(one["remedy"].startswith("Put ") for one in found)


def test_a_machine_that_can_not_be_reached(wrong: Check) -> None:
    (found,) = wrong("-e", "ansible_port=9")
    assert (found["where"], found["check"]) == ("apphub", "machine")
    assert "Check that it is up" in found["remedy"]


def test_doctor_says_the_same(apphub: Host, tmp_path: Path) -> None:
    command = ["slurmscale", "doctor", "--json", "--inventory", str(INVENTORY / "hosts.yml")]
    environment = {**os.environ, "SLURMSCALE_DATA_DIR": str(tmp_path)}

    def doctor() -> tuple[int, list[dict[str, str]]]:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        return done.returncode, [one for one in json.loads(done.stdout) if one["state"] == "failed"]

    assert doctor() == (0, [])
    apphub.check_output("systemctl stop nginx")
    try:
        code, (found,) = doctor()
    finally:
        apphub.check_output("systemctl start nginx")
    assert code == 1
    assert found["reason"] == "server /healthz: Connection refused."
    assert "systemctl start nginx" in found["remedy"]
