"""The codes of failures: what is used exists, and what exists is used."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Tree

# Of a task `require`, of a failure in a set_fact, or chosen by an expression.
IN_YAML = re.compile(r"""(?:\bcode: |'code': )("\{\{.*|'?[a-z][a-z-]+'?)""")
WORD = re.compile(r"'?\b([a-z]+(?:-[a-z]+)+)\b'?")


# The command, the service and jobs of users say what to do where they say what is wrong.
ELSEWHERE = {"The command and the library", "The service", "Jobs of users"}


def test_each_code_stands_once_in_the_list_with_a_meaning_and_where_to_look(tree: Tree) -> None:
    listed = tree.read(tree.root / "plugins/module_utils/failure_code_meanings.yml")
    groups = [(section, group) for section, groups in listed.items() for group in groups]
    codes = [code for _, group in groups for code in group["codes"]]
    assert sorted(codes) == sorted(code.value for code in Code)
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(-[a-z]+)+", code)] == []
    texts = [text for _, group in groups for text in group["codes"].values()]
    assert [text for text in texts if not text.endswith(".")] == []
    assert {section for section, group in groups if not group.get("look_at")} == ELSEWHERE
    assert [section for section, group in groups if section in ELSEWHERE and "look_at" in group] == []


def yaml_files(tree: Tree) -> Iterator[Path]:
    yield from tree.root.glob("playbooks/**/*.yml")
    yield from tree.root.glob("roles/*/tasks/*.yml")
    yield from tree.root.glob("roles/*/vars/*.yml")


def codes_in(text: str) -> set[str]:
    """Return the codes that stand in a file of tasks."""
    return {word for found in IN_YAML.findall(text) for word in WORD.findall(found)}


def test_codes_of_playbooks_and_roles_exist(tree: Tree) -> None:
    known = {code.value for code in Code}
    unknown = {
        f"{path.relative_to(tree.root)}: {code}"
        for path in yaml_files(tree)
        for code in codes_in(path.read_text(encoding="utf-8")) - known
    }
    assert not sorted(unknown), sorted(unknown)


def test_codes_are_found_in_all_their_forms() -> None:
    text = """
      code: request-invalid
      code: "{{ 'job-failed' if action == 'test' else 'cluster-faulty' }}"
      {{ {'code': 'node-busy', 'reason': x} }}
    """
    assert codes_in(text) == {"request-invalid", "job-failed", "cluster-faulty", "node-busy"}


def test_every_code_is_used(tree: Tree) -> None:
    """A code that nothing reports is a promise in the reference that nobody keeps."""
    content = [*(tree.root / "plugins").rglob("*.py"), *(tree.root / "python_lib").rglob("*.py"), *yaml_files(tree)]
    text = "\n".join(path.read_text(encoding="utf-8") for path in content if path.name != "failure_codes.py")
    unused = [
        code.value for code in Code if not re.search(rf"\bCode\.{code.name}\b|(?<![\w-]){code.value}(?![\w-])", text)
    ]
    assert not unused, unused
