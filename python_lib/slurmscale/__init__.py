"""Scales Slurm clusters with Ansible and shows how far each node is.

`Scaling` is the entry; the records it hands out are in `models`, its errors in `errors`.
"""

from __future__ import annotations

from importlib import metadata

from slurmscale.errors import (
    ClusterError,
    NodesError,
    NotFoundError,
    OverlapError,
    ProjectError,
    RefusedError,
    ResultNotRecordedError,
    RunLostError,
    RunnerError,
    SlurmscaleError,
    StoreError,
    StoreUnavailableError,
)
from slurmscale.models import (
    Cluster,
    Credentials,
    Discovery,
    Failure,
    JobOutput,
    JobSpec,
    LogLine,
    NodeSpec,
    Notice,
    Run,
    RunOptions,
    SlurmJob,
    Task,
)
from slurmscale.operations import Operation
from slurmscale.runs.handle import RunHandle
from slurmscale.scaling import Scaling
from slurmscale.scaling_status import ScalingStatus
from slurmscale.states import RunStatus, TaskStatus

__version__ = metadata.version("slurmscale")

__all__ = [
    "Cluster",
    "ClusterError",
    "Credentials",
    "Discovery",
    "Failure",
    "JobOutput",
    "JobSpec",
    "LogLine",
    "NodeSpec",
    "NodesError",
    "NotFoundError",
    "Notice",
    "Operation",
    "OverlapError",
    "ProjectError",
    "RefusedError",
    "ResultNotRecordedError",
    "Run",
    "RunHandle",
    "RunLostError",
    "RunOptions",
    "RunStatus",
    "RunnerError",
    "Scaling",
    "ScalingStatus",
    "SlurmJob",
    "SlurmscaleError",
    "StoreError",
    "StoreUnavailableError",
    "Task",
    "TaskStatus",
]
