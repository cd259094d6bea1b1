"""A password reaches Ansible and nothing else: no file, no argument, no environment, no event, no record, no output."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
from slurmscale.errors import ClusterError, RefusedError
from slurmscale.models import Cluster, Credentials, NodeSpec, RunOptions
from slurmscale.runner import run_directories
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
from slurmscale.states import RunStatus

SECRET = "correct-horse-battery"  # noqa: S105 - made up, to be looked for
OTHER = 'staple-"quoted"\'-secret'
PYTHON_LIB = Path(__file__).resolve().parents[2] / "python_lib"

PLAYBOOK = """
- name: Prepare
  hosts: "{{ nodes }}"
  gather_facts: false
  tasks:
    - name: known to Ansible
      ansible.builtin.debug:
        msg: >-
          {{ ansible_password | default('') | hash('sha256') }}
          {{ ansible_become_password | default('') | hash('sha256') }}
    - name: careless
      ansible.builtin.command: echo {{ ansible_password | default('none') | quote }}
    - name: its environment
      ansible.builtin.command: env
      delegate_to: localhost
    - name: time to look around
      ansible.builtin.command: sleep 1.5
    - name: careless failure
      ansible.builtin.fail:
        msg: "no login with {{ ansible_password | default('none') }}"
      when: fails | default(false)
"""


class Watch(threading.Thread):
    """Looks for secrets in arguments, environments and files of a run, for as long as it lasts."""

    def __init__(self, secrets, *places):
        super().__init__(daemon=True)
        self.secrets = [secret.encode() for secret in secrets]
        self.places = places
        self.found = set()
        self.looked_at = set()
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            self.look()

    def processes(self):
        """Return the ids of the processes that are looked at."""
        return [process.pid for process in psutil.Process().children(recursive=True)]

    def run_directories(self):
        """Return the directories of runs."""
        return Path(tempfile.gettempdir()).glob("slurmscale-*")

    def look(self):
        for pid in self.processes():
            for name in ("cmdline", "environ"):
                self._read(Path(f"/proc/{pid}/{name}"), f"{name} of a process")
        for place in (*self.places, *self.run_directories()):
            if place.is_file():
                self._read(place, str(place))
            # unlike rglob, walk goes on when a directory vanishes under it
            for folder, _, names in os.walk(place):
                for name in names:
                    self._read(Path(folder, name), f"{folder}/{name}")

    def _read(self, path, what):
        try:
            content = path.read_bytes()
        except OSError:
            return
        self.looked_at.add(path.name)
        # The careless task's own program, for a moment; its node is this machine.
        if any(secret in content for secret in self.secrets) and not content.startswith(
            (b"echo\0", b"/usr/bin/echo\0")
        ):
            self.found.add(what)


@pytest.fixture
def scaling(config, project_dir):
    (project_dir / "playbooks" / "scale_up.yml").write_text(PLAYBOOK)
    with Scaling(config) as scaling:
        yield scaling


def watched_run(scaling, secrets, cluster, nodes, options=None):
    watch = Watch(secrets, scaling.settings.data_dir)
    watch.start()
    handle = scaling.scale_up(cluster, nodes, options)
    texts = []
    for notice in handle.subscribe():
        texts += [str(notice.error), *(f"{change.step} {change.error_message}" for change in notice.tasks)]
    run = handle.wait(60)
    watch.over.set()
    watch.join()
    watch.look()
    log = "\n".join(line.text for node in run.nodes for line in scaling.log(node, run.id))
    everything = f"{run} {scaling.tasks(run.id)} {log} {texts} {scaling.status()}"
    assert not any(secret in everything for secret in secrets)
    assert watch.found == set()
    assert {"cmdline", "environ", "slurmscale.db"} <= watch.looked_at
    return run, log


def digest(secret):
    return hashlib.sha256(secret.encode()).hexdigest()


def test_a_password_in_the_inventory(scaling, tmp_path, inventory):
    secret_file = tmp_path / "inventory" / "hosts.yml"
    secret_file.parent.mkdir()
    text = Path(inventory).read_text().replace("  vars:\n", f"  vars:\n    ansible_password: {SECRET}\n", 1)
    secret_file.write_text(text)
    run, log = watched_run(scaling, [SECRET], str(secret_file), "n1")
    assert run.status is RunStatus.COMPLETED, run.error
    assert digest(SECRET) in log
    assert "********" in log


def test_passwords_among_the_extra_variables(scaling, inventory):
    options = RunOptions(extra_vars={"ansible_password": SECRET, "ansible_become_password": OTHER, "size": 3})
    run, log = watched_run(scaling, [SECRET, OTHER], inventory, "n1", options)
    assert run.status is RunStatus.COMPLETED, run.error
    assert f"{digest(SECRET)} {digest(OTHER)}" in log
    assert run.secret_names == ("ansible_password", "ansible_become_password")
    assert run.variables == {"size": 3}


def test_a_password_of_one_node_wins_over_the_others(scaling):
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    cluster = Cluster("c", controller="127.0.0.1", credentials=Credentials(password=OTHER), variables=here)
    nodes = [NodeSpec("n1", "127.0.0.1", Credentials(password=SECRET)), NodeSpec("n2", "127.0.0.1")]
    run, _ = watched_run(scaling, [SECRET, OTHER], cluster, nodes)
    assert run.status is RunStatus.COMPLETED, scaling.tasks(run.id)
    for node, secret in (("n1", SECRET), ("n2", OTHER)):
        assert digest(secret) in "\n".join(line.text for line in scaling.log(node, run.id))


def test_a_password_in_a_failure_message_is_masked(scaling, inventory):
    options = RunOptions(extra_vars={"ansible_password": SECRET, "fails": True})
    run, _ = watched_run(scaling, [SECRET], inventory, "n1", options)
    assert run.status is RunStatus.FAILED
    assert "no login with ********" in scaling.tasks(run.id)[0].error_message


@pytest.mark.parametrize("way", ["option", "environment", "file"])
def test_a_vault_password(scaling, inventory, tmp_path, monkeypatch, way):
    vault = tmp_path / "vault-password"
    vault.write_text(OTHER)
    sealed = subprocess.run(
        [Path(sys.executable).parent / "ansible-vault", "encrypt_string", "--vault-password-file", vault, SECRET,
         "--name", "ansible_password"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    group_vars = tmp_path / "group_vars"
    group_vars.mkdir()
    (group_vars / "slurm_nodes.yml").write_text(sealed)
    # with -vvv the log has the whole result of the careless task
    options = RunOptions(vault_password_file=str(vault), verbosity=3) if way == "file" else RunOptions(verbosity=3)
    if way == "option":
        options = RunOptions(vault_password=OTHER, verbosity=3)
    if way == "environment":
        monkeypatch.setenv("SLURMSCALE_VAULT_PASSWORD", OTHER)
        own = scaling.settings
        scaling.settings = Settings(data_dir=own.data_dir, project_dir=own.project_dir)
    if way != "file":
        vault.unlink()
    run, log = watched_run(scaling, [SECRET, OTHER], inventory, "n1", options)
    assert run.status is RunStatus.COMPLETED, run.error
    assert digest(SECRET) in log
    assert "********" in log


def test_the_command_line_prints_no_password(config, inventory, project_dir):
    (project_dir / "playbooks" / "scale_up.yml").write_text(PLAYBOOK)
    environment = os.environ | {
        "PYTHONPATH": str(PYTHON_LIB),
        "SLURMSCALE_DATA_DIR": str(config.data_dir),
        "SLURMSCALE_PROJECT_DIR": str(project_dir),
    }
    command = [sys.executable, "-c", "from slurmscale.cli import main; main()"]
    for arguments in (
        ["up", "n1", "-i", inventory, "-e", f"ansible_password={SECRET}", "-e", '{"fails": true}', "-vvv"],
        ["tasks", "--json"], ["runs", "--json"], ["log", "n1"], ["status", "--json"],
    ):  # fmt: skip
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr
    assert "********" in subprocess.run([*command, "log", "n1"], env=environment, capture_output=True, text=True,
                                        check=True).stdout  # fmt: skip
    assert not any(SECRET.encode() in path.read_bytes() for path in config.data_dir.rglob("*") if path.is_file())


def test_a_retry_asks_for_the_secrets_again(scaling, inventory):
    options = RunOptions(extra_vars={"ansible_password": SECRET, "fails": True})
    run = scaling.scale_up(inventory, "n1", options).wait(60)
    with pytest.raises(RefusedError, match="ansible_password"):
        scaling.retry(run.id)
    again = scaling.retry(run.id, RunOptions(extra_vars={"ansible_password": SECRET, "fails": False}))
    assert again.wait(60).status is RunStatus.COMPLETED


def test_a_cluster_with_a_secret_is_not_kept(scaling, inventory):
    with pytest.raises(ClusterError, match="Vault"):
        scaling.add_cluster(Cluster("c", inventory=inventory, variables={"ansible_password": SECRET}))
    assert scaling.store.clusters() == []


def test_nothing_is_left_behind(scaling, inventory):
    run = scaling.scale_up(inventory, "n1").wait(60)
    time.sleep(0.1)
    assert not Path(run.run_dir).exists()
    assert not run_directories.artifacts(Path(run.run_dir)).exists()
