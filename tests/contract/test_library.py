"""What import-linter can't say about the Python library; the layers stand in pyproject.toml."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from slurmscale.store.engine import HEAD

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Tree


def imported(path: Path) -> set[str]:
    """Return the packages that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def called(path: Path) -> set[str]:
    """Return the plain names that a file calls."""
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}


def test_the_library_leaves_the_terminal_and_the_process_to_the_command(tree: Tree) -> None:
    library = tree.root / "python_lib/slurmscale"
    found = {
        str(path.relative_to(library)): names
        for path in library.rglob("*.py")
        if path.relative_to(library).parts[0] != "cli" and (names := called(path) & {"print", "input", "exit"})
    }
    assert not found


def test_ansible_content_and_library_do_not_import_each_other(tree: Tree) -> None:
    """The content runs without the library, and an installed library finds its content as files."""
    forbidden = {"plugins": "slurmscale", "python_lib/slurmscale": "ansible_collections"}
    found = [
        str(path.relative_to(tree.root))
        for folder, package in forbidden.items()
        for path in (tree.root / folder).rglob("*.py")
        if package in imported(path)
    ]
    assert not found


def test_the_migrations_form_one_line_and_each_is_named_after_its_number(tree: Tree) -> None:
    """Two that were written at the same time must not both follow the same one."""
    folder = tree.root / "python_lib/slurmscale/store/migrations/versions"
    found = {}
    for path in sorted(folder.glob("m*.py")):
        values = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in {"revision", "down_revision"}
        }  # fmt: skip
        found[path.name] = (values["revision"], values["down_revision"])
    numbers = [f"{number:04}" for number in range(1, len(found) + 1)]
    assert [name[1:5] for name in found] == numbers
    assert list(found.values()) == list(zip(numbers, [None, *numbers], strict=False))
    assert numbers[-1] == HEAD
