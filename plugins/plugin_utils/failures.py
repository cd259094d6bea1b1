# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The result of an action that fails for reasons with codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Failure


def failed(failures: Sequence[Failure]) -> dict[str, Any]:
    """Return failed, msg, failure (the first one) and failures; nothing when there is none."""
    if not failures:
        return {}
    found = [failure.as_dict() for failure in failures]
    message = " ".join(failure.message for failure in failures)
    return {"failed": True, "msg": message, "failure": found[0], "failures": found}
