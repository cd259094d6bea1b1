# Copyright the slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Lets the command slurmscale record a run of ansible-playbook."""

from __future__ import annotations

DOCUMENTATION = r"""
name: slurm_record
type: notification
short_description: Record a run of ansible-playbook, so that the scaling status shows it
version_added: 0.1.0
description:
  - Starts C(slurmscale record) beside a playbook of this collection and hands it the events of the run. The run is
    then shown by C(slurmscale status), C(runs), C(tasks), C(log) and C(attach). C(slurmscale cancel) ends it as Ctrl-C
    does.
  - Other playbooks, and the runs that slurmscale itself starts, are left alone.
  - It never fails a run. When the run can't be recorded, for example because another run works on one of its nodes, a
    warning gives the reason and the playbook goes on.
options:
  command:
    description: The command slurmscale.
    type: str
    default: slurmscale
    env:
      - name: SLURMSCALE_COMMAND
    ini:
      - section: callback_slurm_record
        key: command
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
# export ANSIBLE_CALLBACKS_ENABLED=ai_infra.slurm.slurm_record
# ansible-playbook playbooks/scale_up.yml -i inventories/lab/hosts.yml -e 'nodes=node[07:12]'
"""

import json  # noqa: E402 - DOCUMENTATION comes before the imports
import os  # noqa: E402 - the same
import subprocess  # noqa: E402 - the same
import tempfile  # noqa: E402 - the same
import time  # noqa: E402 - the same
from typing import TYPE_CHECKING, Any, Dict, Optional  # noqa: E402 - the same

from ansible import context  # noqa: E402 - the same
from ansible.plugins.callback import CallbackBase  # noqa: E402 - the same
from ansible.template import trust_as_template  # noqa: E402 - the same
from ansible.utils.vars import load_extra_vars  # noqa: E402 - the same
from ansible_collections.ai_infra.slurm.plugins.callback import slurm_plan  # noqa: E402 - the same

if TYPE_CHECKING:
    from ansible.executor.stats import AggregateStats
    from ansible.executor.task_result import TaskResult
    from ansible.playbook import Playbook
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

_END_SECONDS = 60
_NODES = trust_as_template("{{ nodes | ai_infra.slurm.expand_nodes(groups) }}")
"""The nodes that a playbook was called with, as its first play evaluates them."""
_CENSORED = {"censored": "The output has been hidden, as no_log is set."}


class CallbackModule(CallbackBase):
    """Writes the events of the run, in the form in which ansible-runner gives them, to the recording command."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "ai_infra.slurm.slurm_record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._recorder: Optional["subprocess.Popen[str]"] = None
        self._counter = 0
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - open as long as the run
        self._play: Dict[str, str] = {}
        self._batches: Dict[str, int] = {}

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """Start the recording command, and send it what is run."""
        file = os.path.basename(getattr(playbook, "_file_name", ""))
        # in a run of slurmscale the plan is read by the library, which records it
        if os.environ.get("SLURMSCALE_PLAN_FILE") or not self._is_ours(playbook):
            return
        args, plays = context.CLIARGS, playbook.get_plays()
        variables = load_extra_vars(playbook.get_loader())
        request = {
            "kind": "request",
            "playbook": file,
            "inventory": [
                os.path.abspath(source) if os.path.exists(source) else source for source in args["inventory"]
            ],
            "check": bool(args.get("check")),
            "forks": args.get("forks"),
            "nodes": slurm_plan.hosts(plays[0], _NODES) if "nodes" in variables else [],
            "variables": variables,
            "pid": os.getpid(),
        }
        try:
            # Ansible keeps its own output from its children; a session of its own keeps Ctrl-C from the recorder
            self._recorder = subprocess.Popen(
                [self.get_option("command"), "record"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=self._said, text=True, start_new_session=True,
            )  # fmt: skip
        except OSError as exc:
            self._display.warning(f"The run is not recorded: {self.get_option('command')}: {exc.strerror}.")
            return
        self._write(request)
        self._write({"kind": "outline", "plays": [slurm_plan.describe(play) for play in plays]})
        self._event("playbook_on_start")

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Send the start of a play, with the hosts of this batch."""
        if self._recorder is None:
            return
        uuid = str(play._uuid)  # noqa: SLF001 - there is no public name
        count = self._batches[uuid] = self._batches.get(uuid, 0) + 1
        batch = uuid if count == 1 else f"{uuid}_{count}"
        self._play = {"play": play.get_name().strip(), "play_uuid": batch}
        self._write(dict(slurm_plan.describe(play), kind="play", puuid=batch))
        self._event("playbook_on_play_start")

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:  # noqa: ARG002, FBT001 - Ansible's
        """Send the start of a task."""
        self._event("playbook_on_task_start", task)

    def v2_playbook_on_handler_task_start(self, task: Task) -> None:
        """Send the start of a handler."""
        self._event("playbook_on_handler_task_start", task)

    def v2_runner_on_start(self, host: Any, task: Task) -> None:
        """Send that a host begins a task."""
        self._event("runner_on_start", task, host=host.get_name())

    def v2_runner_on_ok(self, result: TaskResult) -> None:
        """Send a result."""
        self._result("runner_on_ok", result)

    def v2_runner_on_failed(self, result: TaskResult, ignore_errors: bool = False) -> None:  # noqa: FBT001, FBT002 - Ansible's
        """Send a failure."""
        self._result("runner_on_failed", result, ignore_errors=ignore_errors)

    def v2_runner_on_skipped(self, result: TaskResult) -> None:
        """Send a skipped task."""
        self._result("runner_on_skipped", result)

    def v2_runner_on_unreachable(self, result: TaskResult) -> None:
        """Send that a host can't be reached."""
        self._result("runner_on_unreachable", result)

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """Send how the hosts ended, and wait until that is recorded."""
        names = ("ok", "changed", "failures", "dark", "skipped", "rescued", "ignored")
        found = {name: dict(getattr(stats, name, None) or {}) for name in names}
        self._play = {}
        self._event("playbook_on_stats", **found)
        if self._recorder is None:
            return
        try:
            self._recorder.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._display.warning("The end of the run is not recorded yet: slurmscale record does not answer.")
        self._show()

    def _show(self) -> None:
        """Show what the recorder said: the id of the run, or why it is not recorded."""
        self._said.seek(0)
        text = self._said.read().strip()
        if text:
            self._display.display(text)

    def _is_ours(self, playbook: Playbook) -> bool:
        own = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", "playbooks"))
        folder = os.path.dirname(os.path.abspath(getattr(playbook, "_file_name", "")))
        return os.path.isdir(own) and os.path.samefile(folder, own)

    def _result(self, event: str, result: TaskResult, **more: Any) -> None:
        res = result._result  # noqa: SLF001 - the way of Ansible's own callbacks
        task, host = result._task, result._host.get_name()  # noqa: SLF001 - the same
        if res.get("_ansible_no_log") or task.no_log:
            res = _CENSORED
        self._event(event, task, host=host, res=res, text=self._text(event, host, res), **more)

    def _text(self, event: str, host: str, res: Dict[str, Any]) -> str:
        """Return what Ansible prints of a result, as far as the recorder can't make it of the result."""
        if event in ("runner_on_failed", "runner_on_unreachable"):
            return f"fatal: [{host}]: {event[len('runner_on_') :].upper()}! => {self._dump_results(res)}"
        return f"changed: [{host}]" if res.get("changed") else ""

    def _event(self, event: str, task: Optional[Task] = None, **data: Any) -> None:
        if self._recorder is None:
            return
        self._counter += 1
        data.update(self._play)
        if task is not None:
            data.update(
                task=task.name or task.action,
                task_uuid=str(task._uuid),  # noqa: SLF001 - there is no public name
                task_action=task.action,
                resolved_action=getattr(task, "resolved_action", None) or task.action,
                role=task._role.get_name() if task._role else "",  # noqa: SLF001 - there is no public name
            )
        text = data.pop("text", "")
        self._write(
            {"event": event, "counter": self._counter, "created": time.time(), "stdout": text, "event_data": data}
        )

    def _write(self, line: Dict[str, Any]) -> None:
        recorder = self._recorder
        if recorder is None or recorder.stdin is None:
            return
        try:
            recorder.stdin.write(json.dumps(line, default=str) + "\n")
            recorder.stdin.flush()
        except OSError:
            self._recorder = None
            recorder.wait()
            self._show()
