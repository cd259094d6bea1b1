"""What Slurm's commands print is read right, for both recorded generations."""

import pathlib

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import parsers

DATA = pathlib.Path(__file__).parents[1] / "data"
GENERATIONS = ["22.05", "24.11"]


def recorded(generation: str, what: str) -> str:
    return (DATA / f"{generation}-{what}.txt").read_text()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_recorded_node_is_described_by_the_names_of_the_contract(generation: str) -> None:
    node = parsers.parse_nodes(recorded(generation, "show-node"))["n1"]
    assert node["state"] == ["IDLE"]
    assert node["partitions"] == ["main"]
    assert (node["cpus"], node["real_memory"], node["addr"]) == (2, 1000, "n1")
    assert node["version"].startswith(generation)
    assert (node["reason"], node["features"], node["dynamic"]) == ("", [], False)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_drained_node_keeps_reason_and_user_and_a_new_one_is_unknown(generation: str) -> None:
    nodes = parsers.parse_nodes(recorded(generation, "show-node-drained"))
    assert nodes["n1"]["state"][0] == "IDLE"
    assert "DRAIN" in nodes["n1"]["state"]
    assert nodes["n1"]["reason"] == "slurmscale: State=DOWN is text"
    assert nodes["n1"]["reason_user"] == "root"
    assert nodes["n2"]["state"] == ["UNKNOWN"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_recorded_config_holds_the_main_section(generation: str) -> None:
    config = parsers.parse_config(recorded(generation, "show-config"))
    assert config["SLURM_VERSION"].startswith(generation)
    assert config["SlurmctldParameters"] == "enable_configless"
    assert config["SlurmUser"] == "slurm(64030)"
    assert config["HASH_VAL"] == "Match"
    assert config["RebootProgram"] == ""


def test_sections_of_plugins_do_not_overwrite_the_main_section() -> None:
    text = "Configuration data as of now\nPlugin = a\n\nCgroup Support Configuration:\nPlugin = b\n"
    assert parsers.parse_config(text) == {"Plugin": "a"}


@pytest.mark.parametrize("generation", GENERATIONS)
def test_recorded_partition(generation: str) -> None:
    main = parsers.parse_partitions(recorded(generation, "show-partition"))["main"]
    assert main == {"nodes": "n1", "default": True, "state": "UP", "total_nodes": 1}


@pytest.mark.parametrize("generation", GENERATIONS)
def test_recorded_ping(generation: str) -> None:
    assert parsers.parse_ping(recorded(generation, "ping")) == [{"host": "ctl", "mode": "primary", "up": True}]


def test_ping_of_a_pair_tells_both() -> None:
    text = "Slurmctld(primary) at c1 is DOWN\nSlurmctld(backup) at c2 is UP\n*** RESTORE SLURMCTLD DAEMON TO SERVICE\n"
    assert [(one["host"], one["up"]) for one in parsers.parse_ping(text)] == [("c1", False), ("c2", True)]


def test_no_nodes_is_an_empty_answer() -> None:
    assert parsers.parse_nodes("No nodes in the system\n") == {}


def test_words_with_an_equals_sign_in_free_text_are_no_keys() -> None:
    line = "NodeName=a OS=Linux x=1 #2  RealMemory=5 State=IDLE Comment=b=c Reason=State=DOWN RealMemory=9 [root@t]"
    record = parsers.parse_records(line)[0]
    assert record["OS"] == "Linux x=1 #2"
    assert record["RealMemory"] == "5"
    assert record["State"] == "IDLE"
    assert record["Comment"] == "b=c"
    assert record["Reason"] == "State=DOWN RealMemory=9 [root@t]"


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("IDLE", ["IDLE"]),
        ("idle*", ["IDLE", "NOT_RESPONDING"]),
        ("DOWN*+DRAIN", ["DOWN", "NOT_RESPONDING", "DRAIN"]),
        ("IDLE+DRAIN+NOT_RESPONDING", ["IDLE", "DRAIN", "NOT_RESPONDING"]),
        ("MIXED~", ["MIXED", "POWERED_DOWN"]),
        ("IDLE+DYNAMIC_NORM", ["IDLE", "DYNAMIC_NORM"]),
        ("MIXED-", ["MIXED", "PLANNED"]),
    ],
)
def test_states_are_split_into_base_and_flags(text: str, states: list) -> None:
    assert parsers.parse_state(text) == states


def test_commas_inside_brackets_do_not_split() -> None:
    assert parsers.split_list("n[1,3],gpu:a:2(S:0,1),x") == ["n[1,3]", "gpu:a:2(S:0,1)", "x"]
    assert parsers.split_list("(null)") == []
