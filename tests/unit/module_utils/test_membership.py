"""How a machine of another cluster is recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.membership import parse_options, read_membership
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.processes import find_slurmd, list_processes

if TYPE_CHECKING:
    from fakes.machine import Machine

CONF = "ClusterName=Alpha\nSlurmctldHost=ctl1(10.0.0.1)\nSlurmctldHost=ctl2\nNodeName=n1 CPUs=2\n"
# What the probe is asked to describe: options files of all families, beside others.
FILES = ["/etc/systemd/system/slurmd.service.d/slurmscale.conf", "/etc/default/slurmd", "/etc/sysconfig/slurmd-suse"]
MUNGE = ("/usr/lib/x86_64-linux-gnu/libmunge.so.2.0.0",)


def membership(machine: Machine) -> dict[str, Any]:
    processes = list_processes(machine.root)
    found, problems = read_membership(processes, find_slurmd(processes), FILES, machine.root)
    assert not problems
    return found


def test_fresh_machine_belongs_to_nothing(machine: Machine) -> None:
    machine.process(1, "systemd", "/sbin/init")
    assert membership(machine) == {
        "slurmd_running": False,
        "slurmd_options": [],
        "conf_server": None,
        "slurm_conf": None,
        "cluster_name": None,
        "controllers": [],
        "jobs": [],
        "job_processes": 0,
        "munge_running": False,
        "munge_users": [],
    }


def test_configless_node_with_a_job_belongs_to_the_cluster_that_it_fetched(machine: Machine) -> None:
    machine.process(40, "slurmd", "/usr/sbin/slurmd", "--systemd", "--conf-server", "ctl1:6817", libraries=MUNGE)
    machine.process(41, "munged", "/usr/sbin/munged", libraries=MUNGE)
    machine.process(42, "slurmstepd", "/usr/sbin/slurmstepd", "infinity", libraries=MUNGE)
    machine.step(43, "12")
    machine.step(44, "12", "0")
    machine.step(45, "7")
    machine.write("run/slurm/conf/slurm.conf", CONF)
    found = membership(machine)
    assert (found["slurmd_running"], found["cluster_name"]) == (True, "alpha")
    assert (found["conf_server"], found["controllers"]) == ("ctl1:6817", ["ctl1", "ctl2"])
    assert (found["jobs"], found["job_processes"]) == (["7", "12"], 3)
    assert (found["munge_running"], found["munge_users"]) == (True, [])


def test_step_that_has_no_title_yet_counts(machine: Machine) -> None:
    machine.process(43, "slurmstepd", "/usr/sbin/slurmstepd")
    found = membership(machine)
    assert (found["jobs"], found["job_processes"]) == ([], 1)


@pytest.mark.parametrize("path", ["etc/default/slurmd", "etc/sysconfig/slurmd-suse"])
def test_stopped_slurmd_points_to_its_controllers(machine: Machine, path: str) -> None:
    machine.write("etc/systemd/system/slurmd.service.d/slurmscale.conf", "[Service]\nEnvironmentFile=/etc/x\n")
    machine.write(path, "# options\nSLURMD_OPTIONS=\"--conf-server 'ctlb:6817,ctlc'\"\n")
    found = membership(machine)
    assert found["slurmd_running"] is False
    assert (found["conf_server"], found["controllers"]) == ("ctlb:6817,ctlc", ["ctlb", "ctlc"])


def test_what_a_slurmd_that_is_gone_had_fetched_tells_nothing(machine: Machine) -> None:
    machine.write("var/spool/slurmd/conf-cache/slurm.conf", CONF)
    assert membership(machine)["cluster_name"] is None


def test_slurmd_that_found_its_controller_by_dns_has_a_cache(machine: Machine) -> None:
    machine.process(40, "slurmd", "/usr/sbin/slurmd")
    machine.write("var/spool/slurmd/conf-cache/slurm.conf", CONF)
    assert membership(machine)["cluster_name"] == "alpha"


@pytest.mark.parametrize(
    ("argv", "environment"),
    [(["-f", "/opt/slurm.conf"], {}), (["-Df/opt/slurm.conf"], {}), ([], {"SLURM_CONF": "/opt/slurm.conf"})],
)
def test_stated_file_counts_before_the_default_one(
    machine: Machine, argv: list[str], environment: dict[str, str]
) -> None:
    machine.process(40, "slurmd", "/usr/sbin/slurmd", *argv, environment=environment)
    machine.write("opt/slurm.conf", CONF)
    machine.write("etc/slurm/slurm.conf", CONF.replace("Alpha", "Beta"))
    assert membership(machine)["cluster_name"] == "alpha"


def test_local_file_counts_also_when_slurmd_is_stopped(machine: Machine) -> None:
    machine.write("etc/slurm/slurm.conf", "ClusterName=old\nControlMachine=ctl9\n")
    found = membership(machine)
    assert (found["cluster_name"], found["controllers"]) == ("old", ["ctl9"])


def test_include_that_is_missing_is_a_problem_and_no_error(machine: Machine) -> None:
    machine.write("etc/slurm/slurm.conf", "Include missing.conf\n")
    found, problems = read_membership([], None, FILES, machine.root)
    assert found["cluster_name"] is None
    assert "missing.conf" in problems[0]


def test_others_that_use_munge_are_named(machine: Machine) -> None:
    machine.process(30, "munged", "/usr/sbin/munged", unit="munge.service")
    machine.process(31, "pbs_mom", unit="pbs.service", libraries=MUNGE)
    machine.process(32, "slurmctld", unit="slurmctld.service", libraries=MUNGE)
    machine.process(33, "srun", libraries=MUNGE)
    machine.process(34, "srun", unit="slurmstepd.scope/job_4/step_0", libraries=MUNGE)
    machine.process(35, "cron", unit="cron.service", libraries=("/usr/lib/libc.so.6",))
    assert membership(machine)["munge_users"] == ["pbs.service", "slurmctld.service", "srun"]


def test_daemons_in_containers_are_of_another_machine(machine: Machine) -> None:
    (machine.path / "proc/self/ns").mkdir(parents=True)
    (machine.path / "proc/self/ns/pid").symlink_to("pid:[1]")
    machine.process(40, "slurmd", namespace="2")
    machine.process(41, "munged", namespace="1")
    found = membership(machine)
    assert (found["slurmd_running"], found["munge_running"]) == (False, True)


@pytest.mark.parametrize(
    "argv", [["--conf-server=a:1"], ["--conf-server", "a:1"], ["-D", "--conf-server", "a:1", "-v"]]
)
def test_server_of_the_configuration_is_read_in_all_forms(argv: list[str]) -> None:
    assert parse_options(argv).conf_server == "a:1"
