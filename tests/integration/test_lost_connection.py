"""A controller that is lost in the middle: the playbook goes on to its report."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASKED = {
    "slurm_nodes": {"nodes": [{"name": "n1"}]},
    "slurm_drain": {"nodes": ["n1"], "state": "drained"},
    "slurm_job": {"nodes": ["n1"]},
    "slurm_conf_files": {"conf": "/etc/slurm/slurm.conf"},
}


@pytest.fixture(scope="module")
def rescued(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return what a rescue reads of each module, on a host whose port is closed."""
    folder = tmp_path_factory.mktemp("lost")
    tasks = [
        {
            "block": [{f"ai_infra.slurm.{module}": options}],
            "rescue": [
                {
                    "ansible.builtin.set_fact": {
                        module: "{{ ansible_failed_result | ai_infra.slurm.failure(ansible_failed_task.name) }}"
                    }
                }
            ],
        }
        for module, options in ASKED.items()
    ]
    wanted = "{{ {" + ", ".join(f"'{module}': {module}" for module in ASKED) + "} | to_json }}"
    tasks.append({"ansible.builtin.copy": {"content": wanted, "dest": str(folder / "out")}, "delegate_to": "localhost"})
    (folder / "play.yml").write_text(json.dumps([{"hosts": "ctl1", "gather_facts": False, "tasks": tasks}]))
    (folder / "hosts").write_text("ctl1 ansible_host=127.0.0.1 ansible_port=1 ansible_connection=ssh\n")
    subprocess.run(
        ["ansible-playbook", "-i", folder / "hosts", folder / "play.yml"],
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_SSH_RETRIES": "0"},
        cwd=ROOT,
        check=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    found: dict[str, dict[str, str]] = json.loads((folder / "out").read_text())
    return found


@pytest.mark.parametrize("module", ASKED)
def test_a_lost_connection_can_be_rescued_and_names_the_host(rescued: dict[str, dict[str, str]], module: str) -> None:
    assert rescued[module]["code"] == "host-unreachable"
    assert rescued[module]["reason"].startswith("ctl1 can't be reached")
    assert "run again" in rescued[module]["remedy"]
