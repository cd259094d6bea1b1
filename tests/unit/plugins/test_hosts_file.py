"""Which addresses a node's /etc/hosts has to have, and what that means for whether it is ready."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.host_addresses import host_addresses
from ansible_collections.ai_infra.slurm.plugins.plugin_utils import plan_from_facts
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.hosts_file import wanted_entries
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.plan_from_facts import Request
from fakes.machine import facts

OPEN, HIDDEN = {"state": "open", "message": "it answers"}, {"state": "filtered", "message": "no answer"}
UNRESOLVED = {"state": "unresolved", "message": "ctl1 has no address here"}
CLUSTER = {
    "version": "24.11.5",
    "users": {},
    "addresses": {"hostname": "ctl1"},
    "config": {},
    "port": 6817,
    "controllers": [{"host": "ctl1", "addresses": ["10.0.0.2", "172.16.0.1"]}],
    "nodes": {"n1": {"addr": "n1"}, "n2": {"addr": "10.0.0.12"}},
}
ADDRESSES = {"n1": "10.0.0.11", "n2": "10.0.0.12", "n7": "10.0.0.7"}


def node(
    resolved: dict[str, list[str]] | None = None, block: dict[str, str] | None = None, **changes: Any
) -> dict[str, Any]:
    """Return a machine whose resolver knows no name but those that are given."""
    answers = {name: (resolved or {}).get(name, []) for name in ("ctl1", *ADDRESSES)}
    ports = {"ctl1:6817": OPEN if answers["ctl1"] else UNRESOLVED, "10.0.0.2:6817": HIDDEN, "172.16.0.1:6817": OPEN}
    network = {"resolve": answers, "connect": ports, **changes.pop("network", {})}
    return facts(**{"state": "", "hosts_file": block or {}, "network": network, **changes})


def test_a_node_that_resolves_nothing_gets_the_controller_where_it_reaches_it_and_all_nodes() -> None:
    assert wanted_entries(node(), CLUSTER, ADDRESSES) == {"ctl1": "172.16.0.1", **ADDRESSES}


def test_what_resolves_is_left_to_the_name_service() -> None:
    found = {"ctl1": ["10.0.0.2"], "n1": ["10.0.0.11"], "n2": ["10.0.0.12"], "n7": ["127.0.1.1"]}
    assert wanted_entries(node(found), CLUSTER, ADDRESSES) == {}
    # On another machine the loopback is as good as no address.
    assert wanted_entries(node(found, hostname="n8"), CLUSTER, ADDRESSES) == {"n7": "10.0.0.7"}


def test_what_was_written_stays_follows_its_machine_and_ends_with_its_node() -> None:
    block = {"ctl1": "10.0.0.2", "n1": "10.0.0.99", "n2": "10.0.0.12", "gone": "10.0.0.3"}
    resolved = {name: [address] for name, address in block.items()}
    assert wanted_entries(node(resolved, block), CLUSTER, {"n1": "10.0.0.11"}) == {
        # Another one of its addresses is reached, and this one not.
        "ctl1": "172.16.0.1",
        "n1": "10.0.0.11",
        "n2": "10.0.0.12",
    }
    works = node(resolved, block, state="IDLE", network={"connect": {}})
    assert wanted_entries(works, CLUSTER, {})["ctl1"] == "10.0.0.2"


def plan(machine: dict[str, Any], addresses: dict[str, str] | None) -> dict[str, Any]:
    reach = {"name": "n7", "network": {"resolve": {"n7": ["10.0.0.7"]}, "connect": {}}}
    return plan_from_facts.plan(Request("n7", "24.11"), machine, CLUSTER, reach=reach, addresses=addresses)


def codes(made: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in made["findings"] if not finding["ok"]]


def test_a_node_is_ready_whose_names_will_be_written() -> None:
    assert codes(plan(node(), None)) == ["name-not-resolved", "port-unreachable"]
    made = plan(node(), ADDRESSES)
    assert (made["ready"], made["steps"], made["hosts"]) == (True, ["hosts"], {"ctl1": "172.16.0.1", **ADDRESSES})
    found = {finding["check"]: finding["found"] for finding in made["findings"]}
    assert found["name of ctl1"] == "none; 172.16.0.1 will be written to /etc/hosts"
    assert found["port ctl1:6817"] == "open: it answers"


def test_a_node_whose_names_are_written_needs_no_step_and_has_to_resolve_them() -> None:
    block = {"ctl1": "172.16.0.1", **ADDRESSES}
    right = plan(node({name: [address] for name, address in block.items()}, block), ADDRESSES)
    assert (right["ready"], right["steps"], right["hosts"]) == (True, [], block)
    # Its resolver does not look there.
    assert codes(plan(node({}, block), ADDRESSES)) == ["name-not-resolved", "port-unreachable"]


def test_a_controller_that_no_address_leads_to_is_not_reached() -> None:
    closed = {"ctl1:6817": UNRESOLVED, "10.0.0.2:6817": HIDDEN, "172.16.0.1:6817": HIDDEN}
    assert codes(plan(node(network={"connect": closed}), ADDRESSES)) == ["port-unreachable"]


@pytest.mark.parametrize(
    ("resolved", "expected"),
    [
        ({"n7": ["127.0.1.1", "10.0.0.7"], "10.9.9.7": ["10.9.9.7"]}, {"n7": "10.0.0.7"}),
        ({"n7": [], "10.9.9.7": ["10.9.9.7"]}, {"n7": "10.9.9.7"}),
        # Nothing is known of it.
        ({"n7": []}, {}),
        ({}, {}),
    ],
)
def test_a_machine_of_the_run_has_the_address_by_which_the_controller_knows_it(
    resolved: dict[str, list[str]], expected: dict[str, str]
) -> None:
    machines = [{"slurmd_node_name": "n7", "preflight_node": {"address": "n7"}, "ansible_host": "10.9.9.7"}]
    assert host_addresses(machines, {"nodes": {}}, {"resolve": resolved}) == expected


def test_nodes_of_the_cluster_have_their_node_addr_and_a_machine_installed_anew_its_new_address() -> None:
    cluster = {"nodes": {**CLUSTER["nodes"], "n7": {"addr": "10.0.0.6"}}}
    machines = [{"inventory_hostname_short": "n7", "preflight_node": {"address": "n7"}}]
    network = {"resolve": {"n1": ["10.0.0.11"], "n7": ["10.0.0.7"]}}
    assert host_addresses(machines, cluster, network) == ADDRESSES
