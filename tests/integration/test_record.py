"""A plain run of ansible-playbook, recorded by the callback slurm_record."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from fakes.waiting import wait_for
from slurmscale.scaling import Scaling
from slurmscale.states import RunStatus, TaskStatus

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LIMIT = 60


@pytest.fixture
def collection(project_dir):
    """The project as an installed collection, whose playbooks are its own."""
    (project_dir / ".collections").unlink()
    content = project_dir / ".collections" / "ansible_collections" / "ai_infra" / "slurm"
    content.mkdir(parents=True)
    for name, target in (
        ("plugins", ROOT / "plugins"),
        ("meta", ROOT / "meta"),
        ("playbooks", project_dir / "playbooks"),
    ):
        (content / name).symlink_to(target)
    (project_dir / "ansible.cfg").touch()
    (content / "galaxy.yml").write_text((ROOT / "galaxy.yml").read_text())
    return project_dir


@pytest.fixture
def start(collection, inventory, config):
    """Start a playbook; returns the process."""
    started = []

    def start(*arguments, playbook="scale_up.yml"):
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(collection / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(collection / ".collections"),
            "ANSIBLE_CALLBACKS_ENABLED": "ai_infra.slurm.slurm_record",
            "SLURMSCALE_DATA_DIR": str(config.data_dir),
            "SLURMSCALE_PROJECT_DIR": str(collection),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        command = [BIN / "ansible-playbook", collection / "playbooks" / playbook, "-i", inventory, *arguments]
        process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd=collection,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def recording(process, data_dir):
    environment = process.info["environ"] or {}
    return (process.info["cmdline"] or [])[-1:] == ["record"] and environment.get("SLURMSCALE_DATA_DIR") == str(
        data_dir
    )


def test_a_plain_run_is_recorded_with_the_result_and_the_log_of_each_node(start, config):
    process = start("-e", "nodes=n1,n2,dead", "-e", '{"bad": ["n2"], "my_password": "planted-secret"}')
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode in (2, 4), output
    with Scaling(config) as scaling:
        (run,) = scaling.runs()
        tasks = {task.node: task for task in scaling.tasks(run.id)}
        log = "\n".join(line.text for line in scaling.log("n2"))
    assert (run.operation.value, run.status) == ("scale-up", RunStatus.FAILED)
    assert f"recorded as run {run.id}" in output
    assert (tasks["n1"].status, tasks["n1"].progress) == (TaskStatus.COMPLETED, 100)
    assert (tasks["n2"].status, tasks["n2"].step, tasks["n2"].error_code) == (
        TaskStatus.FAILED, "configure", "task-failed",
    )  # fmt: skip
    assert tasks["dead"].error_code == "host-unreachable"
    assert "fatal: [n2]: FAILED!" in log
    assert run.secret_names == ("my_password",)
    assert b"planted-secret" not in b"".join(path.read_bytes() for path in config.data_dir.iterdir())


def test_a_run_that_can_not_be_recorded_goes_on_and_says_why(start, config):
    first = start("-e", "nodes=n1", "-e", "duration=30")
    with Scaling(config) as scaling:
        wait_for(lambda: any(run.status is RunStatus.RUNNING for run in scaling.runs()))
        second = start("-e", "nodes=n1")
        output, _ = second.communicate(timeout=LIMIT)
        assert second.returncode == 0, output
        (run,) = scaling.runs()
        assert run.id in output
        assert "n1" in output
        scaling.cancel(run.id)
        first.communicate(timeout=LIMIT)
        assert scaling.find_run(run.id).status is RunStatus.CANCELLED
    recorders = [one for one in psutil.process_iter(["cmdline", "environ"]) if recording(one, config.data_dir)]
    assert psutil.wait_procs(recorders, LIMIT)[1] == []


def test_a_killed_playbook_leaves_no_active_run(start, config):
    process = start("-e", "nodes=n1", "-e", "duration=30")
    with Scaling(config) as scaling:
        wait_for(lambda: any(run.status is RunStatus.RUNNING for run in scaling.runs()))
        root = psutil.Process(process.pid)
        for one in [root, *root.children(recursive=True)]:
            # what has ended meanwhile, perhaps because the others did
            with contextlib.suppress(psutil.NoSuchProcess):
                if "record" not in one.cmdline():
                    one.kill()
        (run,) = wait_for(lambda: [run for run in scaling.runs() if run.status is RunStatus.FAILED])
    assert run.error_code == "ansible-failed"


def test_a_command_that_is_not_there_is_a_warning(start, monkeypatch, config):
    monkeypatch.setenv("SLURMSCALE_COMMAND", "slurmscale-that-is-not-there")
    process = start("-e", "nodes=n1")
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert "The run is not recorded" in output
    with Scaling(config) as scaling:
        assert scaling.runs() == []


def test_the_command_alone_says_what_it_is_for(config):
    done = subprocess.run(
        [BIN / "slurmscale", "record"], input="not an event\n", text=True, capture_output=True, check=False,
        env=os.environ | {"SLURMSCALE_DATA_DIR": str(config.data_dir)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "ANSIBLE_CALLBACKS_ENABLED" in done.stderr
    assert "Traceback" not in done.stderr
