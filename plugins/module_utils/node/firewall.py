# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Tells which firewall of the distribution is on, and which ports it lets in."""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Dict, List, Optional, Sequence

from ansible_collections.ai_infra.slurm.plugins.module_utils.node.processes import read

_UFW_ON = re.compile(r"(?im)^\s*ENABLED=[\"']?yes")
#: As ufw notes a rule for everybody: `### tuple ### allow tcp 6818,60001:63000 0.0.0.0/0 any 0.0.0.0/0 in`.
_UFW_RULE = re.compile(r"(?m)^### tuple ### allow (?:tcp|any) (\S+) 0\.0\.0\.0/0 any 0\.0\.0\.0/0 in\b(.*)")
#: How it notes the comment of ours, slurmscale.
_OURS = "comment=" + b"slurmscale".hex()


def firewall_facts(
    firewalld: bool,  # noqa: FBT001 - what systemd says of it
    ask: Callable[[Sequence[str]], Optional[str]],
    root: str = "/",
) -> Dict[str, Any]:
    """Describe the firewall of this machine.

    Args:
        firewalld: Whether firewalld runs.
        ask: Runs a command and returns what it prints.
        root: Where the file system begins.

    Returns:
        name (firewalld, ufw, or empty when neither is on); tcp, the ports and ranges (FIRST-LAST) that everybody is
        let in at; and ours, the ports of each rule of ufw that has our comment, as ufw wants them to delete it.
    """
    if firewalld:
        told = (ask(["firewall-cmd", "--list-ports"]) or "").split()
        return {"name": "firewalld", "tcp": [port[:-4] for port in told if port.endswith("/tcp")], "ours": []}
    if _UFW_ON.search(_text(root, "etc/ufw/ufw.conf")):
        ports: List[str] = []
        ours: List[str] = []
        for listed, rest in _UFW_RULE.findall(_text(root, "etc/ufw/user.rules")):
            ports += listed.replace(":", "-").split(",")
            ours += [listed] if _OURS in rest.split() else []
        return {"name": "ufw", "tcp": ports, "ours": ours}
    return {"name": "", "tcp": [], "ours": []}


def _text(root: str, path: str) -> str:
    return (read(os.path.join(root, path)) or b"").decode("utf-8", "replace")
