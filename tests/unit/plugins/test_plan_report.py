"""What a run would do is told before it is done."""

from __future__ import annotations

from typing import Any

from ansible_collections.ai_infra.slurm.plugins.filter.plan_report import plan_report

CHANGE = {"before_header": "/etc/slurm/n.conf", "after_header": "/etc/slurm/n.conf", "before": "a\n", "after": "a\nb\n"}
REFUSED = {"n3": {"code": "node-address-shared", "reason": "n3 and n1 are one machine.", "remedy": "Rename it."}}
REGISTRATION = {"action": "reconfigure", "added": ["n1"], "updated": [], "diff": [CHANGE]}


def node(name: str, *steps: str) -> dict[str, Any]:
    return {"slurmd_plan": {"definition": {"name": name, "params": {}}, "steps": list(steps)}}


def report() -> dict[str, Any]:
    hostvars = {
        "ctl1": {"scale_registration": REGISTRATION, "slurmctld_reconfigure_result": {"refused": REFUSED}},
        "n1": node("n1", "key", "slurmd"),
        "n2": node("n2"),
        "n3": node("n3", "key"),
        "n4": {"scale_failure": {"code": "sudo-missing", "reason": "sudo is missing on n4.", "remedy": "Install it."}},
        "n5": {},
    }
    return plan_report(["n1", "n2", "n3", "n4", "n5"], hostvars, "ctl1")


def test_each_node_has_its_steps_or_a_reason() -> None:
    nodes = report()["nodes"]
    assert {name: row["steps"] for name, row in nodes.items() if row["ready"]} == {"n1": ["key", "slurmd"], "n2": []}
    assert {name: row["registration"] for name, row in nodes.items() if row["ready"]} == {"n1": "add", "n2": "keep"}
    assert {name: row["code"] for name, row in nodes.items() if not row["ready"]} == {
        "n3": "node-address-shared",
        "n4": "sudo-missing",
        "n5": "host-unreachable",
    }
    assert not report()["ready"]


def test_what_changes_on_the_controller_is_shown() -> None:
    controller = report()["controller"]
    assert (controller["host"], controller["action"]) == ("ctl1", "reconfigure")
    assert "+b" in controller["diff"][0]["text"].splitlines()


def test_the_table_has_all_of_it() -> None:
    lines = report()["table"].splitlines()
    assert lines[0].split() == ["NODE", "PLAN", "SLURM.CONF", "STEPS"]
    assert lines[1].split() == ["n1", "work", "add", "key,", "slurmd"]
    assert lines[2].split() == ["n2", "none", "keep", "-"]
    assert lines[3].endswith("n3 and n1 are one machine. Rename it.")
    assert "The controller ctl1 is reconfigured." in lines
