"""The library as the scenarios use it: a data directory of their own, and the lab as a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from slurmscale.models import Cluster
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
from testing import INVENTORY, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.runs.jobs import Jobs


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("slurmscale"), project_dir=ROOT)


@pytest.fixture(scope="session")
def scaling(settings: Settings) -> Iterator[Scaling]:
    with Scaling(settings) as scaling:
        yield scaling


@pytest.fixture(scope="session")
def jobs(scaling: Scaling) -> Jobs:
    """Return the jobs of the lab, which alice submits."""
    scaling.add_cluster(Cluster("lab", str(INVENTORY / "hosts.yml"), variables={"job_user": "alice"}))
    return scaling.jobs
