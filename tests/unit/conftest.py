"""Fixtures that run a module's main() in this process, with a fake Slurm and a fake clock where wanted."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from ansible.module_utils import basic
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import (
    config_transaction,
    node_registration,
    slurmctld_control,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import blank_reasons, state_waiter, verify_jobs
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands as slurm_commands
from fakes.slurmctld import Clock, FakeSlurmctld

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable
    from types import ModuleType

    Runner = Callable[..., dict[str, Any]]


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Return a function that runs a module and returns what it printed as its result."""
    temporary = str(tmp_path_factory.mktemp("module"))

    def run(module: ModuleType, *, check: bool = False, diff: bool = True, **options: Any) -> dict[str, Any]:
        arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
        payload = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        capsys.readouterr()
        with contextlib.ExitStack() as stack:
            # A module has a process of its own to change the environment of.
            stack.enter_context(mock.patch.dict(os.environ))
            # The probe removes what killed modules left there; this machine's own is not the tests'.
            stack.enter_context(mock.patch.object(tempfile, "tempdir", temporary))
            stack.enter_context(mock.patch.object(basic, "_ANSIBLE_ARGS", payload))
            if hasattr(basic, "_ANSIBLE_PROFILE"):
                stack.enter_context(mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy"))
            with contextlib.suppress(SystemExit):
                module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the modules wait without waiting."""
    clock = Clock()
    for module in (blank_reasons, config_transaction, slurmctld_control, state_waiter, verify_jobs):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, clock: Clock) -> FakeSlurmctld:
    """Put a slurmctld in place of the commands that ask it."""
    slurm = FakeSlurmctld.start(tmp_path, clock)
    monkeypatch.setattr(slurm_commands, "run", slurm.run)
    monkeypatch.setattr(node_registration, "LOCK_FILE", str(tmp_path / "lock"))
    return slurm
