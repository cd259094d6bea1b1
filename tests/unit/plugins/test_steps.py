"""What a role has to do on a node."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.steps import (
    files_changed,
    node_files,
    node_steps,
    outdated_files,
)

OPTIONS = {"path": "/etc/default/slurmd", "content": "A=1\n"}
RUNNING = {"active": "active", "enabled": "enabled"}


def checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def node(content: str = "A=1\n", **facts: Any) -> dict[str, Any]:
    found = {"exists": True, "sha256": checksum(content), "mode": "0644", "owner": "root", "group": "root"}
    return {"files": {OPTIONS["path"]: found}, "packages": {"munge": "1"}, "services": {"slurmd": RUNNING}, **facts}


def test_packages_that_were_left_half_done_are_a_step_of_a_role_that_wants_packages() -> None:
    assert node_steps(node(half_done=["libhwloc15"]), {}, packages=["munge"]) == ["packages"]
    assert node_steps(node(half_done=["libhwloc15"]), {}) == []
    assert node_steps(node(half_done=[]), {}, packages=["munge"]) == []


def test_parts_of_several_roles_become_the_options_of_one_run() -> None:
    merged = node_files(
        [
            {"sysusers": ["g munge 991"], "directories": [{"path": "/etc/munge", "mode": "0700"}]},
            {"files": [{"path": "/etc/munge/munge.key", "content_base64": "eA==", "secret": True, "mode": "0400"}]},
            {},
            {"files": [OPTIONS], "words": [{"path": "/etc/dnf/dnf.conf", "present": ["a"]}], "absent": ["/old"]},
        ]
    )
    assert merged == {
        "sysusers": ["g munge 991"],
        "directories": [
            {"path": "/etc/munge", "mode": "0700"},
            {"path": "/etc/default"},
            {"path": "/etc/dnf"},
        ],
        "files": [
            {"path": "/etc/munge/munge.key", "content_base64": "eA==", "secret": True, "mode": "0400"},
            OPTIONS,
        ],
        "words": [{"path": "/etc/dnf/dnf.conf", "present": ["a"]}],
        "absent": ["/old"],
    }
    assert node_files([merged]) == merged


def test_a_file_without_content_must_not_be_there_and_a_secret_is_given_in_base64() -> None:
    merged = node_files(
        [{"files": [{"path": "/a/ca", "content": ""}, {"path": "/a/login", "content": "p=ü\n", "secret": True}]}]
    )
    assert merged["absent"] == ["/a/ca"]
    assert merged["files"] == [
        {
            "path": "/a/login",
            "content_base64": base64.b64encode("p=ü\n".encode()).decode(),
            "secret": True,
            "mode": "0600",
        }
    ]
    # What is not secret stays text, which a diff shows.
    assert node_files([{"files": [{**OPTIONS, "secret": False}]}])["files"] == [{**OPTIONS, "secret": False}]


@pytest.mark.parametrize(
    ("wanted", "outdated"),
    [
        ({"files": [OPTIONS]}, False),
        ({"files": [{**OPTIONS, "content": "A=2\n"}]}, True),
        ({"files": [{**OPTIONS, "mode": "0644", "owner": "root"}]}, False),
        ({"files": [{**OPTIONS, "mode": "0600"}]}, True),
        ({"files": [{"path": OPTIONS["path"], "sha256": checksum("A=1\n"), "group": "munge"}]}, True),
        ({"files": [{"path": OPTIONS["path"], "content_base64": base64.b64encode(b"A=1\n").decode()}]}, False),
        ({"absent": [OPTIONS["path"]]}, True),
        ({}, False),
    ],
)
def test_files_are_compared_by_content_and_by_what_is_stated(wanted: dict[str, Any], *, outdated: bool) -> None:
    assert outdated_files(node(), wanted) == ([OPTIONS["path"]] if outdated else [])


def test_a_file_that_nobody_asked_for_may_be_wrong() -> None:
    wanted = {"files": [{"path": "/b", "content": "x"}], "absent": ["/a"]}
    assert outdated_files(node(), wanted) == ["/a", "/b"]
    gone = {"/a": {"exists": False, "sha256": None}}
    assert outdated_files({"files": gone}, {"absent": ["/a"]}) == []


def test_words_are_compared_one_by_one() -> None:
    facts = node(words={"/etc/dnf/dnf.conf": ["slurm*", "kernel*"]})
    path = "/etc/dnf/dnf.conf"
    assert outdated_files(facts, {"words": [{"path": path, "present": ["slurm*"]}]}) == []
    assert outdated_files(facts, {"words": [{"path": path, "present": ["slurm*", "munge*"]}]}) == [path]
    assert outdated_files(facts, {"words": [{"path": path, "absent": ["slurm*"]}]}) == [path]
    assert outdated_files(node(), {"words": [{"path": path, "present": ["slurm*"]}]}) == [path]


def test_a_node_that_is_as_it_has_to_be_needs_no_step() -> None:
    assert node_steps(node(), {"configuration": {"files": [OPTIONS]}}, packages=["munge"], service="slurmd") == []


@pytest.mark.parametrize(
    ("facts", "options", "steps"),
    [
        (node("A=2\n"), {"service": "slurmd"}, ["configuration", "slurmd"]),
        (node(services={"slurmd": {"active": "failed", "enabled": "enabled"}}), {"service": "slurmd"}, ["slurmd"]),
        (node(services={"slurmd": {"active": "active", "enabled": None}}), {"service": "slurmd"}, ["slurmd"]),
        (node(services={"slurmd": None}), {"service": "slurmd"}, ["slurmd"]),
        (node(), {"service": "slurmd", "restart": True}, ["slurmd"]),
        (node("A=2\n"), {"packages": ["munge", "slurmd"]}, ["configuration", "packages"]),
        (node(packages=None), {"packages": ["munge"]}, ["packages"]),
        (node("A=2\n"), {}, ["configuration"]),
    ],
)
def test_what_differs_is_a_step(facts: dict[str, Any], options: dict[str, Any], steps: list[str]) -> None:
    assert node_steps(facts, {"configuration": {"files": [OPTIONS]}}, **options) == steps


def test_an_account_that_is_missing_is_a_step_of_its_own() -> None:
    files = {"accounts": {"sysusers": ["g munge 991"]}, "key": {"files": [OPTIONS]}}
    assert node_steps(node(services={"munge": RUNNING}), files, service="munge") == ["accounts", "munge"]
    files["accounts"] = {"sysusers": []}
    assert node_steps(node(services={"munge": RUNNING}), files, service="munge") == []


@pytest.mark.parametrize(
    ("result", "changed"),
    [
        (None, False),
        ({}, False),
        ({"skipped": True, "changed": False}, False),
        ({"changed": True, "files": {OPTIONS["path"]: {"changed": True}}}, True),
        ({"changed": True, "files": {OPTIONS["path"]: {"changed": False}, "/other": {"changed": True}}}, False),
        ({"changed": True, "files": {}, "absent": {"/old": {"changed": True}}}, True),
        ({"changed": True, "files": {}, "accounts": ["munge"]}, False),
    ],
)
def test_a_role_knows_whether_its_own_files_changed(result: dict[str, Any] | None, *, changed: bool) -> None:
    assert files_changed(result, {"files": [OPTIONS], "absent": ["/old"]}) is changed


def test_accounts_that_were_made_are_a_change_of_the_role_that_wanted_them() -> None:
    assert files_changed({"accounts": ["munge"]}, {"sysusers": ["g munge 991"]})
