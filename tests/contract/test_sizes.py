"""What can be read in one go: task files, modules and functions have a size beyond which they are split."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Tree

TASK_FILE, MODULE, FUNCTION = 60, 300, 40
# Larger with a reason: "path" or "path:function" -> why.
EXCEPTIONS = {
    # a list of tables, read from top to bottom
    "python_lib/slurmscale/store/migrations/versions/m0001_initial.py:upgrade": "a list",
}


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without its docstring, which is as long as it has to be."""
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def long_functions(path: Path, name: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > FUNCTION:
            yield f"{name}:{node.name}", length(node)


def too_long(tree: Tree) -> Iterator[tuple[str, int]]:
    for path in tree.tracked():
        name = str(path.relative_to(tree.root))
        lines = len(path.read_text(encoding="utf-8").splitlines()) if path.suffix in {".py", ".yml"} else 0
        if path.suffix == ".py":
            yield from long_functions(path, name)
            # A test module is a list of facts, of which each is read alone.
            if lines > MODULE and "tests" not in path.relative_to(tree.root).parts:
                yield name, lines
        elif path.suffix == ".yml" and path.parent.name in {"tasks", "handlers"} and lines > TASK_FILE:
            yield name, lines


def test_nothing_is_longer_than_can_be_read_in_one_go(tree: Tree) -> None:
    found = [f"{name} has {lines} lines" for name, lines in too_long(tree) if name not in EXCEPTIONS]
    assert not found, "\n".join(found)


def test_exceptions_are_still_needed(tree: Tree) -> None:
    needless = sorted(set(EXCEPTIONS) - {name for name, _ in too_long(tree)})
    assert not needless, needless
