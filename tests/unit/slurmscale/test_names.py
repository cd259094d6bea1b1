"""What callers may send: names, hostlists, variables. Everything else is refused, fast and with a reason."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from slurmscale.errors import ClusterError, NodesError, RefusedError, SlurmscaleError
from slurmscale.inventory import hostlist, names
from slurmscale.models import Cluster, Credentials, NodeSpec
from slurmscale.runs import known_clusters

HARMLESS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
NODE_NAMES = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True).filter(
    lambda name: name.lower() not in {"all", "ungrouped", "localhost"}
)


@given(st.text(max_size=40))
@example("@all")
@example("@`touch${IFS}x`")
@example("*")
@example("n1\n")
@example("n1 NodeName=evil")
@example("-oProxyCommand=x")
@example("n[1-2]!n1")
@example("{{ 7 * 7 }}")
@example("n[1-2]]")
@example("all")
@example("n[2-1]")
@example("n[01-1000]")
def test_a_hostlist_is_refused_or_yields_harmless_names(text):
    try:
        found = hostlist.expand(text)
    except NodesError as exc:
        assert exc.code == "request-invalid"  # noqa: PT017 - both outcomes are allowed
        return
    assert 0 < len(found) <= hostlist.MOST_NODES
    for name in found:
        assert set(name) <= HARMLESS
        assert name[0].isalnum()
        assert name not in {"all", "ungrouped", "localhost"}


@pytest.mark.parametrize(
    "text",
    ["@all", "@group:x", "*", "n*", "n1;id", "$(id)", "<b>x</b>", "../x", "localhost", "all", "a b", "n1&n2", "n1^n2",
     "n1\n", "n[1-2]\n", "n[a-b]", "n[]", "n[1-2", "n[1-3/2]", "n\u0661", "n1,,n2", ",", "-n1", "n1-", "n\0"],
)  # fmt: skip
def test_what_is_more_than_names_is_refused(text):
    with pytest.raises(NodesError):
        hostlist.expand(text)


@pytest.mark.parametrize(
    "text",
    ["node[1-10000000]", "r[1-9999]n[1-9999]", "n[1-99999999999999999999]", "n[1-10001]", "a[1-5000],b[1-5001]",
     "[1-999][1-999][1-999][1-999]", "n[" + ",".join("1-9999" for _ in range(9999)) + "]"],
)  # fmt: skip
def test_too_many_nodes_are_refused_before_they_are_expanded(text):
    begun = time.process_time()
    with pytest.raises(NodesError):
        hostlist.expand(text)
    # expanding the first one takes more than 10 s
    assert time.process_time() - begun < 1


def test_ten_thousand_nodes_are_allowed():
    assert len(hostlist.expand("n[1-10000]")) == 10_000
    with pytest.raises(NodesError, match="10,000"):
        known_clusters.nodes_by_name(["a[1-9999]", "b[1-2]"])


@given(st.lists(NODE_NAMES, min_size=1, max_size=30, unique=True))
def test_folding_and_expanding_are_inverse(nodes):
    assert sorted(hostlist.expand(hostlist.fold(nodes))) == sorted(nodes)


@given(st.lists(st.text(min_size=1, max_size=10), max_size=5))
def test_folding_takes_whatever_a_record_holds(nodes):
    assert isinstance(hostlist.fold(nodes), str)


def test_spaces_around_commas_are_allowed():
    assert hostlist.expand(" a , b[1-2]") == ("a", "b1", "b2")


def test_nodes_given_as_objects_are_checked_too():
    with pytest.raises(NodesError, match="not allowed"):
        known_clusters.nodes_by_name([NodeSpec("{{ lookup('pipe', 'id') }}")])


@pytest.mark.parametrize("address", ["10.0.0.7", "fe80::1", "fe80::1%eth0", "::1", "n1.example.org", "n1"])
def test_hosts_that_are_allowed(address):
    assert names.check_host(address) == address


@pytest.mark.parametrize(
    "address", ["", "-oProxyCommand=x", "a b", "fe80::1%{{ x }}", "n1\n", "1::2::3", "[::1]", "a/b", "x" * 300]
)
def test_hosts_that_are_refused(address):
    with pytest.raises(RefusedError):
        names.check_host(address)


@given(st.text(max_size=20))
@example("admin\n")
@example("-oProxyCommand=x")
def test_a_login_name_is_refused_or_harmless(name):
    try:
        assert names.check_user(name) == name
    except RefusedError:
        return
    assert set(name) <= HARMLESS | {"@"}
    assert not name.startswith("-")


@pytest.mark.parametrize("name", ["lab/../x", "", ".", "..", ".lab", "a b", "lab\n", "/etc", "x" * 64])
def test_a_cluster_is_no_path(name):
    with pytest.raises(ClusterError, match="not allowed"):
        known_clusters.add(None, Cluster(name, controller="10.0.0.1"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=12) | st.integers(), JSON, max_size=3))
@example({1: 2})
@example({"a": {"__ansible_vault": "x"}})
@example({"a-b": 1})
@example({"x": "\udcff"})
def test_variables_are_refused_or_can_be_written_as_json(variables):
    try:
        names.check_variables(variables)
    except SlurmscaleError as exc:
        assert exc.remedy  # noqa: PT017 - both outcomes are allowed
        return
    for name in variables:
        assert name.isidentifier()
        assert name.isascii()


@pytest.mark.parametrize(
    "credentials",
    [Credentials(port=0), Credentials(port=70000), Credentials(user="a b"), Credentials(password="a\nb"),
     Credentials(private_key_file="k\0"), Credentials(become_password="\udcff")],
)  # fmt: skip
def test_credentials_that_no_ssh_takes_are_refused(credentials):
    with pytest.raises(RefusedError):
        names.check_credentials(credentials)
