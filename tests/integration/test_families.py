"""A further family of operating systems is a role and a file of variables: shown with SUSE, which is not shipped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = {
    "role": "slurmd-suse",
    "packages": ["munge", "slurm-node"],
    "package_manager": "zypper",
    "options_file": "/etc/sysconfig/slurmd-suse",
    "conf_dir": "/etc/slurm-suse",
}
NODE = {
    "os": {"id": "opensuse-leap", "major": 15, "family": "Suse", "arch": "x86_64", "pretty": "openSUSE Leap 15.6"},
    "hostname": "n1",
    "files": {},
    "slurmd_args": None,
}
CLUSTER = {"configless": True, "controllers": [{"host": "ctl1"}], "port": 6817, "config": {}, "version": "24.11.5"}


def test_a_family_is_added_by_a_role_and_a_file_of_variables(tmp_path: Path) -> None:
    roles = tmp_path / "roles"
    shutil.copytree(ROOT / "roles", roles)
    (roles / "preflight/vars/Suse.yml").write_text(json.dumps({"preflight_system": SYSTEM}))
    (roles / "slurmd-suse/tasks").mkdir(parents=True)
    (roles / "slurmd-suse/tasks/main.yml").write_text(
        json.dumps([{"ansible.builtin.import_role": {"name": "slurmd", "tasks_from": "compare"}}])
    )
    told = "{{ {'outdated': slurmd_outdated, 'conf_dir': slurmd_conf_dir, 'role': preflight_system.role} | to_json }}"
    copy = {"content": told, "dest": str(tmp_path / "told.json"), "mode": "0644"}
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "preflight_node": NODE,
            "slurmd_controller": "localhost",
        },
        "tasks": [
            {"ansible.builtin.set_fact": {"preflight_cluster": CLUSTER}},
            {"ansible.builtin.import_role": {"name": "preflight", "tasks_from": "load_system"}},
            {"ansible.builtin.import_role": {"name": "slurmd-suse"}},
            {"ansible.builtin.copy": copy},
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_ROLES_PATH": str(roles),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
    }
    run = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", str(tmp_path / "play.yml")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads((tmp_path / "told.json").read_text()) == {
        "outdated": ["/etc/sysconfig/slurmd-suse", "/etc/systemd/system/slurmd.service.d/slurmscale.conf"],
        "conf_dir": "/etc/slurm-suse",
        "role": "slurmd-suse",
    }
