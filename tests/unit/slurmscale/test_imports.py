"""Imports go one way: cli and service -> scaling -> progress, report, store, runner -> models, states, errors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[3] / "python_lib" / "slurmscale"

LAYERS = (
    ("errors", "states"),
    ("models",),
    (
        "settings",
        "inventory.hostlist",
        "inventory.vault",
        "progress.events",
        "progress.task_plan",
        "runner.processes",
        "runner.project",
        "runner.secret_socket",
        "runs.broadcast",
        "store.migrate",
        "store.rows",
        "store.tables",
    ),
    ("progress.outcome", "inventory.ansible_inventory", "inventory.secrets", "store.engine"),
    ("progress.tracker", "store.repository"),
    ("report", "store.writer", "runner.ansible", "runner.fake", "inventory.registry", "runs.recovery"),
    ("runs.event_pipeline", "runs.launch_builder", "runs.apphub_check"),
    ("runs.handle",),
    ("scaling",),
    ("cli", "service"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if not {"__init__", "migrations", "_content"} & set(parts):
            yield ".".join(parts), path


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_module_imports_only_from_lower_layers(name, path):
    layer = "cli" if name.startswith("cli.") else name
    assert layer in RANK, f"{name} has no place in the layers yet"
    for imported in imports(path):
        own, _, rest = imported.partition(".")
        target = "cli" if rest.startswith("cli.") else rest
        if own == "slurmscale" and target in RANK and target != layer:
            assert RANK[target] < RANK[layer], f"{name} imports {imported}"


@pytest.mark.parametrize(
    ("library", "owner"),
    [
        ("ansible_runner", "runner.ansible"),
        ("ClusterShell", "inventory.hostlist"),
        ("typer", "cli"),
        ("rich", "cli"),
        ("alembic", "store.migrate"),
    ],
)
def test_an_awkward_library_has_one_importer(library, owner):
    users = {
        "cli" if name.startswith("cli.") else name
        for name, path in modules()
        if any(i.split(".")[0] == library for i in imports(path))
    }
    assert users == {owner}


def test_the_library_neither_prints_nor_exits():
    for name, path in modules():
        if name.partition(".")[0] == "cli":
            continue
        calls = {node.func.id for node in ast.walk(ast.parse(path.read_text()))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
        assert not calls & {"print", "exit", "input"}, name


def test_the_playbooks_never_import_the_library():
    for path in (PACKAGE.parents[1] / "plugins").rglob("*.py"):
        assert not any(name.split(".")[0] == "slurmscale" for name in imports(path)), path
