"""Every task of every playbook belongs to a phase that people know, as the plan tells it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from slurmscale.states import Phase

ROOT = Path(__file__).resolve().parents[2]
HOSTS = {"slurm_controllers": "ctl", "slurm_nodes": "n1", "apphub": "hub", "others": "nobody"}


@pytest.fixture(scope="session")
def outlines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The plays of each playbook's plan; the limit is a host of no group, so that nothing runs."""
    folder = tmp_path_factory.mktemp("phases")
    inventory, plan = folder / "hosts.json", folder / "plan.jsonl"
    groups = {group: {"hosts": {host: None}} for group, host in HOSTS.items()}
    inventory.write_text(json.dumps({"all": {"children": groups}}))
    playbooks = sorted(ROOT.glob("playbooks/*.yml"))
    done = subprocess.run(
        ["ansible-playbook", "-i", inventory, "--limit", "nobody", *playbooks],
        env=os.environ | {
            "SLURMSCALE_PLAN_FILE": str(plan), "ANSIBLE_CALLBACKS_ENABLED": "ai_infra.slurm.slurm_plan",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        },
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert plan.exists(), done.stdout + done.stderr
    lines = map(json.loads, plan.read_text().splitlines())
    plays = [line["plays"] for line in lines if line["kind"] == "outline"]
    return dict(zip([path.stem for path in playbooks], plays, strict=True))


def test_every_task_has_a_phase(playbook: Path, outlines: dict[str, list[dict[str, Any]]]) -> None:
    phases = set(Phase)
    tasks = [(play["play"], task) for play in outlines[playbook.stem] for task in play["tasks"]]
    assert tasks
    assert [f"{play}: {task['name']}: {task['phase']}" for play, task in tasks if task["phase"] not in phases] == []


def test_every_phase_is_used(outlines: dict[str, list[dict[str, Any]]]) -> None:
    assert {task["phase"] for plays in outlines.values() for play in plays for task in play["tasks"]} == set(Phase)


def test_a_scale_up_goes_through_these_phases(outlines: dict[str, list[dict[str, Any]]]) -> None:
    assert {task["phase"] for play in outlines["scale_up"] for task in play["tasks"]} == {
        Phase.CHECKING, Phase.REPOSITORY, Phase.PACKAGES, Phase.KEY, Phase.CONFIGURATION, Phase.REGISTERING,
        Phase.STARTING, Phase.PROVING, Phase.REPORTING,
    }  # fmt: skip
