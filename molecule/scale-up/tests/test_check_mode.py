"""Every playbook in check mode: it goes through on hosts, and the cluster is afterwards as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from testing import ROOT, SLURM, run_playbook

if TYPE_CHECKING:
    from pathlib import Path

    from testinfra.host import Host

# What a playbook is told; the others get the nodes that were made before.
NODES = ("-e", "nodes=rocky1,ubuntu2")
TOLD = {
    "repair_cluster": (*NODES, "-e", "action=fix"),
    "rotate_munge_key": (),
    "run_jobs": ("-e", "action=submit", "-e", "job_user=nobody", "-e", "job_command=hostname"),
    "scale_down": (*NODES, "-e", "confirm=true"),
    "upgrade_nodes": (*NODES, "-e", f"slurm_version={SLURM}"),
}
REPORTED = {"register_prepared", "start_nodes"}
LOOKED_AT = (
    "sha256sum /etc/slurm/*.conf /etc/munge/munge.key; sinfo --noheader --Node --format '%N %T';"
    " systemctl show --property InvocationID munge slurmctld"
)

pytestmark = pytest.mark.usefixtures("cluster_is_unharmed")


@pytest.fixture
def told(name: str, tmp_path: Path) -> tuple[str, ...]:
    """Return the variables of a playbook; some are told what prepare_nodes reported."""
    if name not in REPORTED:
        return TOLD.get(name, NODES)
    report = tmp_path / "prepared.json"
    run = run_playbook("prepare_nodes", *NODES, "-e", f"report={report}")
    assert run.returncode == 0, run.stdout
    return (*NODES, "-e", f"@{report}")


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml")))
def test_a_playbook_in_check_mode_goes_through_and_changes_nothing(
    ctl1: Host, name: str, told: tuple[str, ...]
) -> None:
    before = ctl1.check_output(LOOKED_AT.replace("%", "%%"))
    run = run_playbook(name, "--check", "--diff", *told)
    assert run.returncode == 0, run.stdout
    assert ctl1.check_output(LOOKED_AT.replace("%", "%%")) == before
