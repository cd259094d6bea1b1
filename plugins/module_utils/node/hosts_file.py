# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the lines of /etc/hosts that the role slurmd wrote."""

from __future__ import annotations

import os
from typing import Dict

from ansible_collections.ai_infra.slurm.plugins.module_utils.node.processes import read

#: As the role has blockinfile write them.
_BEGIN, _END = "# BEGIN slurmscale", "# END slurmscale"


def read_entries(root: str = "/") -> Dict[str, str]:
    """Return the addresses that were written.

    Args:
        root: Where the file system begins.

    Returns:
        For each name its address, in the order of the file; none where nothing was written.
    """
    text = (read(os.path.join(root, "etc/hosts")) or b"").decode("utf-8", "replace")
    block = text.partition(_BEGIN + "\n")[2].partition(_END)[0]
    lines = (line.split() for line in block.splitlines())
    return {words[1]: words[0] for words in lines if len(words) > 1}
