"""What an event says to a reader of a node's log."""

from __future__ import annotations

from typing import Any

import pytest
from slurmscale.models import Failure
from slurmscale.progress.events import failure_of, parse


def text(name: str, res: dict[str, Any], said: str = "") -> str:
    return parse({"event": name, "stdout": said, "event_data": {"host": "n1", "res": res}}).text


@pytest.mark.parametrize(
    ("res", "expected"),
    [
        ({"changed": False, "rc": 0}, "ok: [n1]"),
        ({"changed": False, "msg": "hello", "_ansible_verbose_always": True}, 'ok: [n1] => {"msg": "hello"}'),
        (
            {"changed": False, "msg": "NODE  RESULT\nn1    planned", "_ansible_verbose_always": True},
            "ok: [n1] =>\nNODE  RESULT\nn1    planned",
        ),
        ({"changed": False, "warnings": ["careful"]}, "[WARNING]: careful\nok: [n1]"),
        (
            {"item": "x", "_ansible_item_label": "x", "msg": "hello", "_ansible_verbose_always": True},
            'ok: [n1] => (item=x) => {"msg": "hello"}',
        ),
        ({"censored": "the output has been hidden"}, "ok: [n1]"),
        # a loop, whose items have said it
        ({"changed": True, "results": []}, ""),
    ],
)
def test_a_result_without_text_is_told_as_ansible_does(res: dict[str, Any], expected: str) -> None:
    assert text("runner_on_ok", res) == expected


def test_ansibles_own_text_stays() -> None:
    assert text("runner_on_ok", {"changed": True}, "changed: [n1]") == "changed: [n1]"


@pytest.mark.parametrize("name", ["runner_on_start", "runner_on_skipped"])
def test_what_is_no_result_stays_silent(name: str) -> None:
    assert text(name, {}) == ""


def test_a_loop_failed_for_the_reason_of_its_first_item_that_failed() -> None:
    why = {
        "code": "slurm-version-unsuitable",
        "reason": "27.05 is newer than the controller.",
        "remedy": "State another.",
    }
    items = [{"failed": False, "failure": {}}, {"failed": True, "failure": why}, {"failed": True, "msg": "another"}]
    event = parse({"event": "runner_on_failed", "event_data": {"host": "n1", "res": {"results": items, "msg": "x"}}})
    assert failure_of(event) == Failure(**why)
    event.res["failure"] = {"code": "own", "reason": "Its own."}
    assert failure_of(event) == Failure("own", "Its own.")
