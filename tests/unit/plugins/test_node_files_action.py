"""The action slurm_node_files hands the module what several roles want as its own options."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.action import slurm_node_files


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(**arguments: Any) -> dict[str, Any]:
        """Return what reaches the module."""
        task = SimpleNamespace(args=arguments, async_val=0, check_mode=False, action="a", delegate_to=None)
        connection = SimpleNamespace(tmpdir=None, _shell=SimpleNamespace(tmpdir=None))
        plugin = slurm_node_files.ActionModule(task, connection, SimpleNamespace(check_mode=False), None, None, None)
        monkeypatch.setattr(plugin, "_execute_module", lambda module_args, **_: module_args)
        found: dict[str, Any] = plugin.run(task_vars={})
        assert task.args == arguments
        return found

    return run


def test_options_reach_the_module_as_they_are(run: Any) -> None:
    options = {"files": [{"path": "/etc/a", "content": "a"}], "absent": ["/etc/b"]}
    assert run(**options) == options


def test_parts_are_put_together_with_what_is_stated_beside_them(run: Any) -> None:
    munge = {"sysusers": ["g munge 991"], "files": [{"path": "/etc/munge/k", "content": "k", "secret": True}]}
    hub = {"files": [{"path": "/etc/hub", "content": "h"}, {"path": "/etc/ca", "content": ""}]}
    found = run(absent=["/etc/b"], parts=[munge, hub])
    assert found["sysusers"] == ["g munge 991"]
    assert found["files"] == [
        {"mode": "0600", "path": "/etc/munge/k", "secret": True, "content_base64": "aw=="},
        {"path": "/etc/hub", "content": "h"},
    ]
    assert found["absent"] == ["/etc/b", "/etc/ca"]
    assert "parts" not in found


def test_parts_that_want_nothing_are_no_error(run: Any) -> None:
    assert run(parts=[]) == {"sysusers": [], "directories": [], "files": [], "words": [], "absent": []}
