"""How much a reader meets in one list of tasks. ansible-lint limits how deep blocks are nested (max_block_depth)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Tree

# As many as fit on two screens. ansible-lint's own limit, 100, can't be set in its configuration file.
MAX_TASKS = 20


def task_lists(tree: Tree, path: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of tasks of each play, or of a file that is one list of tasks."""
    name = str(path.relative_to(tree.root))
    content = tree.read(path) or []
    if any("hosts" in item for item in content):
        for play in content:
            yield f"{name}: {play.get('name')}", len(list(tree.tasks_of(play)))
    else:
        yield name, len(list(tree.tasks(path)))


def test_a_list_of_tasks_is_no_longer_than_two_screens(tree: Tree) -> None:
    folders = ("playbooks/**/*.yml", "roles/*/tasks/*.yml", "roles/*/handlers/*.yml", "molecule/**/*.yml")
    paths = [path for folder in folders for path in tree.root.glob(folder) if path.parent.name != "vars"]
    found = [
        f"{name} has {tasks} tasks"
        for path in paths
        if isinstance(tree.read(path), list)
        for name, tasks in task_lists(tree, path)
        if tasks > MAX_TASKS
    ]
    assert not found, found
