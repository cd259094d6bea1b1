# Apache License 2.0 (see LICENSE)
"""Expands and folds lists of hosts by Slurm's own rules; needs scontrol but no running controller."""

from __future__ import annotations

from typing import Iterable, List, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands, parsers


def expand(expression: str, conf: Optional[str] = None) -> List[str]:
    """Expand `n[1-3],m` by Slurm's own rules; needs no running controller."""
    if "[" not in expression:
        return parsers.split_list(expression)
    return commands.scontrol(["show", "hostnames", expression], conf=conf).split()


def fold(names: Iterable[str], conf: Optional[str] = None) -> str:
    """Fold names into one host list by Slurm's own rules."""
    names = list(names)
    return commands.scontrol(["show", "hostlistsorted", ",".join(names)], conf=conf).strip() if names else ""
