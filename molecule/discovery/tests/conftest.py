"""The cluster that the tests connect."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from slurmscale.models import Cluster, Credentials

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from library_fixtures import scaling, settings
from testing import INVENTORY, ctl1

__all__ = ["ctl1", "scaling", "settings"]


@pytest.fixture(scope="session")
def theirs() -> Cluster:
    """Return the cluster as somebody describes it who knows its controller's address and has a key."""
    hosts = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]["slurm_controllers"]["hosts"]
    key = str(INVENTORY / "id_ed25519")
    return Cluster("theirs", controller=hosts["ctl1"]["ansible_host"], credentials=Credentials("root", None, key))
