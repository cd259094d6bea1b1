"""The filter managed_nodes_conf: the file with which a new controller begins is one that slurm_nodes goes on with."""

from __future__ import annotations

from ansible_collections.ai_infra.slurm.plugins.filter.managed_nodes_conf import managed_nodes_conf
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.managed_nodes_conf import HEADER


def test_without_nodes_a_placeholder_lets_slurmctld_start():
    assert managed_nodes_conf({}) == (
        HEADER + "NodeName=slurmscale-placeholder State=FUTURE\nNodeSet=slurmscale Nodes=slurmscale-placeholder\n"
    )


def test_nodes_stand_one_by_one_and_in_the_set():
    text = managed_nodes_conf({"n2": {"CPUs": "2"}, "n1": {"CPUs": "4", "State": "CLOUD"}})
    assert text.endswith(
        "NodeName=n1 CPUs=4 State=CLOUD\nNodeName=n2 CPUs=2 State=UNKNOWN\nNodeSet=slurmscale Nodes=n1,n2\n"
    )
