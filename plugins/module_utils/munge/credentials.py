# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes munge credentials that were made on other hosts."""

from __future__ import annotations

import re
from typing import Any, Dict, Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands


def decode(credential: Optional[str], timeout: float = 10) -> Dict[str, Any]:
    """Decode a credential with unmunge.

    Args:
        credential: The output of `munge -n` on the other host, or None when munge made none there.
        timeout: Seconds to wait for unmunge.

    Returns:
        The keys ok, message (that of munge) and failure (code, reason and remedy; None when it was decoded).
    """
    ok, message = _unmunge(credential, timeout) if credential else (False, "munge made no credential there")
    failure = Failure(
        Code.MUNGE_CREDENTIAL_REFUSED,
        f"The controller can't decode a credential made on this node: {' '.join(message.split())}",
        "Compare key and clock: sha256sum /etc/munge/munge.key; date; journalctl -u munge",
    )
    return {"ok": ok, "message": message, "failure": None if ok else failure.as_dict()}


def _unmunge(credential: str, timeout: float) -> Tuple[bool, str]:
    result = commands.run(["unmunge"], timeout=timeout, stdin=credential)
    status = re.search(r"^STATUS:\s*(.+)$", result.stdout, re.MULTILINE)
    # A credential can be decoded once; decoding it again is no failure of key or clock.
    ok = result.rc == 0 or "replayed" in (result.stdout + result.stderr).lower()
    return ok, status.group(1).strip() if status else result.message
