"""A node joins a cluster that was made by hand, comes back as another machine, and leaves without a trace."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from testing import INVENTORY, in_container, lab_host, run_command

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

NODE = "nodes=ubuntu1"
PLACE = {"slurmctld_reconfigure_partitions": ["batch"], "slurmd_switch": "leaf1"}


@pytest.fixture(autouse=True)
def old_job_goes_on(ctl1: Host, before: dict[str, Any]) -> Iterator[None]:
    yield
    assert ctl1.check_output("squeue --noheader --format '%%T %%N' --job %s", before["job"]) == "RUNNING rocky1"


def state(ctl1: Host) -> str:
    return str(ctl1.check_output("sinfo --noheader --Node --nodes ubuntu1 --partition batch --format '%%T'"))


def test_the_node_joined_with_its_own_hardware_and_the_policies_of_all(ctl1: Host) -> None:
    assert state(ctl1) == "idle"
    node = ctl1.check_output("scontrol show node ubuntu1")
    assert "TmpDisk=0 Weight=3" in node
    assert "ubuntu1" in ctl1.check_output("scontrol show topology leaf1")
    changed = ctl1.file("/etc/slurm/slurm.conf").content_string
    assert "nodes=rocky1,slurmscale # the first rack" in changed
    assert changed.endswith("\nInclude slurmscale-nodes.conf\n")


def test_a_node_on_which_nothing_is_to_be_done_needs_no_apphub(playbook: Playbook) -> None:
    apphub = lab_host("apphub")
    apphub.check_output("systemctl stop nginx")
    try:
        done = playbook("scale_up", "-e", NODE, "-e", json.dumps(PLACE))
    finally:
        apphub.check_output("systemctl start nginx")
    assert done.returncode == 0, done.stdout
    assert re.search(r"ubuntu1 +unchanged", done.stdout)


def test_an_unknown_host_key_is_told_with_its_fingerprint(playbook: Playbook, monkeypatch: pytest.MonkeyPatch) -> None:
    # A connection that is kept open was verified before.
    monkeypatch.setenv("ANSIBLE_SSH_ARGS", "-o ControlMaster=no -o ControlPath=none")
    hosts = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]["slurm_nodes"]["hosts"]
    known = INVENTORY / "known_hosts"
    lines = known.read_text().splitlines(keepends=True)
    try:
        known.write_text("".join(one for one in lines if one.split()[0] != hosts["ubuntu1"]["ansible_host"]))
        done = playbook("check_nodes", "-e", NODE)
    finally:
        known.write_text("".join(lines))
    assert done.returncode == 2, done.stdout
    assert "host-key-unknown" in done.stdout
    shown = lab_host("ubuntu1").check_output("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    assert shown in done.stdout


def test_a_stray_slurm_conf_on_a_node_is_found_and_moved_away(playbook: Playbook) -> None:
    node = lab_host("ubuntu1")
    node.check_output("printf 'ClusterName=stale\\nSlurmctldHost=gone\\n' > /etc/slurm/slurm.conf")
    found = playbook("repair_cluster", "-e", "action=check", "-e", NODE)
    assert found.returncode == 2, found.stdout
    assert "configuration-stray" in found.stdout
    done = playbook("repair_cluster", "-e", "action=fix", "-e", NODE)
    assert done.returncode == 0, done.stdout
    assert not node.file("/etc/slurm/slurm.conf").exists
    assert node.file("/etc/slurm/slurm.conf.stray").exists


def test_a_machine_that_was_installed_anew_joins_with_its_new_address(ctl1: Host, playbook: Playbook) -> None:
    hosts = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]["slurm_nodes"]["hosts"]
    network = hosts["ubuntu1"]["ansible_host"].rpartition(".")[0]
    old, new = f"{network}.251", f"{network}.252"

    def move(address: str) -> None:
        # The file is mounted by podman and can't be replaced.
        ctl1.check_output(
            "sed '/ubuntu1/d' /etc/hosts > /tmp/hosts;"
            f" echo {address} ubuntu1 >> /tmp/hosts; cat /tmp/hosts > /etc/hosts"
        )

    run_command(in_container("ubuntu1", f"ip address add {old}/24 dev eth0"))
    move(old)
    ctl1.check_output("systemctl restart slurmctld")
    idle = "sinfo --noheader --nodes ubuntu1 --format %%T | grep -q '^idle$'"
    ctl1.check_output(f"for i in $(seq 60); do {idle} && exit; sleep 1; done; exit 1")
    run_command(in_container("ubuntu1", f"ip address del {old}/24 dev eth0; ip address add {new}/24 dev eth0"))
    move(new)
    lab_host("ubuntu1").check_output("systemctl disable --now slurmd; rm -f /etc/default/slurmd /etc/munge/munge.key")
    done = playbook("scale_up", "-e", NODE, "-e", json.dumps(PLACE))
    assert done.returncode == 0, done.stdout
    assert "COMPLETED" in done.stdout


def test_the_last_managed_node_leaves_every_file_as_it_was(
    ctl1: Host, before: dict[str, Any], playbook: Playbook
) -> None:
    done = playbook("scale_down", "-e", NODE, "-e", "confirm=true", "-e", "uninstall=true")
    assert done.returncode == 0, done.stdout
    ctl1.run_expect([0], "cat <<'END' | sha256sum --check\n" + before["files"] + "\nEND")
    assert not ctl1.file("/etc/slurm/slurmscale-nodes.conf").exists
    assert not ctl1.file("/etc/slurm/gres.conf").exists
    assert ctl1.check_output("sinfo --noheader --Node --format '%%N'").split() == ["rocky1", "rocky1"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"slurmd_switch": "top"}, "node-without-switch"),
        ({"slurmctld_reconfigure_partitions": []}, "node-without-partition"),
    ],
)
def test_a_node_without_a_place_is_refused_before_anything_is_installed(
    ctl1: Host, before: dict[str, Any], playbook: Playbook, given: dict[str, Any], code: str
) -> None:
    done = playbook("scale_up", "-e", NODE, "-e", json.dumps({**PLACE, **given}))
    assert done.returncode == 2, done.stdout
    assert code in done.stdout
    assert not lab_host("ubuntu1").exists("slurmd")
    ctl1.run_expect([0], "cat <<'END' | sha256sum --check\n" + before["files"] + "\nEND")


def test_programs_and_rules_of_the_cluster_are_met_before_anything_is_installed(ctl1: Host, playbook: Playbook) -> None:
    node = lab_host("ubuntu1")
    ctl1.check_output("sed -i.before '1a TaskProlog=/opt/site/prolog\\nDisableRootJobs=YES' /etc/slurm/slurm.conf")
    ctl1.check_output("scontrol reconfigure")
    try:
        first = playbook("scale_up", "-e", NODE, "-e", json.dumps(PLACE))
        node.check_output("install -D /bin/true /opt/site/prolog")
        second = playbook("scale_up", "-e", NODE, "-e", json.dumps(PLACE))
    finally:
        ctl1.check_output("mv /etc/slurm/slurm.conf.before /etc/slurm/slurm.conf; scontrol reconfigure")
    for done, code in ((first, "node-program-missing"), (second, "job-not-submitted")):
        assert done.returncode == 2, done.stdout
        assert code in done.stdout
    assert "DisableRootJobs" in second.stdout
    assert not node.exists("slurmd")
