"""Which version an upgrade means, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.upgrade_plan import upgrade_plan
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.versions import window_problem

ROCKY = {"id": "rocky", "family": "RedHat", "major": 9, "codename": ""}
UBUNTU = {"id": "ubuntu", "family": "Debian", "major": 24, "codename": "noble"}
RPMS = ("24.11.5-4.el9", "24.11.5-4+new1.el9", "24.11.5-4+new2.el9", "24.05.2-1.el9")
DEBS = ("24.11.5-4", "24.11.5-4+new1", "24.11.5-4+new2", "24.05.2-1")
CATALOG: dict[str, Any] = {
    "repositories": {
        "rpm/el9": {"packages": {name: {version: {} for version in RPMS} for name in ("slurm", "slurm-slurmd")}},
        "deb/ubuntu/noble": {
            "packages": {name: {version: {} for version in DEBS} for name in ("slurmd", "slurm-client")}
        },
    }
}


def node(system: dict[str, Any], version: str) -> dict[str, Any]:
    names = ("slurm", "slurm-slurmd") if system is ROCKY else ("slurmd", "slurm-client")
    packages = {**dict.fromkeys(names, version), "munge": "0.5"}
    return {"os": system, "packages": packages, "slurm_version": version.partition("-")[0]}


@pytest.mark.parametrize(
    ("system", "now", "wanted", "chosen", "needed"),
    [
        (UBUNTU, "24.11.5-4", "24.11.5-4+new1", "24.11.5-4+new1", True),
        (UBUNTU, "24.11.5-4+new1", "24.11.5-4+new1", "24.11.5-4+new1", False),
        (UBUNTU, "24.05.2-1", "24.11.5-4", "24.11.5-4", True),
        (UBUNTU, "24.05.2-1", "24.05", "24.05.2-1", False),
        (ROCKY, "24.11.5-4.el9", "24.11.5-4+new1", "24.11.5-4+new1.el9", True),
        (ROCKY, "24.05.2-1.el9", "24.11.5-4", "24.11.5-4.el9", True),
        (ROCKY, "24.11.5-4.el9", "24.11.5-4.el9", "24.11.5-4.el9", False),
    ],
)
def test_exactly_the_stated_version_is_chosen(
    system: dict[str, Any], now: str, wanted: str, chosen: str, *, needed: bool
) -> None:
    repository = "rpm/el9" if system is ROCKY else "deb/ubuntu/noble"
    plan = upgrade_plan(node(system, now), wanted, "24.11.5", CATALOG, repository)
    assert (plan["failure"], plan["version"], plan["needed"]) == (None, chosen, needed)


NO_APPHUB = {"code": "apphub-unreachable", "reason": "No AppHub can be used.", "remedy": "Start it."}


@pytest.mark.parametrize(
    ("system", "now", "wanted"),
    [(UBUNTU, "24.11.5-4+new1", "24.11.5-4+new1"), (ROCKY, "24.11.5-4+new1.el9", "24.11.5-4+new1")],
)
def test_a_node_that_has_the_version_needs_no_apphub(system: dict[str, Any], now: str, wanted: str) -> None:
    plan = upgrade_plan(node(system, now), wanted, "24.11.5", {}, "", NO_APPHUB)
    assert (plan["failure"], plan["version"], plan["needed"]) == (None, now, False)


def test_a_node_that_has_another_version_is_refused_with_what_is_wrong_with_apphub() -> None:
    assert upgrade_plan(node(UBUNTU, "24.05.2-1"), "24.11.5-4", "24.11.5", {}, "", NO_APPHUB)["failure"] == NO_APPHUB


def test_only_packages_of_slurm_are_upgraded() -> None:
    plan = upgrade_plan(node(ROCKY, "24.11.5-4.el9"), "24.11.5-4", "24.11.5", CATALOG, "rpm/el9")
    assert plan["packages"] == ["slurm", "slurm-slurmd"]
    assert plan["before"] == {"slurm": "24.11.5-4.el9", "slurm-slurmd": "24.11.5-4.el9"}


UNSUITABLE = "slurm-version-unsuitable"


@pytest.mark.parametrize(
    ("now", "wanted", "controller", "code", "words"),
    [
        ("24.05.2-1", "25.05.1", "24.11.5", UNSUITABLE, "25.05.1 is newer than slurmctld, which is 24.11.5"),
        ("24.05.2-1", "24.11.6-1", "24.11.5", UNSUITABLE, "newer than slurmctld"),
        ("22.05.8-1", "22.05.9", "24.11.5", UNSUITABLE, "slurmctld 24.11.5 works with slurmd 23.02 and later"),
        ("22.05.8-1", "22.05.9", "24.05.1", UNSUITABLE, "slurmctld 24.05.1 works with slurmd 23.02 and later"),
        ("24.11.5-4", "24.05.2", "24.11.5", UNSUITABLE, "would be a step back"),
        ("24.11.5-4", "24.11.5", "24.11.5", "request-invalid", "may be 24.11.5-4 or 24.11.5-4+new1 or 24.11.5-4+new2"),
        (
            "24.11.5-4",
            "24.11.5-9",
            "24.11.5",
            "slurm-version-not-published",
            "has no slurm-client 24.11.5-9; there are 24.05.2-1, 24.11.5-4",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    now: str, wanted: str, controller: str, code: str, words: str
) -> None:
    plan = upgrade_plan(node(UBUNTU, now), wanted, controller, CATALOG, "deb/ubuntu/noble")
    assert plan["failure"]["code"] == code
    assert words in plan["failure"]["reason"]
    assert plan["failure"]["remedy"]
    assert not plan["needed"]


def test_three_majors_are_inside_the_window_from_24_11_on() -> None:
    packages = {name: {"23.02.7-1": {}} for name in ("slurmd", "slurm-client")}
    catalog = {"repositories": {"deb/ubuntu/noble": {"packages": packages}}}
    assert upgrade_plan(node(UBUNTU, "22.05.8-1"), "23.02", "24.11.5", catalog, "deb/ubuntu/noble")["failure"] is None


def test_packages_that_have_not_one_version_in_common_are_refused() -> None:
    packages = {"slurmd": {"24.11.5-4": {}}, "slurm-client": {"24.11.5-3": {}}}
    catalog = {"repositories": {"deb/ubuntu/noble": {"packages": packages}}}
    failure = upgrade_plan(node(UBUNTU, "24.05.2-1"), "24.11.5", "24.11.5", catalog, "deb/ubuntu/noble")["failure"]
    assert failure["code"] == "slurm-version-not-published"
    assert "but other packages in version 24.11.5-3" in failure["reason"]


def test_a_machine_without_slurmd_is_refused() -> None:
    bare = {"os": UBUNTU, "packages": {}, "slurm_version": None}
    failure = upgrade_plan(bare, "24.11.5", "24.11.5", CATALOG, "rpm/el9")["failure"]
    assert failure["code"] == "node-not-prepared"
    assert "scale_up" in failure["remedy"]


def test_something_that_is_no_version_is_refused() -> None:
    failure = upgrade_plan(node(UBUNTU, "24.05.2-1"), "newest", "24.11.5", CATALOG, "deb/ubuntu/noble")["failure"]
    assert failure["reason"] == "slurm_version must be a version such as 24.11.5 or 24.11.5-4, but is 'newest'."


@pytest.mark.parametrize("version", ["24.11", "24.11.5", "24.11.5-4+deb13u1", "24.05", "23.02.7-1"])
def test_nodes_may_be_as_old_as_the_window(version: str) -> None:
    assert window_problem(version, "24.11.5") == ""


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("25.05", "newer than slurmctld, which is 24.11.5"),
        ("24.11.6-1", "newer"),
        ("22.05", "23.02 and later"),
        ("new", "must be"),
    ],
)
def test_version_outside_of_the_window_is_refused(version: str, words: str) -> None:
    assert words in window_problem(version, "24.11.5")
