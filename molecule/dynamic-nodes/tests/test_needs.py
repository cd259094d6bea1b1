"""What a cluster must have for dynamic nodes is checked before a machine is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testing import lab_host, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]


def test_a_cluster_without_room_is_refused(ctl1: Host, playbook: Playbook) -> None:
    answers = "for i in $(seq 60); do scontrol ping | grep -q UP && exit; sleep 0.5; done; exit 1"
    edit = "s/^MaxNodeCount=.*/MaxNodeCount=2/"
    ctl1.check_output("sed -i.before %s /etc/slurm/slurm.conf && systemctl restart slurmctld", edit)
    try:
        ctl1.check_output(answers)
        run = playbook("scale_up", "-e", "nodes=rocky1 slurm_node_registration=dynamic")
    finally:
        ctl1.check_output("mv /etc/slurm/slurm.conf.before /etc/slurm/slurm.conf && systemctl restart slurmctld")
        ctl1.check_output(answers)
    assert run.returncode != 0
    assert "MaxNodeCount for dynamic nodes: needed at least 3, the number of all nodes, found 2." in unwrap(run.stdout)
    assert not lab_host("rocky1").service("slurmd").is_running


def test_a_static_node_joins_beside_a_dynamic_one_which_stays(ctl1: Host, playbook: Playbook) -> None:
    """Up to 24.05 that takes a restart of slurmctld, which has dynamic nodes in no file."""
    run = playbook("scale_up", "-e", "nodes=rocky1", timeout=500)
    assert run.returncode == 0, run.stdout
    states = ctl1.check_output("sinfo --noheader --Node --format '%%N %%T'").splitlines()
    assert [" ".join(line.split()) for line in states] == ["rocky1 idle", "ubuntu1 idle", "ubuntu2 idle"]
    assert "DYNAMIC_NORM" in ctl1.check_output("scontrol --oneliner show node ubuntu2")
