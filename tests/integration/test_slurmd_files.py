"""Where the files of slurmd go, and what it is started with, when the inventory states other places."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNIT = "/etc/systemd/system/slurmd.service.d/slurmscale.conf"
NODE = {
    "os": {"id": "ubuntu", "family": "Debian", "major": 24, "supported": True, "codename": "noble", "arch": "x86_64"},
    "hostname": "n1",
    "files": {},
    "services": {},
    "slurmd_args": None,
}


def files_of(tmp_path: Path, stated: dict[str, Any], *, configless: bool) -> dict[str, str]:
    """Return the content of slurmd's files by their path, and its directories as empty ones."""
    cluster = {
        "configless": configless,
        "controllers": [{"host": "ctl1"}],
        "port": 6817,
        "config": {"SlurmdSpoolDir": "/var/spool/slurmd"},
        "version": "24.11.5",
    }
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **stated}
    inventory = {"all": {"hosts": {"n1": {**host, "preflight_node": NODE}, "ctl1": {"preflight_cluster": cluster}}}}
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    play = {
        "hosts": "n1",
        "gather_facts": False,
        "vars": {"slurmd_controller": "ctl1"},
        "tasks": [
            {"ansible.builtin.import_role": {"name": "slurmd", "tasks_from": "compare"}},
            {"ansible.builtin.copy": {"content": "{{ slurmd_node_files | to_json }}", "dest": str(tmp_path / "told")}},
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    run = subprocess.run(
        ["ansible-playbook", "-i", tmp_path / "hosts.json", tmp_path / "play.yml"],
        env=os.environ
        | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    told = json.loads((tmp_path / "told").read_text())
    found = {one["path"]: one["content"] for one in told["files"]}
    return found | {one["path"]: "" for one in told["directories"]}


@pytest.mark.parametrize(
    ("stated", "configless", "options", "places"),
    [
        ({}, True, "--conf-server ctl1:6817", ["/etc/default/slurmd"]),
        ({}, False, "", ["/etc/default/slurmd", "/etc/slurm"]),
        ({"slurmd_options_file": "/etc/opt/slurmd"}, True, "--conf-server ctl1:6817", ["/etc/opt/slurmd"]),
        ({"slurmd_conf_dir": "/opt/slurm/etc"}, False, "-f /opt/slurm/etc/slurm.conf", ["/opt/slurm/etc"]),
    ],
)
def test_slurmd_finds_its_files_where_the_inventory_puts_them(
    tmp_path: Path, stated: dict[str, str], options: str, places: list[str], *, configless: bool
) -> None:
    found = files_of(tmp_path, stated, configless=configless)
    assert set(places) <= set(found)
    path = stated.get("slurmd_options_file", "/etc/default/slurmd")
    assert f'SLURMD_OPTIONS="{options}"' in found[path]
    # The unit of the package names its own file only.
    environment = f"EnvironmentFile={path}\n" if "slurmd_options_file" in stated else ""
    assert f"\n\n[Service]\n{environment}Restart=on-failure\n" in found[UNIT]
