"""No variable of a role needs itself: ansible-core below 2.19 evaluates that until all memory is gone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Tree

TEMPLATE = re.compile(r"""lookup\('ansible\.builtin\.template', '([^']+)'\)""")


def names_in(text: str) -> set[str]:
    """Return the names that a template reads, also where it uses filters that only Ansible has."""
    return set(re.findall(r"(?<![\w.'\"/-])(?:__)?[a-z]\w+", " ".join(re.findall(r"{[{%](.*?)[%}]}", text, re.DOTALL))))


def needs(role: Path, value: object) -> set[str]:
    """Return the variables that a value needs, through the templates that it reads, too."""
    text = yaml.safe_dump(value, width=10**6)
    templates = [
        (role / "templates" / name).read_text(encoding="utf-8") for name in TEMPLATE.findall(text.replace("''", "'"))
    ]
    return set().union(*(names_in(part) for part in (text, *templates)))


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the names along one cycle; none when there is no cycle."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name] & set(graph)):
            found = visit(other, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


def test_no_variable_of_a_role_needs_itself(tree: Tree, role: str) -> None:
    folder = tree.root / "roles" / role
    shared = [folder / "defaults/main.yml", folder / "vars/main.yml"]
    systems = [path for path in folder.glob("vars/*.yml") if path not in shared]
    for system in systems or [folder / "vars/none.yml"]:
        variables = {name: value for path in (*shared, system) for name, value in (tree.read(path) or {}).items()}
        found = cycle({name: needs(folder, value) for name, value in variables.items()})
        assert not found, f"{system.name}: {' -> '.join(found)}"


def test_a_cycle_through_a_template_is_found(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.j2").write_text("{{ one.name }}")
    one = {"name": "x", "text": "{{ lookup('ansible.builtin.template', 'a.j2') }}"}
    assert cycle({"one": needs(tmp_path, one), "two": needs(tmp_path, "{{ one.text }}")}) == ["one", "one"]
