"""The three playbooks that scale_up is made of, each called by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("cluster_is_unharmed")


def test_stage_by_stage_a_machine_becomes_a_node(ctl1: Host, playbook: Playbook) -> None:
    for stage in ("prepare_nodes", "register_nodes", "verify_nodes"):
        run = playbook(stage, "-e", "nodes=rocky3")
        assert run.returncode == 0, run.stdout
        assert "1 of 1 nodes succeeded" in run.stdout
    # slurmctld may still be cleaning up after the job.
    ctl1.check_output(
        "for try in $(seq 50); do [ $(sinfo --noheader --nodes rocky3 --format %%T) = idle ] && exit; sleep 0.2; done;"
        " exit 1"
    )
