"""A controller on a bare machine; what is wrong is refused or taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testing import run_roles, unwrap

if TYPE_CHECKING:
    from testinfra.host import Host

CONF = "/etc/slurm/slurm.conf"
AS_CONVERGED = {
    "slurmctld_cluster_name": "alone",
    "slurmctld_partitions": [{"name": "short", "Nodes": "ALL", "Default": "YES", "MaxTime": "01:00:00", "State": "UP"}],
}


def config(ctl1: Host, key: str) -> str:
    value: str = ctl1.check_output("scontrol show config | sed -n 's/^%s *= //p'", key)
    return value


def test_it_answers_now_and_after_a_boot(ctl1: Host) -> None:
    assert "is UP" in ctl1.check_output("scontrol ping")
    for service in ("munge", "slurmctld"):
        assert ctl1.service(service).is_running
        assert ctl1.service(service).is_enabled


def test_it_is_as_stated(ctl1: Host) -> None:
    assert config(ctl1, "ClusterName") == "alone"
    assert "enable_configless" in config(ctl1, "SlurmctldParameters")
    assert "MaxTime=01:00:00" in ctl1.check_output("scontrol --oneliner show partition short")


def test_only_munge_reads_the_key_and_only_slurm_the_state(ctl1: Host) -> None:
    key, state = ctl1.file("/etc/munge/munge.key"), ctl1.file("/var/spool/slurmctld")
    assert (key.user, key.group, key.mode) == ("munge", "munge", 0o400)
    assert (state.user, state.group, state.mode) == ("slurm", "slurm", 0o700)
    assert (ctl1.user("munge").uid, ctl1.user("slurm").uid) == (64031, 64030)


def test_a_changed_setting_is_in_use(ctl1: Host) -> None:
    run = run_roles("ctl1", "slurmctld", **AS_CONVERGED, slurmctld_settings={"SlurmdTimeout": 123})
    assert run.returncode == 0, run.stdout
    assert config(ctl1, "SlurmdTimeout") == "123 sec"


def test_a_setting_that_slurmctld_does_not_survive_is_taken_back(ctl1: Host) -> None:
    before = ctl1.file(CONF).content_string
    run = run_roles("ctl1", "slurmctld", **AS_CONVERGED, slurmctld_settings={"NoSuchKey": 1})
    assert run.returncode != 0
    assert "The old slurm.conf is back and slurmctld runs with it" in unwrap(run.stdout)
    assert "NoSuchKey" in run.stdout
    assert ctl1.file(CONF).content_string == before
    assert "is UP" in ctl1.check_output("scontrol ping")


def test_another_name_is_refused_before_slurmctld_ends(ctl1: Host) -> None:
    before = ctl1.file(CONF).content_string, ctl1.service("slurmctld").systemd_properties["MainPID"]
    run = run_roles("ctl1", "slurmctld", **AS_CONVERGED | {"slurmctld_cluster_name": "other"})
    assert run.returncode != 0
    assert "ctl1 is the controller of cluster alone, and can't be one of other. Nothing was changed." in unwrap(
        run.stdout
    )
    assert (ctl1.file(CONF).content_string, ctl1.service("slurmctld").systemd_properties["MainPID"]) == before


def test_a_configuration_of_somebody_else_is_left_alone(ctl1: Host) -> None:
    ctl1.check_output("sed -i 1d %s", CONF)
    before = ctl1.file(CONF).content_string
    run = run_roles("ctl1", "slurmctld", **AS_CONVERGED)
    assert run.returncode != 0
    assert "was written by somebody else, so this cluster is used as it is and nothing was changed" in unwrap(
        run.stdout
    )
    assert "set slurmctld_replace=true" in unwrap(run.stdout)
    assert ctl1.file(CONF).content_string == before
