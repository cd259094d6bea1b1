"""slurmctld is described from its process."""

import os
from pathlib import Path

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import slurmctld_service


@pytest.mark.parametrize(
    ("line", "mode"),
    [
        ("/usr/sbin/slurmctld -D -s", (True, False)),
        ("/usr/sbin/slurmctld --systemd", (False, True)),
        ("/usr/sbin/slurmctld -vvDs", (True, False)),
        ("/usr/sbin/slurmctld", (False, False)),
        ("/usr/sbin/slurmctld -f /etc/D.conf -L D", (False, False)),
        ("/usr/sbin/slurmctld -f/etc/D.conf", (False, False)),
        ("/usr/sbin/slurmctld -sf -D", (False, False)),
        ("", (False, False)),
    ],
)
def test_options_are_read_as_slurmctld_reads_them(line: str, mode: tuple) -> None:
    assert slurmctld_service.start_mode(line.split()) == mode


def test_the_process_of_this_test_is_known_by_its_start_and_args() -> None:
    started = slurmctld_service.process_start(os.getpid())
    assert started is not None
    command_line = Path(f"/proc/{os.getpid()}/cmdline").read_text()
    assert slurmctld_service.process_args(os.getpid()) == command_line.rstrip("\0").split("\0")
    assert slurmctld_service.process_start(0) is None
    assert slurmctld_service.process_args(0) == []


def test_the_value_of_an_option_is_found_however_it_is_written() -> None:
    for line in ("-D -f /a/b.conf", "-Df /a/b.conf", "-f/a/b.conf", "-Dvf/a/b.conf", "-f /old -f /a/b.conf -L f"):
        assert slurmctld_service.option_value(["slurmctld", *line.split()], "f") == "/a/b.conf"
    for line in ("", "-D", "-L f", "--f x"):
        assert slurmctld_service.option_value(["slurmctld", *line.split()], "f") == ""
