"""The lines that the roles write to a node's /etc/hosts, as blockinfile writes them and the probe reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jinja2
import yaml
from ansible.modules import blockinfile
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.hosts_file import read_entries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    Runner = Callable[..., dict[str, Any]]

OWN = "127.0.0.1 localhost\n192.0.2.9 printer\n"


def write(
    run_module: Runner, root: Path, entries: dict[str, str] | None, roles: Path, **options: bool
) -> dict[str, Any]:
    """Run the task of the role on another file."""
    name = "hosts" if entries is not None else "remove"
    tasks = yaml.safe_load((roles / f"slurmd/tasks/{name}.yml").read_text())
    (stated,) = [task["ansible.builtin.blockinfile"] for task in tasks if "ansible.builtin.blockinfile" in task]
    text = jinja2.Template(stated.get("block", ""), trim_blocks=True).render(slurmd_plan={"hosts": entries})
    assert stated["path"] == "/etc/hosts"
    there = {"path": str(root / "etc/hosts"), "block": text, "_ansible_tmpdir": str(root)}
    return run_module(blockinfile, **{**stated, **there}, **options)


def test_what_is_written_is_read_again_and_removed(
    run_module: Runner, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    roles = request.config.rootpath / "roles"
    hosts = tmp_path / "etc/hosts"
    hosts.parent.mkdir()
    hosts.write_text(OWN)
    wanted = {"ctl1": "10.0.0.2", "n7": "10.0.0.7"}
    assert read_entries(str(tmp_path)) == {}
    shown = write(run_module, tmp_path, wanted, roles, check=True)
    assert (shown["changed"], "10.0.0.2 ctl1" in shown["diff"][0]["after"]) == (True, True)
    assert hosts.read_text() == OWN
    assert write(run_module, tmp_path, wanted, roles)["changed"]
    assert read_entries(str(tmp_path)) == wanted
    assert hosts.read_text().startswith(OWN)
    assert not write(run_module, tmp_path, wanted, roles)["changed"]
    write(run_module, tmp_path, {"ctl1": "10.0.0.3"}, roles)
    assert read_entries(str(tmp_path)) == {"ctl1": "10.0.0.3"}
    write(run_module, tmp_path, None, roles)
    assert hosts.read_text() == OWN


def test_a_machine_without_the_file_has_none(tmp_path: Path) -> None:
    assert read_entries(str(tmp_path)) == {}
