"""A real PostgreSQL, a small playbook project, and an inventory of local hosts."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from fakes.log_stream import log_as_before
from slurmscale.settings import Settings
from slurmscale.store.repository import Store
from sqlalchemy import create_engine, text

__all__ = ["log_as_before"]

ROOT = Path(__file__).resolve().parents[2]
_NO_POSTGRESQL = "SLURMSCALE_TEST_WITHOUT_POSTGRESQL"


def _initdb() -> Path:
    found = shutil.which("initdb")
    candidates = [Path(found)] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not candidates:
        if os.environ.get(_NO_POSTGRESQL):
            pytest.skip(f"no PostgreSQL here, and {_NO_POSTGRESQL} is set")
        pytest.fail(
            "The store is tested on PostgreSQL too, but there is no initdb. Install Debian's package postgresql,"
            f" or set {_NO_POSTGRESQL}=1 to leave these tests out."
        )
    return candidates[-1]


@pytest.fixture(scope="session", autouse=True)
def _no_agent_stays(tmp_path_factory):
    """End the agents that gpg and dnf started for keys in the tests' own directories."""
    yield
    for process in psutil.process_iter(["name", "cmdline"]):
        mine = str(tmp_path_factory.getbasetemp()) in " ".join(process.info["cmdline"] or ())
        if process.info["name"] == "gpg-agent" and mine:
            process.terminate()


@pytest.fixture(scope="session")
def postgresql():
    """Start a PostgreSQL on a socket in a directory of its own; yields the URL without a database's name."""
    initdb = _initdb()
    base = Path(tempfile.mkdtemp(prefix="slurmscale-pg-", dir="/tmp"))
    user, become = None, []
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root
        user = next((name for name in ("postgres", "nobody") if _user_exists(name)), None)
        shutil.chown(base, user)
        become = ["runuser", "-u", user, "--"]
    data = base / "data"
    subprocess.run([*become, str(initdb), "-D", str(data), "-U", "tester", "-A", "trust", "-N"], check=True,
                   capture_output=True, cwd=base)  # fmt: skip
    command = [*become, str(initdb.parent / "postgres"), "-D", str(data), "-k", str(base), "-c", "listen_addresses="]
    with (base.parent / f"{base.name}.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=base)
        try:
            yield _when_ready(f"postgresql+psycopg://tester@/{{}}?host={base}")
        finally:
            server.terminate()
            server.wait(20)
            shutil.rmtree(base, ignore_errors=True)
            Path(log.name).unlink()


def _user_exists(name):
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def _when_ready(url):
    engine = create_engine(url.format("postgres"))
    deadline = time.monotonic() + 30
    while True:
        try:
            with engine.connect():
                engine.dispose()
                return url
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


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
