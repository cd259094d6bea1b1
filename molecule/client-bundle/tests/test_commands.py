"""The commands of a client bundle against a real controller, and what is left of them."""

from __future__ import annotations

import re

import pytest
from testing import GENERATION, lab_host, run_playbook

MACHINES = ["rocky1", "ubuntu1"]
COMMANDS = ["sacct", "sacctmgr", "salloc", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"]
# The lab of 22.05 has the packages of the release whose Slurm is mirrored.
two_versions = pytest.mark.skipif(GENERATION == "22.05", reason="needs a newer version beside 22.05")


@pytest.mark.parametrize("machine", MACHINES)
def test_every_command_is_the_controllers_version(machine: str) -> None:
    host = lab_host(machine)
    version = lab_host("ctl1").check_output("sinfo --version")
    for command in COMMANDS:
        assert host.check_output(f"{command} --version") == version


@two_versions
@pytest.mark.parametrize("machine", MACHINES)
def test_the_older_version_was_replaced_on_a_machine_without_sources(machine: str) -> None:
    host = lab_host(machine)
    assert host.check_output("cat /usr/local/slurm/VERSION").startswith("24.11.")
    assert host.check_output("ls -A /etc/apt/sources.list.d /etc/yum.repos.d 2>/dev/null | grep -v : || true") == ""


@two_versions
def test_apphub_serves_both_versions_and_a_link_to_the_newest() -> None:
    fetch = (
        "import hashlib, json, urllib.request as u; get = lambda name: "
        "u.urlopen('http://127.0.0.1:8081/pkgs/slurm-client/' + name).read(); index = json.loads(get('index.json')); "
        "(link, name), = index['latest'].items(); "
        "print(len(index['bundles']), name, hashlib.sha256(get(link)).hexdigest() == index['bundles'][name]['sha256'])"
    )
    answer = lab_host("apphub").check_output("python3 -c %s", fetch)
    assert re.fullmatch(r"2 slurm-client-24\.11\.\d+-linux-amd64\.tar\.gz True", answer)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_controller_answers_a_user_without_rights(machine: str) -> None:
    host = lab_host(machine)
    cluster = lab_host("ctl1").check_output("scontrol show config | grep ^ClusterName")
    assert host.check_output("runuser -u nobody -- scontrol show config | grep ^ClusterName") == cluster
    host.check_output("env -i /usr/bin/sinfo")


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_of_slurm_is_installed_as_a_package(machine: str) -> None:
    host = lab_host(machine)
    query = "rpm -qa 'slurm*'" if machine.startswith("rocky") else "dpkg-query --show 'slurm*' 2>/dev/null || true"
    assert host.check_output(query) == ""


def test_removed_without_a_trace() -> None:
    removed = run_playbook("../molecule/client-bundle/remove")
    assert removed.returncode == 0, removed.stdout
    for machine in MACHINES:
        host = lab_host(machine)
        host.check_output(
            "find / -xdev '(' -path /proc -o -path /sys -o -path /tmp -o -path /run -o -path /root -o -path /var/log "
            "-o -path /var/tmp -o -path /var/lib/systemd ')' -prune -o -print | sort > /root/after"
        )
        assert host.run("diff /root/before /root/after").stdout == ""
