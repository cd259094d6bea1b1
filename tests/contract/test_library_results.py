"""How a node ended is what the playbooks say and the library reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slurmscale.operations import Operation
from slurmscale.progress.outcome import NODE_RESULT
from slurmscale.progress.tracker import _RECORDED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Tree


def plays(tree: Tree, path: Path) -> Iterator[dict[str, Any]]:
    """Yield the plays of a playbook and of those it imports, in order."""
    for item in tree.read(path):
        imported = item.get("ansible.builtin.import_playbook")
        if imported:
            yield from plays(tree, path.parent / imported)
        else:
            yield item


@pytest.mark.parametrize(
    "operation", [one for one in Operation if one.definition.scope.takes_nodes and not one.reports]
)
def test_the_last_play_returns_the_result_of_each_node_and_nothing_else(tree: Tree, operation: Operation) -> None:
    last = list(plays(tree, tree.root / "playbooks" / operation.playbook))[-1]
    assert [tree.action(task) for task in tree.tasks_of(last)] == [NODE_RESULT]
    assert "nodes" in last["hosts"]


def test_the_action_is_there(tree: Tree) -> None:
    collection, _, name = NODE_RESULT.rpartition(".")
    assert collection == "ai_infra.slurm"
    assert (tree.root / "plugins" / "action" / f"{name}.py").is_file()


def test_a_failure_is_recorded_in_the_fact_that_the_library_reads(tree: Tree) -> None:
    tasks = list(tree.tasks(tree.root / "playbooks" / "shared" / "tasks" / "record_failure.yml"))
    assert [_RECORDED in task["ansible.builtin.set_fact"] for task in tasks] == [True, True]


def test_a_failure_is_recorded_in_one_place(tree: Tree) -> None:
    """Whatever is recorded of a failure besides its reason, such as its time, is then recorded of each."""
    others = {
        str(path.relative_to(tree.root))
        for path in [*tree.root.glob("playbooks/**/*.yml"), *tree.root.glob("roles/*/tasks/*.yml")]
        for task in tree.tasks(path)
        if _RECORDED in (task.get("ansible.builtin.set_fact") or {})
    }
    assert others == {"playbooks/shared/tasks/record_failure.yml"}
