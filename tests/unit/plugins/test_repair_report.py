"""What the report of a repair tells."""

from __future__ import annotations

from ansible_collections.ai_infra.slurm.plugins.filter.repair_report import repair_report


def test_the_report_tells_what_was_fixed_and_why_something_is_left() -> None:
    wrong = {"needed": "active", "found": "failed", "reason": "failed (needed: active)", "note": False}
    down = {**wrong, "code": "service-down", "check": "service slurmd", "remedy": "fix starts it.", "fix": ["slurmd"]}
    fixed, failed = {**down, "host": "n07"}, {**down, "host": "n08"}
    clock = {**failed, "code": "clock-differs", "check": "clock", "remedy": "Set up chrony.", "fix": []}
    drain = {**clock, "code": "node-held-by-others", "check": "state", "note": True}
    failure = {"code": "task-failed", "reason": "Start slurmd: no unit.", "remedy": "See the journal."}
    report = repair_report([fixed, failed, clock], [failed, clock, drain], {"n08": failure})
    assert not report["well"]
    assert {(one["host"], one["check"]): (one["result"], one["code"]) for one in report["findings"]} == {
        ("n07", "service slurmd"): ("fixed", "service-down"),
        ("n08", "service slurmd"): ("left", "service-down"),
        ("n08", "clock"): ("left", "clock-differs"),
        ("n08", "state"): ("note", "node-held-by-others"),
    }
    assert all({"reason", "remedy"} <= set(one) for one in report["findings"])
    assert "The fix failed: Start slurmd: no unit. See the journal." in report["table"]
    assert "Set up chrony." in report["table"]
    assert report["table"].endswith("1 fixed, 2 left, 1 note.")
    assert repair_report([drain])["well"]
    assert repair_report([])["table"] == "Nothing is wrong."
