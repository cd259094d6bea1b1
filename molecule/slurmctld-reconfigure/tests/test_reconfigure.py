"""Nodes come and go, as the Slurm version needs it, and a candidate that does not work is taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from testing import GENERATION, run_roles, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from testinfra.host import Host

CONFIGURATION = "cat /etc/slurm/slurm.conf /etc/slurm/slurmscale-nodes.conf"


def reconfigure(*names: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the role for nodes that have no machine behind them."""
    params = {"CPUs": 1, "RealMemory": 256, **options.pop("params", {})}
    variables = {f"slurmctld_reconfigure_{name}": value for name, value in options.items()}
    nodes = [{"name": name, "params": {**params, "NodeAddr": f"127.0.0.{name[-1]}"}} for name in names]
    return run_roles("ctl1", "slurmctld-reconfigure", slurmctld_reconfigure_nodes=nodes, **variables)


def known(ctl1: Host) -> list[str]:
    return sorted(ctl1.check_output("sinfo --noheader --Node --format %N").split())


def start(ctl1: Host) -> str:
    """Return what systemd calls this start of slurmctld; a reconfigure keeps it."""
    identifier: str = ctl1.check_output("systemctl show --property InvocationID --value slurmctld")
    return identifier


@pytest.fixture(autouse=True)
def controller_answers(ctl1: Host) -> Iterator[None]:
    yield
    assert "is UP" in ctl1.check_output("scontrol ping")


def test_the_controller_knows_the_nodes_and_the_partition_took_them(ctl1: Host) -> None:
    assert known(ctl1) == ["node1", "node2"]
    assert " Nodes=node[1-2] " in ctl1.check_output("scontrol --oneliner show partition batch")


def test_a_new_node_costs_no_restart_where_reconfigure_is_enough(ctl1: Host) -> None:
    before = start(ctl1)
    run = reconfigure("node3")
    assert run.returncode == 0, run.stdout
    assert known(ctl1) == ["node1", "node2", "node3"]
    assert (start(ctl1) == before) == (GENERATION == "24.11")


def test_a_node_that_is_there_already_costs_nothing(ctl1: Host) -> None:
    before, configuration = start(ctl1), ctl1.check_output(CONFIGURATION)
    run = reconfigure("node3")
    assert run.returncode == 0, run.stdout
    assert start(ctl1) == before
    assert ctl1.check_output(CONFIGURATION) == configuration


def test_a_node_that_goes_leaves_the_others(ctl1: Host) -> None:
    run = reconfigure("node3", state="absent")
    assert run.returncode == 0, run.stdout
    assert known(ctl1) == ["node1", "node2"]


def test_a_partition_with_a_list_of_its_own_takes_a_node_when_told(ctl1: Host) -> None:
    ctl1.check_output("echo 'PartitionName=few Nodes=node1' >> /etc/slurm/slurm.conf && scontrol reconfigure")
    run = reconfigure("node4", partitions=["few"])
    assert run.returncode == 0, run.stdout
    assert "node4" in ctl1.check_output("sinfo --noheader --Node --partition few --format %N").split()


def test_a_candidate_that_slurm_can_not_read_is_refused_before_it_is_used(ctl1: Host) -> None:
    before, configuration = start(ctl1), ctl1.check_output(CONFIGURATION)
    run = reconfigure("node5", params={"NoSuchKey": 1})
    assert run.returncode != 0
    assert "Nothing was changed, as Slurm refuses the new configuration" in unwrap(run.stdout)
    assert ctl1.check_output(CONFIGURATION) == configuration
    assert start(ctl1) == before


def test_a_candidate_that_only_slurmctld_refuses_is_taken_back(ctl1: Host) -> None:
    """Slurm's commands read it without complaint; slurmctld looks at the value."""
    configuration = ctl1.check_output(CONFIGURATION)
    run = reconfigure("node6", params={"State": "NONSENSE"})
    assert run.returncode != 0
    assert "The previous configuration is back and slurmctld answers with it" in unwrap(run.stdout)
    assert "node6" not in known(ctl1)
    assert ctl1.check_output(CONFIGURATION) == configuration
