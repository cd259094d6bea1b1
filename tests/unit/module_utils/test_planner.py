"""Which files change for a request, and which requests are refused before anything changes."""

import re

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.managed_nodes_conf import (
    GRES_BEGIN,
    GRES_END,
    HEADER,
    node_line,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.planner import (
    HostLists,
    Plan,
    Planner,
    RefusedError,
    requested_nodes,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.topology import TopologyError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import SlurmConfig

CONF = "/etc/slurm/slurm.conf"
NODES = "/etc/slurm/slurmscale-nodes.conf"
GRES = "/etc/slurm/gres.conf"
TOPOLOGY = "/etc/slurm/topology.conf"
BASE = "ClusterName=t\nNodeName=n1 CPUs=2\nPartitionName=main Nodes=ALL\n"


def expand(text: str) -> list:
    found = re.match(r"^(\w+)\[(\d+)-(\d+)\]$", text)
    return [f"{found[1]}{i}" for i in range(int(found[2]), int(found[3]) + 1)] if found else text.split(",")


HOSTS = HostLists(expand, ",".join)


def planner(
    conf: str = BASE, nodes: str = "", gres: str | None = None, known: dict | None = None, topology: str = ""
) -> Planner:
    files = {CONF: conf + ("Include slurmscale-nodes.conf\n" if nodes else ""), NODES: nodes, TOPOLOGY: topology}
    read = files.__getitem__
    switches = SlurmConfig.load(TOPOLOGY, read) if topology else None
    return Planner(SlurmConfig.load(CONF, read), gres, known or {}, HOSTS, switches)


def add(plan: Planner, *nodes: dict, partitions: list | None = None) -> Plan:
    return plan.add(requested_nodes(list(nodes)), partitions or [])


def node(name: str, gres_lines: list | None = None, switch: str = "", **params: object) -> dict:
    return {"name": name, "params": params, "gres_lines": gres_lines, "switch": switch}


def after(plan: Plan, path: str) -> str:
    return plan.changes[path][1]


def test_the_first_node_makes_the_file_and_its_include_and_nothing_else() -> None:
    plan = add(planner(), node("n2", CPUs=4))
    assert plan.added == ["n2"]
    assert after(plan, CONF) == BASE + "Include slurmscale-nodes.conf\n"
    assert after(plan, NODES) == HEADER + "NodeName=n2 CPUs=4 State=UNKNOWN\nNodeSet=slurmscale Nodes=n2\n"
    assert set(plan.changes) == {CONF, NODES}


def text_of(plan: Plan) -> str:
    return after(plan, NODES)


def test_a_node_that_is_as_requested_changes_nothing() -> None:
    text = text_of(add(planner(), node("n2", CPUs=4, Features="a")))
    plan = add(planner(nodes=text), node("n2", cpus="4", Feature="a"))
    assert plan.changes == {}
    assert (plan.added, plan.updated) == ([], [])


def test_a_node_without_gres_is_not_updated_because_another_one_comes() -> None:
    text = text_of(add(planner(), node("n2", CPUs=4, gres_lines=[])))
    plan = add(planner(nodes=text), node("n2", CPUs=4, gres_lines=[]), node("n3", CPUs=4, gres_lines=[]))
    assert (plan.added, plan.updated) == (["n3"], [])


def test_a_later_node_touches_only_our_file() -> None:
    text = text_of(add(planner(), node("n2", CPUs=4)))
    plan = add(planner(nodes=text), node("n10", CPUs=4), node("n3", CPUs=4))
    assert set(plan.changes) == {NODES}
    assert plan.added == ["n3", "n10"]
    assert "NodeSet=slurmscale Nodes=n2,n3,n10\n" in after(plan, NODES)


def test_new_parameters_go_over_old_ones_in_place() -> None:
    text = text_of(add(planner(), node("n2", CPUs=4, RealMemory=10, Weight=3)))
    plan = add(planner(nodes=text), node("n2", RealMemory=20, Weight="", Features="x"))
    assert plan.updated == ["n2"]
    assert "NodeName=n2 CPUs=4 RealMemory=20 State=UNKNOWN Features=x\n" in after(plan, NODES)


def test_parameters_edited_by_hand_stay() -> None:
    text = HEADER + "NodeName=n[2-3] CPUs=4 Weight=9\nNodeSet=slurmscale Nodes=n[2-3]\n"
    plan = add(planner(nodes=text), node("n4"))
    assert "NodeName=n3 CPUs=4 Weight=9 State=UNKNOWN\n" in after(plan, NODES)


@pytest.mark.parametrize("conf", ["NodeName=n2 CPUs=4\n", "NodeName=DEFAULT CPUs=4\nNodeName=n[2-5]\n"])
def test_a_node_that_an_administrator_defined_stays_as_it_is(conf: str) -> None:
    plan = add(planner(BASE + conf), node("n2", CPUs=4), node("n20"))
    assert "slurm.conf line" in plan.kept["n2"].reason
    assert plan.kept["n2"].differences == ()
    assert "n2" not in plan.managed
    assert "NodeName=n20 " in after(plan, NODES)
    assert "NodeName=n2 " not in after(plan, NODES)


def test_what_differs_from_an_administrators_line_is_told() -> None:
    plan = add(planner(), node("n1", CPUs=8, RealMemory=5))
    assert plan.changes == {}
    assert "slurm.conf line 2, with CPUs=2 (wanted 8), RealMemory= (wanted 5)" in plan.kept["n1"].message


def test_a_future_node_of_an_administrator_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"line 4 with State=FUTURE.*Remove it"):
        add(planner(BASE + "NodeName=n[2-9] State=FUTURE\n"), node("n3"))


def test_a_dynamic_node_stays_dynamic() -> None:
    plan = add(planner(known={"d1": {"dynamic": True}}), node("d1"))
    assert plan.changes == {}
    assert "dynamic" in plan.kept["d1"].reason


@pytest.mark.parametrize(
    "partition",
    [
        "PartitionName=p Nodes=ALL",
        "PartitionName=p Nodes=n1,n[2-3]",
        "NodeSet=gpus Feature=gpu\nPartitionName=p Nodes=n1,gpus",
        "NodeSet=some Nodes=n[2-3]\nPartitionName=p Nodes=some",
        "NodeSet=every Nodes=ALL\nPartitionName=p Nodes=every",
        "PartitionName=DEFAULT Nodes=ALL\nPartitionName=p",
        "PartitionName=p Nodes=n1,slurmscale",
    ],
)
def test_a_partition_that_takes_the_node_already_is_left_alone(partition: str) -> None:
    conf = f"NodeName=n1 CPUs=2\n{partition}\n"
    plan = add(planner(conf), node("n2", Features="x,gpu"), partitions=["p"])
    assert after(plan, CONF) == conf + "Include slurmscale-nodes.conf\n"


@pytest.mark.parametrize(
    ("partition", "edited"),
    [
        ("PartitionName=p Nodes=n1 # why", "PartitionName=p Nodes=n1,slurmscale # why"),
        ("PartitionName=p \\\n  nodes=n1,\\\nn9 State=UP", "PartitionName=p \\\n  nodes=n1,\\\nn9,slurmscale State=UP"),
        ("PartitionName=p State=UP", "PartitionName=p Nodes=slurmscale State=UP"),
        (
            "PartitionName=DEFAULT Nodes=n1\nPartitionName=p State=UP",
            "PartitionName=DEFAULT Nodes=n1\nPartitionName=p Nodes=slurmscale,n1 State=UP",
        ),
    ],
)
def test_a_partition_with_a_list_gets_the_node_set_once(partition: str, edited: str) -> None:
    conf = f"NodeName=n1 CPUs=2\n{partition}\n"
    plan = add(planner(conf), node("n2"), partitions=["p"])
    assert after(plan, CONF) == f"NodeName=n1 CPUs=2\n{edited}\nInclude slurmscale-nodes.conf\n"
    again = add(planner(f"NodeName=n1 CPUs=2\n{edited}\n", nodes=after(plan, NODES)), node("n3"), partitions=["p"])
    assert set(again.changes) == {NODES}


def test_a_node_that_no_partition_would_take_is_refused_with_the_remedy() -> None:
    with pytest.raises(RefusedError, match=r"no partition would take node n2.*p \(Nodes=n1\).*option partitions"):
        add(planner("NodeName=n1\nPartitionName=p Nodes=n1\n"), node("n2"))


def test_an_unknown_partition_is_refused_with_those_there_are() -> None:
    with pytest.raises(RefusedError, match=r"no partition gpu.*are: main \(Nodes=ALL\)"):
        add(planner(), node("n2"), partitions=["gpu"])


def test_somebody_elses_node_set_of_our_name_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"line 4 defines a NodeSet slurmscale"):
        add(planner(BASE + "NodeSet=slurmscale Nodes=n1\n"), node("n2"))


@pytest.mark.parametrize("key", ["NodeAddr", "NodeHostname"])
def test_two_nodes_at_one_place_are_refused(key: str) -> None:
    with pytest.raises(RefusedError, match=rf"n3 and n2 have the same {key}"):
        add(planner(), node("n2", **{key: "10.0.0.1"}), node("n3", **{key: "10.0.0.1"}))
    add(planner(), node("n2", **{key: "h"}, Port=1), node("n3", **{key: "h"}, Port=2))


def test_the_place_of_an_administrators_node_is_taken() -> None:
    with pytest.raises(RefusedError, match=r"n2 and n1 have the same NodeHostname"):
        add(planner(), node("n2", NodeHostname="n1"))


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        (node("n[1-3]"), "one plain host name"),
        (node("-n"), "one plain host name"),
        (node("ALL"), "one plain host name"),
        (node("slurmscale"), "one plain host name"),
        (node("n2", CPUs="1\nNodeName=x"), "can't be a parameter"),
        (node("n2", Comment='say "x"'), "can't be a parameter"),
        (node("n2", NodeName="x"), "can't be a parameter"),
        (node("n2", **{"a b": 1}), "can't be a parameter"),
        (node("n2", gres_lines=["gpu"]), "no line for gres.conf"),
        (node("n2", gres_lines=["NodeName=n3 Name=gpu"]), "name the node n3"),
    ],
)
def test_a_wish_that_would_not_survive_in_slurm_conf_is_refused(wish: dict, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        requested_nodes([wish])


def test_a_node_given_twice_is_refused() -> None:
    with pytest.raises(RefusedError, match="n2 is given twice"):
        requested_nodes([node("n2"), node("n2")])


def test_a_value_with_a_space_is_quoted() -> None:
    assert node_line("n2", {"Reason": "a b", "State": "DOWN"}) == 'NodeName=n2 Reason="a b" State=DOWN'


def test_gres_lines_go_into_a_block_and_their_type_into_our_file() -> None:
    wish = node("n2", ["Name=gpu File=/dev/nvidia0"], Gres="gpu:1")
    plan = add(planner(gres="# mine\nName=other File=/x"), wish)
    assert after(plan, GRES) == (
        f"# mine\nName=other File=/x\n{GRES_BEGIN}\nNodeName=n2 Name=gpu File=/dev/nvidia0\n{GRES_END}"
    )
    assert "GresTypes=gpu\n" in after(plan, NODES)


def test_an_administrators_grestypes_line_gets_what_lacks() -> None:
    plan = add(planner(BASE + "GresTypes=mps,\\\nnic # x\n"), node("n2", Gres="gpu:a100:2(S:0-1),nic:1"))
    assert "GresTypes=mps,\\\nnic,gpu # x\n" in after(plan, CONF)
    assert "GresTypes=" not in after(plan, NODES)


def test_gres_lines_of_other_nodes_stay_and_those_of_removed_ones_go() -> None:
    first = add(planner(), node("n2", ["Name=gpu"]), node("n3", ["Name=gpu Count=2"]))
    plan = planner(nodes=after(first, NODES), gres=after(first, GRES)).remove(["n3"])
    assert after(plan, GRES) == f"{GRES_BEGIN}\nNodeName=n2 Name=gpu\n{GRES_END}\n"
    last = planner(nodes=after(plan, NODES), gres=after(plan, GRES)).remove(["n2"])
    assert after(last, GRES) is None


def test_gres_lines_change_only_when_given() -> None:
    first = add(planner(), node("n2", ["Name=gpu"]))
    assert add(planner(nodes=after(first, NODES), gres=after(first, GRES)), node("n2")).changes == {}
    cleared = add(planner(nodes=after(first, NODES), gres=after(first, GRES)), node("n2", []))
    assert after(cleared, GRES) is None
    assert cleared.updated == ["n2"]


def test_the_last_node_leaves_a_placeholder_that_the_next_one_replaces() -> None:
    conf = "PartitionName=main Nodes=ALL\n"
    text = text_of(add(planner(conf), node("n2")))
    plan = planner(conf, nodes=text).remove(["n2"])
    assert plan.removed == ["n2"]
    assert "NodeName=slurmscale-placeholder State=FUTURE\n" in after(plan, NODES)
    assert "NodeSet=slurmscale Nodes=slurmscale-placeholder\n" in after(plan, NODES)
    again = add(planner(nodes=after(plan, NODES)), node("n3"))
    assert "placeholder" not in after(again, NODES)


def test_removing_what_is_not_there_changes_nothing() -> None:
    plan = planner().remove(["n7"])
    assert plan.changes == {}
    assert plan.removed == []


def test_an_administrators_node_is_not_removed() -> None:
    with pytest.raises(RefusedError, match=r"n1 is defined in /etc/slurm/slurm.conf line 2.*Remove it there"):
        planner().remove(["n1"])


BEFORE = [
    BASE,
    BASE.rstrip("\n"),
    BASE.replace("\n", "\r\n"),
    BASE + "# the end\n\n\n",
    BASE + "SlurmctldDebug=info \\\n",
    BASE + "SlurmctldDebug=info \\",
    "NodeName=n1 CPUs=2\nPartitionName=p Nodes=n1 # why\n",
    'NodeName=n1 CPUs=2\npartitionname="p" nodes="n1" State=UP\n',
    "NodeName=n1 CPUs=2\nPartitionName=p \\\n  Nodes=n1,\\\nn9 State=UP\n",
    "NodeName=n1 CPUs=2\nPartitionName=p State=UP\n",
    "NodeName=n1 CPUs=2\nPartitionName=DEFAULT Nodes=n1\nPartitionName=p State=UP\n",
    BASE + "GresTypes=fpga,nic # all\n",
    BASE + "GresTypes=\n",
]


@pytest.mark.parametrize("conf", BEFORE)
@pytest.mark.parametrize("gres", [None, "Name=gpu File=/dev/a\n", "Name=gpu File=/dev/a"])
def test_when_the_last_managed_node_leaves_every_file_is_as_before(conf: str, gres: str | None) -> None:
    partitions = [] if "=ALL" in conf else ["p"]
    plan = add(planner(conf, gres=gres), node("n2", ["Name=gpu"]), partitions=partitions)
    files = {path: text for path, (_old, text) in plan.changes.items()}
    loaded = SlurmConfig.load(CONF, lambda path: files[path])
    gone = Planner(loaded, files[GRES], {}, HOSTS).remove(["n2"])
    assert gone.removed == ["n2"]
    assert after(gone, CONF) == conf
    assert (after(gone, NODES), after(gone, GRES)) == (None, gres)


@pytest.mark.parametrize(
    "conf",
    [
        "# Written by slurmscale for a managed cluster. More.\n" + BASE,
        "PartitionName=main Nodes=ALL\n",
        BASE + "NodeSet=more Nodes=slurmscale,n1\n",
        BASE + "include  slurmscale-nodes.conf\n",
    ],
)
def test_what_slurm_conf_still_needs_stays(conf: str) -> None:
    text = text_of(add(planner(), node("n2")))
    plan = planner(conf, nodes=text).remove(["n2"])
    assert set(plan.changes) == {NODES}
    assert "placeholder" in after(plan, NODES)


def test_lines_that_somebody_added_behind_ours_stay() -> None:
    text = text_of(add(planner(), node("n2")))
    files = {
        CONF: BASE + "Include slurmscale-nodes.conf\n# later\nPartitionName=q Nodes=n1,slurmscale,n9\n",
        NODES: text,
    }
    plan = Planner(SlurmConfig.load(CONF, files.__getitem__), None, {}, HOSTS).remove(["n2"])
    assert after(plan, CONF) == BASE + "# later\nPartitionName=q Nodes=n1,n9\n"


def test_what_is_left_of_us_goes_also_when_no_node_is_named() -> None:
    nodes = HEADER + "NodeName=slurmscale-placeholder State=FUTURE\nNodeSet=slurmscale Nodes=slurmscale-placeholder\n"
    plan = planner(nodes=nodes).remove([])
    assert after(plan, CONF) == BASE
    assert planner().remove([]).changes == {}


SWITCHES = (
    "switchname=leaf1 \\\n  nodes=n1 # rack 1\nSwitchName=leaf2 Nodes=n[7-9]\nSwitchName=top Switches=leaf[1-2]\n"
)


def test_a_new_node_is_attached_to_its_switch_and_taken_out_again() -> None:
    nodes = [node("n2", switch="leaf1"), node("n3", switch="leaf1"), node("n8"), node("n4", switch="leaf2")]
    plan = add(planner(topology=SWITCHES), *nodes)
    attached = SWITCHES.replace("nodes=n1", "nodes=n1,n2,n3").replace("n[7-9]", "n[7-9],n4")
    assert after(plan, TOPOLOGY) == attached
    again = planner(nodes=after(plan, NODES), topology=attached)
    assert add(again, *nodes).changes == {}
    assert after(again.remove(["n2", "n4"]), TOPOLOGY) == SWITCHES.replace("nodes=n1", "nodes=n1,n3")
    assert after(again.remove(["n2", "n3", "n4", "n8"]), TOPOLOGY) == SWITCHES


@pytest.mark.parametrize("switch", ["", "leaf3", "top"])
def test_a_new_node_without_a_switch_is_refused_with_those_that_there_are(switch: str) -> None:
    with pytest.raises(TopologyError, match=r"node n2 does not stand in topology.conf.*leaf1, leaf2"):
        add(planner(topology=SWITCHES), node("n2", switch=switch))


def test_a_block_takes_a_node_as_well() -> None:
    plan = add(planner(topology="BlockName=b1 Nodes=n1\nBlockSizes=2\n"), node("n2", switch="b1"))
    assert after(plan, TOPOLOGY) == "BlockName=b1 Nodes=n1,n2\nBlockSizes=2\n"


DEFAULT = "NodeName=DEFAULT CPUs=64 Boards=2 TmpDisk=9 Weight=7 RealMemory=5\nnodename=default threadspercore=2\n"


def test_what_default_lines_say_of_hardware_is_stated_and_policies_hold() -> None:
    plan = add(planner(DEFAULT + BASE), node("n2", CPUs=4, RealMemory=9))
    line = "NodeName=n2 CPUs=4 RealMemory=9 Boards=1 TmpDisk=0 ThreadsPerCore=1 State=UNKNOWN\n"
    assert line in after(plan, NODES)
    assert add(planner(DEFAULT + BASE, nodes=after(plan, NODES)), node("n2", CPUs=4, RealMemory=9)).changes == {}


def test_a_default_that_nothing_can_be_stated_against_refuses_the_node() -> None:
    default = "NodeName=DEFAULT Gres=gpu:4\n"
    with pytest.raises(RefusedError, match=r"would get Gres=gpu:4 from a line NodeName=DEFAULT"):
        add(planner(default + BASE), node("n2", CPUs=4))
    assert "Gres=gpu:1" in after(add(planner(default + BASE), node("n2", Gres="gpu:1")), NODES)
