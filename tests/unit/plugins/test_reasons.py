"""A failure has a code from where it is found up to the end of the run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.ai_infra.slurm.plugins.action import node_result, require
from ansible_collections.ai_infra.slurm.plugins.filter.failure import failure
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError

FOUND = {"code": "request-invalid", "reason": "One is not above two.", "remedy": "Count again."}


def run(action, recorded=None, **args):
    task = SimpleNamespace(args=args, async_val=0, check_mode=False, action=action.__name__, delegate_to=None)
    stand_in = SimpleNamespace(tmpdir=None, _shell=SimpleNamespace(tmpdir=None))
    plugin = action.ActionModule(task, stand_in, SimpleNamespace(check_mode=False), None, None, None)
    hostvars = {"localhost": {"scale_outcomes": {"n7": {"scale_failure": recorded}}}}
    return plugin.run(task_vars={"hostvars": hostvars, "inventory_hostname": "n7"})


def test_what_is_required_and_holds_passes():
    assert run(require, that=True, **FOUND) == {"changed": False}
    assert run(require, findings=[]) == {"changed": False}


def test_what_does_not_hold_fails_with_its_code():
    result = run(require, that="false", **FOUND)
    assert result["failed"]
    assert result["failure"] == FOUND
    assert result["msg"] == "One is not above two. Count again."


def test_all_findings_are_told_and_empty_ones_passed_over():
    other = FOUND | {"reason": "Two is not above three."}
    result = run(require, findings=[{}, FOUND, None, other])
    assert result["failures"] == [FOUND, other]
    assert result["failure"] == FOUND


@pytest.mark.parametrize("wrong", [FOUND | {"code": "no-such-code"}, {"reason": "without a code"}, "text"])
def test_a_failure_without_a_known_code_is_a_mistake_of_the_playbook(wrong):
    with pytest.raises(AnsibleActionFail, match="known code"):
        run(require, findings=[wrong])


def test_a_node_without_a_failure_is_done():
    assert run(node_result) == {"changed": False}
    assert run(node_result, failure={}) == {"changed": False}


def test_a_node_ends_with_the_failure_that_was_recorded():
    for result in (run(node_result, failure=FOUND), run(node_result, recorded=FOUND)):
        assert result["failed"]
        assert result["failure"] == FOUND
        assert result["msg"] == "One is not above two. Count again."


def test_the_filter_reads_what_a_task_reported():
    assert failure({"failed": True, "msg": "for people", "failure": FOUND}) == FOUND


def test_a_result_of_another_module_has_the_task_in_its_reason():
    found = failure({"failed": True, "msg": "No package\nmatching slurmd"}, "Install slurmd")
    assert found == {"code": "task-failed", "reason": "Install slurmd: No package matching slurmd", "remedy": ""}


def test_an_unreachable_host_has_a_code_of_its_own():
    found = failure({"unreachable": True, "msg": "Connection timed out"}, "Probe the node")
    assert found["code"] == "host-unreachable"
    assert found["reason"] == "Connection timed out"


def test_an_error_carries_its_failure():
    error = FailureError(Code.TASK_FAILED, "It broke.", "Fix it.")
    assert error.failure == Failure(Code.TASK_FAILED, "It broke.", "Fix it.")
    assert str(error) == "It broke. Fix it."
