"""Plugins document what they do, and what runs on managed hosts needs nothing but Python 3.8."""

from __future__ import annotations

import ast
import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.settled import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Tree

OLDEST = (3, 8)
OURS = "ansible_collections.ai_infra.slurm.plugins.module_utils"
FRAGMENTS = "ansible_collections.ai_infra.slurm.plugins.doc_fragments"


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=OLDEST)


def documented(path: Path) -> dict[str, Any]:
    """Return the YAML blocks of a plugin, with what it shares with others."""
    blocks = {
        statement.targets[0].id: yaml.safe_load(ast.literal_eval(statement.value))
        for statement in parsed(path).body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id in {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    }
    for name in blocks["DOCUMENTATION"].get("extends_documentation_fragment", []):
        fragment = importlib.import_module(name.replace("ai_infra.slurm", FRAGMENTS))
        for part, shared in yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION).items():
            blocks["DOCUMENTATION"].setdefault(part, {}).update(shared)
    return blocks


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports do not work on managed hosts"
            yield node.module or ""


def declared(module: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what a module passes to AnsibleModule."""
    loaded = importlib.import_module(f"ansible_collections.ai_infra.slurm.plugins.modules.{module.stem}")
    passed: dict[str, Any] = {}

    class Reached(Exception):  # noqa: N818 - not an error
        pass

    def stand_in(argument_spec: dict[str, Any], **others: Any) -> None:
        passed.update(others, argument_spec=argument_spec)
        raise Reached

    monkeypatch.setattr(loaded, "AnsibleModule", stand_in)
    with pytest.raises(Reached):
        loaded.main()
    return passed


def test_module_documents_check_and_diff_mode(module: Path) -> None:
    attributes = documented(module)["DOCUMENTATION"]["attributes"]
    for name in ("check_mode", "diff_mode"):
        assert attributes[name]["support"] in {"full", "partial", "none", "N/A"}, name
        assert attributes[name]["description"], name


def test_check_mode_is_supported_as_documented(executed_module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    support = documented(executed_module)["DOCUMENTATION"]["attributes"]["check_mode"]["support"]
    assert declared(executed_module, monkeypatch).get("supports_check_mode", False) == (support in {"full", "partial"})


def facets(options: dict[str, Any] | None, nested: str) -> dict[str, Any]:
    """Return what documentation and argument spec both say about each option."""
    plain = {"type": "str", "default": None, "required": False, "elements": None, "choices": None}
    return {
        name: {facet: option.get(facet, value) for facet, value in plain.items()}
        | {"nested": facets(option.get(nested), nested)}
        for name, option in (options or {}).items()
    }


def test_options_are_those_of_the_documentation(executed_module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = documented(executed_module)["DOCUMENTATION"].get("options")
    assert facets(declared(executed_module, monkeypatch)["argument_spec"], "options") == facets(options, "suboptions")


def test_module_has_examples_that_call_it(module: Path) -> None:
    tasks = documented(module)["EXAMPLES"]
    assert any(f"ai_infra.slurm.{module.stem}" in task for task in tasks)


def test_examples_give_options_that_exist(module: Path) -> None:
    known = set(documented(module)["DOCUMENTATION"].get("options") or {})
    for task in documented(module)["EXAMPLES"]:
        assert set(task.get(f"ai_infra.slurm.{module.stem}") or {}) <= known, task["name"]


def test_module_documents_what_it_returns(module: Path) -> None:
    for name, value in documented(module)["RETURN"].items():
        assert {"description", "returned", "type"} <= set(value), name


def test_filter_is_documented(filter_plugin: Path) -> None:
    blocks = documented(filter_plugin)
    assert blocks["DOCUMENTATION"]["name"] == filter_plugin.stem
    assert f"ai_infra.slurm.{filter_plugin.stem}" in str(blocks["EXAMPLES"])
    assert {"description", "type"} <= set(blocks["RETURN"]["_value"])


def test_names_of_modules_are_those_of_their_files(module: Path) -> None:
    assert documented(module)["DOCUMENTATION"]["module"] == module.stem


def test_needs_only_the_standard_library(on_managed_host: Path) -> None:
    """A managed host has Python and nothing else."""
    foreign = [
        name
        for name in imported(on_managed_host)
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith(("ansible.module_utils", OURS))
    ]
    assert not foreign, foreign


def test_has_the_syntax_of_the_oldest_python(on_managed_host: Path) -> None:
    assert parsed(on_managed_host).body


def test_annotations_are_not_evaluated(on_managed_host: Path) -> None:
    """`list[str]` is an error when Python 3.8 evaluates it."""
    tree = parsed(on_managed_host)
    annotated = any(isinstance(node, ast.AnnAssign) or getattr(node, "returns", None) for node in ast.walk(tree))
    assert not annotated or "__future__" in imported(on_managed_host)


def test_uses_only_what_the_oldest_python_has(tree: Tree) -> None:
    """The syntax alone does not tell: str.removeprefix and zip(strict=) came later, for example."""
    vermin = pytest.importorskip("vermin", reason="vermin is one of the test tools: pip install '.[test]'")
    too_new = []
    for folder in ("modules", "module_utils"):
        for path in sorted((tree.root / "plugins" / folder).rglob("*.py")):
            _, newest = vermin.detect(path.read_text(encoding="utf-8"))
            if newest and newest > OLDEST:
                too_new.append(f"{path.name} needs {'.'.join(map(str, newest))}")
    assert not too_new, too_new


def test_registering_is_left_out_only_where_no_option_of_the_role_can_ask_for_it(tree: Tree) -> None:
    """Each option of the role either speaks against leaving it out, or says how, and not what, is registered."""
    how = {"nodes", "apply", "timeout", "allow_controller", "skip_refused", "check_only"}
    assert set(tree.options("slurmctld-reconfigure")) - OPTIONS == {f"slurmctld_reconfigure_{name}" for name in how}
    assert set(tree.options("slurmctld-reconfigure")) >= OPTIONS
