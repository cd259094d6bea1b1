"""Commands of Slurm are run for a bounded time, and what they say reaches the message."""

import pathlib
import sys

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands


def test_a_command_that_hangs_is_killed_and_told() -> None:
    result = commands.run([sys.executable, "-c", "import time; time.sleep(600)"], timeout=0.3)
    assert result.rc == commands.TIMED_OUT
    assert "no answer within 0.3 s" in result.message


def test_a_command_that_is_missing_is_told() -> None:
    result = commands.run(["no-such-program"])
    assert result.rc == commands.NOT_FOUND
    assert "no-such-program" in result.message


def test_scontrol_raises_with_what_slurm_said(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    fake = tmp_path / "scontrol"
    fake.write_text("#!/bin/sh\necho 'slurm_reconfigure error: Unspecified error' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(commands.SlurmCommandError, match=r"scontrol reconfigure: slurm_reconfigure error"):
        commands.scontrol(["reconfigure"])


def test_the_chosen_slurm_conf_reaches_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    fake = tmp_path / "scontrol"
    fake.write_text('#!/bin/sh\necho "$SLURM_CONF $LC_ALL"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert commands.scontrol(["ping"], conf="/etc/slurm/other.conf") == "/etc/slurm/other.conf C\n"
