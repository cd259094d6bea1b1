"""What is needed from elsewhere: tested versions with their checksums, and one range of ansible-core everywhere."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from .conftest import Tree

PINNED = re.compile(r"^([\w.-]+)==(\S+)[^\n]*((?:\n +--hash=sha256:[0-9a-f]{64}[ \\]*)*)", re.MULTILINE)


@pytest.fixture(scope="module")
def needed(tree: Tree) -> list[Requirement]:
    """Return what the package and its extras need, without its own extras."""
    project = tomllib.loads((tree.root / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    found = [Requirement(text) for texts in lists for text in texts]
    return [requirement for requirement in found if requirement.name != project["name"]]


def test_the_tested_versions_have_checksums_and_are_allowed(tree: Tree, needed: list[Requirement]) -> None:
    pinned = PINNED.findall((tree.root / "constraints.txt").read_text())
    assert pinned
    assert [name for name, _version, hashes in pinned if not hashes] == []
    versions: dict[str, list[str]] = {}
    for name, version, _hashes in pinned:
        versions.setdefault(normal(name), []).append(version)
    for requirement in needed:
        found = versions.get(normal(requirement.name), [])
        assert found, requirement
        assert all(requirement.specifier.contains(version) for version in found), (requirement, found)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_one_range_of_ansible_core_is_stated_and_each_of_its_versions_is_tested(
    tree: Tree, needed: list[Requirement]
) -> None:
    core = next(requirement for requirement in needed if requirement.name == "ansible-core")
    allowed = [minor for minor in range(10, 40) if core.specifier.contains(f"2.{minor}.5")]
    first = next(part.version for part in core.specifier if part.operator == ">=")
    last = f"2.{allowed[-1]}"
    assert tree.read(tree.root / "meta/runtime.yml")["requires_ansible"] == f">={first}"
    assert first in (tree.root / "python_lib/slurmscale/cli/doctor.py").read_text()
    assert f" {first}=python" in (tree.root / "tests/on_cores.sh").read_text()
    assert f"ansible-core {first} to {last}" in (tree.root / "README.md").read_text()
    tested = re.findall(r"'?2\.(\d+)\.[\d*]+'?=python", (tree.root / "tests/on_cores.sh").read_text())
    assert set(allowed) <= set(map(int, tested))
