# Copyright the slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Writes what a playbook is going to do, so that the progress of the run can be computed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: slurm_plan
type: notification
short_description: Write the plan of a playbook run to a file
version_added: 0.1.0
description:
  - Nothing in Ansible's events announces how many tasks there will be. This callback writes it, as one JSON object
    per line. The first line is the outline of the whole playbook, then follows a line for every play, and for every
    batch of C(serial), with the hosts it starts with.
  - Each task has its C(phase), if one is stated - the variable C(scale_phase) of the task, or of the next block, import
    or play around it.
  - Tags are applied. Tasks of dynamic includes are not known before they run and are therefore not in the plan.
  - It never fails a run. What it can't find out is left out.
options:
  plan_file:
    description: File to append the plan to. Nothing is written when it is not set.
    type: str
    default: ''
    env:
      - name: SLURMSCALE_PLAN_FILE
    ini:
      - section: callback_slurm_plan
        key: plan_file
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
# export SLURMSCALE_PLAN_FILE=plan.jsonl ANSIBLE_CALLBACKS_ENABLED=ai_infra.slurm.slurm_plan
# ansible-playbook playbooks/scale_up.yml -e 'nodes=node[07:12]'
"""

import json  # noqa: E402 - DOCUMENTATION comes before the imports
from typing import TYPE_CHECKING, Any, Callable  # noqa: E402 - the same

from ansible.playbook.block import Block  # noqa: E402 - the same
from ansible.plugins.callback import CallbackBase  # noqa: E402 - the same
from ansible.template import Templar  # noqa: E402 - the same

if TYPE_CHECKING:
    from ansible.playbook import Playbook
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task


PHASE = "scale_phase"


class CallbackModule(CallbackBase):
    """Uses internals of ansible-core (Play.compile, Block.filter_tagged_tasks), tested with every supported version."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "ai_infra.slurm.slurm_plan"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """Write the outline: all plays, with the hosts that are known by now."""
        self._write(lambda: {"kind": "outline", "plays": [describe(play) for play in playbook.get_plays()]})

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Write the play with the hosts of this batch."""
        self._write(lambda: dict(describe(play), kind="play"))

    def _write(self, make: Callable[[], dict[str, Any]]) -> None:
        path = self.get_option("plan_file")
        if not path:
            return
        try:
            with open(path, "a", encoding="utf-8") as plan:
                plan.write(json.dumps(make()) + "\n")
        except Exception as exc:  # noqa: BLE001 - a plan that can't be had must not stop the work
            self._display.vv(f"slurm_plan: no plan written: {exc}")


def describe(play: Play) -> dict[str, Any]:
    """Return a play's hosts and its tasks in order."""
    variables = play.get_variable_manager().get_vars(play=play)
    tasks = []
    for block in play.compile():
        tasks += walk(block.filter_tagged_tasks(variables), "", play.vars.get(PHASE, ""))
    return {
        "play": play.get_name(),
        "puuid": play._uuid,  # noqa: SLF001 - events carry it, there is no public name
        "hosts": hosts(play, play.hosts),
        "strategy": play.strategy,
        "tasks": tasks,
    }


def hosts(play: Play, pattern: Any) -> list[str]:
    """Return the names of the hosts of a pattern; none while it or its groups depend on earlier plays."""
    manager = play.get_variable_manager()
    try:
        variables = manager.get_vars(play=play)
        found = Templar(loader=play.get_loader(), variables=variables).template(pattern)
        inventory = manager._inventory  # noqa: SLF001 - the only way to it from a callback
        return [host.name for host in inventory.get_hosts(found, order=play.order)]
    except Exception:  # noqa: BLE001 - a pattern that can't be evaluated yet
        return []


def walk(block: Block, section: str, phase: str) -> list[dict[str, Any]]:
    """Return the tasks of a block in order, each with the section it stands in; a rescue stays one all the way down.

    The phase is that of the play, for tasks without one of their own.
    """
    tasks = []
    for part in ("block", "rescue", "always"):
        inside = section if section == "rescue" else part
        for item in getattr(block, part):
            if isinstance(item, Block):
                tasks += walk(item, inside, phase)
            else:
                tasks.append(task_line(item, inside, phase))
    return tasks


def task_line(task: Task, section: str, phase: str) -> dict[str, Any]:
    """Return what identifies a task and what decides how it is counted and shown."""
    line = {
        "uuid": task._uuid,  # noqa: SLF001 - events carry it, there is no public name
        "name": task.name or task.action,
        "role": task._role.get_name() if task._role else None,  # noqa: SLF001 - there is no public name
        "action": task.action,
        "sec": section,
        "phase": task.get_vars().get(PHASE, phase),
    }
    if task.run_once:
        line["once"] = True
    if task.action in ("meta", "ansible.builtin.meta"):
        line["meta"] = task.args.get("_raw_params", "meta")
    return line
