"""The role slurmctld-reconfigure over two controllers: both have the new files, or both their old ones."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.slurmctld import CONF, FakeSlurmctld

ROOT = Path(__file__).resolve().parents[2]
NODES = [{"name": "n2", "params": {"CPUs": 2, "NodeAddr": "localhost"}}]

pytestmark = [
    # A dozen runs of Ansible.
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="a host with files of its own is a mount namespace here"),
]


class Controllers:
    """A primary controller and a backup on this machine, each with its own files in one place.

    Args:
        home: An empty directory.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.slurm = FakeSlurmctld.start(home)
        self.slurm.version = "24.11.5"
        self.slurm.standby = "ctl2"
        self.backup = home / "backup"
        self.backup.mkdir()
        (self.backup / "slurm.conf").write_text(CONF)
        self.bin = self.slurm.install()

    def _python(self, name: str, before: str = "") -> str:
        """Return an interpreter for modules that finds the fake's commands."""
        script = self.home / name
        script.write_text(
            f"#!/bin/sh\nexport PATH={self.bin}:$PATH PYTHONPATH={shlex.quote(os.pathsep.join(sys.path))}\n"
            f'{before}exec {sys.executable} "$@"\n'
        )
        script.chmod(0o755)
        return str(script)

    def own_python(self, before: str = "") -> str:
        """Return the interpreter of the backup, whose files lie where the primary's do."""
        own = (
            'if [ "$1" != own ]; then exec unshare --mount "$0" own "$@"; fi\nshift\n'
            f"mount --bind {self.backup} {self.slurm.conf.parent}\n"
        )
        return self._python("python-ctl2", own + before)

    def change(self, backup: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
        """Let the role do it; the backup is a host with files of its own when nothing else is said.

        Returns:
            What the role returned, or the failure of the run.
        """
        local = {"ansible_connection": "local"}
        hosts = {
            "ctl": local | {"ansible_python_interpreter": self._python("python-ctl")},
            "ctl2": backup or local | {"ansible_python_interpreter": self.own_python()},
        }
        inventory = self.home / "hosts.json"
        inventory.write_text(json.dumps({"all": {"children": {"slurm_controllers": {"hosts": hosts}}}}))
        given = {"slurmctld_reconfigure_conf": str(self.slurm.conf), "slurmctld_reconfigure_nodes": NODES}
        out = self.home / "out.json"
        write = {"content": "{{ said }}", "dest": str(out), "mode": "0600"}
        play = {
            "hosts": "ctl",
            "gather_facts": False,
            "vars": given | {"slurmctld_reconfigure_timeout": 5} | variables,
            "tasks": [
                {
                    "block": [
                        {"ansible.builtin.import_role": {"name": "slurmctld-reconfigure"}},
                        {"ansible.builtin.copy": write, "vars": {"said": "{{ slurmctld_reconfigure_result }}"}},
                    ],
                    "rescue": [
                        {
                            "ansible.builtin.copy": write,
                            "vars": {"said": "{{ ansible_failed_result | ai_infra.slurm.failure }}"},
                        }
                    ],
                }
            ],
        }
        playbook = self.home / "play.yml"
        playbook.write_text(json.dumps([play]))
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", inventory, playbook],
            env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
                              "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")},
            capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        self.slurm.read()
        said: dict[str, Any] = json.loads(out.read_text())
        return said

    def files(self, directory: Path) -> dict[str, str]:
        """Return the configuration that lies in a directory."""
        return {path.name: path.read_text() for path in directory.iterdir() if path.suffix == ".conf"}

    @property
    def both(self) -> tuple[dict[str, str], dict[str, str]]:
        """The configuration of the primary and of the backup."""
        return self.files(self.slurm.conf.parent), self.files(self.backup)


@pytest.fixture
def controllers(tmp_path: Path) -> Controllers:
    return Controllers(tmp_path)


def test_both_get_the_files_and_a_second_run_changes_nothing(controllers: Controllers) -> None:
    assert controllers.change(slurmctld_reconfigure_check_only=True)["added"] == ["n2"]
    assert controllers.both == ({"slurm.conf": CONF}, {"slurm.conf": CONF})
    result = controllers.change()
    assert (result["changed"], result["action"], result["added"]) == (True, "reconfigure", ["n2"])
    primary, backup = controllers.both
    assert primary == backup
    assert "NodeName=n2" in backup["slurmscale-nodes.conf"]
    assert not list(controllers.home.glob("*/slurmscale-backup/in-progress.json"))
    assert not controllers.change()["changed"]
    assert controllers.slurm.loads == 1
    assert controllers.change(slurmctld_reconfigure_state="absent")["removed"] == ["n2"]
    assert controllers.both == ({"slurm.conf": CONF}, {"slurm.conf": CONF})


def test_when_the_primary_does_not_take_them_both_have_their_old_files(controllers: Controllers) -> None:
    nodes = [{"name": "n2", "params": {"Deadly": 1}}]
    failure = controllers.change(slurmctld_reconfigure_nodes=nodes)
    assert failure["code"] == "configuration-rolled-back"
    assert controllers.both == ({"slurm.conf": CONF}, {"slurm.conf": CONF})
    assert not list(controllers.home.glob("*/slurmscale-backup/in-progress.json"))


def test_a_backup_with_other_files_is_named_and_the_primary_left_alone(controllers: Controllers) -> None:
    (controllers.backup / "slurm.conf").write_text(CONF + "MessageTimeout=17\n")
    failure = controllers.change()
    assert failure["code"] == "configuration-differs"
    assert controllers.both == ({"slurm.conf": CONF}, {"slurm.conf": CONF + "MessageTimeout=17\n"})
    assert controllers.slurm.loads == 0


def test_a_backup_that_is_out_of_reach_is_named_and_the_primary_left_alone(controllers: Controllers) -> None:
    failure = controllers.change({"ansible_host": "127.0.0.1", "ansible_port": 9})
    assert failure["code"] == "host-unreachable"
    assert "can't be reached: ctl2" in failure["reason"]
    assert controllers.both[0] == {"slurm.conf": CONF}
    assert controllers.slurm.loads == 0


def test_files_that_both_share_are_changed_once(controllers: Controllers) -> None:
    shared = {"ansible_connection": "local", "ansible_python_interpreter": str(controllers.home / "python-ctl")}
    assert controllers.change(shared)["added"] == ["n2"]
    assert "NodeName=n2" in controllers.both[0]["slurmscale-nodes.conf"]
    backups = [path for path in (controllers.slurm.conf.parent / "slurmscale-backup").iterdir() if path.is_dir()]
    assert len(backups) == 1


def test_a_backup_that_is_lost_when_the_primary_works_keeps_the_new_files(controllers: Controllers) -> None:
    calls = controllers.home / "calls"
    lost = controllers.own_python(f"echo >> {calls}\n[ $(wc -l < {calls}) = 1 ] || exit 1\n")
    assert controllers.change({"ansible_connection": "local", "ansible_python_interpreter": lost})["added"] == ["n2"]
    primary, backup = controllers.both
    assert primary == backup
    assert "NodeName=n2" in backup["slurmscale-nodes.conf"]
    assert not controllers.change()["changed"]
    assert not list(controllers.home.glob("*/slurmscale-backup/in-progress.json"))
