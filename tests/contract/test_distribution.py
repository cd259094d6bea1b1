"""What is built works away from the checkout: the collection from its tarball, the package from its wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Tree

BIN = Path(sys.executable).parent
# What ansible-galaxy adds.
MADE = {"MANIFEST.json", "FILES.json"}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command as a user would, who has no checkout and no settings of ours."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    answer = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**own, "HOME": str(cwd), "PATH": f"{BIN}:{own['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, f"{command}\n{answer.stdout}{answer.stderr}"
    return answer.stdout


@pytest.fixture(scope="module")
def tarball(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tarball")
    run("ansible-galaxy", "collection", "build", tree.root, "--output-path", folder, cwd=folder)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def installed(tree: Tree, tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the collection installed in it, and an inventory beside."""
    folder = tmp_path_factory.mktemp("installed")
    run("ansible-galaxy", "collection", "install", tarball, "--offline", "-p", folder / "collections", cwd=folder)
    (folder / "inventory").symlink_to(tree.root / "inventories/example")
    return folder


def test_tarball_holds_only_files_of_the_project(tree: Tree, tarball: Path) -> None:
    """No cache, and above all no key or inventory of a lab."""
    ours = {str(path.relative_to(tree.root)) for path in tree.tracked()}
    with tarfile.open(tarball) as archive:
        packed = {member.name.removeprefix("./") for member in archive if not member.isdir()}
    strange = sorted(packed - ours - MADE)
    assert not strange, strange[:20]


def test_tarball_holds_all_playbooks_roles_and_plugins(tree: Tree, tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        packed = {member.name.removeprefix("./") for member in archive}
    wanted = {str(path.relative_to(tree.root)) for path in tree.tracked()}
    content = {name for name in wanted if name.split("/")[0] in {"playbooks", "roles", "plugins", "meta"}}
    missing = sorted(content - packed)
    assert not missing, missing


def test_installed_collection_runs_every_playbook(tree: Tree, installed: Path) -> None:
    names = [f"ai_infra.slurm.{path.stem}" for path in sorted(tree.root.glob("playbooks/*.yml"))]
    run(
        "ansible-playbook",
        "--syntax-check",
        "--inventory",
        "inventory",
        *names,
        cwd=installed,
        ANSIBLE_COLLECTIONS_PATH=str(installed / "collections"),
    )


def test_installed_collection_runs(installed: Path) -> None:
    """Further than the syntax: filters are found, and nodes that nobody knows are refused."""
    with pytest.raises(AssertionError, match="node99, which the inventory does not know"):
        run(
            "ansible-playbook",
            "ai_infra.slurm.scale_up",
            "--inventory",
            "inventory",
            "-e",
            "nodes=node99",
            cwd=installed,
            ANSIBLE_COLLECTIONS_PATH=str(installed / "collections"),
        )


def test_examples_of_the_roles_run_from_a_playbook_of_ones_own(tree: Tree, installed: Path) -> None:
    """What a README shows can be pasted: plays that name the roles by their short names."""
    playbooks = []
    for readme in sorted(tree.root.glob("roles/*/README.md")):
        example = re.search(r"(?ms)^```yaml\n(- hosts:.*?)^```", readme.read_text(encoding="utf-8"))
        assert example, f"{readme.parent.name}/README.md shows no play"
        playbooks.append(installed / f"{readme.parent.name}.yml")
        playbooks[-1].write_text(example[1], encoding="utf-8")
    roles = installed / "collections/ansible_collections/ai_infra/slurm/roles"
    run(
        "ansible-playbook",
        "--syntax-check",
        "--inventory",
        "inventory",
        *playbooks,
        cwd=installed,
        ANSIBLE_COLLECTIONS_PATH=str(installed / "collections"),
        ANSIBLE_ROLES_PATH=str(roles),
    )


@pytest.fixture(scope="module")
def wheel(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, tree.root, cwd=folder)
    return next(folder.glob("*.whl"))


def test_wheel_carries_the_ansible_content(tree: Tree, wheel: Path) -> None:
    content = "slurmscale/_content/ansible_collections/ai_infra/slurm/"
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {str(path.relative_to(tree.root)) for path in tree.tracked()}
    wanted = {name for name in wanted if name.split("/")[0] in {"playbooks", "roles", "plugins", "meta"}}
    missing = sorted(name for name in wanted if content + name not in packed)
    assert not missing, missing


def test_wheel_carries_the_page(tree: Tree, wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    page = tree.root / "python_lib/slurmscale/service/page"
    wanted = {str(path.relative_to(page.parents[2])) for path in tree.tracked() if path.is_relative_to(page)}
    assert wanted
    assert not sorted(wanted - packed)


def test_wheel_tells_type_checkers_that_it_is_typed(wheel: Path) -> None:
    assert "slurmscale/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_wheel_carries_nothing_else(wheel: Path) -> None:
    """Neither caches nor tests."""
    with zipfile.ZipFile(wheel) as archive:
        strange = [name for name in archive.namelist() if "__pycache__" in name or "_cache/" in name]
        assert not strange, strange
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.startswith("slurmscale")} == set()


def test_package_finds_its_own_playbooks(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)  # noqa: S202 - built just now from our own files
    program = "from slurmscale.runner.project import find; print(find().root)"
    root = Path(run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(tmp_path)).strip())
    assert root.is_relative_to(tmp_path)
    assert (root / "playbooks/scale_up.yml").is_file()
