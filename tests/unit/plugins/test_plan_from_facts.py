"""The plan of a node: whether it can be one, and what has to be done."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.plugin_utils import plan_from_facts
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.node_address import default_address, is_usable
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.plan_from_facts import Packages, Request
from fakes.machine import facts

CLUSTER = {"version": "24.11.5", "users": {}, "addresses": {"hostname": "ctl1"}, "nodes": {}, "config": {}}
DEFINED = {"definition": {"name": "n7", "params": {"CPUs": 4}}, "findings": []}
CATALOG = {"repositories": {"rpm/el9": {"packages": {"munge": {"0.5": {"arch": "x86_64"}}}}}}
REQUEST = Request("n7", "24.11")


def codes(plan: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in plan["findings"] if not finding["ok"]]


def test_a_bare_machine_gets_its_definition_and_the_steps_of_the_roles_each_once() -> None:
    steps = ["repository", "packages", "key", "packages", "limits", "slurmd"]
    plan = plan_from_facts.plan(REQUEST, facts(), CLUSTER, defined=DEFINED, steps=steps)
    assert (plan["ready"], codes(plan)) == (True, [])
    assert plan["definition"] == DEFINED["definition"]
    assert plan["steps"] == ["repository", "packages", "key", "limits", "slurmd"]


def test_a_right_node_needs_no_step() -> None:
    assert plan_from_facts.plan(REQUEST, facts(), CLUSTER, defined=DEFINED)["steps"] == []


def test_nothing_is_planned_for_a_machine_that_is_not_ready() -> None:
    plan = plan_from_facts.plan(Request("n7", "99.11"), facts(uid=1000), CLUSTER, steps=["key"])
    assert (plan["ready"], plan["steps"]) == (False, [])
    assert codes(plan) == ["privileges-missing", "slurm-version-unsuitable"]


def test_what_concerns_all_nodes_lets_none_of_them_go_on() -> None:
    common = [{"check": "controller", "ok": False, "code": "controller-not-answering", "reason": "down", "remedy": ""}]
    plan = plan_from_facts.plan(REQUEST, facts(), {}, common=common, steps=["key"])
    assert (plan["ready"], plan["steps"], codes(plan)) == (False, [], [])


def test_packages_that_apphub_lacks_are_named() -> None:
    packages = Packages("rpm/el9", ["munge", "slurm-slurmd"])
    plan = plan_from_facts.plan(REQUEST, facts(), CLUSTER, defined=DEFINED, catalog=CATALOG, packages=packages)
    assert codes(plan) == ["apphub-package-missing"]
    assert "has no package slurm-slurmd" in plan["findings"][-1]["reason"]
    enough = plan_from_facts.plan(REQUEST, facts(), CLUSTER, catalog=CATALOG, packages=Packages("rpm/el9", ["munge"]))
    assert enough["ready"]


def test_a_repository_that_is_to_stand_beside_apphub_must_be_there() -> None:
    packages = Packages("rpm/el9", ["munge"], ["crb", "epel"])
    node = facts(repositories={"baseos": True, "crb": False})
    plan = plan_from_facts.plan(REQUEST, node, CLUSTER, defined=DEFINED, catalog=CATALOG, packages=packages)
    (wrong,) = [finding for finding in plan["findings"] if not finding["ok"]]
    assert (wrong["code"], wrong["found"]) == ("package-source-missing", "only baseos, crb")


def test_only_the_checks_that_are_asked_for_are_made() -> None:
    plan = plan_from_facts.plan(
        Request("n7", "99.11"), facts(uid=1000), CLUSTER, checks=["registration"], steps=["configuration"]
    )
    assert codes(plan) == ["slurm-version-unsuitable"]


def test_dynamic_nodes_of_the_run_count() -> None:
    cluster = {**CLUSTER, "config": {"SelectType": "select/cons_tres", "MaxNodeCount": "2"}, "nodes": {"n1": {}}}
    dynamic = Request("n7", "24.11", registration="dynamic", dynamic=True)
    assert plan_from_facts.plan(dynamic, facts(), cluster, joining=["n7"])["ready"]
    assert not plan_from_facts.plan(dynamic, facts(), cluster, joining=["n7", "n8"])["ready"]


def test_without_an_apphub_a_node_goes_on_that_needs_nothing() -> None:
    lacking = {"code": "apphub-unreachable", "reason": "No AppHub can be used.", "remedy": "Start it."}
    assert plan_from_facts.plan(REQUEST, facts(), CLUSTER, apphub_failure=lacking)["ready"]
    plan = plan_from_facts.plan(REQUEST, facts(), CLUSTER, steps=["packages"], apphub_failure=lacking)
    assert (plan["ready"], plan["steps"], plan["findings"][-1]["reason"]) == (False, [], "No AppHub can be used.")


OPEN, CLOSED = {"state": "refused", "message": "nothing listens"}, {"state": "filtered", "message": "no answer"}


@pytest.mark.parametrize(
    ("ansible_host", "resolved", "answer", "known", "stated", "expected"),
    [
        # The name leads nowhere, the address of Ansible does.
        ("10.0.0.7", {"n7": [], "10.0.0.7": ["10.0.0.7"]}, OPEN, "", "", "10.0.0.7"),
        ("10.0.0.7", {"n7": ["127.0.1.1"], "10.0.0.7": ["10.0.0.7"]}, OPEN, "", "", "10.0.0.7"),
        ("n7.site", {"n7": [], "n7.site": ["10.0.0.7"]}, OPEN, "", "", "n7.site"),
        # It does not, either.
        ("10.0.0.7", {"n7": [], "10.0.0.7": ["10.0.0.7"]}, CLOSED, "", "", ""),
        ("jump", {"n7": [], "jump": []}, {"state": "unresolved", "message": "-"}, "", "", ""),
        ("127.0.0.1", {"n7": [], "127.0.0.1": ["127.0.0.1"]}, OPEN, "", "", ""),
        # The name is enough, or something else is stated.
        ("10.0.0.7", {"n7": ["10.0.0.7"], "10.0.0.7": ["10.0.0.7"]}, OPEN, "", "", ""),
        ("", {"n7": []}, OPEN, "", "", ""),
        ("10.0.0.7", {"n7": [], "10.0.0.7": ["10.0.0.7"]}, OPEN, "", "10.9.9.9", "10.9.9.9"),
        # A node that works keeps what it has; the controller is not asked.
        ("10.0.0.7", {}, OPEN, "10.0.0.7", "", "10.0.0.7"),
        ("10.0.0.7", {}, OPEN, "n7", "", ""),
    ],
)
def test_the_address_of_ansible_is_the_nodes_where_its_name_does_not_lead_to_it(  # noqa: PLR0913, PLR0917 - a table
    ansible_host: str, resolved: dict[str, list[str]], answer: dict[str, str], known: str, stated: str, expected: str
) -> None:
    node = facts(address="n7", state="IDLE" if known else "")
    cluster = {**CLUSTER, "nodes": {"n7": {"addr": known, "state": ["IDLE"]}} if known else {}}
    connect = {f"{name}:6818": answer if name == ansible_host else OPEN for name in resolved}
    reach = {"name": "n7", "state": node["state"], "network": {"resolve": resolved, "connect": connect}}
    params = {"CPUs": 4, **({"NodeAddr": stated} if stated else {})}
    address = default_address(ansible_host, "n7", node, cluster, reach)
    defined = {"definition": {"name": "n7", "params": params}, "findings": []}
    plan = plan_from_facts.plan(REQUEST, node, cluster, defined=defined, reach=reach, address=address)
    assert plan["definition"]["params"].get("NodeAddr", "") == expected
    if not stated:
        unresolved = resolved and not is_usable(resolved["n7"], own=False)
        assert codes(plan) == (["name-not-resolved"] if unresolved and not expected else [])
