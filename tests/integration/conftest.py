"""A real PostgreSQL, a small playbook project, and an inventory of local hosts."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
from fakes.connections import one_connection_for_each_thread
from fakes.log_stream import log_as_before
from fakes.postgresql import Postgresql
from slurmscale.settings import Settings
from slurmscale.store.repository import Store
from sqlalchemy import create_engine, text

__all__ = ["log_as_before", "one_connection_for_each_thread"]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def _no_agent_stays(tmp_path_factory):
    """End the agents that gpg and dnf started for keys in the tests' own directories."""
    yield
    for process in psutil.process_iter(["name", "cmdline"]):
        mine = str(tmp_path_factory.getbasetemp()) in " ".join(process.info["cmdline"] or ())
        if process.info["name"] == "gpg-agent" and mine:
            # One whose directory is gone ends by itself.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL; the URL without a database's name."""
    with Postgresql() as server:
        yield server.url


@pytest.fixture
def own_postgresql():
    """A PostgreSQL that the test may stop."""
    with Postgresql() as server:
        yield server


@pytest.fixture
def empty_postgresql(postgresql, tmp_path):
    """An empty database in the PostgreSQL."""
    name = f"t{abs(hash(str(tmp_path))) % 10**12}"
    admin = create_engine(postgresql.format("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgresql.format(name)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return request.getfixturevalue("empty_postgresql")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def each_database(request, monkeypatch):
    """Let the library and the command use each kind of database, as the environment may name it."""
    if request.param == "postgresql":
        monkeypatch.setenv("SLURMSCALE_DATABASE_URL", request.getfixturevalue("empty_postgresql"))


@pytest.fixture
def mode(request):
    """How runs that are asked for are begun: by the process that was asked, or by workers, through the queue."""
    return getattr(request, "param", "local")


@pytest.fixture
def store(url):
    store = Store(url)
    yield store
    store.close()


PLAYBOOK = """
- name: Validate
  hosts: localhost
  gather_facts: false
  tasks:
    - name: look
      ansible.builtin.command: sleep 0.1
- name: Prepare
  hosts: "{{ nodes }}"
  gather_facts: false
  tasks:
    - name: install
      ansible.builtin.command: sleep {{ duration | default(0.3) }}
    - name: configure
      ansible.builtin.command: "{{ 'false' if inventory_hostname in bad | default([]) else 'true' }}"
- name: Register
  hosts: slurm_controllers
  gather_facts: false
  tasks:
    - name: register
      ansible.builtin.command: sleep 0.2
- name: Report the result of each node
  hosts: "{{ nodes }}"
  gather_facts: false
  tasks:
    - name: finished
      ai_infra.slurm.node_result:
"""


@pytest.fixture
def project_dir(tmp_path):
    """A checkout with a small playbook in the place of each real one."""
    root = tmp_path / "project"
    (root / "playbooks").mkdir(parents=True)
    (root / "roles").mkdir()
    (root / "galaxy.yml").write_text("name: slurm\n")
    (root / ".collections").symlink_to(ROOT / ".collections")
    for name in ("scale_up.yml", "scale_down.yml", "check_nodes.yml"):
        (root / "playbooks" / name).write_text(PLAYBOOK)
    return root


@pytest.fixture
def inventory(tmp_path):
    path = tmp_path / "hosts.yml"
    path.write_text(
        textwrap.dedent(f"""\
        all:
          vars:
            ansible_connection: local
            ansible_python_interpreter: {sys.executable}
          children:
            slurm_controllers:
              hosts:
                ctl1:
            slurm_nodes:
              hosts:
                n[1:4]:
                dead:
                  ansible_connection: ssh
                  ansible_host: 127.0.0.1
                  ansible_port: 1
        """)
    )
    return str(path)


@pytest.fixture
def config(tmp_path, project_dir):
    return Settings(data_dir=tmp_path / "data", project_dir=project_dir)
