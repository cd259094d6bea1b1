"""Playbooks say what they are for, and call roles and modules by the names that work everywhere."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.time_limits import DRAIN_SECONDS, READY_SECONDS
from slurmscale.operations import Operation

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Tree

# Of Ansible itself, or of whoever calls the playbook.
FOREIGN = {"ansible_python_interpreter", "ansible_remote_tmp"}
# Options of roles that one play resolves for all of them, and the plan of a node that the role made in an earlier run.
RESOLVED = {"slurmd_node_name", "preflight_controller", "munge_controller", "slurmd_controller", "slurmd_plan"}


def header(playbook: Path) -> str:
    lines = playbook.read_text(encoding="utf-8").removeprefix("---\n").splitlines()
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(lines[:count])


def test_begins_with_purpose_variables_and_example(playbook: Path) -> None:
    form = r"(?s)# [A-Z].*\.\n(# [^\n]*\n)*?# Variables: .+\n# Example: .*ansible-playbook .+"
    assert re.fullmatch(form, header(playbook)), header(playbook)


def test_the_example_calls_this_playbook(playbook: Path) -> None:
    assert f"playbooks/{playbook.name}" in header(playbook).partition("# Example: ")[2]


def test_documented_variables_are_used(tree: Tree, playbook: Path) -> None:
    described = re.findall(r"^#(?: Variables:| {5,}) *(\w+) {2,}\S", header(playbook), flags=re.MULTILINE)
    sources = [*tree.root.glob("playbooks/**/*.yml"), *tree.root.glob("roles/*/defaults/main.yml")]
    code = "\n".join(re.sub(r"(?m)^\s*#.*$", "", path.read_text(encoding="utf-8")) for path in sources)
    assert [name for name in described if not re.search(rf"\b{name}\b", code)] == []


@pytest.mark.parametrize(
    ("variable", "seconds"),
    [("scale_timeout", READY_SECONDS), ("repair_timeout", READY_SECONDS), ("drain_timeout", DRAIN_SECONDS)],
)
def test_the_documents_tell_the_default_of_a_time_limit(tree: Tree, variable: str, seconds: int) -> None:
    headers = [header(path) for path in tree.root.glob("playbooks/*.yml")]
    told = [line for text in headers for line in text.splitlines() if re.match(rf"#.* {variable} {{2}}", line)]
    told += [option.help for one in Operation for option in one.definition.options if option.name == variable]
    assert len(told) > 1
    assert [line for line in told if f"(default: {seconds})" not in line] == []


def test_shared_plays_say_what_they_are_for(any_playbook: Path) -> None:
    assert header(any_playbook).startswith("# ")


def test_file_name_is_a_verb_and_a_noun(playbook: Path) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", playbook.stem)


def plays(tree: Tree, path: Path) -> list[dict[str, Any]]:
    return [item for item in tree.read(path) if "hosts" in item]


def test_batches_have_the_order_of_the_request(tree: Tree, any_playbook: Path) -> None:
    """A group that is made while the playbook runs has its hosts in the order in which they answered."""
    batched = [play["hosts"] for play in plays(tree, any_playbook) if "serial" in play]
    assert [hosts for hosts in batched if "expand_nodes(groups)" not in hosts] == []


def test_facts_are_not_gathered(tree: Tree, any_playbook: Path) -> None:
    assert [play["name"] for play in plays(tree, any_playbook) if play.get("gather_facts") is not False] == []


def test_modules_are_called_by_their_full_name(tree: Tree, any_playbook: Path) -> None:
    short = [action for task in tree.tasks(any_playbook) if (action := tree.action(task)) and action.count(".") < 2]
    assert not short, short


def test_modules_in_roles_are_called_by_their_full_name(tree: Tree, role_tasks: Path) -> None:
    short = [action for task in tree.tasks(role_tasks) if (action := tree.action(task)) and action.count(".") < 2]
    assert not short, short


def test_roles_are_called_by_their_short_name(tree: Tree) -> None:
    """A name with a dash is no part of a full name, so one way works for all of them."""
    roles = {path.name for path in tree.root.glob("roles/*")}
    wrong = []
    for path in [*tree.root.glob("playbooks/**/*.yml"), *tree.root.glob("roles/*/tasks/*.yml")]:
        called = [role["role"] for play in tree.read(path) or [] for role in play.get("roles") or []]
        for task in tree.tasks(path):
            action = tree.action(task) or ""
            if action.endswith(("import_role", "include_role")):
                called.append(task[action]["name"])
        wrong += [f"{path.relative_to(tree.root)}: {name}" for name in called if name not in roles]
    assert not wrong, wrong


def test_variables_of_playbooks_have_a_prefix(tree: Tree, any_playbook: Path) -> None:
    """`scale_` is for what playbooks share; others begin with the file's first word or its folder."""
    wrong = []
    own = ("scale_", f"{any_playbook.stem.split('_')[0]}_", f"{any_playbook.parent.name}_")
    prefixes = tuple(tree.prefix(path.name) for path in tree.root.glob("roles/*"))
    given = [play.get("vars") or {} for play in tree.read(any_playbook)]
    for task in tree.tasks(any_playbook):
        action = tree.action(task) or ""
        names = [*filter(None, [task.get("register")])]
        if action.endswith("set_fact"):
            names += task[action]
        if action.endswith(("import_role", "include_role")):
            wrong += [name for name in task.get("vars") or {} if not name.startswith(prefixes)]
        else:
            given.append(task.get("vars") or {})
        wrong += [name for name in names if not name.startswith(own) and name not in RESOLVED]
    wrong += [name for names in given for name in names if not name.startswith(own) and name not in FOREIGN]
    assert not wrong, wrong


def test_playbooks_read_no_private_variable_of_a_role(any_playbook: Path) -> None:
    """Roles publish what happened, such as `munge_changed`."""
    code = re.sub(r"(?m)^\s*#.*$", "", any_playbook.read_text(encoding="utf-8"))
    assert re.findall(r"(?<!\w)__\w+", code) == []


def test_the_last_play_of_what_works_on_nodes_returns_their_results(tree: Tree) -> None:
    """By its action, whoever reads the events knows how each node ended."""
    (play,) = plays(tree, tree.root / "playbooks/shared/stages/return_results.yml")
    assert [tree.action(task) for task in play["tasks"]] == ["ai_infra.slurm.node_result"]
    for name in (
        "scale_up",
        "prepare_nodes",
        "register_nodes",
        "verify_nodes",
        "check_nodes",
        "register_prepared",
        "start_nodes",
    ):
        last = tree.read(tree.root / f"playbooks/{name}.yml")[-1]["ansible.builtin.import_playbook"]
        assert last in {"shared/stages/report_results.yml", "shared/stages/return_results.yml"}


def stages(playbook: Path, tree: Tree) -> list[str]:
    """Return the files whose plays a playbook plays, in their order."""
    found: list[str] = []
    for play in tree.read(playbook):
        imported = play.get("ansible.builtin.import_playbook")
        found += stages(playbook.parent / imported, tree) if imported else [playbook.name]
    return list(dict.fromkeys(found))


def test_workers_that_share_a_scale_up_go_through_the_stages_of_a_whole_one(tree: Tree) -> None:
    whole = stages(tree.root / "playbooks/scale_up.yml", tree)
    parts = [stages(tree.root / "playbooks" / part.playbook, tree) for part in Operation.SCALE_UP.definition.stages]
    common = set.intersection(*map(set, parts))
    done_once = [stage for stage in whole if stage not in common]
    assert [stage for part in parts for stage in part if stage in done_once] == done_once


def test_a_time_in_seconds_is_the_same_in_every_time_zone(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """What now(utc=true) returns has no zone: its timestamp() is off by that of the control machine."""
    sources = [path for top in ("playbooks", "roles", "plugins") for path in tree.root.glob(f"{top}/**/*.[yp]*")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources if path.suffix in {".yml", ".py"})
    expressions = sorted(set(re.findall(r"now\([^()]*\)\.timestamp\(\)", text)))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        templar = Templar(DataLoader())
        ahead = {one: templar.template(trust_as_template(f"{{{{ {one} }}}}")) - time.time() for one in expressions}
    finally:
        monkeypatch.undo()
        time.tzset()
    assert expressions
    assert [one for one in expressions if abs(ahead[one]) > 60] == []
