# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Rids nodes in service of the blank reason with which a reason of ours was replaced."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Dict, List, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.node.verify_jobs import JobRun, Options
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands, node_states

# Until a node that was resumed has registered, and until its job has ended.
_SECONDS = 10
_POLL = 0.5


def remove_blank_reasons(names: List[str], conf: Optional[str] = None) -> None:
    """Start a job on each node in service that shows a blank reason.

    Without accounting, slurmctld drops the reason of a node when a job starts there, and at nothing else: not when the
    node is resumed, not for an empty reason, not when it is restarted. It would be shown as the reason of whatever
    befalls the node next. Where no job of ours may or can start, the next one of a user has the same effect.

    Args:
        names: The nodes.
        conf: A slurm.conf in place of Slurm's default.
    """
    job = Options("true", None, None, None, None, 1, accept_busy=False, timeout=_SECONDS, interval=_POLL, conf=conf)
    with contextlib.suppress(commands.SlurmCommandError):
        able = _registered(names, conf)
        if able:
            run = JobRun(able, job)
            run.submit(per_node=True)
            run.follow()


def _registered(names: List[str], conf: Optional[str]) -> List[str]:
    """Return the nodes with a blank reason that take jobs, once all of them do or the time is over."""
    deadline = time.monotonic() + _SECONDS
    while True:
        nodes = commands.show_nodes(conf=conf)
        blank = {name: nodes[name] for name in names if name in nodes and _is_blank(nodes[name])}
        able = [name for name, node in blank.items() if node_states.is_available(node["state"])]
        if len(able) == len(blank) or time.monotonic() >= deadline:
            return able
        time.sleep(_POLL)


def _is_blank(node: Dict[str, Any]) -> bool:
    # Somebody gave it: a node without a reason shows no user. One that is down keeps it until it is up again.
    return not node["reason"] and bool(node["reason_user"]) and "DOWN" not in node["state"]
