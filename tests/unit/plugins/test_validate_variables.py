"""What is stated of hosts is compared with what the roles say of their variables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible.errors import AnsibleUndefinedVariable
from ansible_collections.ai_infra.slurm.plugins.action import validate_variables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the action with the roles of the collection and one of a family that is not shipped."""
    for role in validate_variables.ROLES.iterdir():
        (tmp_path / role.name).symlink_to(role)
    specs = tmp_path / "slurmd-suse/meta/argument_specs.yml"
    specs.parent.mkdir(parents=True)
    specs.write_text("argument_specs: {main: {options: {slurmd_suse_packages: {type: list, elements: str}}}}")
    monkeypatch.setattr(validate_variables, "ROLES", tmp_path)

    def run(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        task = SimpleNamespace(args={}, async_val=0, check_mode=False, action="validate_variables", delegate_to=None)
        stand_in = SimpleNamespace(tmpdir=None, _shell=SimpleNamespace(tmpdir=None))
        plugin = validate_variables.ActionModule(task, stand_in, SimpleNamespace(check_mode=False), None, None, None)
        options = {"roles": ["preflight", "slurmd", "slurmd-*", "apphub-client"], "hosts": list(hosts)}
        monkeypatch.setattr(plugin, "validate_argument_spec", lambda **_: (None, options))
        return dict(plugin.run(task_vars={"hostvars": hosts}))

    return run


def test_what_roles_can_take_passes(run: Any) -> None:
    stated = {"slurmd_parameters": {"Weight": 10}, "slurmd_memory_margin": "2.5", "preflight_take_over": "yes"}
    assert run({"n1": {**stated, "anything": "else"}, "n2": {}}) == {"changed": False}


def test_what_they_can_not_is_told_once_with_all_hosts(run: Any) -> None:
    result = run({"n1": {"slurmd_memory_margin": "much"}, "n2": {"slurmd_memory_margin": "much"}, "n3": {}})
    (failure,) = result["failures"]
    assert result["failed"]
    assert failure["code"] == "request-invalid"
    assert "slurmd_memory_margin" in failure["reason"]
    assert "(of n1, n2)" in failure["reason"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slurmd_features", {"a": 1}),
        ("apphub_client_timeout", "soon"),
        ("preflight_max_skew", "1 min"),
        ("slurmd_rocky_packages", {"slurm": 1}),
        ("slurmd_suse_packages", {"slurm": 1}),
    ],
)
def test_a_value_of_another_type_is_refused(run: Any, name: str, value: object) -> None:
    assert name in run({"n1": {name: value}})["failure"]["reason"]


class NotYet(dict):
    def __getitem__(self, name: str) -> object:
        raise AnsibleUndefinedVariable(f"{name} needs preflight_node")


def test_what_is_stated_by_facts_that_are_not_there_yet_is_left_to_its_role(run: Any) -> None:
    assert run({"n1": NotYet(slurmd_features=["{{ preflight_node.os.id }}"])}) == {"changed": False}


def test_every_role_of_the_collection_can_be_read() -> None:
    roles = [path.parent.parent for path in validate_variables.ROLES.glob("*/meta/argument_specs.yml")]
    assert len(roles) > 5
    assert all(isinstance(validate_variables.read_spec(role), dict) for role in roles)
