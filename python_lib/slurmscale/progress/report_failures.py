"""Reads the reports that playbooks write for programs: why a host is not as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurmscale.errors import Code
from slurmscale.models import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPEN = ("found", "left")
"""Results of a repair's finding that say that it is still there."""


def failures_in(report: Mapping[str, Any]) -> dict[str, Failure]:
    """Return what a report says of hosts that are not as they should be: of each the first reason.

    Args:
        report: The report of check_nodes, repair_cluster, check_apphub or discover_cluster; empty when there is none.
    """
    failed: dict[str, Failure] = {}
    if report.get("kind") == "cluster" and report["error"]:
        failed[report["controller"]] = Failure(**report["error"])
    for name, found in report.get("nodes", {}).items():
        if not found.get("ready"):
            failed[name] = _failure(found, Code.NODE_NOT_READY, "The node is not ready.")
    for found in report.get("findings", ()):
        wrong = not found["ok"] if "ok" in found else found.get("result") in _OPEN
        host = str(found.get("host") or found.get("where") or "")
        if wrong and host not in failed:
            # a reason such as "inactive" says nothing without what was looked at
            what = " ".join(str(found[name]) for name in ("check", "subject") if found.get(name))
            why = _failure(found, Code.TASK_FAILED, "Something is wrong.")
            failed[host] = why._replace(reason=f"{what}: {why.reason}") if what else why
    return failed


def _failure(found: Mapping[str, Any], code: str, reason: str) -> Failure:
    return Failure(str(found.get("code") or code), str(found.get("reason") or reason), str(found.get("remedy") or ""))
