"""What will be done is shown before anything is done, and a node that can't be registered keeps nobody else back."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from testing import in_container, lab_host, run_command, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

CONFIGURATION = "cat /etc/slurm/slurm.conf /etc/slurm/slurmscale-nodes.conf"
STEPS = ["repository", "packages", "accounts", "key", "munge", "configuration", "slurmd"]
pytestmark = pytest.mark.usefixtures("cluster_is_unharmed")


def test_a_plan_shows_the_steps_and_the_change_of_slurm_conf_and_does_nothing(
    ctl1: Host, playbook: Playbook, tmp_path: Path
) -> None:
    configuration, report = ctl1.check_output(CONFIGURATION), tmp_path / "plan.json"
    run = playbook("scale_up", "-e", "nodes=rocky2,rocky3", "-e", "plan_only=true", "-e", f"report={report}")
    assert run.returncode == 0, run.stdout
    assert re.search(rf"^ +rocky3 +work +add +{', '.join(STEPS)}$", run.stdout, re.MULTILINE)
    assert re.search(r"^ +rocky2 +none +keep +-$", run.stdout, re.MULTILINE)
    assert re.search(r"^ +\+NodeName=rocky3 CPUs=", run.stdout, re.MULTILINE)
    plan = json.loads(report.read_text())
    assert (plan["kind"], plan["ready"], plan["nodes"]["rocky3"]["steps"]) == ("plan", True, STEPS)
    assert plan["nodes"]["rocky3"]["definition"]["name"] == "rocky3"
    assert "+NodeName=rocky3" in plan["controller"]["diff"][0]["text"]
    assert "changed=0" in run.stdout
    assert not re.search(r"changed=[1-9]", run.stdout)
    assert ctl1.check_output(CONFIGURATION) == configuration
    assert not lab_host("rocky3").package("munge").is_installed


def test_a_node_that_slurm_would_refuse_fails_alone_and_before_anything_is_done_to_it(
    ctl1: Host, playbook: Playbook
) -> None:
    configuration = ctl1.check_output(CONFIGURATION)
    stated = "{{ {'Gres': 'shard\"a:1'} if inventory_hostname == 'rocky3' else {} }}"
    run = playbook("scale_up", "-e", json.dumps({"nodes": "rocky2,rocky3", "slurmd_parameters": stated}))
    assert run.returncode == 2
    assert re.search(r"^ +rocky2 +unchanged ", run.stdout, re.MULTILINE)
    assert re.search(r"^ +rocky3 +failed .* node-request-invalid ", run.stdout, re.MULTILINE)
    assert "can't be a parameter of slurm.conf" in unwrap(run.stdout)
    assert ctl1.check_output(CONFIGURATION) == configuration
    assert not lab_host("rocky3").package("munge").is_installed


def test_a_machine_that_was_cloned_with_its_host_name_fails_alone(ctl1: Host, playbook: Playbook) -> None:
    configuration = ctl1.check_output(CONFIGURATION)
    assert lab_host("rocky4").check_output("hostname") == "rocky2"
    run = playbook("scale_up", "-e", "nodes=rocky2,rocky4")
    assert run.returncode == 2
    assert re.search(r"^ +rocky2 +unchanged ", run.stdout, re.MULTILINE)
    assert re.search(r"^ +rocky4 +failed .* node-address-shared ", run.stdout, re.MULTILINE)
    assert "hostnamectl set-hostname" in unwrap(run.stdout)
    assert ctl1.check_output(CONFIGURATION) == configuration
    assert not lab_host("rocky4").package("munge").is_installed


@pytest.mark.parametrize(
    ("mounted", "node", "told"),
    [
        ("ctl1:/etc/slurm", "rocky3", ("configuration-not-written", "/etc/slurm")),
        # A bare machine has no account yet, a node has a file that is outdated.
        ("rocky3:/etc", "rocky3", ("account-not-made", "/etc")),
        ("rocky2:/etc", "rocky2", ("file-not-written", "/etc/systemd/system/slurmd.service.d")),
    ],
)
def test_a_read_only_file_system_is_named_as_such(
    ctl1: Host, playbook: Playbook, mounted: str, node: str, told: tuple[str, str]
) -> None:
    (host, path), (code, directory) = mounted.split(":"), told
    configuration = ctl1.check_output(CONFIGURATION)
    dropin = "/etc/systemd/system/slurmd.service.d/slurmscale.conf"
    lab_host("rocky2").check_output(f"echo '# outdated' >> {dropin}")
    run_command(in_container(host, f"mount --rbind {path} {path} && mount -o remount,ro,bind {path}"))
    try:
        run = playbook("scale_up", "-e", f"nodes={node}")
    finally:
        run_command(in_container(host, f"umount --lazy {path}"))
        lab_host("rocky2").check_output(f"sed -i '/^# outdated$/d' {dropin}")
    assert run.returncode == 2
    assert re.search(rf"^ +{node} +failed .* {code} ", run.stdout, re.MULTILINE)
    said = unwrap(run.stdout)
    assert "Read-only file system" in said
    assert f"See why it is read-only: findmnt --target {directory}; dmesg" in said
    assert ctl1.check_output(CONFIGURATION) == configuration
    assert not lab_host("rocky3").package("munge").is_installed


def test_a_variable_that_no_role_can_take_is_refused_with_its_name(playbook: Playbook) -> None:
    run = playbook("scale_up", "-e", "nodes=rocky3", "-e", "preflight_max_skew=soon")
    assert run.returncode != 0
    assert "preflight_max_skew" in unwrap(run.stdout)
    assert "code: request-invalid" in unwrap(run.stdout)
    assert not lab_host("rocky3").package("munge").is_installed
