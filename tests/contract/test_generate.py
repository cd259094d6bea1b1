"""The generator of the documentation: what it makes of markup, and that it notices a stale page."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from .conftest import Tree


@pytest.fixture(scope="module")
def generate(tree: Tree) -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", tree.root / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("Set C(nodes) to V(0644).", "Set `nodes` to `0644`."),
        ("See O(files[].content) and M(ai_infra.slurm.slurm_nodes).", "See `files[].content` and `slurm_nodes`."),
        ("O(ansible.builtin.dnf#module:disable_excludes=main)", "`disable_excludes=main`"),
        ("See RV(nodes), or RV(ai_infra.slurm.slurm_nodes#module:files).", "See `nodes`, or `files`."),
        (["One\n  line.", "Another."], "One line. Another."),
        ("NODE(S) stays", "NODE(S) stays"),
        (None, ""),
    ],
)
def test_markup_becomes_markdown(generate: ModuleType, markup: str | list[str] | None, expected: str) -> None:
    assert generate.markdown(markup) == expected


def test_nested_options_stand_behind_their_parent(generate: ModuleType) -> None:
    options = {"files": {"type": "list", "suboptions": {"path": {}}}, "one": {"type": "dict", "suboptions": {"a": {}}}}
    assert [row["name"] for row in generate.flatten(options, "suboptions")] == ["files", "files[].path", "one", "one.a"]


def test_variables_of_a_header_are_told_apart(generate: ModuleType) -> None:
    text = "nodes  the machines,\n             or a range\n           and those of the roles"
    assert generate.split_variables(text) == ["`nodes`: the machines, or a range", "and those of the roles"]


def test_what_is_written_by_hand_is_kept(generate: ModuleType, tmp_path: Path) -> None:
    templates = generate.jinja2.Environment(
        loader=generate.jinja2.DictLoader({"role_options.md.j2": "new"}), autoescape=False
    )
    page = tmp_path / "README.md"
    page.write_text(f"# By hand\n{generate.BEGIN}\nold\n{generate.END}\nalso by hand\n", encoding="utf-8")
    made = generate.readme({}, page, templates)
    assert made == f"# By hand\n{generate.BEGIN}\n\nnew\n\n{generate.END}\nalso by hand\n"
    page.write_text(made, encoding="utf-8")
    assert generate.readme({}, page, templates) == made


def test_codes_become_members_of_an_enumeration(generate: ModuleType) -> None:
    reasons = {"One": [{"code": "not-found"}], "Two": [{"code": "job-lost"}]}
    assert generate.members(reasons) == '    NOT_FOUND = "not-found"\n    JOB_LOST = "job-lost"\n'


def test_check_names_stale_pages_and_writes_nothing(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, left_over = tmp_path / "page.md", tmp_path / "left.md"
    page.write_text("old", encoding="utf-8")
    left_over.write_text("of a module that is gone", encoding="utf-8")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "REFERENCE", tmp_path)
    monkeypatch.setattr(generate, "pages", lambda: {page: "new"})
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 1
    assert capsys.readouterr().out == "stale: left.md\nstale: page.md\n"
    assert page.read_text(encoding="utf-8") == "old"

    monkeypatch.setattr(sys, "argv", ["generate.py"])
    assert generate.main() == 0
    assert page.read_text(encoding="utf-8") == "new"
    assert not left_over.exists()

    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 0
