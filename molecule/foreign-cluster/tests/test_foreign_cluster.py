"""A node joins a cluster that was made by hand, comes back as another machine, and leaves without a trace."""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from testing import GENERATION, INVENTORY, in_container, lab_host, run_command, run_roles

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

NODE = "nodes=ubuntu1"
PLACE = {"slurmctld_reconfigure_partitions": ["batch"], "slurmd_switch": "leaf1"}
CONFIGLESS = os.environ.get("LAB_CONFIGLESS", "true") == "true"
# Where slurmd reads its files.
NODE_FILES = "/var/spool/slurmd/conf-cache" if CONFIGLESS else "/etc/slurm"
WRITTEN = ["slurm.conf", "racks.conf", "topology.conf"]
BESIDE = ["job_container.conf", "mpi.conf", "oci.conf", "plugstack.conf"]


@pytest.fixture(autouse=True)
def old_job_goes_on(ctl1: Host, before: dict[str, Any]) -> Iterator[None]:
    yield
    assert ctl1.check_output("squeue --noheader --format '%%T %%N' --job %s", before["job"]) == "RUNNING rocky1"


def restart(ctl1: Host) -> None:
    """Restart slurmctld, and wait until both know each other again."""
    ctl1.check_output("systemctl restart slurmctld")
    ctl1.check_output(
        "for i in $(seq 60); do sinfo --noheader --nodes rocky1 --partition batch --format %%T"
        " | grep -Eqx 'mixed|idle' && exit; sleep 1; done; exit 1"
    )


@contextmanager
def edited(ctl1: Host, *commands: str) -> Iterator[None]:
    """Change the configuration as an administrator does, and put it back."""
    ctl1.check_output("rm -rf /var/tmp/edited && cp -a /etc/slurm /var/tmp/edited")
    try:
        for command in commands:
            ctl1.check_output(command)
        restart(ctl1)
        yield
    finally:
        ctl1.check_output("cp -a /var/tmp/edited/*.conf /etc/slurm/")
        restart(ctl1)


def require_unchanged(ctl1: Host, sums: str) -> None:
    """Fail unless the files are those whose sums were taken before."""
    ctl1.run_expect([0], "cat <<'END' | sha256sum --check\n" + sums + "\nEND")


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


@pytest.mark.parametrize("node", ["rocky1", "ubuntu1"])
def test_old_and_new_nodes_have_the_files_of_the_controller(ctl1: Host, node: str) -> None:
    host = lab_host(node)
    for name in [*WRITTEN, *BESIDE, "slurmscale-nodes.conf"]:
        there, wanted = host.file(f"{NODE_FILES}/{name}"), ctl1.file(f"/etc/slurm/{name}")
        assert (name, there.sha256sum) == (name, wanted.sha256sum)


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


@pytest.mark.skipif(not CONFIGLESS, reason="a node has a slurm.conf of its own")
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
    require_unchanged(ctl1, before["files"])
    assert not ctl1.file("/etc/slurm/slurmscale-nodes.conf").exists
    assert not ctl1.file("/etc/slurm/gres.conf").exists
    assert ctl1.check_output("sinfo --noheader --Node --format '%%N'").split() == ["rocky1", "rocky1"]
    for name in WRITTEN:
        assert lab_host("rocky1").file(f"{NODE_FILES}/{name}").sha256sum == ctl1.file(f"/etc/slurm/{name}").sha256sum


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
    require_unchanged(ctl1, before["files"])


def test_a_default_that_nothing_can_be_stated_against_is_refused(ctl1: Host, playbook: Playbook) -> None:
    with edited(ctl1, "echo 'NodeName=DEFAULT Gres=fpga:1' >> /etc/slurm/racks.conf"):
        sums = ctl1.check_output("sha256sum /etc/slurm/*.conf")
        done = playbook("scale_up", "-e", NODE, "-e", json.dumps(PLACE))
        require_unchanged(ctl1, sums)
    assert done.returncode == 2, done.stdout
    assert re.search(r"ubuntu1 +failed .* node-definition-invalid ", done.stdout)
    assert "would get Gres=fpga:1 from a line NodeName=DEFAULT" in done.stdout
    assert not lab_host("ubuntu1").exists("slurmd")


@pytest.mark.parametrize("by_hand", ["", "# By hand."])
def test_the_role_takes_the_last_node_out_of_every_file(ctl1: Host, before: dict[str, Any], by_hand: str) -> None:
    """Also what GPUs have brought, which this cluster had none of."""
    ctl1.check_output(
        f"rm -f /etc/slurm/gres.conf; [ -z '{by_hand}' ] || printf %%s '{by_hand}' > /etc/slurm/gres.conf"
    )
    restart(ctl1)
    sums = ctl1.check_output("sha256sum /etc/slurm/*.conf")
    node = {
        "name": "ubuntu1",
        "params": {"CPUs": "2", "RealMemory": "1000", "Gres": "gpu:1,fpga:1"},
        "gres_lines": ["Name=gpu File=/dev/null"],
        "switch": "leaf1",
    }
    role = "slurmctld-reconfigure"
    partitions = PLACE["slurmctld_reconfigure_partitions"]
    try:
        joined = run_roles(
            "ctl1", role, slurmctld_reconfigure_nodes=[node], slurmctld_reconfigure_partitions=partitions
        )
        assert joined.returncode == 0, joined.stdout
        assert "gpu" in ctl1.check_output("scontrol show config | grep '^GresTypes'")
        assert "NodeName=ubuntu1 Name=gpu File=/dev/null" in ctl1.file("/etc/slurm/gres.conf").content_string
        left = run_roles("ctl1", role, slurmctld_reconfigure_nodes=[node], slurmctld_reconfigure_state="absent")
        assert left.returncode == 0, left.stdout
        require_unchanged(ctl1, before["files"])
        require_unchanged(ctl1, sums)
        assert ctl1.file("/etc/slurm/gres.conf").exists == bool(by_hand)
        assert "gpu" not in ctl1.check_output("scontrol show config | grep '^GresTypes'")
    finally:
        ctl1.check_output("rm -f /etc/slurm/gres.conf")


def test_gres_that_are_stated_are_accepted_on_a_bare_machine_and_given_to_jobs(
    ctl1: Host, before: dict[str, Any], playbook: Playbook
) -> None:
    assert not lab_host("ubuntu1").exists("slurmd")
    done = playbook("scale_up", "-e", NODE, "-e", json.dumps({**PLACE, "slurmd_parameters": {"Gres": "fpga:1"}}))
    assert done.returncode == 0, done.stdout
    job = "cd / && srun --mpi=none --partition batch --mem 10 --nodelist ubuntu1 --gres=fpga:%s uname --nodename"
    assert ctl1.check_output(job, "1") == "ubuntu1"
    assert "configuration is not available" in ctl1.run(job, "2").stderr
    gone = playbook("scale_down", "-e", NODE, "-e", "confirm=true", "-e", "uninstall=true")
    assert gone.returncode == 0, gone.stdout
    require_unchanged(ctl1, before["files"])


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


def test_each_program_that_a_node_must_have_and_has_not_is_told(ctl1: Host, playbook: Playbook, tmp_path: Path) -> None:
    node, report = lab_host("ubuntu1"), tmp_path / "report.json"
    programs = ["Prolog", "Epilog", "TaskProlog", "HealthCheckProgram"]

    def missing() -> dict[str, str]:
        done = playbook("check_nodes", "-e", NODE, "-e", f"report={report}")
        assert done.returncode == 2, done.stdout
        checks = json.loads(report.read_text())["nodes"]["ubuntu1"]["checks"]
        # Newer versions number them: Prolog[0].
        return {re.sub(r"\[0\]$", "", one["check"]): one["code"] for one in checks if not one["ok"]}

    lines = "".join(f"{name}=/opt/site/{name}\\n" for name in programs)
    with edited(
        ctl1,
        f"sed -i '1a {lines.removesuffix(chr(92) + 'n')}' /etc/slurm/slurm.conf",
        "echo 'required /opt/site/plugin.so' >> /etc/slurm/plugstack.conf",
    ):
        first = missing()
        for name in programs:
            node.check_output("install -D /bin/true /opt/site/%s", name)
        second = missing()
    assert first == dict.fromkeys([*programs, "plugin plugin.so"], "node-program-missing")
    assert second == {"plugin plugin.so": "node-program-missing"}


@pytest.mark.skipif(GENERATION == "22.05", reason="topology/block came with 23.11")
def test_a_node_joins_a_block_and_leaves_it_again(ctl1: Host, playbook: Playbook) -> None:
    with edited(
        ctl1,
        "sed -i s,topology/tree,topology/block, /etc/slurm/slurm.conf",
        "printf '# racks\\nblockname=b1 nodes=rocky1 # rack 1\\nBlockSizes=1' > /etc/slurm/topology.conf",
    ):
        sums = ctl1.check_output("sha256sum /etc/slurm/*.conf")
        done = playbook("scale_up", "-e", NODE, "-e", json.dumps({**PLACE, "slurmd_switch": "b1"}))
        assert done.returncode == 0, done.stdout
        assert re.search(
            r"BlockName=b1 .*Nodes=(rocky1,ubuntu1|ubuntu1,rocky1)", ctl1.check_output("scontrol show topology")
        )
        assert "nodes=rocky1,ubuntu1 # rack 1" in lab_host("ubuntu1").file(f"{NODE_FILES}/topology.conf").content_string
        assert state(ctl1) == "idle"
        gone = playbook("scale_down", "-e", NODE, "-e", "confirm=true", "-e", "uninstall=true")
        assert gone.returncode == 0, gone.stdout
        require_unchanged(ctl1, sums)
