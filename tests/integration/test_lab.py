"""Against real hosts over ssh: a cancel reaches the modules on the nodes. Needs a lab; LAB_PREFIX names it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from slurmscale.models import RunOptions
from slurmscale.scaling import Scaling
from slurmscale.states import RunStatus

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
NODES = ("rocky1", "ubuntu1")
SLOW = """
- name: Prepare
  hosts: "{{ nodes }}"
  gather_facts: false
  tasks:
    - name: first
      ansible.builtin.ping:
    - name: install for a long time
      ansible.builtin.shell: "sh -c 'sleep 7654.{{ duration }}; true'; true"
"""


@pytest.fixture
def lab():
    path = ROOT / "inventories" / os.environ.get("LAB_PREFIX", "lab") / "hosts.yml"
    if not path.exists():
        pytest.skip("there is no lab; `make demo` or molecule/lab/create.yml makes one")
    return str(path)


@pytest.fixture
def scaling(config, project_dir):
    (project_dir / "playbooks" / "scale_up.yml").write_text(SLOW)
    with Scaling(config) as scaling:
        yield scaling


def left_on_nodes(lab, mark):
    """Count the processes with a mark on each node."""
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible", "-i", lab, ",".join(NODES), "-m", "ansible.builtin.raw", "-a",
         f"grep -lsa 7654.{mark[0]}[{mark[1]}] /proc/[0-9]*/cmdline | wc -l"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return [int(line) for line in done.stdout.splitlines() if line.strip().isdigit()]


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.3)


def test_a_cancel_ends_the_modules_on_the_nodes(scaling, lab):
    handle = scaling.scale_up(lab, ",".join(NODES), RunOptions(extra_vars={"duration": "11"}))
    wait_for(lambda: [count > 0 for count in left_on_nodes(lab, "11")] == [True, True])
    run_dir = scaling.store.run(handle.id).run_dir
    started = time.monotonic()
    run = scaling.cancel(handle.id)
    took = time.monotonic() - started
    assert run.status is RunStatus.CANCELLED
    assert left_on_nodes(lab, "11") == [0, 0]
    own = [path for path in Path("/proc").glob("[0-9]*/cmdline") if run_dir.encode() in _read(path)]
    assert own == []
    assert took < 5


def test_what_a_killed_process_left_on_the_nodes_is_ended_by_the_next(config, project_dir, lab, tmp_path):
    (project_dir / "playbooks" / "scale_up.yml").write_text(SLOW)
    script = tmp_path / "victim.py"
    script.write_text(textwrap.dedent(f"""\
        import sys, time
        sys.path.insert(0, {str(ROOT / "python_lib")!r})
        from pathlib import Path
        from slurmscale import RunOptions, Scaling
        from slurmscale.settings import Settings
        config = Settings(data_dir=Path({str(config.data_dir)!r}), project_dir=Path({str(config.project_dir)!r}))
        Scaling(config).scale_up({lab!r}, {",".join(NODES)!r}, RunOptions(extra_vars={{"duration": "22"}}))
        time.sleep(600)
        """))  # fmt: skip
    victim = subprocess.Popen([sys.executable, str(script)])
    wait_for(lambda: [count > 0 for count in left_on_nodes(lab, "22")] == [True, True])
    victim.kill()
    victim.wait()
    with Scaling(config) as after:
        assert [run.status for run in after.runs()] == [RunStatus.INTERRUPTED]
        assert not after.status().active
    assert left_on_nodes(lab, "22") == [0, 0]


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""
