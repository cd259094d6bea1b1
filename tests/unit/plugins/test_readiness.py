"""What a machine is told that may become a compute node, about its network and in the report."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.readiness_report import readiness_report
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness import assess
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.ssh_sudo_python_failure import contact_failure
from fakes.machine import facts

URL = "http://apphub:8081/healthz"
CLUSTER = {
    "version": "24.11.5",
    "users": {},
    "addresses": {"hostname": "ctl1"},
    "controllers": [{"host": "ctl1", "addresses": ["10.0.0.2"]}],
}
OPEN = {"state": "open", "message": "it answers"}
REFUSED = {"state": "refused", "message": "nothing listens"}
FILTERED = {"state": "filtered", "message": "no answer within 4 s"}


def machine(**network: Any) -> dict[str, Any]:
    reached = {
        "urls": {URL: {"ok": True, "message": "HTTP 200"}},
        "resolve": {"ctl1": ["10.0.0.2"]},
        "connect": {"ctl1:6817": OPEN},
    }
    return facts(hostname="n07.example.org", network={**reached, **network})


def gres(**changes: Any) -> dict[str, Any]:
    return {"name": "gpu", "type": "a100", "count": 2, "files": ["/dev/nvidia0", "/dev/nvidia1"], **changes}


def seen(addresses: list[str], port: dict[str, str]) -> dict[str, Any]:
    return {"name": "n07", "network": {"resolve": {"n07": addresses}, "connect": {"n07:6818": port}}}


def failed(node: dict[str, Any], reach: dict[str, Any] | None = None) -> dict[str, str]:
    entries = assess(node, CLUSTER, reach=reach or seen(["10.0.0.7"], REFUSED))
    return {entry["check"]: f"{entry['found']}; {entry['remedy']}" for entry in entries if not entry["ok"]}


def test_a_machine_that_is_found_and_reached_both_ways_is_ready() -> None:
    assert failed(machine()) == {}


@pytest.mark.parametrize(
    ("network", "check", "words"),
    [
        ({"urls": {URL: {"ok": False, "message": "timed out"}}}, "AppHub", "timed out; Allow the connection"),
        ({"resolve": {"ctl1": []}}, "name of ctl1", "none; Put ctl1"),
        ({"resolve": {"ctl1": ["127.0.1.1"]}}, "name of ctl1", "127.0.1.1; Put ctl1"),
        ({"connect": {"ctl1:6817": FILTERED}}, "port ctl1:6817", "filtered: no answer"),
    ],
)
def test_what_the_node_cannot_reach_is_named(network: dict[str, Any], check: str, words: str) -> None:
    found = failed(machine(**network))
    assert list(found) == [check]
    assert words in found[check]


@pytest.mark.parametrize(
    ("reach", "check"),
    [
        (seen([], REFUSED), "name on the controller"),
        (seen(["127.0.1.1"], REFUSED), "name on the controller"),
        (seen(["10.0.0.7"], FILTERED), "port n07:6818"),
    ],
)
def test_what_the_controller_cannot_reach_is_named(reach: dict[str, Any], check: str) -> None:
    assert list(failed(machine(), reach)) == [check]


def test_a_refused_port_is_a_fault_only_where_slurmd_runs() -> None:
    node = {**machine(), "services": {"slurmd": {"active": "active"}}}
    assert "journalctl -u slurmd" in failed(node)["port n07:6818"]
    assert failed(node, seen(["10.0.0.7"], OPEN)) == {}


def test_a_firewall_that_is_on_is_named_with_what_opens_it() -> None:
    node = {**machine(), "firewall": {"name": "ufw", "tcp": ["22"]}}
    reach = {**seen(["10.0.0.7"], FILTERED), "ports": ["6818"]}
    found = failed(node, reach)["port n07:6818"]
    assert "slurmd_open_firewall: true, or run on it: ufw allow proto tcp to any port 6818" in found
    assert failed(node, {**reach, "opens": True}) == {}
    # What it lets in already, something else on the way hides.
    node["firewall"]["tcp"].append("6818")
    assert "ufw" not in failed(node, {**reach, "opens": True})["port n07:6818"]


def test_a_node_that_works_needs_no_look_from_the_controller() -> None:
    assert failed(machine(), {"name": "n07", "state": "IDLE", "network": {}}) == {}


def test_the_controller_may_be_a_node_itself() -> None:
    node = {**machine(resolve={"ctl1": ["127.0.1.1"]}), "hostname": "ctl1"}
    assert failed(node, {"name": "ctl1", "own": True, "network": {"resolve": {"ctl1": ["127.0.1.1"]}}}) == {}


def test_a_controller_that_cannot_be_asked_makes_no_machine_ready() -> None:
    found = failed(machine(), {"name": "n07", "network": {}, "problem": "Connection refused"})
    assert list(found) == ["seen by the controller"]
    assert "Connection refused" in found["seen by the controller"]


def test_a_machine_without_a_name_is_refused() -> None:
    assert "hostnamectl" in failed({**machine(), "hostname": "localhost"})["host name"]


def test_too_little_memory_and_no_cpus_are_refused() -> None:
    assert list(failed({**machine(), "hardware": {"cpus": None, "real_memory": 100}})) == ["CPUs", "memory"]


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"os": {**machine()["os"], "arch": "x86_64,gpu,secure"}}, "architecture"),
        ({"os": {**machine()["os"], "id": "rocky,gpu"}}, "operating system"),
        ({"hostname": "n07 Features=gpu"}, "host name"),
        ({"hardware": {"cpus": 4, "real_memory": 8000, "gres": [gres(type="a100 Feature=x")]}}, "gres"),
        ({"hardware": {"cpus": 4, "real_memory": 8000, "gres": [gres(files=["/dev/a\nNodeName=n1"])]}}, "gres"),
    ],
)
def test_what_a_machine_says_of_itself_must_be_known_or_have_the_usual_form(said: dict[str, Any], word: str) -> None:
    (found,) = [entry for entry in assess({**machine(), **said}, CLUSTER) if entry["code"] == "node-claim-invalid"]
    assert not found["ok"]
    assert word in found["found"]


def test_usual_gres_are_believed() -> None:
    node = {**machine(), "hardware": {"cpus": 4, "real_memory": 8000, "gres": [gres()]}}
    assert failed(node) == {}


OURS = {
    **CLUSTER,
    "name": "Lab",
    "controllers": [{"host": "ctl1"}],
    "addresses": {"hostname": "ctl1", "fqdn": "ctl1.example.org", "ips": ["10.0.0.2"]},
    "munge_key": {"sha256": "ours"},
}
FREE = {
    "slurmd_running": False,
    "cluster_name": None,
    "controllers": [],
    "jobs": [],
    "job_processes": 0,
    "munge_running": False,
    "munge_users": [],
}
THEIRS = {**FREE, "slurmd_running": True, "cluster_name": "other", "controllers": ["ctl9"]}
RUNS = {**THEIRS, "jobs": ["7"], "job_processes": 2}


def codes(member: dict[str, Any], key: str | None = None, *, take_over: bool = False) -> list[str]:
    node = {**machine(), "membership": member, "files": {"/etc/munge/munge.key": {"sha256": key}}}
    entries = assess(node, OURS, reach=seen(["10.0.0.7"], OPEN), take_over=take_over)
    return [entry["code"] for entry in entries if not entry["ok"]]


@pytest.mark.parametrize(
    ("member", "key"),
    [
        (FREE, None),
        # munge of an image, with a key that nothing uses
        ({**FREE, "munge_running": True}, "random"),
        # prepared by a run that was cut short: the key; then the options, too
        (FREE, "ours"),
        ({**FREE, "controllers": ["ctl1"]}, "ours"),
        # a node that works, one that has missed a change of the key, and one of a cluster that was renamed
        ({**RUNS, "cluster_name": "lab", "controllers": ["ctl1.example.org"]}, "ours"),
        ({**RUNS, "cluster_name": "lab", "controllers": ["10.0.0.2"]}, "old"),
        ({**RUNS, "cluster_name": "former", "controllers": ["ctl1"]}, "ours"),
        # started by hand with our key, before it has any configuration
        ({**FREE, "slurmd_running": True}, "ours"),
    ],
)
def test_a_free_machine_and_one_of_this_cluster_go_on(member: dict[str, Any], key: str | None) -> None:
    assert codes(member, key) == []


@pytest.mark.parametrize(
    ("member", "key"),
    [
        (THEIRS, "theirs"),
        (RUNS, "theirs"),
        # several clusters may share a key, a name, or a controller's name
        (THEIRS, "ours"),
        ({**THEIRS, "cluster_name": "lab"}, "theirs"),
        ({**THEIRS, "controllers": ["ctl1"]}, "theirs"),
        # configured, but not running now
        ({**FREE, "controllers": ["ctl9"]}, "theirs"),
        # nothing tells which cluster, but it is not ours
        ({**FREE, "slurmd_running": True}, "theirs"),
        ({**FREE, "job_processes": 1}, None),
    ],
)
def test_a_machine_of_another_cluster_is_refused(member: dict[str, Any], key: str | None) -> None:
    assert codes(member, key) == ["node-of-other-cluster"]


def test_what_was_found_of_the_other_cluster_is_told() -> None:
    node = {**machine(), "membership": RUNS, "files": {}}
    (found,) = [entry for entry in assess(node, OURS) if entry["code"] == "node-of-other-cluster"]
    assert found["found"] == "cluster other of controller ctl9; slurmd runs, with jobs 7"
    assert "take_over=true" in found["remedy"]


def test_take_over_takes_a_machine_only_when_no_job_lives_there() -> None:
    assert codes(THEIRS, "theirs", take_over=True) == []
    assert codes(RUNS, "theirs", take_over=True) == ["node-runs-jobs"]
    assert codes({**THEIRS, "job_processes": 1}, "theirs", take_over=True) == ["node-runs-jobs"]


def test_munge_that_something_uses_with_another_key_is_not_taken_unless_stated() -> None:
    member = {**FREE, "munge_running": True, "munge_users": ["backup.service"]}
    assert codes(member, "random") == ["munge-in-use"]
    assert codes(member, "ours") == []
    assert codes(member, "random", take_over=True) == []


USERS = {"users": {"slurm": {"uid": 64030, "gid": 64031, "name": "slurm", "group": "hpc"}, "munge": None}}


@pytest.mark.parametrize(
    ("uids", "gids", "found"),
    [
        ({"0": "root"}, {"0": "root"}, {}),
        # made by a run that was cut short: the group is made before the user
        ({}, {"64031": "hpc"}, {}),
        ({"64030": "backup"}, {}, {"account-id-taken": "uid 64030 belongs to backup"}),
        ({}, {"64031": "staff"}, {"account-id-taken": "gid 64031 belongs to staff"}),
        ({}, {"500": "hpc"}, {"account-id-differs": "hpc has gid 500"}),
    ],
)
def test_who_has_the_numbers_of_an_account_that_is_to_be_made_is_told(
    uids: dict[str, str], gids: dict[str, str], found: dict[str, str]
) -> None:
    node = {**machine(), "users": {"slurm": None, "munge": None}, "account_ids": {"uids": uids, "gids": gids}}
    entries = assess(node, {**CLUSTER, **USERS})
    assert {entry["code"]: entry["found"] for entry in entries if not entry["ok"]} == found


KEY_UNKNOWN = "Failed to connect: No ED25519 host key is known for 10.0.0.7.\r\nHost key verification failed."
KEY_CHANGED = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\nHost key verification failed."
ANSWER = "uid=1000\r\nsudo=/usr/bin/sudo\r\npython=3.9.18\r\n"


@pytest.mark.parametrize(
    ("result", "answer", "become", "code", "reason"),
    [
        ({"unreachable": True, "msg": "Connection refused"}, "", False, "host-unreachable", "n7 can't be reached"),
        (
            {"unreachable": True, "msg": KEY_UNKNOWN},
            "",
            False,
            "host-key-unknown",
            "does not know its key. It shows SHA",
        ),
        ({"unreachable": True, "msg": KEY_CHANGED}, "", False, "host-key-unknown", "knows another key of it"),
        ({"rc": 1}, ANSWER.replace("3.9.18", "3.6.8"), True, "python-too-old", "Python 3.6 is too old"),
        ({"rc": 1}, "uid=0\nsudo=\npython=3.6.8\n", False, "python-too-old", "Python 3.6 is too old"),
        ({"rc": 1}, "uid=0\nsudo=\npython=\n", False, "python-missing", "Python is missing on n7"),
        ({"rc": 127}, ANSWER.replace("/usr/bin/sudo", ""), False, "sudo-missing", "sudo is missing on n7"),
        ({"rc": 1}, ANSWER.replace("/usr/bin/sudo", ""), True, "sudo-missing", "sudo is missing on n7"),
        ({"msg": "Missing sudo password"}, ANSWER, True, "privileges-missing", "Missing sudo password"),
        ({"rc": 1, "msg": "odd", "module_stderr": "no space"}, ANSWER, False, "task-failed", "odd no space"),
        ({"failure": {"code": "x", "reason": "own", "remedy": ""}}, "", False, "x", "own"),
    ],
)
def test_why_the_first_module_did_not_run_is_told(
    result: dict[str, Any], answer: str, *, become: bool, code: str, reason: str
) -> None:
    failure = contact_failure(
        result, "n7", answer, become=become, address="10.0.0.7", fingerprints=lambda: ["SHA256:x (ED25519)"]
    )
    assert failure["code"] == code
    assert ("10.0.0.7 >> ~/.ssh/known_hosts" in failure["remedy"]) == (code == "host-key-unknown")
    assert reason in failure["reason"]


def test_the_report_has_a_reason_and_a_remedy_for_every_machine_that_is_not_ready() -> None:
    invalid = assess({**machine(), "uid": 1000}, CLUSTER)
    hostvars = {
        "n07": {"preflight_node": machine(), "slurmd_plan": {"findings": assess(machine(), CLUSTER)}},
        "n08": {"scale_failure": {"code": "host-unreachable", "reason": "n08 can't be reached", "remedy": "Check."}},
        "n09": {
            "preflight_node": {"failed": True, "msg": "sudo is missing on n09"},
            "scale_failure": {"code": "sudo-missing", "reason": "sudo is missing on n09", "remedy": "Install."},
        },
        "n10": {"scale_failure": {"code": "python-too-old", "reason": "Python 3.6 is too old", "remedy": "Install."}},
        "n11": {},
        "n12": {
            "preflight_node": machine(),
            "slurmd_plan": {"findings": invalid},
            "scale_failure": {"code": "x", "reason": "y"},
        },
    }
    report = readiness_report(list(hostvars), hostvars)
    assert not report["ready"]
    assert {name: node["code"] for name, node in report["nodes"].items()} == {
        "n07": "",
        "n08": "host-unreachable",
        "n09": "sudo-missing",
        "n10": "python-too-old",
        "n11": "host-unreachable",
        "n12": "privileges-missing",
    }
    assert report["nodes"]["n09"]["checks"][0]["check"] == "privileges"
    assert all(node["ready"] or node["remedy"] for node in report["nodes"].values())
    lines = report["table"].splitlines()
    assert lines[0].split() == ["NODE", "READY", "SYSTEM", "SLURM", "CPUS", "MEMORY", "FREE"]
    assert lines[1].split() == ["n07", "yes", "Rocky", "Linux", "9.4", "-", "4", "8000", "MB", "/var", "5000", "MB"]
    assert lines[-1] == "1 of 6 nodes are ready."


def test_what_concerns_all_machines_makes_none_of_them_ready() -> None:
    hostvars = {"n07": {"preflight_node": machine(), "slurmd_plan": {"findings": []}}}
    failure = {"code": "controller-not-answering", "reason": "It does not answer.", "remedy": "Start it."}
    common = [{"check": "controller", "ok": False, "needed": "an answer", "found": "none", **failure}]
    report = readiness_report(["n07"], hostvars, common)
    assert {key: report["nodes"]["n07"][key] for key in failure} == failure


def test_a_program_that_slurm_conf_names_for_nodes_must_be_there() -> None:
    known = {**CLUSTER, "node_programs": {"Prolog[0]": "/opt/site/prolog", "TaskProlog": "/opt/site/task"}}
    node = {**machine(), "files": {"/opt/site/prolog": {"exists": False}, "/opt/site/task": {"exists": True}}}
    wrong = [entry for entry in assess(node, known) if not entry["ok"]]
    assert [(entry["code"], entry["check"]) for entry in wrong] == [("node-program-missing", "Prolog[0]")]
    assert "/opt/site/prolog" in wrong[0]["reason"]
    assert all(entry["ok"] for entry in assess({**node, "state": "IDLE"}, known))


LACKING = {"cpus": 4, "real_memory": 8000, "nvml_plugin_missing": True}


@pytest.mark.parametrize(
    ("autodetect", "config", "refused"),
    [
        ({"": "nvml"}, {}, True),
        ({"n07": "nvml"}, {}, True),
        ({}, {}, False),
        ({"": "nvml", "n07": "off"}, {}, False),
        ({"n08": "nvml"}, {}, False),
        # The plugin may be in any of them.
        ({"": "nvml"}, {"PluginDir": "/usr/lib64/slurm:/opt/plugins"}, False),
    ],
)
def test_a_slurmd_that_lacks_the_plugin_that_gres_conf_names_is_refused(
    autodetect: dict[str, str], config: dict[str, str], *, refused: bool
) -> None:
    known = {**CLUSTER, "gres_autodetect": autodetect, "config": {"AuthType": "auth/munge", **config}}
    node = {**machine(), "hardware": LACKING, "slurm_version": "24.11.5"}
    wrong = [entry for entry in assess(node, known, name="n07") if not entry["ok"]]
    assert [entry["code"] for entry in wrong] == ["gpu-plugin-missing"] * refused
    if refused:
        assert "AutoDetect=nvml" in wrong[0]["reason"]
        assert "slurm-wlm-nvml-plugin" in wrong[0]["remedy"]
        assert "NodeName=n07 AutoDetect=off" in wrong[0]["remedy"]
    whole = {**node, "hardware": {**LACKING, "nvml_plugin_missing": False}}
    assert all(entry["ok"] for entry in assess(whole, known, name="n07"))
    old = "22.05.8"
    assert all(entry["ok"] for entry in assess({**node, "slurm_version": old}, {**known, "version": old}, name="n07"))
