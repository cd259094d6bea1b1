"""Nodes, inventories, credentials and secrets."""

from __future__ import annotations

import re

import pytest
from slurmscale import settings
from slurmscale.errors import ClusterError, NodesError, OverlapError, ProjectError, RefusedError
from slurmscale.inventory import ansible_inventory as inventory
from slurmscale.inventory import hostlist as nodes
from slurmscale.inventory.ansible_inventory import Inventory
from slurmscale.inventory.extra_vars import references, split_secrets, unsafe
from slurmscale.models import Cluster, Credentials, NodeSpec
from slurmscale.operations import Operation
from slurmscale.redaction import Redactor, is_secret
from slurmscale.runner import project
from slurmscale.runs import known_clusters as clusters
from slurmscale.store.repository import Store


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node[07-09]", ("node07", "node08", "node09")),
        ("node[07:09]", ("node07", "node08", "node09")),
        ("gpu-node[007,010:011]", ("gpu-node007", "gpu-node010", "gpu-node011")),
        ("rocky[1-2],ubuntu[1-2]", ("rocky1", "rocky2", "ubuntu1", "ubuntu2")),
        ("b,a,b", ("a", "b")),
        ("node[8-11]", ("node8", "node9", "node10", "node11")),
        ("n1.example.org", ("n1.example.org",)),
    ],
)
def test_hostlists_are_expanded_as_slurm_does(text, names):
    assert nodes.expand(text) == names


@pytest.mark.parametrize("text", ["", "n[1", "n[1-", " "])
def test_malformed_hostlists_are_refused(text):
    with pytest.raises(NodesError):
        nodes.expand(text)


def test_folding_touches_only_the_last_number_as_slurm_wants_it():
    assert nodes.fold(["r1n1", "r1n2", "r2n1"]) in ("r1n[1-2],r2n1", "r2n1,r1n[1-2]")
    assert nodes.fold(["node07", "node08", "node10"]) == "node[07-08,10]"


def test_a_request_names_each_node_once():
    spec = NodeSpec("n2", "10.0.0.2")
    assert list(clusters.nodes_by_name(["n[1-2]", spec])) == ["n1", "n2"]
    assert clusters.nodes_by_name(["n[1-2]", spec])["n2"] is spec
    with pytest.raises(NodesError):
        clusters.nodes_by_name([])


KNOWN = Inventory(
    {"slurm_controllers": ["ctl"], "slurm_nodes": ["n1", "n2", "here"]},
    {"n1": {"ansible_user": "inventory"}, "here": {"ansible_connection": "local"}},
)
LEVELS = (
    Credentials(user="cluster"),
    Credentials(user="run", port=2222),
    Credentials(user="default", password="pw-default"),
)


def test_a_nodes_own_credentials_win_over_the_clusters_over_the_defaults():
    nodes = clusters.nodes_by_name(["n1", "here", NodeSpec("n2", None, Credentials(user="own"))])
    result = inventory.additions(Cluster("c", inventory="x"), nodes, nodes, KNOWN, LEVELS, {})
    hostvars = result["_meta"]["hostvars"]
    common = {"ansible_port": 2222, "ansible_password": "pw-default"}
    assert hostvars["n1"] == unsafe(common), "the inventory's own user is not touched"
    assert hostvars["n2"] == unsafe(common | {"ansible_user": "own"})
    assert hostvars["ctl"] == unsafe(common | {"ansible_user": "cluster"})
    assert result["all"]["hosts"] == list(hostvars)
    assert "here" not in hostvars
    assert "slurm_nodes" not in result


def test_a_cluster_without_inventory_is_described_by_its_fields():
    cluster = Cluster("c", controller="10.0.0.1", apphub_urls=("http://a",), variables={"x": 1})
    nodes = {"n9": NodeSpec("n9", "10.0.0.9")}
    result = inventory.additions(cluster, nodes, nodes, Inventory(), (), {"token": "t"})
    assert result["slurm_controllers"] == {"hosts": ["controller"]}
    assert result["slurm_nodes"] == {"hosts": ["n9"]}
    assert result["_meta"]["hostvars"]["controller"] == unsafe({"ansible_host": "10.0.0.1"})
    everywhere = {"x": 1, "apphub_client_urls": ["http://a"], "slurmscale_secrets": {"token": "t"}}
    assert result["all"]["vars"] == unsafe(everywhere)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("ansible_password", True), ("ansible_ssh_pass", True), ("ansible_become_password", True), ("api_key", True),
        ("vault_token", True), ("db_passwd", True), ("client_secret", True), ("ansible_ssh_private_key_file", False),
        ("munge_key_path", False), ("passive", False), ("nodes", False), ("password_file", False),
    ],
)  # fmt: skip
def test_secrets_are_known_by_their_names(name, secret):
    assert is_secret(name) is secret


def test_secret_extra_variables_become_references():
    plain, secret = split_secrets({"size": 1, "ansible_password": "x"})
    assert (plain, secret) == ({"size": 1}, {"ansible_password": "x"})
    assert references(secret) == {"ansible_password": "{{ slurmscale_secrets['ansible_password'] }}"}


def test_the_redactor_masks_secrets_wherever_they_were_found():
    redactor = Redactor()
    redactor.learn(
        {"n1": {"ansible_password": "hunter22", "nested": [{"api_token": 'a"quote'}], "ansible_user": "admin"}}
    )
    redactor.learn({"password": {"inner": "deepdown"}, "pin_password": 12345, "x_password": "{{ lookup('env', 'P') }}"})
    text = 'hunter22 a"quote a\\"quote admin deepdown 12345 lookup'
    assert redactor(text) == "******** ******** ******** admin ******** ******** lookup"


def test_nodes_that_ansible_would_skip_are_refused():
    with pytest.raises(NodesError, match=r"Not in the inventory: n7.*n1, n2"):
        inventory.check_nodes(["n1", "n7"], KNOWN, Cluster("c"))
    with pytest.raises(ClusterError, match="slurm_controllers"):
        inventory.check_nodes(["n1"], Inventory({"slurm_nodes": ["n1"]}), Cluster("c"))
    inventory.check_nodes(["n1", "ctl"], KNOWN, Cluster("c"))


def test_clusters_are_found_by_name_by_path_and_when_there_is_only_one(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/store.db")
    path = tmp_path / "hosts.yml"
    with pytest.raises(ClusterError, match="--inventory"):
        clusters.find(store, None)
    with pytest.raises(ClusterError, match="neither a known cluster"):
        clusters.find(store, str(path))
    path.write_text("")
    found = clusters.find(store, str(path))
    assert found.inventory == str(path)
    assert re.fullmatch(r"[A-Za-z0-9-]+-hosts-[0-9a-f]{8}", found.name)
    clusters.add(store, Cluster("lab", inventory=str(path)))
    assert clusters.find(store, None).name == "lab"
    assert clusters.find(store, "lab").inventory == str(path)
    assert clusters.find(store, str(path)).name == "lab"
    with pytest.raises(ClusterError, match="address of its controller"):
        clusters.add(store, Cluster("empty"))
    with pytest.raises(ClusterError, match="does not exist"):
        clusters.add(store, Cluster("gone", inventory="/nowhere"))
    store.close()


def test_a_wrong_setting_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("SLURMSCALE_FORKS", "many")
    with pytest.raises(RefusedError, match="SLURMSCALE_FORKS=many"):
        settings.load()


def test_settings_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURMSCALE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SLURMSCALE_SSH_USER", "admin")
    monkeypatch.setenv("SLURMSCALE_SSH_PASSWORD", "hunter22")
    loaded = settings.load()
    assert loaded.url == f"sqlite:///{tmp_path}/slurmscale.db"
    assert loaded.credentials == Credentials(user="admin", password="hunter22")
    assert "hunter22" not in repr(loaded) + repr(loaded.credentials)
    assert settings.blanked_environment() == {"SLURMSCALE_SSH_PASSWORD": ""}
    monkeypatch.setenv("SLURMSCALE_DATABASE_URL", "postgresql://db/x")
    assert settings.load().url == "postgresql://db/x"


def test_the_checkout_is_found_and_says_what_ansible_needs(monkeypatch):
    monkeypatch.setenv("ANSIBLE_CALLBACKS_ENABLED", "mine")
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", "/more")
    content = project.find()
    environment = content.environment()
    assert content.playbook(Operation.SCALE_UP.playbook).name == "scale_up.yml"
    assert environment["ANSIBLE_CONFIG"] == str(content.root / "ansible.cfg")
    assert environment["ANSIBLE_CALLBACKS_ENABLED"] == "mine,ai_infra.slurm.slurm_plan,ai_infra.slurm.slurm_workers"
    assert environment["ANSIBLE_COLLECTIONS_PATH"].endswith(".collections:/more")


def test_installed_content_brings_the_settings_of_ansible_cfg_along():
    content = project.find()
    installed = project.Project(content.root, content.collections)
    text = (content.root / "ansible.cfg").read_text()
    environment = installed.environment()
    assert "ANSIBLE_CONFIG" not in environment
    assert environment["ANSIBLE_SSH_ARGS"] in text
    assert environment["ANSIBLE_SSH_CONTROL_PATH"] in text
    assert f"gathering = {environment['ANSIBLE_GATHERING']}" in text
    assert f"timeout = {environment['ANSIBLE_TIMEOUT']}" in text


def test_missing_playbooks_are_said_to_be_missing(tmp_path):
    with pytest.raises(ProjectError, match="SLURMSCALE_PROJECT_DIR"):
        project.find(tmp_path)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "galaxy.yml").write_text("")
    with pytest.raises(ProjectError, match=r"scale_up\.yml"):
        project.find(tmp_path).playbook(Operation.SCALE_UP.playbook)


def test_a_refusal_for_overlap_names_the_first_few_nodes():
    text = str(OverlapError("r1", tuple(f"n{i}" for i in range(9))))
    assert "n4 and 4 more" in text


def test_a_run_on_known_nodes_without_credentials_adds_no_source():
    assert inventory.additions(Cluster("c", inventory="x"), {}, ["a"], Inventory({"slurm_nodes": ["a"]}), (), {}) == {}
