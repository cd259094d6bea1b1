"""Which key each host has after a rotation, told only as far as it was seen."""

from __future__ import annotations

from typing import Any

from ansible_collections.ai_infra.slurm.plugins.filter.rotation_results import rotation_results

REFUSED = {"code": "rotation-taken-back", "reason": "munged did not start with the new key.", "remedy": ""}
UNDER_WAY = {"code": "rotation-under-way", "reason": "rotation first is under way.", "remedy": "Wait for its end."}
OLD = {"sha256": "old"}
AWAY = {"unreachable": True, "msg": "no route"}


def host(name: str, **facts: Any) -> dict[str, Any]:
    return {"inventory_hostname": name, **facts}


def test_all_hosts_have_the_new_key_and_the_interruption_spans_them() -> None:
    first = host("ctl1", scale_switched={"began": 10.0, "answered": 10.5})
    second = host("n1", scale_switched={"began": 10.2, "answered": 11.0}, scale_finished={"changed": True})
    result = rotation_results([first, second], "old", 100.0)
    assert result["failure"] is None
    assert result["interruption"] == 1.0
    assert result["hosts"]["n1"] == {"failure": None, "message": "has the new key; munge was away 0.8 s"}


def test_an_old_key_that_could_not_be_removed_is_told() -> None:
    left = host("n1", scale_switched={"began": 1.0, "answered": 2.0}, scale_finished=AWAY)
    message = rotation_results([left], "old")["hosts"]["n1"]["message"]
    assert message.endswith("the old key was not removed from munge.key.previous: no route")


def test_one_failure_is_told_of_every_host_with_the_key_that_it_has() -> None:
    hosts = [
        host("ctl1", scale_rolled_back=OLD),
        host("n1", scale_failure=REFUSED, scale_rolled_back=OLD),
    ]
    result = rotation_results(hosts, "old", 100.0)
    assert result["failure"]["reason"] == "The cluster has its old munge key."
    other = result["hosts"]["ctl1"]["failure"]
    assert (other["code"], other["reason"]) == ("rotation-taken-back", "Another host failed. The old key is in place.")
    own = result["hosts"]["n1"]["failure"]
    assert own["reason"] == "munged did not start with the new key. The old key is in place."


def test_a_host_that_is_away_is_not_claimed_to_have_the_old_key() -> None:
    hosts = [host("ctl1", scale_rolled_back=OLD), host("n1", scale_failure=REFUSED, scale_rolled_back=AWAY)]
    result = rotation_results(hosts, "old", 100.0)
    assert "not seen with the old key: n1" in result["failure"]["reason"]
    assert "returns to the old key by itself at" in result["hosts"]["n1"]["failure"]["reason"]
    assert "state=rolled_back force=true" in result["hosts"]["n1"]["failure"]["remedy"]
    never = rotation_results(hosts, "old")["hosts"]["n1"]["failure"]
    assert "Its key was not changed by this run." in never["reason"]


def test_a_host_with_the_committed_new_key_does_not_return_by_itself() -> None:
    hosts = [
        host("ctl1", scale_failure=REFUSED, scale_rolled_back=OLD),
        host("n1", scale_committed={"phase": "committed"}, scale_rolled_back=AWAY),
    ]
    failure = rotation_results(hosts, "old", 100.0)["hosts"]["n1"]["failure"]
    assert "It has the new key and keeps it." in failure["reason"]
    assert "ansible n1" in failure["remedy"]


def test_a_host_of_another_rotation_was_left_alone() -> None:
    back = {"sha256": "other", "failure": UNDER_WAY}
    hosts = [host("ctl1", scale_rolled_back=OLD), host("n1", scale_failure=UNDER_WAY, scale_rolled_back=back)]
    result = rotation_results(hosts, "old", 100.0)
    failure = result["hosts"]["n1"]["failure"]
    assert failure["code"] == "rotation-under-way"
    assert "Its key was left alone" in failure["reason"]
    assert "not seen with the old key: n1" in result["failure"]["reason"]


def test_munge_that_does_not_start_with_the_old_key_is_told() -> None:
    back = {
        "sha256": "old",
        "failure": {"code": "service-down", "reason": "munged does not start", "remedy": "See it."},
    }
    failure = rotation_results([host("n1", scale_failure=REFUSED, scale_rolled_back=back)], "old")["hosts"]["n1"]
    assert failure["failure"]["reason"].endswith("The old key is in place. munged does not start")
    assert failure["failure"]["remedy"] == "See it."
