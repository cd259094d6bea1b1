"""Secrets that a run on real hosts is given are found on none of them: in no file, argument list or journal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from testing import INVENTORY, ROOT, lab_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

HOSTS = ("ctl1", "rocky2", "ubuntu2")
NODES = "rocky2,ubuntu2"
GIVEN = {"SLURMSCALE_SSH_PASSWORD": "planted-login-4711", "SLURMSCALE_BECOME_PASSWORD": "planted-sudo-4712"}
VARIABLES = {"own_password": "planted-variable-4713", "db": {"deep": [{"token": "planted-nested-4714"}]}}
LIMIT = 900
SEEN = "/root/seen"
# The whole list with each look: what is gone at once is seen by luck, what stays for the time of a module surely.
WATCH = f"while :; do cat /proc/[0-9]*/cmdline | tr '\\0' ' '; sleep 0.05; done > {SEEN} 2>/dev/null"


@pytest.fixture
def watched() -> Iterator[None]:
    for name in HOSTS:
        lab_host(name).check_output("systemd-run --quiet --unit watch sh -c %s", WATCH)
    yield
    for name in HOSTS:
        lab_host(name).run(f"systemctl stop watch; rm {SEEN}")


@pytest.mark.usefixtures("watched")
def test_no_planted_secret_is_on_a_host(ctl1: Host, tmp_path: Path) -> None:
    own = {"SLURMSCALE_DATA_DIR": str(tmp_path), "SLURMSCALE_PROJECT_DIR": str(ROOT)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    output = ""
    for operation in (("up",), ("down", "--yes")):
        done = subprocess.run(
            ["slurmscale", *operation, NODES, "-i", INVENTORY / "hosts.yml", "-e", json.dumps(VARIABLES), "-vvv"],
            env=os.environ | own | GIVEN | {"PATH": path}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=LIMIT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        output += done.stdout
    key = ctl1.check_output("base64 --wrap=0 /etc/munge/munge.key")
    found = [word for word in ("planted", key) if word in output]
    found += [str(path) for path in tmp_path.rglob("*") if path.is_file() and _has(path.read_bytes(), key)]
    for name in HOSTS:
        host = lab_host(name)
        host.check_output("systemctl stop watch")
        assert "python" in host.file(SEEN).content_string, "something was seen"
        journal = host.check_output("journalctl --no-pager --all --output=export")
        assert "Invoked with" in journal, "Ansible's modules tell there what they are given"
        found += [f"journal of {name}"] * _has(journal.encode(), key)
        searched = "grep --recursive --files-with-matches --fixed-strings --regexp planted --regexp %s"
        found += host.run(
            f"{searched} /dev/shm /etc /home /opt /root /run /srv /tmp /usr/local /var", key
        ).stdout.split()
    assert found == []


def _has(content: bytes, key: str) -> bool:
    return b"planted" in content or key.encode() in content
