"""Runs a module's main() in this process, as Ansible would with these options."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from ansible.module_utils import basic

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    Runner = Callable[..., dict[str, Any]]


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> Runner:
    """Return a function that runs a module and returns what it printed as its result."""

    def run(module: ModuleType, *, check: bool = False, diff: bool = True, **options: Any) -> dict[str, Any]:
        arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
        payload = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        capsys.readouterr()
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(basic, "_ANSIBLE_ARGS", payload))
            if hasattr(basic, "_ANSIBLE_PROFILE"):
                stack.enter_context(mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy"))
            with contextlib.suppress(SystemExit):
                module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run
