"""The plan of a node puts it into a group of the run, without a task of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fakes.machine import facts

ROOT = Path(__file__).resolve().parents[2]
PLAN = {"controller": "ctl1", "name": "{{ inventory_hostname }}", "checks": ["readiness"], "steps": "{{ steps }}"}
ASKED = {"address": "n1", "state": ""}
CLUSTER = {"version": "24.11.5", "users": {}, "addresses": {"hostname": "ctl1"}, "nodes": {}, "config": {}}


@pytest.mark.parametrize(
    ("groups", "found"),
    [({"steps": "todo", "ready": "done"}, {"todo": ["n2"], "done": ["n1"]}), ({"steps": "todo"}, {"todo": ["n2"]})],
)
def test_nodes_are_grouped_by_whether_they_need_a_step(
    tmp_path: Path, groups: dict[str, str], found: dict[str, list[str]]
) -> None:
    hosts: dict[str, dict[str, Any]] = {
        "n1": {"preflight_node": facts(**ASKED), "steps": []},
        "n2": {"preflight_node": facts(**ASKED), "steps": ["key"]},
        "n3": {"preflight_node": facts(uid=1000, **ASKED), "steps": ["key"]},
        "ctl1": {"preflight_cluster": CLUSTER},
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    plays = [
        {
            "hosts": "n1,n2,n3",
            "gather_facts": False,
            "tasks": [
                {
                    "ai_infra.slurm.node_plan": {**PLAN, "groups": groups},
                    "register": "plan",
                    "changed_when": False,
                    "ignore_errors": True,
                }
            ],
        },
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "tasks": [
                {
                    "ansible.builtin.copy": {
                        "content": "{{ [groups, hostvars.n2.plan.changed] | to_json }}",
                        "dest": str(tmp_path / "told"),
                    }
                }
            ],
        },
    ]
    (tmp_path / "play.yml").write_text(json.dumps(plays))
    run = subprocess.run(
        ["ansible-playbook", "-i", tmp_path / "hosts.json", tmp_path / "play.yml"],
        env=os.environ
        | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    told, changed = json.loads((tmp_path / "told").read_text())
    assert {name: told[name] for name in told if name not in {"all", "ungrouped"}} == found
    assert changed is False
