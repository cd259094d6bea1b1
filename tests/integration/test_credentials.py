"""Credentials of a run take effect with an inventory file: what Ansible itself says a host's variables are."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from slurmscale.errors import OverlapError
from slurmscale.inventory import ansible_inventory
from slurmscale.models import Cluster, Credentials, NodeSpec, RunOptions
from slurmscale.runner import run_directories
from slurmscale.runner.secret_socket import SecretSocket
from slurmscale.scaling import Scaling
from slurmscale.states import RunStatus

INVENTORY = """
    all:
      children:
        slurm_controllers:
          hosts:
            ctl1:
            ctl2: {ansible_connection: local}
        slurm_nodes:
          vars: {ansible_port: 22}
          hosts:
            n1:
            n2: {ansible_user: inventory, ansible_password: of-the-inventory}
            n3: {ansible_ssh_user: inventory, ansible_become: false}
            n4:
        apphub:
          hosts:
            localhost: {ansible_connection: local}
    """
OPTIONS = Credentials(user="admin", password="of-the-run", become_password="of-sudo")  # noqa: S106 - made up
pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def hosts(tmp_path):
    path = tmp_path / "inventory" / "hosts.yml"
    (path.parent / "host_vars").mkdir(parents=True)
    path.write_text(textwrap.dedent(INVENTORY))
    (path.parent / "host_vars" / "n4.yml").write_text("{ansible_host: 192.0.2.4, ansible_user: of-host-vars}\n")
    return str(path)


@pytest.fixture
def listed(hosts):
    """Return a function that lets ansible-inventory list the variables of the hosts of a run."""

    def list_(cluster, nodes, *levels):
        known = ansible_inventory.read([hosts], os.environ)
        added = ansible_inventory.additions(cluster, nodes, nodes, known, levels, {})
        run_dir = run_directories.make()
        channel = SecretSocket(run_dir, added)
        try:
            done = subprocess.run(
                [Path(sys.executable).parent / "ansible-inventory", "--list", "-i", hosts,
                 "-i", channel.inventory_script],
                capture_output=True, text=True, check=True, timeout=60,
            )  # fmt: skip
        finally:
            channel.close()
            run_directories.remove(run_dir)
        data = json.loads(done.stdout)
        hostvars = data["_meta"]["hostvars"]
        for variables in hostvars.values():
            for name, value in variables.items():
                variables[name] = value["__ansible_unsafe"] if isinstance(value, dict) and len(value) == 1 else value
        return hostvars

    return list_


def test_credentials_of_a_run_reach_nodes_and_controllers(listed, hosts):
    nodes = {name: NodeSpec(name) for name in ("n1", "n2", "n3")}
    found = listed(Cluster("c", inventory=hosts), nodes, OPTIONS)
    login = {"ansible_user": "admin", "ansible_password": "of-the-run"}
    sudo = {"ansible_become": True, "ansible_become_password": "of-sudo"}
    assert found["n1"] == {"ansible_port": 22, **login, **sudo}
    assert found["ctl1"] == login | sudo
    assert found["ctl2"] == {"ansible_connection": "local", **sudo}, "a local connection has no login"
    assert found["n2"] == {
        "ansible_port": 22, "ansible_user": "inventory", "ansible_password": "of-the-inventory", **sudo
    }  # fmt: skip
    assert found["n3"]["ansible_ssh_user"] == "inventory"
    assert "ansible_user" not in found["n3"], "the inventory has it under its other name"
    assert found["n3"]["ansible_become"] is False
    assert found["n4"]["ansible_user"] == "of-host-vars"
    assert found["n4"]["ansible_become_password"] == "of-sudo", "where slurm.conf is on every node"  # noqa: S105 - made up
    assert found["localhost"] == {"ansible_connection": "local"}, "never on the control machine"


def test_the_cluster_wins_over_the_run_and_that_over_the_defaults(listed, hosts):
    levels = Credentials(user="cluster"), Credentials(user="run", port=1), Credentials(user="default", password="pw-d")  # noqa: S106 - made up
    found = listed(Cluster("c", inventory=hosts), {"n1": NodeSpec("n1")}, *levels)
    assert found["n1"] == {"ansible_port": 22, "ansible_user": "cluster", "ansible_password": "pw-d"}
    assert found["ctl1"]["ansible_port"] == 1


PLAYBOOK = """
- name: Prepare
  hosts: "{{ nodes }}"
  gather_facts: false
  tasks:
    - name: What Ansible would use
      ansible.builtin.debug:
        msg: "{{ ansible_host | default('-') }} {{ ansible_user | default('-') }}
          {{ ansible_password | default('') | hash('sha256') }} {{ word | default('') | hash('sha256') }}"
- name: On the control machine
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Its variables
      ansible.builtin.debug:
        msg: "become {{ ansible_become | default('not set') }}"
"""


def digest(secret):

    return hashlib.sha256(secret.encode()).hexdigest()


@pytest.fixture
def scaling(config, project_dir):
    (project_dir / "playbooks" / "scale_up.yml").write_text(PLAYBOOK)
    with Scaling(config) as scaling:
        yield scaling


def log_of(scaling, run, node):
    return "\n".join(line.text for line in scaling.log(node, run.id))


def test_what_is_given_for_a_node_wins_over_its_host_vars(scaling, hosts):
    nodes = [NodeSpec("n4", "192.0.2.99", Credentials(user="own")), NodeSpec("n3", None, Credentials(user="own"))]
    run = scaling.scale_up(hosts, nodes, RunOptions(credentials=OPTIONS)).wait(60)
    assert run.status is RunStatus.COMPLETED, run.error
    assert "192.0.2.99 own" in log_of(scaling, run, "n4")
    whole = "\n".join(line.text for line in scaling.store.log(run.id, None))
    assert "become not set" in whole


TEMPLATES = ["a{{ 7 * 7 }}b", "a{#b#}c{%d%}", "{{ lookup('pipe', 'touch PROOF') }}", "'\"\\$x`y`"]


@pytest.mark.parametrize("text", TEMPLATES)
def test_texts_of_callers_are_no_templates(scaling, hosts, tmp_path, text):
    text = text.replace("PROOF", str(tmp_path / "proof"))
    options = RunOptions(
        credentials=Credentials(password=text), extra_vars={"word": text, "nested": {"token": [text]}, "list": [text]}
    )
    cluster = Cluster("c", inventory=hosts, variables={"other": text})
    run = scaling.scale_up(cluster, "n1", options).wait(60)
    assert run.status is RunStatus.COMPLETED, run.error
    log = log_of(scaling, run, "n1")
    assert f"{digest(text)} {digest(text)}" in log
    assert not (tmp_path / "proof").exists()


def test_a_password_that_looks_like_a_template_is_masked(scaling, hosts, project_dir):
    text = "pass{{ word }}#with{# braces #}"
    playbook = (
        "- {hosts: '{{ nodes }}', gather_facts: false, tasks: [{name: careless, debug: {var: ansible_password}}]}"
    )
    (project_dir / "playbooks" / "scale_up.yml").write_text(playbook + "\n")
    run = scaling.scale_up(hosts, "n1", RunOptions(credentials=Credentials(password=text))).wait(60)
    log = log_of(scaling, run, "n1")
    assert "braces" not in log
    assert "********" in log


def test_one_machine_is_not_worked_on_by_two_runs_under_two_names(scaling, hosts, project_dir, tmp_path):
    waiting = "- {hosts: '{{ nodes }}', gather_facts: false, tasks: [{name: wait, pause: {seconds: 60}}]}\n"
    (project_dir / "playbooks" / "scale_up.yml").write_text(waiting)
    other = tmp_path / "other.yml"
    other.write_text(
        "slurm_controllers: {hosts: {ctl: }}\nslurm_nodes: {hosts: {x1: {ansible_host: 192.0.2.4}, n4: }}\n"
    )
    handle = scaling.scale_up(hosts, "n4")
    try:
        with pytest.raises(OverlapError) as refused:
            scaling.scale_up(str(other), "x1")
        assert refused.value.run_id == handle.id
    finally:
        handle.cancel()
        handle.wait(60)
