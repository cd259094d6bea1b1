# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes munge credentials that were made on other hosts."""

from __future__ import annotations

import re
from typing import Any, Dict, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import run


def decode(credential: Optional[str], timeout: float = 10) -> Dict[str, Any]:
    """Decode a credential with unmunge.

    Args:
        credential: What `munge -n` printed on the other host, or None when munge made none there.
        timeout: Seconds until unmunge is given up.

    Returns:
        The keys ok and message (munge's own words).
    """
    if not credential:
        return {"ok": False, "message": "munge made no credential there."}
    result = run(["unmunge"], timeout=timeout, stdin=credential)
    status = re.search(r"^STATUS:\s*(.+)$", result.stdout, re.MULTILINE)
    # A credential can be decoded once; a second look at the same one is no failure of key or clock.
    ok = result.rc == 0 or "replayed" in (result.stdout + result.stderr).lower()
    return {"ok": ok, "message": status.group(1).strip() if status else result.message}
