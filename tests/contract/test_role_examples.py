"""The example of each role's README is what its scenario runs on real daemons, on bare machines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Tree

ROLES = (
    "apphub",
    "apphub-client",
    "munge",
    "preflight",
    "slurmctld",
    "slurmctld-reconfigure",
    "slurmd-rocky",
    "slurmd-ubuntu",
)
# What a scenario has to add: the names of its plays, and the Python of the machine that it runs on.
OWN = {"name", "vars"}


def roles(play: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Return what a play runs: role, entry point and which variables are stated; their values belong to a machine."""
    found = [(one["role"], "main", sorted(one.get("vars") or {})) for one in play.get("roles") or []]
    for task in play.get("tasks") or []:
        stated = task["ansible.builtin.import_role"]
        found.append((stated["name"], stated.get("tasks_from", "main"), sorted(task.get("vars") or {})))
    return found


@pytest.mark.parametrize("name", ROLES)
def test_the_example_of_the_readme_is_run_by_the_scenario(tree: Tree, name: str) -> None:
    text = (tree.root / "roles" / name / "README.md").read_text(encoding="utf-8")
    (block, *_others) = re.findall(r"```yaml\n(- hosts:.*?)```", text, re.DOTALL)
    scenario = yaml.safe_load((tree.root / "molecule" / name / "converge.yml").read_text(encoding="utf-8"))
    example = yaml.safe_load(block)
    assert [roles(play) for play in example] == [roles(play) for play in scenario]
    for told, run in zip(example, scenario, strict=True):
        assert set(told) - OWN == set(run) - OWN
        assert told["hosts"].partition("[")[0] == run["hosts"].partition("[")[0]
