"""How slurmctld is installed is told by its process, else by its unit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import installation, slurmctld_service
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands

if TYPE_CHECKING:
    from pathlib import Path

UNITS = """Id=cron.service
ExecStart={ path=/usr/sbin/cron ; argv[]=/usr/sbin/cron -f ; ignore_errors=no ; pid=0 ; code=(null) }
Environment=

Id=hpc-controller.service
ExecStart={ path=/opt/slurm/sbin/slurmctld ; argv[]=/opt/slurm/sbin/slurmctld -D $OPTIONS ; ignore_errors=no ; pid=0 }
Environment=LANG=C SLURM_CONF=/srv/slurm.conf
"""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A host without slurmctld; a test puts in what there is."""
    there: dict[str, object] = {"pid": 0, "args": [], "unit": "", "program": "", "variable": "", "units": ""}
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(installation, "CONF_FILES", ("/nowhere/slurm.conf",))
    monkeypatch.setattr(slurmctld_service, "unit_properties", lambda _service: {})
    monkeypatch.setattr(slurmctld_service, "find_process", lambda _name: there["pid"])
    monkeypatch.setattr(slurmctld_service, "process_args", lambda _pid: there["args"])
    monkeypatch.setattr(slurmctld_service, "unit_of", lambda _pid: there["unit"])
    monkeypatch.setattr(slurmctld_service, "process_program", lambda _pid: there["program"])
    monkeypatch.setattr(slurmctld_service, "process_variable", lambda _pid, _name: there["variable"])
    shown = lambda argv, **_options: commands.CommandResult(tuple(argv), 0, str(there["units"]), "", 0.0)  # noqa: E731 - short
    monkeypatch.setattr(commands, "run", shown)
    return there


def test_a_running_slurmctld_tells_unit_file_and_programs(host: dict[str, object]) -> None:
    host.update(pid=7, args=["slurmctld", "-Df", "/srv/slurm.conf"], unit="hpc", program="/opt/slurm/sbin/slurmctld")
    found = installation.use_installation()
    assert found == ("hpc", "/srv/slurm.conf", "/opt/slurm/sbin/slurmctld")
    assert found.environment == {
        "PATH": "/opt/slurm/bin:/opt/slurm/sbin:/usr/bin:/bin",
        "SLURM_CONF": "/srv/slurm.conf",
    }
    assert os.environ["PATH"].startswith("/opt/slurm/bin:")


def test_the_option_wins_over_the_variable_and_what_is_stated_over_both(host: dict[str, object]) -> None:
    host.update(pid=7, args=["slurmctld"], variable="/env/slurm.conf", program="/usr/sbin/slurmctld")
    assert installation.use_installation().conf == "/env/slurm.conf"
    host.update(args=["slurmctld", "-f", "/srv/slurm.conf"])
    assert installation.use_installation().conf == "/srv/slurm.conf"
    assert installation.use_installation("/stated/slurm.conf", "other")[:2] == ("other", "/stated/slurm.conf")
    assert os.environ["PATH"] == "/usr/bin:/bin"


def test_without_options_the_file_lies_where_the_program_looks(host: dict[str, object], tmp_path: Path) -> None:
    host.update(pid=7, args=["slurmctld"], program=str(tmp_path / "sbin/slurmctld"))
    assert installation.use_installation().conf == "/nowhere/slurm.conf"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/slurm.conf").touch()
    found = installation.use_installation()
    assert (found.conf, found.stated_conf, found.service) == (str(tmp_path / "etc/slurm.conf"), None, "slurmctld")


def test_one_that_does_not_run_is_told_by_its_unit(host: dict[str, object]) -> None:
    host["units"] = UNITS
    found = installation.use_installation()
    assert found == ("hpc-controller", "/srv/slurm.conf", "/opt/slurm/sbin/slurmctld")


def test_an_ordinary_user_is_told_by_the_unit_of_the_slurmctld_that_runs(host: dict[str, object]) -> None:
    old = UNITS.replace("hpc-controller", "slurmctld").replace("/opt/slurm", "/usr")
    host.update(pid=7, units=old + "\n" + UNITS + "MainPID=7\n")
    assert host["program"] == ""
    assert installation.use_installation() == ("hpc-controller", "/srv/slurm.conf", "/opt/slurm/sbin/slurmctld")
    # What its command line shows, others may read.
    host.update(args=["/opt/slurm/sbin/slurmctld", "-D", "-f", "/opt/slurm/etc/slurm.conf"])
    assert installation.use_installation().conf == "/opt/slurm/etc/slurm.conf"


def test_the_file_of_a_unit_wins_over_the_unit(host: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "slurmctld"
    file.write_text("# SLURM_CONF=/comment\nSLURM_CONF='/file/slurm.conf'\n")
    host["units"] = UNITS + f"EnvironmentFiles={file} (ignore_errors=yes)\nEnvironmentFiles=/no (ignore_errors=yes)\n"
    assert installation.use_installation().conf == "/file/slurm.conf"


def test_a_host_without_slurmctld_leaves_slurm_its_own_default(host: dict[str, object]) -> None:
    assert host["pid"] == 0
    found = installation.use_installation()
    assert found == ("slurmctld", None, "")
    assert found.environment == {"PATH": "/usr/bin:/bin"}
