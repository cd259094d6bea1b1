"""The installed package works without a checkout: it carries playbooks, roles and plugins along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked as pip would."""
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, ROOT],
        check=True,
        capture_output=True,
    )
    site = target / "site"
    zipfile.ZipFile(next(target.glob("*.whl"))).extractall(site)
    return site


def run(installed, tmp_path, *arguments):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "SLURMSCALE_"))
    }
    environment |= {"PYTHONPATH": str(installed), "SLURMSCALE_DATA_DIR": str(tmp_path / "data"), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-c", "from slurmscale.cli import main; main()", *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_doctor_finds_everything(installed, tmp_path):
    done = run(installed, tmp_path, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(installed / "slurmscale" / "_content") in done.stdout


def test_a_real_playbook_runs_and_says_why_a_node_is_not_ready(installed, tmp_path, inventory):
    """No host answers here; what counts is that playbooks, roles, modules, filters and the plan callback are found."""
    text = (
        Path(inventory).read_text().replace("ansible_connection: local", "ansible_host: 127.0.0.1\n    ansible_port: 1")
    )
    Path(inventory).write_text(text)
    done = run(installed, tmp_path, "check", "n1", "-i", inventory, "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["failed_nodes"] == 1
    assert "was not found" not in done.stdout
    assert "127.0.0.1" in found["tasks"][0]["error_message"]
