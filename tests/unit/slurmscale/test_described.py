"""Inventories as data: read into a cluster, used in place of the file, and written again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from slurmscale.cli import cluster_commands
from slurmscale.cli.app import app
from slurmscale.errors import ClusterError, NodesError
from slurmscale.inventory.ansible_inventory import Inventory, read
from slurmscale.inventory.described import describe
from slurmscale.inventory.extra_vars import unsafe
from slurmscale.models import Cluster, RunOptions
from slurmscale.operations import Operation
from slurmscale.runner.fake import FakeJob
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
from typer.testing import CliRunner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.runner.protocol import Launch

ROOT = Path(__file__).resolve().parents[3]
INVENTORY = """
all:
  vars: {ansible_user: admin, job_user: alice, size: 3, ansible_password: hunter22}
  children:
    slurm_controllers: {hosts: {ctl: {ansible_host: 10.0.0.1}}}
    slurm_nodes: {hosts: {n1: {ansible_host: 10.0.0.2}, n2: {slurmd_features: [gpu, big]}}}
    apphub: {hosts: {ctl: }}
"""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[Scaling, list[Launch], Path]]:
    """Return a library whose runs do nothing, what they were given, and an inventory."""
    launches: list[Launch] = []

    def job(launch: Launch) -> FakeJob:
        launches.append(launch)
        return FakeJob([])

    path = tmp_path / "hosts.yml"
    path.write_text(INVENTORY)
    with Scaling(Settings(data_dir=tmp_path / "data", project_dir=ROOT), make_job=job) as scaling:
        yield scaling, launches, path


def read_by_ansible(content: dict[str, Any], path: Path) -> Inventory:
    """Return what Ansible makes of the inventory that a run adds."""
    script = path.parent / "added.sh"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(content)}\nEND\n")
    script.chmod(0o755)
    return read([str(script)], os.environ)


def test_a_run_of_an_imported_cluster_sees_what_the_file_said(made: tuple[Scaling, list[Launch], Path]) -> None:
    scaling, launches, path = made
    left = scaling.clusters.import_inventory(Cluster("lab", str(path)))
    assert left == ["ansible_password of ctl", "ansible_password of n1", "ansible_password of n2"]
    assert "hunter22" not in str(scaling.store.cluster("lab"))
    wanted = read([str(path)], os.environ)
    path.unlink()
    scaling.run(Operation.SCALE_UP, "lab", "n1", RunOptions()).wait(20)
    assert launches[0].inventory == ()
    found = read_by_ansible(launches[0].added, path)
    for group in ("slurm_controllers", "slurm_nodes", "apphub"):
        assert sorted(found.groups[group]) == sorted(wanted.groups[group])
    for host, variables in wanted.hostvars.items():
        plain = {name: value for name, value in variables.items() if "password" not in name}
        assert found.hostvars[host] == unsafe(plain)
    with pytest.raises(NodesError, match="Not in the inventory: n9"):
        scaling.scale_up("lab", "n9")
    scaling.run(Operation.ROTATE_MUNGE_KEY, "lab").wait(20)
    assert {task.node for task in scaling.tasks()} == {"ctl", "n1", "n2"}


def test_what_only_a_file_can_hold_is_refused() -> None:
    for value in ("{{ lookup('pipe', 'id') }}", ["{% if x %}"], {"a": "{{ b }}"}):
        known = Inventory({"slurm_controllers": ["ctl"]}, {"ctl": {"x": value}})
        with pytest.raises(ClusterError, match="x: a template"):
            describe(Cluster("lab"), known)
    sealed = Inventory({"slurm_controllers": ["ctl"]}, {"ctl": {"x": {"__ansible_vault": "..."}}})
    assert describe(Cluster("lab"), sealed)[1] == ["x of ctl"]
    with pytest.raises(ClusterError, match="slurm_controllers"):
        describe(Cluster("lab"), Inventory({"slurm_nodes": ["n1"]}, {}))


def test_the_command_imports_and_exports(
    made: tuple[Scaling, list[Launch], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scaling, _, path = made
    monkeypatch.setattr(cluster_commands, "Scaling", lambda: Scaling(scaling.settings))
    done = CliRunner().invoke(app, ["cluster", "import", "lab", "--inventory", str(path)])
    assert "lab: 3 hosts imported" in done.stdout
    assert "ansible_password of n1" in done.stderr
    exported = path.parent / "again.yml"
    exported.write_text(CliRunner().invoke(app, ["cluster", "export", "lab"]).stdout)
    again, first = read([str(exported)], os.environ), read([str(path)], os.environ)
    assert {name: sorted(hosts) for name, hosts in again.groups.items()} == {
        name: sorted(hosts) for name, hosts in first.groups.items()
    }
    assert again.hostvars["n2"] == {
        "ansible_user": "admin", "job_user": "alice", "size": 3, "slurmd_features": ["gpu", "big"],
    }  # fmt: skip
    scaling.add_cluster(Cluster("small", controller="10.0.0.9", apphub_urls=("http://hub",), variables={"size": 1}))
    small = yaml.safe_load(CliRunner().invoke(app, ["cluster", "export", "small"]).stdout)["all"]
    assert small["vars"] == {"apphub_client_urls": ["http://hub"], "size": 1}
    assert small["children"]["slurm_controllers"]["hosts"] == {"controller": {"ansible_host": "10.0.0.9"}}
    told = CliRunner().invoke(app, ["cluster", "export", "small", "--json"]).stdout
    assert json.loads(told)["all"] == small
    scaling.add_cluster(Cluster("filed", str(path)))
    assert isinstance(CliRunner().invoke(app, ["cluster", "export", "filed"]).exception, ClusterError)
