"""A secret in every field that may hold one, and a playbook that tells them all: none is found anywhere afterwards."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from integration.test_secrets import Watch
from slurmscale.cli import main
from slurmscale.errors import ClusterError
from slurmscale.models import Cluster, Credentials, NodeSpec, RunOptions
from slurmscale.scaling import Scaling
from slurmscale.states import RunStatus
from sqlalchemy import MetaData, create_engine, select

# What has another form in URLs, JSON, YAML, a shell and base64.
KEY = "-----BEGIN KEY-----\nplanted/private+key+first+line=\nplanted/private+key+second+line=\n-----END KEY-----"
PLANTED = {
    "login password": "planted/login?1 é",
    "sudo password": "planted/sudo&2 'x'",
    "password of a node": 'planted/node=3 "x"',
    "password of the vault": "planted/vault+4",
    "value in the vault": "planted/sealed+5/",
    "value in the inventory": "planted/inventory 6",
    "extra variable": "planted/extra\\7",
    "nested extra variable": "planted/nested 8!",
    "variable in a list": "planted/list+9",
    "password in a URL": "planted/url@10",
    "token in front of a host": "planted-token-0011",
    "token in a query": "planted/query+12",
    "munge key": "planted/munge 13 ü",
    "password of the database": "planted/database 14",
    "key": "planted/private+key+first+line=",
    "more of the key": "planted/private+key+second+line=",
}
VARIABLES = [
    "ansible_password", "ansible_become_password", "sealed_token", "own_password", "db_password", "db", "accounts",
    "proxy", "apphub_url", "mirror", "munge_key", "ssh_private_key",
]  # fmt: skip
PLAYBOOK = f"""
- name: Prepare
  hosts: "{{{{ nodes }}}}"
  gather_facts: false
  vars:
    known: {VARIABLES}
  tasks:
    - name: careless
      ansible.builtin.debug:
        msg: >-
          {{{{ it }}}} {{{{ it | to_json }}}} {{{{ it | string | b64encode }}}} {{{{ ('x' ~ it) | b64encode }}}}
          {{{{ ('xy' ~ it) | b64encode }}}} {{{{ it | string | urlencode }}}} {{{{ it | to_yaml }}}}
          {{{{ it | string | quote }}}}
      vars:
        it: "{{{{ lookup('ansible.builtin.vars', item, default='none') }}}}"
      loop: "{{{{ known }}}}"
    - name: careless command
      ansible.builtin.command:
        argv: "{{{{ ['echo'] + query('ansible.builtin.vars', *known, default='none') }}}}"
    - name: time to look around
      ansible.builtin.command: sleep 1
    - name: careless failure
      ansible.builtin.fail:
        msg: "{{{{ [proxy, db, ansible_password, sealed_token] }}}} {{{{ munge_key | b64encode }}}}"
"""


def forms(secret):
    """Return how a secret may be written; of base64 what does not hold bits of its neighbours."""
    raw = secret.encode()
    within = {base64.b64encode(b"\0" * shift + raw).decode()[4 if shift else 0 : -4] for shift in range(3)}
    return {secret, quote(secret), quote(secret, safe=""), *within}


NEEDLES = {form: name for name, secret in PLANTED.items() for form in forms(secret)}


def found_in(text):
    return {name for form, name in NEEDLES.items() if form in text}


@pytest.fixture
def with_secrets(config, project_dir, url, tmp_path):
    """Plant what lies in files, and name the database with its password."""
    (project_dir / "playbooks" / "scale_up.yml").write_text(PLAYBOOK)
    vault = tmp_path / "vault-password"
    vault.write_text(PLANTED["password of the vault"])
    command = [Path(sys.executable).parent / "ansible-vault", "encrypt_string", "--vault-password-file", vault]
    sealed = subprocess.run([*command, PLANTED["value in the vault"], "--name", "sealed_token"], check=True,
                            capture_output=True, text=True).stdout  # fmt: skip
    vault.unlink()
    group_vars = tmp_path / "group_vars"
    group_vars.mkdir()
    (group_vars / "slurm_nodes.yml").write_text(f"{sealed}\ndb_password: {PLANTED['value in the inventory']}\n")
    if url.startswith("postgresql"):
        url = url.replace("tester@", f"tester:{quote(PLANTED['password of the database'], safe='')}@")
    return config.model_copy(update={"database_url": url})


def test_no_planted_secret_is_found_anywhere(with_secrets, inventory, url, command):
    options = RunOptions(
        credentials=Credentials(password=PLANTED["login password"], become_password=PLANTED["sudo password"]),
        vault_password=PLANTED["password of the vault"],
        extra_vars={
            "own_password": PLANTED["extra variable"],
            "db": {"deep": [{"password": PLANTED["nested extra variable"]}]},
            "accounts": [{"tokens": [PLANTED["variable in a list"]]}],
            "proxy": f"http://user:{quote(PLANTED['password in a URL'], safe='')}@proxy.example.org:3128/",
            "apphub_url": f"https://{PLANTED['token in front of a host']}@hub.example.org",
            "mirror": f"https://hub.example.org/x?a=b&access_token={quote(PLANTED['token in a query'], safe='')}#x",
            "munge_key": PLANTED["munge key"],
            "ssh_private_key": KEY,
            "size": 3,
        },
        verbosity=3,
    )
    nodes = [NodeSpec("n1"), NodeSpec("n9", "127.0.0.1", Credentials(password=PLANTED["password of a node"]))]
    watch = Watch(NEEDLES, with_secrets.data_dir)
    with Scaling(with_secrets) as scaling:
        watch.start()
        handle = scaling.scale_up(inventory, nodes, options)
        told = [f"{notice}" for notice in handle.subscribe()]
        run = handle.wait(120)
        watch.over.set()
        watch.join()
        watch.look()
        log = "\n".join(line.text for node in (*run.nodes, None) for line in scaling.log(node, run.id))
        told += [f"{run} {scaling.tasks(run.id)} {scaling.status()}", log]
    assert run.status is RunStatus.FAILED
    assert log.count("********") > 5 * len(VARIABLES), log
    assert found_in("\n".join(told)) == set()
    assert watch.found == set()
    assert found_in(everything_in(url)) == set()
    assert run.variables == {"size": 3}
    assert found_in(what_it_prints(command, run.id)) == set()
    assert not [path for path in with_secrets.data_dir.rglob("*") if path.is_file() and found_in_file(path)]


def everything_in(url):
    """Return all rows of all tables."""
    engine = create_engine(url)
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        rows = {name: connection.execute(select(table)).all() for name, table in tables.tables.items()}
    engine.dispose()
    assert rows["runs"]
    # as texts, and not as Python would quote them
    return "\n".join(str(value) for found in rows.values() for row in found for value in row)


@pytest.fixture
def command(monkeypatch, capsys, with_secrets):
    """Return a function that runs the command in this process and returns all that it prints."""
    monkeypatch.setenv("SLURMSCALE_DATA_DIR", str(with_secrets.data_dir))
    monkeypatch.setenv("SLURMSCALE_DATABASE_URL", with_secrets.database_url)
    monkeypatch.setenv("SLURMSCALE_PROJECT_DIR", str(with_secrets.project_dir))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["slurmscale", *arguments])
        with pytest.raises(SystemExit):
            main()
        printed = "".join(capsys.readouterr())
        assert printed
        return printed

    return run


def what_it_prints(command, run):
    return "\n".join(
        command(*arguments, *form)
        for arguments in (
            ["runs"], ["tasks"], ["status"], ["log", "n1"], ["log", "n9"], ["log", "--run", run], ["retry", run],
        )
        for form in ([], ["--json"])
    )  # fmt: skip


def found_in_file(path):
    return found_in(path.read_bytes().decode(errors="replace"))


@pytest.mark.parametrize(
    "described",
    [
        {"variables": {"db": {"password": PLANTED["nested extra variable"]}}},
        {"variables": {"proxy": "http://user:planted-secret@proxy:3128"}},
        {"variables": {"mirror": "https://hub/x?access_token=planted-secret"}},
        {"apphub_urls": ("http://planted-token-0011@hub",)},
        {"apphub_urls": ("http://hub/x?token=planted-secret",)},
    ],
)
def test_a_cluster_with_a_secret_is_refused_without_it(config, inventory, described):
    with Scaling(config) as scaling:
        with pytest.raises(ClusterError) as refused:
            scaling.add_cluster(Cluster("c", inventory=inventory, **described))
        assert "planted" not in str(refused.value)
        assert scaling.store.clusters() == []
