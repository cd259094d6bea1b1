"""A cluster that was connected by its address gets a node and loses it; what is somebody else's stays as it was."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
import yaml
from slurmscale.errors import ClusterError, NodesError, RefusedError
from slurmscale.models import Cluster, Credentials, NodeSpec, RunOptions
from slurmscale.operations import Operation
from slurmscale.states import RunStatus
from testing import INVENTORY, lab_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.scaling import Scaling
    from testinfra.host import Host

THEIRS = "sha256sum /etc/slurm/slurm.conf /etc/munge/munge.key"


@pytest.fixture(scope="module")
def node() -> NodeSpec:
    children = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]
    # as a service has it of a request: by an agent of the run
    key = Credentials(private_key=(INVENTORY / "id_ed25519").read_text())
    return NodeSpec("ubuntu1", children["slurm_nodes"]["hosts"]["ubuntu1"]["ansible_host"], key)


@pytest.fixture(scope="module", autouse=True)
def connected(scaling: Scaling, theirs: Cluster) -> Iterator[None]:
    """Connect the cluster, whose administrator told where packages are and which partition takes new nodes."""
    everywhere = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["vars"]
    cluster = dataclasses.replace(
        theirs,
        apphub_urls=tuple(everywhere["apphub_client_urls"]),
        variables={
            "apphub_client_key_sha256": (INVENTORY / "apphub.sha256").read_text().strip(),
            "ansible_ssh_common_args": everywhere["ansible_ssh_common_args"],
            "slurmctld_reconfigure_partitions": ["batch"],
        },
    )
    found = scaling.clusters.test(cluster, fingerprint=scaling.clusters.test(theirs).fingerprint)
    for refused in ("reuse_existing_config", "reuse_existing_munge", "reuse_existing_database"):
        with pytest.raises(ClusterError, match=f"{refused} can't be false"):
            scaling.clusters.connect(cluster, found, **{refused: False})
    scaling.clusters.connect(cluster, found, max_nodes=4)
    yield
    scaling.clusters.forget("theirs")


def test_a_node_joins_with_their_key_and_leaves_without_a_trace(scaling: Scaling, node: NodeSpec, ctl1: Host) -> None:
    key = "sha256sum /etc/munge/munge.key"
    before, nodes = ctl1.check_output(THEIRS), ctl1.check_output("sinfo --noheader --Node --format '%%N %%P'")

    run = scaling.scale_up("theirs", [node]).wait()
    assert run.status is RunStatus.COMPLETED, run
    assert ctl1.check_output("sinfo --noheader --Node --nodes ubuntu1 --format '%%T %%P'") == "idle batch*"
    assert lab_host("ubuntu1").check_output(key) == ctl1.check_output(key)
    assert ctl1.check_output(key) in before

    with pytest.raises(NodesError, match="would have 5 nodes, and may have 4"):
        scaling.scale_up("theirs", [node, NodeSpec("ubuntu9", "192.0.2.9")])
    info = scaling.clusters.refresh("theirs").info
    assert info
    assert sorted(info["nodes"]) == ["old1", "old2", "old3", "ubuntu1"]
    for operation in (Operation.SETUP_CONTROLLER, Operation.ROTATE_MUNGE_KEY):
        with pytest.raises(RefusedError, match="external cluster"):
            scaling.run(operation, "theirs")

    run = scaling.scale_down("theirs", [node], RunOptions(extra_vars={"uninstall": True})).wait()
    assert run.status is RunStatus.COMPLETED, run
    assert ctl1.check_output(THEIRS) == before
    assert ctl1.check_output("sinfo --noheader --Node --format '%%N %%P'") == nodes
    assert not lab_host("ubuntu1").exists("slurmd")
