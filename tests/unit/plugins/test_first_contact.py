"""The action slurm_node_probe, the first contact with a host, behind an sshd that takes few logins at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.ai_infra.slurm.plugins.action import slurm_node_probe

CLOSED = "Failed to connect to the host via ssh: kex_exchange_identification: Connection closed by remote host"


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Any:
    def probe(*answers: str) -> tuple[dict[str, Any], int]:
        """Let ssh fail with these messages before the module runs; return the result and how often ssh was tried."""
        task = SimpleNamespace(args={}, async_val=0, check_mode=False, action="a", delegate_to=None)
        connection = SimpleNamespace(become=None, tmpdir=None, _shell=SimpleNamespace(tmpdir=None))
        plugin = slurm_node_probe.ActionModule(task, connection, SimpleNamespace(check_mode=False), None, None, None)
        left, tried = list(answers), []

        def execute(**_: Any) -> dict[str, Any]:
            tried.append(1)
            if left:
                raise AnsibleConnectionFailure(left.pop(0))
            return {"os": {"id": "rocky"}}

        monkeypatch.setattr(plugin, "_execute_module", execute)
        monkeypatch.setattr(slurm_node_probe.time, "sleep", lambda _: None)
        found: dict[str, Any] = plugin.run(task_vars={"inventory_hostname": "n1", "hostvars": {}})
        return found, len(tried)

    return probe


def test_a_login_that_a_busy_sshd_refused_is_tried_again(probe: Any) -> None:
    found, tried = probe(CLOSED, CLOSED)
    assert found["os"] == {"id": "rocky"}
    assert tried == 3


def test_a_host_that_is_down_is_not_waited_for(probe: Any) -> None:
    found, tried = probe("ssh: connect to host 10.0.0.7 port 22: No route to host")
    assert found["failure"]["code"] == "host-unreachable"
    assert tried == 1


def test_an_sshd_that_refuses_every_time_is_told_with_what_it_may_need(probe: Any) -> None:
    found, tried = probe(*[CLOSED] * 20)
    assert found["failure"]["code"] == "host-unreachable"
    assert "MaxStartups" in found["failure"]["remedy"]
    assert tried < 10
