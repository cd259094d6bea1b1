"""The library with a data directory of its own, and the lab's hosts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from slurmscale.models import Cluster
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import INVENTORY, ROOT, ctl1

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.runs.jobs import Jobs

__all__ = ["ctl1"]


@pytest.fixture(scope="session")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("slurmscale"), project_dir=ROOT)
    with Scaling(settings) as scaling:
        scaling.add_cluster(Cluster("lab", str(INVENTORY / "hosts.yml"), variables={"job_user": "alice"}))
        yield scaling.jobs
