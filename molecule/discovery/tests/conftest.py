"""The library with a data directory of its own, and the lab's hosts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from slurmscale.models import Cluster, Credentials
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import INVENTORY, ROOT, ctl1

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ctl1"]


@pytest.fixture(scope="session")
def scaling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scaling]:
    with Scaling(Settings(data_dir=tmp_path_factory.mktemp("slurmscale"), project_dir=ROOT)) as scaling:
        yield scaling


@pytest.fixture(scope="session")
def theirs() -> Cluster:
    """Return the cluster as somebody describes it who knows its controller's address and has a key."""
    hosts = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]["slurm_controllers"]["hosts"]
    key = str(INVENTORY / "id_ed25519")
    return Cluster("theirs", controller=hosts["ctl1"]["ansible_host"], credentials=Credentials("root", None, key))
