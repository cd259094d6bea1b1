"""The filters that the playbooks decide with."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ai_infra.slurm.plugins.filter.expand_nodes import expand_nodes
from ansible_collections.ai_infra.slurm.plugins.filter.node_definition import node_definition
from ansible_collections.ai_infra.slurm.plugins.filter.node_names import node_names
from ansible_collections.ai_infra.slurm.plugins.filter.scale_report import LOST, scale_report
from ansible_collections.ai_infra.slurm.plugins.filter.selection_problems import selection_problems
from ansible_collections.ai_infra.slurm.plugins.filter.sysusers import sysusers
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness import assess
from fakes.machine import facts
from hypothesis import given
from hypothesis import strategies as st
from slurmscale.errors import NodesError
from slurmscale.inventory import hostlist

GROUPS = {"all": ["ctl1", "n07", "n08", "rack1"], "slurm_controllers": ["ctl1"], "rack": ["rack1"]}
HARDWARE = {
    "source": "slurmd",
    "cpus": 64,
    "boards": 1,
    "sockets": 2,
    "cores_per_socket": 16,
    "threads_per_core": 2,
    "real_memory": 200000,
    "gres": [{"name": "gpu", "type": "a100", "count": 2, "files": ["/dev/nvidia0", "/dev/nvidia1"]}],
}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("n07,n08", ["n07", "n08"]),
        ("n[07:09]", ["n07", "n08", "n09"]),
        ("n[07-09]", ["n07", "n08", "n09"]),
        ("gpu-node[007,010]", ["gpu-node007", "gpu-node010"]),
        ("gpu-node[007,010:012,9-11],n1", [*(f"gpu-node{n}" for n in ("007", "010", "011", "012", 9, 10, 11)), "n1"]),
        ("r[1-2]n[1,3].site", ["r1n1.site", "r1n3.site", "r2n1.site", "r2n3.site"]),
        ("n[7]", ["n7"]),
        ("n*,!n[07-08]", ["n*", "!n07", "!n08"]),
        ("n[a:c]", ["na", "nb", "nc"]),
        ("n[1:5:2]", ["n1", "n3", "n5"]),
        ("rack[0:1],n07", ["rack[0:1]", "n07"]),
        ("n*, !n08", ["n*", "!n08"]),
        ("", []),
        (["n07", "n08"], ["n07", "n08"]),
    ],
)
def test_ranges_are_expanded_and_everything_else_is_left_to_ansible(nodes: Any, expected: list[str]) -> None:
    assert expand_nodes(nodes, GROUPS) == expected


@pytest.mark.parametrize("nodes", ["n[09:x]", "n[3-1]", "n[010-11]", "n[1-10001]", "r[1-999]n[1-999]"])
def test_a_broken_range_is_refused_by_name(nodes: str) -> None:
    with pytest.raises(AnsibleFilterError, match=re.escape(nodes)):
        expand_nodes(nodes, GROUPS)


@given(st.from_regex(r"n\[(0|[1-9][0-9]?|0[0-9]{1,2})(-[0-9]{1,3})?(,[0-9]{1,3})?\]", fullmatch=True))
def test_slurms_ranges_mean_what_they_mean_to_the_command(text: str) -> None:
    try:
        expected = set(hostlist.expand(text))
    except NodesError:
        return
    try:
        found = expand_nodes(text, GROUPS)
    except AnsibleFilterError:
        return
    assert set(found) == expected
    assert set(hostlist.expand(text.replace("-", ":"))) == expected


@pytest.mark.parametrize(
    ("terms", "selected", "words"),
    [
        (["n07", "n99"], ["n07"], "n99, which the inventory does not know"),
        (["n07", "n07"], ["n07"], "n07 twice"),
        ([], [], "it is empty"),
        (["n07", "!n07"], [], "selects no host"),
    ],
)
def test_a_selection_that_cannot_be_meant_is_refused(terms: list[str], selected: list[str], words: str) -> None:
    problems = selection_problems(terms, selected, GROUPS)
    assert words in " ".join(problem["reason"] for problem in problems)
    assert {problem["code"] for problem in problems} == {"request-invalid"}


def test_a_controller_is_a_node_only_where_the_inventory_says_so() -> None:
    groups = {"all": ["ctl1", "n07"], "slurm_controllers": ["ctl1"], "slurm_nodes": ["n07"]}
    (problem,) = selection_problems(["ctl1", "n07"], ["ctl1", "n07"], groups)
    assert problem["code"] == "server-selected"
    assert "ctl1" in problem["reason"]
    assert selection_problems(["ctl1"], ["ctl1"], {**groups, "slurm_nodes": ["n07", "ctl1"]}) == []


@pytest.mark.parametrize(
    "terms", [["n07"], ["n*"], ["rack"], ["rack[0]"], ["rack[0:1]"], ["~n0[78]"], ["all", "!ctl1"]]
)
def test_a_selection_that_ansible_understands_passes(terms: list[str]) -> None:
    assert selection_problems(terms, ["n07"], GROUPS) == []


def test_a_missing_controller_is_named() -> None:
    assert "slurm_controllers" in selection_problems(["n07"], ["n07"], {"all": ["n07"]})[0]["reason"]


def define(**options: Any) -> dict[str, Any]:
    found = node_definition(HARDWARE, "n07", **options)
    assert [entry["ok"] for entry in found["findings"]] == [True]
    definition: dict[str, Any] = found["definition"]
    return definition


def test_names_are_what_is_stated_for_the_host_else_those_of_the_inventory() -> None:
    hostvars = {
        "n07.site": {"inventory_hostname_short": "n07"},
        "n08.site": {"inventory_hostname_short": "n08", "slurmd_node_name": "gpu8", "munge_controller": "ctl2"},
    }
    controllers = {"preflight_controller": "ctl1", "slurmd_controller": "ctl1"}
    assert node_names(["n08.site", "n07.site"], hostvars, "ctl1") == [
        {"host": "n08.site", "slurmd_node_name": "gpu8", "munge_controller": "ctl2", **controllers},
        {"host": "n07.site", "slurmd_node_name": "n07", "munge_controller": "ctl1", **controllers},
    ]


def test_a_node_is_defined_by_what_was_measured_less_the_margin() -> None:
    definition = define(hostname="n07.example.org", features=["rocky"], memory_margin=2)
    assert definition == {
        "name": "n07",
        "params": {
            "CPUs": 64,
            "Sockets": 2,
            "CoresPerSocket": 16,
            "ThreadsPerCore": 2,
            "RealMemory": 196000,
            "Features": "rocky",
            "Gres": "gpu:a100:2",
        },
        "gres_lines": ["NodeName=n07 Name=gpu Type=a100 File=/dev/nvidia0,/dev/nvidia1"],
    }


def test_what_the_user_states_wins_whatever_its_case() -> None:
    params = define(stated={"realmemory": 1000, "Weight": 5, "cpus": 8})["params"]
    assert (params["RealMemory"], params["Weight"], params["CPUs"]) == (1000, 5, 8)
    assert "Sockets" not in params


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"RealMemory": 300000}, "RealMemory=300000 is stated, but the node has 200000"),
        ({"CPUs": 65}, "CPUs=65 is stated, but the node has 64"),
        ({"CoresPerSocket": 32}, "= 128 is stated"),
        ({"Gres": "gpu:a100:4"}, "Gres=gpu:a100:4 is stated, but the node has 2"),
    ],
)
def test_a_statement_that_the_hardware_cannot_meet_is_refused(stated: dict[str, Any], words: str) -> None:
    (found,) = node_definition(HARDWARE, "n07", stated=stated)["findings"]
    assert found["code"] == "node-definition-invalid"
    assert words in found["reason"]


@pytest.mark.parametrize(
    ("stated", "line"),
    [
        ("gpu:a100:2", "Type=a100 File=/dev/nvidia0,/dev/nvidia1"),
        ("gpu:tesla:2", "Type=tesla File=/dev/nvidia0,/dev/nvidia1"),
        ("gpu:1", "File=/dev/nvidia0"),
        ("gpu", "File=/dev/nvidia0"),
    ],
)
def test_gres_conf_says_what_is_stated(stated: str, line: str) -> None:
    definition = define(stated={"Gres": stated})
    assert definition["params"]["Gres"] == stated
    assert definition["gres_lines"] == [f"NodeName=n07 Name=gpu {line}"]


MIG = [["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap66"], ["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap75"]]


@pytest.mark.parametrize(
    ("stated", "value", "kind"),
    [({}, "gpu:2", ""), ({"Gres": "gpu:1g.5gb:2"}, "gpu:1g.5gb:2", " Type=1g.5gb")],
)
def test_each_instance_of_a_divided_gpu_has_a_line_with_all_its_files(
    stated: dict[str, str], value: str, kind: str
) -> None:
    gpu = {"name": "gpu", "type": None, "count": 2, "files": [*MIG[0], MIG[1][1]], "instances": MIG}
    definition = node_definition({**HARDWARE, "gres": [gpu]}, "n07", stated=stated)["definition"]
    assert definition["params"]["Gres"] == value
    assert definition["gres_lines"] == [
        f"NodeName=n07 Name=gpu{kind} MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap66",
        f"NodeName=n07 Name=gpu{kind} MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap75",
    ]


def test_a_whole_gpu_beside_a_divided_one_has_a_line_with_its_file() -> None:
    """slurmd ends at MultipleFiles with one file."""
    gpu = {"name": "gpu", "type": None, "count": 2, "files": MIG[0], "instances": [["/dev/nvidia1"], MIG[0]]}
    definition = node_definition({**HARDWARE, "gres": [gpu]}, "n07")["definition"]
    assert definition["params"]["Gres"] == "gpu:2"
    assert definition["gres_lines"] == [
        "NodeName=n07 Name=gpu File=/dev/nvidia1",
        "NodeName=n07 Name=gpu MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap66",
    ]


@pytest.mark.parametrize("stated", [{}, {"Gres": "gpu:1g.5gb:2"}])
def test_gpus_that_nvml_tells_without_files_are_found_by_slurmd_itself(stated: dict[str, str]) -> None:
    told = [{"name": "gpu", "type": f"a100_{size}", "count": 1, "files": []} for size in ("1g.5gb", "3g.20gb")]
    definition = node_definition({**HARDWARE, "autodetect": "nvml", "gres": told}, "n07", stated=stated)["definition"]
    assert definition["params"]["Gres"] == stated.get("Gres", "gpu:a100_1g.5gb:1,gpu:a100_3g.20gb:1")
    assert definition["gres_lines"] == ["NodeName=n07 AutoDetect=nvml"]
    # slurmd ends at two of them that differ.
    own = node_definition({**HARDWARE, "autodetect": "nvml", "gres": told}, "n07", autodetect="off")["definition"]
    assert own["gres_lines"] == []
    known = node_definition({**HARDWARE, "autodetect": "nvml"}, "n07", stated=stated)["definition"]
    assert "AutoDetect" not in str(known["gres_lines"])


def test_stated_gpus_are_believed_until_slurmd_or_the_driver_tells_them() -> None:
    bare = {**HARDWARE, "source": "kernel", "gres": []}
    assert node_definition(bare, "n07", stated={"Gres": "gpu:a100:4"})["findings"][0]["ok"]
    told = {**bare, "source": "slurmd"}
    assert not node_definition(told, "n07", stated={"Gres": "gpu:a100:4"})["findings"][0]["ok"]


def test_config_overrides_believes_any_statement() -> None:
    assert define(stated={"CPUs": 128}, overrides=True)["params"]["CPUs"] == 128


def test_an_other_hostname_is_told_to_slurm() -> None:
    assert define(hostname="ip-10-0-0-7.internal")["params"]["NodeHostname"] == "ip-10-0-0-7"


CLUSTER = {
    "version": "24.11.5",
    "time": 2000.5,
    "control_time": 2000.0,
    "users": {"slurm": {"uid": 64030, "gid": 64030, "name": "slurm"}, "munge": {"uid": 991, "gid": 991}},
}


def failed(node: dict[str, Any]) -> dict[str, str]:
    return {
        entry["check"]: f"{entry['found']}; {entry['remedy']}" for entry in assess(node, CLUSTER) if not entry["ok"]
    }


@pytest.mark.parametrize("kind", ["auth/slurm", "auth/none"])
def test_a_cluster_without_munge_is_refused(kind: str) -> None:
    found = assess(facts(), {**CLUSTER, "config": {"AuthType": kind}})
    assert [(one["code"], one["found"]) for one in found if not one["ok"]] == [("auth-type-unsupported", kind)]
    assert all(one["ok"] for one in assess(facts(), {**CLUSTER, "config": {"AuthType": "auth/munge"}}))


def test_a_bare_machine_is_ready() -> None:
    assert failed(facts()) == {}


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"os": {"supported": False, "pretty": "Arch Linux", "id": "arch"}}, "operating system", "Arch Linux"),
        ({"uid": 1000}, "privileges", "ansible_become"),
        ({"python": "3.6.8"}, "Python", "3.6.8"),
        ({"slurm_version": "25.05.1"}, "Slurm version", "25.05.1"),
        ({"slurm_version": "22.05.8"}, "Slurm version", "22.05.8"),
        ({"time": 4600.0}, "clock", "+3600 s"),
        ({"users": {"slurm": {"uid": 1001, "gid": 1001}}}, "user slurm", "uid 1001"),
        ({"disks": {"/var": 10}}, "space in /var", "10 MB"),
    ],
)
def test_what_keeps_a_machine_from_being_a_node_is_named(changes: dict[str, Any], check: str, words: str) -> None:
    found = failed(facts(**changes))
    assert list(found) == [check]
    assert words in found[check]


@pytest.mark.parametrize("version", ["24.11.5", "24.11.4", "24.05.0", "23.02.7"])
def test_versions_inside_the_window_are_ready(version: str) -> None:
    assert failed(facts(slurm_version=version)) == {}


def test_missing_accounts_get_the_controllers_numbers() -> None:
    wanted = {
        "munge": {"uid": 991, "gid": 990, "group": "munge"},
        "slurm": {"uid": 64030, "gid": 64030, "name": "hpc", "group": "hpc"},
    }
    assert sysusers({"munge": None, "slurm": None}, wanted) == [
        "g munge 990",
        'u munge 991:990 "Made by slurmscale"',
        "g hpc 64030",
        'u hpc 64030:64030 "Made by slurmscale"',
    ]
    assert sysusers({"munge": {"uid": 991}, "slurm": {"uid": 64030}}, wanted) == []
    # The probe asks for the names slurm and munge only.
    ids = {"uids": {"64030": "hpc"}, "gids": {"64030": "hpc"}}
    assert sysusers({"munge": {"uid": 991}, "slurm": None}, wanted, ids) == []
    assert sysusers({"munge": {"uid": 991}, "slurm": None}, wanted, {"uids": {"64030": "other"}})
    assert sysusers({"slurm": None}, {"slurm": {"uid": 0, "gid": 0, "name": "root"}, "munge": None}) == []


def test_the_table_has_a_row_for_every_node_also_for_one_that_was_lost() -> None:
    hostvars = {
        "localhost": {"scale_started": 10.0},
        "n07": {
            "scale_success": {"message": "job 12 ran"},
            "scale_changed": True,
            "scale_ended": 40.4,
        },
        "n08": {"scale_success": {"message": "job 13 ran"}, "scale_changed": False},
        "n09": {"scale_failure": {"code": "task-failed", "reason": "no way.", "remedy": "Try again."}},
        "n10": {},
    }
    report = scale_report(["n07", "n08", "n09", "n10"], hostvars)
    assert [row["result"] for row in report["rows"]] == ["done", "unchanged", "failed", "failed"]
    assert report["table"].splitlines() == [
        "NODE  RESULT     TIME  CODE              REASON",
        "n07   done       30 s  -                 job 12 ran",
        "n08   unchanged  -     -                 job 13 ran",
        "n09   failed     -     task-failed       no way. Try again.",
        f"n10   failed     -     host-unreachable  {LOST.message}",
        "",
        "2 of 4 nodes succeeded, 2 failed.",
    ]


def test_the_table_of_a_removal_counts_what_left_and_what_was_kept() -> None:
    facts = {
        "localhost": {},
        "n1": {"scale_success": {"result": "removed", "message": "is out of the cluster"}},
        "n2": {"scale_failure": {"code": "task-failed", "reason": "still runs jobs 7"}, "scale_outcome": "kept"},
        "n3": {"scale_success": {"result": "unchanged", "message": "is not in the cluster"}},
    }
    report = scale_report(["n1", "n2", "n3"], facts)
    assert [row["result"] for row in report["rows"]] == ["removed", "kept", "unchanged"]
    assert report["table"].endswith("1 of 3 nodes are removed, 1 kept, 0 failed.")


def test_a_reason_is_one_line_in_the_table_and_its_further_lines_stand_below_once() -> None:
    log = {
        "code": "slurmd-not-started",
        "reason": "slurmd does not start.\nIts journal:\nfatal: x\n",
        "remedy": "Look.",
    }
    alone = {"code": "task-failed", "reason": "No.", "remedy": ""}
    facts = {
        "n1": {"scale_failure": log},
        "n2": {"scale_failure": alone},
        "n3": {"scale_failure": log},
        "localhost": {},
    }
    lines = scale_report(["n1", "n2", "n3"], facts)["table"].splitlines()
    assert [line.split("  ")[-1].strip() for line in lines[1:4]] == [
        "slurmd does not start. Look.",
        "No.",
        "slurmd does not start. Look.",
    ]
    assert lines[4:8] == ["", "n1, n3:", "  Its journal:", "  fatal: x"]
