"""What several operations have in common: options, and what is told of them."""

from __future__ import annotations

from slurmscale.operations.definition import Option

SECONDS = r"[1-9]\d{0,6}"
VERSION = r"\d+\.\d+[0-9A-Za-z.+~-]{0,40}"

PACKAGES = "A package manager that is ended in the middle is finished by the next run, or by dpkg --configure -a."
"""What a cancel while packages are installed leaves behind."""

TAKE_OVER = Option("take_over", "Take also a machine of another cluster, when no job runs on it.", bool)
JOBS = Option(
    "jobs",
    "What happens to the jobs on the nodes: wait, requeue or cancel (default: wait).",
    str,
    "wait|requeue|cancel",
)
DRAIN_TIMEOUT = Option("drain_timeout", "Seconds until a node that is still busy is kept (default: 300).", int, SECONDS)
SCALE_TIMEOUT = Option("scale_timeout", "Seconds until a node must be available (default: 120).", int, SECONDS)
