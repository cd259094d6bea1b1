"""A role's variables: described once, named after the role, with defaults that are what is documented."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness import Thresholds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Tree

# Of Ansible itself, and what says which phase of a run a task belongs to.
FOREIGN = {"ansible_become", "ansible_remote_tmp", "scale_phase"}
TYPES = {"bool": bool, "int": int, "float": (int, float), "list": list, "dict": dict, "str": str, "path": str}


def computed(value: object) -> bool:
    return "{{" in str(value)


def test_has_specs_and_a_readme(tree: Tree, role: str) -> None:
    assert tree.specs(role), "meta/argument_specs.yml is missing or empty"
    assert (tree.root / "roles" / role / "README.md").is_file(), "run `make docs`"


def test_role_name_in_the_metadata_is_the_folder(tree: Tree, role: str) -> None:
    meta = tree.read(tree.root / "roles" / role / "meta/main.yml")
    assert meta["galaxy_info"]["role_name"] == role.replace("-", "_")


def test_every_default_is_described(tree: Tree, role: str) -> None:
    defaults = tree.read(tree.root / "roles" / role / "defaults/main.yml") or {}
    undescribed = sorted(set(defaults) - set(tree.options(role)))
    assert not undescribed, undescribed


def test_literal_defaults_equal_the_specs(tree: Tree, role: str) -> None:
    defaults = tree.read(tree.root / "roles" / role / "defaults/main.yml") or {}
    literal = {name: value for name, value in defaults.items() if not computed(value)}
    documented = {name: option["default"] for name, option in tree.options(role).items() if "default" in option}
    assert literal == documented


def test_a_repair_compares_with_the_usual_thresholds_of_a_check(tree: Tree) -> None:
    defaults = tree.read(tree.root / "roles/preflight/defaults/main.yml")
    for name, value in Thresholds()._asdict().items():
        assert value == defaults[f"preflight_{name}"], name


def test_what_has_no_literal_default_is_required_or_says_what_holds_when_unset(tree: Tree, role: str) -> None:
    bare = {name: option for name, option in tree.options(role).items() if "default" not in option}
    unclear = [
        name
        for name, option in bare.items()
        if not option.get("required") and "unset" not in str(option["description"])
    ]
    assert not unclear, unclear


def test_what_is_required_has_no_default(tree: Tree, role: str) -> None:
    defaults = tree.read(tree.root / "roles" / role / "defaults/main.yml") or {}
    both = [name for name, option in tree.options(role).items() if option.get("required") and name in defaults]
    assert not both, both


def test_defaults_have_the_type_that_is_documented(tree: Tree, role: str) -> None:
    wrong = [
        name
        for name, option in tree.options(role).items()
        if "default" in option and not isinstance(option["default"], TYPES.get(option["type"], object))
    ]
    assert not wrong, wrong


def test_an_option_is_the_same_in_every_entry_point(tree: Tree, role: str) -> None:
    merged = tree.options(role)
    for entry in tree.specs(role).values():
        for name, option in (entry.get("options") or {}).items():
            assert option == merged[name], name


def test_every_entry_point_is_a_task_file(tree: Tree, role: str) -> None:
    files = {path.stem for path in (tree.root / "roles" / role / "tasks").glob("*.yml")}
    missing = sorted(set(tree.specs(role)) - files)
    assert not missing, missing


def calls(tree: Tree) -> Iterator[tuple[Path, str, str]]:
    for path in [*tree.root.glob("playbooks/**/*.yml"), *tree.root.glob("roles/*/tasks/*.yml")]:
        for task in tree.tasks(path):
            action = tree.action(task)
            if action in {"ansible.builtin.import_role", "ansible.builtin.include_role"}:
                yield path, task[action]["name"], task[action].get("tasks_from", "main")


def test_what_others_call_is_a_documented_entry_point(tree: Tree) -> None:
    unknown = sorted(
        {
            f"{path.relative_to(tree.root)}: {role} {entry}"
            for path, role, entry in calls(tree)
            if entry.removesuffix(".yml") not in tree.specs(role)
        }
    )
    assert not unknown, "\n".join(unknown)


def test_public_variables_have_the_prefix_of_the_role(tree: Tree, role: str) -> None:
    wrong = [name for name in tree.options(role) if not name.startswith(tree.prefix(role))]
    assert not wrong, wrong


def described(tree: Tree, role: str, name: str) -> bool:
    """Return whether the specs or the hand-written part of the README tell of a variable."""
    readme = (tree.root / "roles" / role / "README.md").read_text(encoding="utf-8")
    return f"C({name})" in str(tree.specs(role)) or f"`{name}`" in readme


def test_vars_are_internal_or_described_for_other_roles(tree: Tree, role: str) -> None:
    for path in (tree.root / "roles" / role / "vars").glob("*.yml"):
        public = [name for name in tree.read(path) or {} if not name.startswith(f"__{tree.prefix(role)}")]
        wrong = [name for name in public if not (name.startswith(tree.prefix(role)) and described(tree, role, name))]
        assert not wrong, f"{path.name}: {wrong}"


def set_names(tree: Tree, path: Path) -> Iterator[tuple[str, str]]:
    """Yield what a file registers, sets as facts or gives to a task, with the prefix of the role it is for."""
    own = tree.prefix(path.parents[1].name)
    for task in tree.tasks(path):
        action = tree.action(task)
        if "register" in task:
            yield task["register"], own
        if action == "ansible.builtin.set_fact":
            yield from ((name, own) for name in task[action] if name != "cacheable")
        if "loop_var" in task.get("loop_control", {}):
            yield task["loop_control"]["loop_var"], own
        called = own
        if action in {"ansible.builtin.import_role", "ansible.builtin.include_role"}:
            called = tree.prefix(task[action]["name"])
        yield from ((name, called) for name in task.get("vars") or {} if name not in FOREIGN)


def test_registered_names_facts_and_task_variables_have_the_prefix(tree: Tree, role_tasks: Path) -> None:
    own = tree.prefix(role_tasks.parents[1].name)
    wrong = sorted(
        {name for name, prefix in set_names(tree, role_tasks) if not name.startswith((own, f"__{own}", prefix))}
    )
    assert not wrong, wrong


def test_facts_for_others_are_described(tree: Tree, role: str) -> None:
    """A role's result is a contract like its options."""
    files = (tree.root / "roles" / role / "tasks").glob("*.yml")
    own = {name for path in files for name, prefix in set_names(tree, path) if prefix == tree.prefix(role)}
    public = {name for name in own if not name.startswith("__")} - set(tree.options(role))
    undescribed = sorted(name for name in public if not described(tree, role, name))
    assert not undescribed, undescribed


def test_no_variable_is_used_that_nobody_defines(tree: Tree, role: str) -> None:
    folder = tree.root / "roles" / role
    known = set(tree.options(role)) | set(tree.read(folder / "defaults/main.yml") or {})
    for path in folder.glob("vars/*.yml"):
        known |= set(tree.read(path) or {})
    for path in [*folder.glob("tasks/*.yml"), *folder.glob("handlers/*.yml")]:
        known |= {name for name, _ in set_names(tree, path)}
    shorter = re.compile(rf"(?<![\w./'\"-])(?:__)?{tree.prefix(role)}\w+")
    others = tuple(
        mark + tree.prefix(other.name)
        for other in tree.root.glob("roles/*")
        if tree.prefix(other.name).startswith(tree.prefix(role)) and other.name != role
        for mark in ("", "__")
    )
    used = {
        name
        for path in folder.rglob("*")
        if path.suffix in {".yml", ".j2"} and "meta" not in path.parts
        for line in path.read_text(encoding="utf-8").splitlines()
        if not line.lstrip().startswith("# ")
        for name in shorter.findall(line)
    }
    undefined = sorted(name for name in used - known if not name.startswith(others))
    assert not undefined, undefined


@pytest.mark.parametrize("part", ["names", "types", "entry points"])
def test_slurmd_rocky_and_slurmd_ubuntu_offer_the_same(tree: Tree, part: str) -> None:
    def offer(role: str) -> Any:
        options = {name.removeprefix(tree.prefix(role)): option for name, option in tree.options(role).items()}
        return {
            "names": sorted(options),
            "types": {name: (option["type"], option.get("elements")) for name, option in options.items()},
            "entry points": sorted(tree.specs(role)),
        }[part]

    assert offer("slurmd-rocky") == offer("slurmd-ubuntu")
