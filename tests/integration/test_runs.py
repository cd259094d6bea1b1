"""Whole runs with the real ansible-runner and real processes on local hosts."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
import structlog
from fakes.waiting import wait_for
from pydantic import SecretStr
from slurmscale.errors import ClusterError, NodesError, OverlapError, RefusedError, ResultNotRecordedError, StoreError
from slurmscale.models import Cluster, Counts, Credentials, NodeSpec, Run, RunOptions
from slurmscale.operations import Operation
from slurmscale.runner import processes, run_directories
from slurmscale.runs.recovery import INTERRUPTED
from slurmscale.scaling import Scaling
from slurmscale.states import RunStatus, TaskStatus
from slurmscale.store.counters import CounterName, read_counters
from slurmscale.store.writer import Writer
from sqlalchemy import event

PYTHON_LIB = Path(__file__).resolve().parents[2] / "python_lib"
LIMIT = 60
pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def scaling(config):
    with Scaling(config) as scaling:
        yield scaling


def tasks_of(scaling, run):
    return {task.node: task for task in scaling.tasks(run.id)}


def processes_with(mark):
    """Find processes with an argument that is the number, or that holds the path."""
    return [
        process for process in psutil.process_iter(["cmdline"])
        if any(part == mark or ("/" in mark and mark in part) for part in process.info["cmdline"] or ())
        and process.pid != os.getpid()
    ]  # fmt: skip


def forever(number):
    """A duration that no other test has, also of those that run beside these."""
    return os.getpid() * 10_000 + number


def playbook(project_dir, text):
    (project_dir / "playbooks" / "scale_up.yml").write_text(textwrap.dedent(text))


@pytest.mark.parametrize("said", ["", "False"])
def test_host_keys_are_checked_as_ansible_is_told(scaling, project_dir, inventory, monkeypatch, said):
    monkeypatch.delenv("ANSIBLE_HOST_KEY_CHECKING", raising=False)
    if said:
        monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", said)
    playbook(
        project_dir,
        """
        - hosts: n1
          gather_facts: false
          tasks:
            - ansible.builtin.assert:
                that: lookup('ansible.builtin.env', 'ANSIBLE_HOST_KEY_CHECKING') == said
        """,
    )
    run = scaling.scale_up(inventory, "n1", RunOptions(extra_vars={"said": said})).wait(LIMIT)
    assert run.status is RunStatus.COMPLETED, scaling.tasks(run.id)[0].error


def test_good_bad_and_unreachable_nodes_end_as_what_they_are(scaling, inventory):
    handle = scaling.scale_up(inventory, "n[1-2],dead", RunOptions(extra_vars={"bad": ["n2"]}))
    seen = {}
    for notice in handle.subscribe():
        for change in notice.tasks:
            seen.setdefault(change.node, []).append(change.progress)
    run = handle.wait(LIMIT)
    tasks = tasks_of(scaling, run)
    assert run.status is RunStatus.FAILED
    assert tasks["n1"].status is TaskStatus.COMPLETED
    assert tasks["n1"].progress == 100
    assert tasks["n2"].status is TaskStatus.FAILED
    assert (tasks["n2"].step, tasks["n2"].error_code) == ("configure", "task-failed")
    assert tasks["dead"].error_code == "host-unreachable"
    assert "127.0.0.1" in tasks["dead"].error_message  # what ssh says of it, or Ansible when it was quicker
    assert (run.counts.success, run.counts.failed, run.counts.active) == (1, 2, 0)
    assert run.error_message == "2 of 3 nodes failed: dead, n2"
    assert all(values == sorted(values) for values in seen.values())
    assert "ok: [n1]" in "\n".join(line.text for line in scaling.log("n1"))
    assert not Path(run.run_dir).exists()
    assert processes_with(run.run_dir) == []
    # the nodes and the controller have answered the first module, or could not be reached
    counted = read_counters(scaling.store)
    contacts = {key.cluster: 0.0 for key in counted}
    for key, value in counted.items():
        contacts[key.cluster] += value if key.name is CounterName.CONTACT_DURATION else 0.0
    assert contacts == {run.cluster: 4.0}


def test_progress_moves_while_only_the_controller_works(scaling, inventory, project_dir):
    playbook(project_dir, """
        - name: Prepare
          hosts: "{{ nodes }}"
          gather_facts: false
          tasks:
            - name: one
              ansible.builtin.debug:
        - name: Register
          hosts: slurm_controllers
          gather_facts: false
          tasks:
            - name: first
              ansible.builtin.command: sleep 0.6
            - name: second
              ansible.builtin.command: sleep 0.6
            - name: third
              ansible.builtin.command: sleep 0.6
        - name: Report the result of each node
          hosts: "{{ nodes }}"
          gather_facts: false
          tasks:
            - name: last
              ai_infra.slurm.node_result:
        """)  # fmt: skip
    handle = scaling.scale_up(inventory, "n[1-2]")
    steps = {}
    for notice in handle.subscribe():
        for change in notice.tasks:
            steps.setdefault(change.node, {})[change.step] = change.progress
    assert handle.wait(LIMIT).status is RunStatus.COMPLETED
    assert steps["n1"]["first"] < steps["n1"]["second"] < steps["n1"]["third"] < 100


ZOO = (Path(__file__).resolve().parents[1] / "events" / "data" / "zoo.yml").read_text()


def test_the_zoo_run_again_gets_the_right_answers(scaling, project_dir, tmp_path):
    """The recorded run, made anew with this version of Ansible and our own plan callback."""
    playbook(project_dir, ZOO)
    inc = Path(__file__).resolve().parents[1] / "events" / "data" / "inc.yml"
    (project_dir / "playbooks" / "inc.yml").write_text(inc.read_text())
    hosts = tmp_path / "zoo.yml"
    hosts.write_text(textwrap.dedent(f"""\
        slurm_controllers:
          hosts:
            a:
        slurm_nodes:
          vars:
            ansible_connection: local
            ansible_python_interpreter: {sys.executable}
          hosts:
            a:
            b:
            c:
            dead:
              ansible_connection: ssh
              ansible_host: 127.0.0.1
              ansible_port: 1
        """))  # fmt: skip
    handle = scaling.scale_up(str(hosts), "a,b,c,dead")
    run = handle.wait(LIMIT)
    assert handle.tracker.plan.known
    errors = {node: (task.step, task.error_code) for node, task in tasks_of(scaling, run).items()}
    assert errors["dead"] == ("ping", "host-unreachable")
    assert errors["a"] == ("hard fail a", "task-failed")
    assert errors["c"] == ("x1", "task-failed")
    assert errors["b"][1] == "run-stopped"
    assert run.counts.failed == 4


def test_a_node_that_ends_early_on_purpose_is_done(scaling, inventory, project_dir):
    playbook(project_dir, """
        - name: Only play
          hosts: "{{ nodes }}"
          gather_facts: false
          tasks:
            - name: begin
              ansible.builtin.debug:
            - name: nothing to do on n1
              ansible.builtin.meta: end_host
              when: inventory_hostname == 'n1'
            - name: fails on n2
              ansible.builtin.fail:
                msg: no
              when: inventory_hostname == 'n2'
            - name: end
              ansible.builtin.debug:
        """)  # fmt: skip
    run = scaling.scale_up(inventory, "n[1-3]").wait(LIMIT)
    statuses = {node: task.status for node, task in tasks_of(scaling, run).items()}
    assert statuses == {"n1": "completed", "n2": "failed", "n3": "completed"}


def test_without_the_plan_the_result_of_each_node_tells_who_is_done(scaling, inventory, monkeypatch):
    monkeypatch.setattr("slurmscale.runner.project._CALLBACKS", ("ansible.posix.missing",))
    handle = scaling.scale_up(inventory, "n[1-2]", RunOptions(extra_vars={"bad": ["n2"]}))
    run = handle.wait(LIMIT)
    assert not handle.tracker.plan.known
    assert {node: task.status for node, task in tasks_of(scaling, run).items()} == {"n1": "completed", "n2": "failed"}


def test_a_second_run_knows_how_long_it_takes_and_tells_each_process(scaling, config, inventory):
    first = scaling.scale_up(inventory, "n[1-2]", RunOptions(extra_vars={"duration": 3}))
    assert first.wait(LIMIT).status is RunStatus.COMPLETED
    second = scaling.scale_up(inventory, "n[1-2]", RunOptions(extra_vars={"duration": 3}))
    values = {"n1": set(), "n2": set()}
    remaining = []
    with Scaling(config) as other:
        while not second.finished:
            for node, distinct in values.items():
                distinct.add(second.tracker.nodes[node].progress)
            remaining += [view.remaining for view in other.status().active_operations]
            time.sleep(0.05)
        assert other.find_run(second.id).remaining is None
    told = [seconds for seconds in remaining if seconds is not None]
    assert told[0] > 2
    assert told == sorted(told, reverse=True)
    assert told[-1] <= 1
    assert all(len(distinct) >= 4 for distinct in values.values())


def cancelled(scaling, inventory):
    """Cancel a run on three nodes; return it, and the seconds until all its processes were gone."""
    handle = scaling.scale_up(inventory, "n[1-3]", RunOptions(extra_vars={"duration": forever(4321)}))
    wait_for(lambda: len(processes_with(str(forever(4321)))) >= 3)
    run_dir = scaling.store.run(handle.id).run_dir
    started = time.monotonic()
    threading.Thread(target=handle.cancel).start()
    wait_for(lambda: not processes_with(str(forever(4321))) and not processes_with(run_dir))
    took = time.monotonic() - started
    return handle.wait(LIMIT), took


def test_cancel_ends_every_process(scaling, inventory):
    run, _ = cancelled(scaling, inventory)
    assert run.status is RunStatus.CANCELLED
    assert {task.status for task in scaling.tasks(run.id)} == {TaskStatus.FAILED}
    assert {task.error_code for task in scaling.tasks(run.id)} == {"run-cancelled"}
    scaling.scale_up(inventory, "n[1-3]").wait(LIMIT)


@pytest.mark.timing
def test_cancel_takes_two_seconds_at_most(scaling, inventory):
    _, took = cancelled(scaling, inventory)
    assert took < 2, f"{took:.1f} s"


@pytest.mark.parametrize("seconds", [0, 0.5, 1, 1.5])
def test_cancel_right_after_the_start(scaling, inventory, seconds):
    """Before there is a process, while it reads the playbook, and about when the first module begins."""
    handle = scaling.scale_up(inventory, "n1", RunOptions(extra_vars={"duration": forever(4322)}))
    time.sleep(seconds)
    handle.cancel()
    run = handle.wait(20)
    assert run.status is RunStatus.CANCELLED
    assert processes_with(str(forever(4322))) == []


def test_another_process_may_cancel(scaling, inventory, config):
    handle = scaling.scale_up(inventory, "n1", RunOptions(extra_vars={"duration": forever(4323)}))
    wait_for(lambda: processes_with(str(forever(4323))))
    with Scaling(config) as other:
        assert other.cancel(handle.id).status is RunStatus.CANCELLED
    assert processes_with(str(forever(4323))) == []
    with pytest.raises(RefusedError, match="ended already"):
        scaling.cancel(handle.id)


def test_the_time_limit_ends_the_run_and_says_so(scaling, inventory):
    handle = scaling.scale_up(inventory, "n1", RunOptions(extra_vars={"duration": forever(4324)}, timeout=3))
    run = handle.wait(LIMIT)
    assert run.status is RunStatus.FAILED
    assert run.error_code == "time-limit-reached"
    assert "3 s" in run.error_message
    assert processes_with(str(forever(4324))) == []


def test_nodes_at_work_are_refused_to_a_second_run(scaling, inventory):
    handle = scaling.scale_up(inventory, "n[1-2]", RunOptions(extra_vars={"duration": forever(4325)}))
    with pytest.raises(OverlapError) as refused:
        scaling.scale_down(inventory, "n[2-3]")
    assert refused.value.run_id == handle.id
    handle.cancel()
    handle.wait(LIMIT)


def test_one_machine_is_refused_to_a_second_run_whatever_inventory_names_it(scaling, inventory, tmp_path):
    other = tmp_path / "other" / "hosts.yml"
    other.parent.mkdir()
    text = Path(inventory).read_text().replace("dead:", "alias:").replace("127.0.0.1", "localhost.localdomain")
    other.write_text(text.replace("localhost.localdomain", "127.0.0.1"))
    held = scaling.scale_up(inventory, "n1,dead", RunOptions(extra_vars={"duration": forever(4330)}))
    for cluster, node in ((str(other), "alias"), (str(other.parent), "n1")):
        with pytest.raises(OverlapError) as refused:
            scaling.check(cluster, node)
        assert (refused.value.run_id, refused.value.nodes) == (held.id, (node,))
    held.cancel()
    held.wait(LIMIT)


def test_a_retry_knows_the_hosts_and_logins_and_asks_for_what_is_secret(scaling, config, project_dir):
    playbook(project_dir, """
        - name: Only play
          hosts: "{{ nodes }}"
          gather_facts: false
          tasks:
            - name: show
              ansible.builtin.fail:
                msg: "{{ ansible_host }} {{ ansible_user }} {{ ansible_port }} {{ ansible_password | length }}"
        """)  # fmt: skip
    secret = "hunter"  # noqa: S105 - made up, to be looked for
    scaling.add_cluster(Cluster("small", controller="10.0.0.1"))
    nodes = [NodeSpec("n1", "10.0.0.7", Credentials(password=secret + "22")), NodeSpec("n2", "10.0.0.8")]
    options = RunOptions(credentials=Credentials(user="admin", port=2222, password=secret + "33"))
    run = scaling.scale_up("small", nodes, options).wait(LIMIT)
    with pytest.raises(RefusedError, match="login password of the nodes, the login password of n1") as refused:
        scaling.retry(run.id)
    assert refused.value.code == "credentials-needed"
    again = RunOptions(credentials=Credentials(password=secret + "4"))
    run = scaling.retry(run.id, again, [NodeSpec("n1", "10.0.0.9", Credentials(password=secret[:1]))]).wait(LIMIT)
    assert {task.node: task.error_message for task in scaling.tasks(run.id)} == {
        "n1": "10.0.0.9 admin 2222 1",
        "n2": "10.0.0.8 admin 2222 7",
    }
    assert secret not in str(scaling.runs())
    # the password of the nodes may be a setting, as it may for the first run
    with Scaling(config.model_copy(update={"ssh_password": SecretStr(secret + "555")})) as with_setting:
        own = [NodeSpec("n1", "10.0.0.9", Credentials(password=secret[:1]))]
        run = with_setting.retry(run.id, nodes=own).wait(LIMIT)
        assert {task.node: task.error_message for task in with_setting.tasks(run.id)} == {
            "n1": "10.0.0.9 admin 2222 1",
            "n2": "10.0.0.8 admin 2222 9",
        }


@pytest.fixture
def other_tmpdir():
    # short, for sockets lie in it
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="o") as path:
        yield path


def test_after_kill_9_nothing_is_running_and_the_next_run_finishes(config, inventory, tmp_path, other_tmpdir):
    script = tmp_path / "victim.py"
    script.write_text(textwrap.dedent(f"""\
        import sys
        sys.path.insert(0, {str(PYTHON_LIB)!r})
        from pathlib import Path
        from slurmscale.models import RunOptions
        from slurmscale.scaling import Scaling
        from slurmscale.settings import Settings
        config = Settings(data_dir=Path({str(config.data_dir)!r}), project_dir=Path({str(config.project_dir)!r}))
        options = RunOptions(extra_vars={{"duration": {forever(4326)}}})
        print(Scaling(config).scale_up({inventory!r}, "n[1-2]", options).id, flush=True)
        import time
        time.sleep(600)
        """))  # fmt: skip
    environment = os.environ | {"TMPDIR": other_tmpdir}
    victim = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    run_id = victim.stdout.readline().strip()
    wait_for(lambda: len(processes_with(str(forever(4326)))) >= 2)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    with Scaling(config) as scaling:
        run = scaling.store.run(run_id)
        assert run.status is RunStatus.INTERRUPTED
        assert {task.status for task in scaling.tasks(run_id)} == {TaskStatus.FAILED}
        assert {task.error_code for task in scaling.tasks(run_id)} == {"run-interrupted"}
        assert not scaling.status().active
        assert processes_with(str(forever(4326))) == []
        assert run.run_dir.startswith(other_tmpdir)
        assert not list(Path(other_tmpdir).iterdir()), "neither the run's own nor what its modules unpacked"
        again = scaling.retry(run_id, RunOptions(extra_vars={"duration": 0.1}))
        assert again.wait(LIMIT).status is RunStatus.COMPLETED
        assert scaling.store.run(again.id).retry_of == run_id


@pytest.mark.parametrize(
    "moment",
    [
        # ansible-inventory has ended
        "slurmscale.runner.run_directories.remove",
        # the directory is made and not recorded
        "slurmscale.store.repository.Store.record",
        # the end is recorded and the directory still there
        "slurmscale.runner.ansible.AnsibleJob.close",
    ],
)
def test_a_directory_that_no_run_tells_of_is_removed_by_the_next_start(  # noqa: PLR0913, PLR0917 - fixtures
    config, inventory, tmp_path, other_tmpdir, monkeypatch, moment
):
    script = tmp_path / "victim.py"
    module, name = moment.rsplit(".", 1)
    script.write_text(textwrap.dedent(f"""\
        import os, signal, sys
        from pathlib import Path
        from pkgutil import resolve_name
        from slurmscale.models import RunOptions
        from slurmscale.scaling import Scaling
        from slurmscale.settings import Settings
        config = Settings(data_dir=Path({str(config.data_dir)!r}), project_dir=Path({str(config.project_dir)!r}))
        with Scaling(config) as scaling:
            setattr(resolve_name({module!r}), {name!r}, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            scaling.scale_up({inventory!r}, "n1", RunOptions(extra_vars={{"duration": 0}})).wait()
        """))  # fmt: skip
    environment = os.environ | {"TMPDIR": other_tmpdir, "PYTHONPATH": str(PYTHON_LIB)}
    victim = subprocess.run([sys.executable, script], env=environment, check=False, timeout=LIMIT)
    assert victim.returncode == -signal.SIGKILL
    (left,) = Path(other_tmpdir).iterdir()
    monkeypatch.setattr(tempfile, "tempdir", other_tmpdir)
    with Scaling(config) as scaling:
        assert not left.exists()
        assert not run_directories.artifacts(left).exists()
        assert scaling.scale_up(inventory, "n1", RunOptions(extra_vars={"duration": 0})).wait(LIMIT).error is None


def test_when_ansible_playbook_alone_is_killed_its_workers_are_ended_and_it_is_said(scaling, inventory):
    handle = scaling.scale_up(inventory, "n[1-2]", RunOptions(extra_vars={"duration": forever(4330)}))
    wait_for(lambda: len(processes_with(str(forever(4330)))) >= 2 and scaling.store.run(handle.id).ansible_pid)
    os.kill(scaling.store.run(handle.id).ansible_pid, signal.SIGKILL)
    run = handle.wait(LIMIT)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "ansible-failed")
    assert run.error_message == "ansible-playbook was killed on this machine."
    assert processes_with(str(forever(4330))) == processes_with(run.run_dir) == []
    assert not Path(run.run_dir).exists()


def test_when_a_fork_of_ansible_is_killed_the_run_ends_and_it_is_said(scaling, inventory, project_dir):
    # The strategy free waits for ever for what it was to return.
    path = project_dir / "playbooks" / "scale_up.yml"
    path.write_text(path.read_text().replace("- name: Prepare\n", "- name: Prepare\n  strategy: free\n"))
    handle = scaling.scale_up(inventory, "n[1-2]", RunOptions(extra_vars={"duration": forever(4331)}))
    wait_for(lambda: len(processes_with(str(forever(4331)))) >= 2 and scaling.store.run(handle.id).ansible_pid)
    fork = psutil.Process(scaling.store.run(handle.id).ansible_pid).children()[0]
    fork.kill()
    run = handle.wait(LIMIT)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "ansible-failed")
    assert run.error_message == "A process of ansible-playbook was killed on this machine by signal 9."
    assert "memory" in run.error_remedy
    assert processes_with(str(forever(4331))) == processes_with(run.run_dir) == []


def test_a_run_that_another_machine_ended_stops_its_ansible_and_writes_no_more(scaling, inventory, config):
    handle = scaling.scale_up(inventory, "n1", RunOptions(extra_vars={"duration": forever(4328)}))
    wait_for(lambda: processes_with(str(forever(4328))))
    run_dir = scaling.store.run(handle.id).run_dir

    def ended_by_another_machine():
        # again when the owner wrote in between, which moves its lease on
        with scaling.store.begin() as connection:
            connection.exec_driver_sql("UPDATE runs SET owner_machine = 'elsewhere', lease_until = 1")
        with Scaling(config) as other:
            return other.store.run(handle.id).status is RunStatus.INTERRUPTED

    wait_for(ended_by_another_machine)
    run = handle.wait(LIMIT)
    assert (run.status, run.error_code) == (RunStatus.INTERRUPTED, "run-interrupted")
    assert {task.error_code for task in scaling.tasks(run.id)} == {"run-interrupted"}
    assert processes_with(str(forever(4328))) == processes_with(run_dir) == []
    assert not Path(run_dir).exists()


def test_the_lease_of_a_run_at_work_is_renewed(scaling, inventory):
    scaling.store.lease_seconds = 6
    handle = scaling.scale_up(inventory, "n1", RunOptions(extra_vars={"duration": forever(4329)}))
    wait_for(lambda: processes_with(str(forever(4329))))
    with scaling.store.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET lease_until = 1")
    wait_for(lambda: not scaling.store.active_runs()[0][1], 10)
    handle.cancel()
    handle.wait(LIMIT)


def test_what_a_run_left_that_another_machine_ended_is_removed_by_the_next_start(config):
    with Scaling(config) as scaling:
        run_dir = run_directories.make()
        (run_dir / "plan.jsonl").write_text("")
        counts = Counts(1, 1)
        run = Run("r1", "lab", Operation.CHECK, RunStatus.PENDING, ("n1",), counts, time.time(), **processes.owner())
        scaling.store.create_run(run)
        scaling.store.record(run, run_dir=str(run_dir))
        scaling.store.end_run(run, RunStatus.INTERRUPTED, INTERRUPTED)
    with Scaling(config):
        assert not run_dir.exists()


@pytest.mark.parametrize("left", [False, True])
def test_what_root_runs_for_a_run_that_was_killed_is_ended_with_the_inventorys_passwords_or_told(
    config, inventory, tmp_path, monkeypatch, left
):
    with Scaling(config) as scaling:
        given = {"inventory": inventory, "forks": 2, "run_dir": str(run_directories.make())}
        dead = processes.owner() | {"owner_pid": 0}
        counts = Counts(1, 1)
        run = Run("r1", "lab", Operation.CHECK, RunStatus.PENDING, ("n1",), counts, time.time(), **given, **dead)
        scaling.store.create_run(run)
        scaling.store.record(run, run_dir=run.run_dir)

    def stop_on_nodes(control, as_root):
        assert control == Path(run.run_dir, "cp")
        as_root(f"touch {tmp_path}/done")
        return left

    monkeypatch.setattr(processes, "stop_on_nodes", stop_on_nodes)
    monkeypatch.setattr("slurmscale.runner.ansible._BECOME_TIMEOUT", LIMIT)
    with structlog.testing.capture_logs() as told, Scaling(config) as scaling:
        assert scaling.store.run("r1").status is RunStatus.INTERRUPTED
    assert (tmp_path / "done").exists()
    assert [line["nodes"] for line in told if "may still be running" in line["event"]] == (["n1"] if left else [])


def only_sqlite(scaling):
    if scaling.store.engine.dialect.name != "sqlite":
        pytest.skip("only SQLite has its disk and its lock here")


@pytest.fixture
def full_disk(scaling, monkeypatch):
    """The database takes no more, as on a full disk; called once the run is in progress."""
    only_sqlite(scaling)
    monkeypatch.setattr("slurmscale.runs.handle.Writer", functools.partial(Writer, give_up=0.5))
    full = []

    def fill():
        def limit(connection, _record):
            connection.execute("PRAGMA max_page_count = 1")

        event.listen(scaling.store.engine, "connect", limit)
        scaling.store.engine.dispose()
        full.append(limit)

    def empty():
        for limit in full:
            event.remove(scaling.store.engine, "connect", limit)
        full.clear()
        scaling.store.engine.dispose()

    yield fill, empty
    empty()


def long_output():
    """Lines that need new pages of the database."""
    return RunOptions(extra_vars={"duration": 2}, verbosity=3)


def test_the_result_of_a_run_on_a_full_disk_is_kept_and_recorded_by_the_next_start(
    scaling, inventory, config, full_disk
):
    fill, empty = full_disk
    handle = scaling.scale_up(inventory, "n[1-2]", long_output())
    wait_for(lambda: handle.tracker.nodes["n1"].step == "install")
    fill()
    run = handle.wait(LIMIT)
    assert (run.status, run.counts.success, run.error) == (RunStatus.COMPLETED, 2, None)
    assert {task.status for task in handle.tasks()} == {TaskStatus.COMPLETED}
    empty()
    assert scaling.store.run(run.id).status is RunStatus.RUNNING
    with Scaling(config) as after:
        assert after.store.run(run.id).status is RunStatus.COMPLETED
        assert {task.progress for task in after.tasks(run.id)} == {100}
        assert "ok: [n1]" in "\n".join(line.text for line in after.log("n1", run.id))


def test_the_report_of_a_check_on_a_full_disk_is_kept_with_its_result(
    scaling, inventory, config, full_disk, project_dir
):
    fill, empty = full_disk
    slow = REPORTING.replace("ansible.builtin.debug:", "ansible.builtin.command: sleep 2")
    # more than fits into the pages that there are
    slow = slow.replace("{{ {'nodes'", "{{ {'padding': 'x' * 50000, 'nodes'")
    (project_dir / "playbooks" / "check_nodes.yml").write_text(slow)
    handle = scaling.run(Operation.CHECK, inventory, "n[1-2]", RunOptions(verbosity=3))
    wait_for(lambda: handle.tracker.nodes["n1"].step == "look")
    fill()
    assert handle.wait(LIMIT).counts.success == 1
    empty()
    assert scaling.report(handle.id) is None
    with Scaling(config) as after:
        assert after.store.run(handle.id).status is RunStatus.FAILED
        assert after.report(handle.id)["nodes"]["n1"] == {"ready": True}


def test_a_result_that_nothing_takes_is_an_error_of_its_own(scaling, inventory, full_disk, monkeypatch):
    monkeypatch.setattr("slurmscale.runs.handle.keep_result", lambda *_: None)
    handle = scaling.scale_up(inventory, "n1", long_output())
    wait_for(lambda: handle.tracker.nodes["n1"].step == "install")
    full_disk[0]()
    with pytest.raises(ResultNotRecordedError, match="has ended \\(completed\\)"):
        handle.wait(LIMIT)


def test_bytes_that_are_no_text_cost_no_record(scaling, inventory, project_dir):
    playbook(project_dir, r"""
        - name: Only play
          hosts: "{{ nodes }}"
          gather_facts: false
          tasks:
            - name: odd
              ansible.builtin.raw: >-
                printf 'caf\351 \000 end\n' >&2; printf 'caf\351\n'; exit {{ 3 if inventory_hostname == 'n1' else 0 }}
            - name: result
              ai_infra.slurm.node_result:
        """)  # fmt: skip
    run = scaling.scale_up(inventory, "n[1-2]", RunOptions(verbosity=3)).wait(LIMIT)
    assert {task.node: task.status for task in scaling.tasks(run.id)} == {"n1": "failed", "n2": "completed"}
    assert "caf" in tasks_of(scaling, run)["n1"].error_message
    assert "end" in "\n".join(line.text for line in scaling.log("n1"))


def test_retry_takes_only_what_did_not_succeed(scaling, inventory):
    run = scaling.scale_up(inventory, "n[1-2]", RunOptions(extra_vars={"bad": ["n2"]})).wait(LIMIT)
    again = scaling.retry(run.id, RunOptions(extra_vars={"bad": []}))
    assert again.nodes == ("n2",)
    assert again.wait(LIMIT).status is RunStatus.COMPLETED
    with pytest.raises(RefusedError, match="nothing to do"):
        scaling.retry(again.id)


def test_a_database_locked_for_five_seconds_harms_no_run(scaling, inventory):
    only_sqlite(scaling)
    handle = scaling.scale_up(inventory, "n[1-2]", RunOptions(extra_vars={"duration": 2}))
    wait_for(lambda: handle.tracker.nodes["n1"].started_at)
    with scaling.store.engine.connect() as blocker:
        blocker.exec_driver_sql("BEGIN IMMEDIATE")
        time.sleep(5)
        blocker.rollback()
    run = handle.wait(LIMIT)
    assert run.status is RunStatus.COMPLETED
    assert {task.progress for task in scaling.tasks(run.id)} == {100}


def test_a_store_that_can_not_be_written_is_refused_before_anything_runs(config, inventory, tmp_path):
    with Scaling(config) as scaling:
        only_sqlite(scaling)
        scaling.store.engine.dispose()
        # read only for this connection, as a full or read-only disk is
        with scaling.store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.connection.dbapi_connection.commit()
        with pytest.raises(StoreError, match="SLURMSCALE_DATA_DIR"):
            scaling.scale_up(inventory, "n1", RunOptions(extra_vars={"duration": forever(4327)}))
    assert processes_with(str(forever(4327))) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="SLURMSCALE_DATA_DIR"):
        Scaling(config.model_copy(update={"data_dir": tmp_path / "file" / "data"}))


def test_a_playbook_that_can_not_start_says_why(scaling, inventory, project_dir):
    (project_dir / "playbooks" / "scale_up.yml").write_text("- hosts: all\n  tasks: [nonsense\n")
    run = scaling.scale_up(inventory, "n1").wait(LIMIT)
    assert run.status is RunStatus.FAILED
    assert "scale_up.yml" in run.error_message
    assert scaling.tasks(run.id)[0].error == run.error


@pytest.mark.parametrize(
    ("nodes", "error", "says"),
    [
        ("", NodesError, "empty"),
        ("n[1", NodesError, "node\\[07-12\\]"),
        ("n9", NodesError, "n9"),
        ([], NodesError, "empty"),
    ],
)
def test_wrong_nodes_are_refused_before_anything_runs(scaling, inventory, nodes, error, says):
    with pytest.raises(error, match=says):
        scaling.scale_up(inventory, nodes)
    assert scaling.runs() == []


def test_an_inventory_without_controller_is_refused(scaling, tmp_path):
    path = tmp_path / "hosts.yml"
    path.write_text("slurm_nodes:\n  hosts:\n    n1:\n")
    with pytest.raises(ClusterError, match="slurm_controllers"):
        scaling.scale_up(str(path), "n1")
    path.write_text("slurm_nodes: [")
    with pytest.raises(ClusterError, match="can't read"):
        scaling.scale_up(str(path), "n1")


def test_check_mode_changes_nothing(scaling, inventory, project_dir, tmp_path):
    playbook(project_dir, f"""
        - name: Prepare
          hosts: "{{{{ nodes }}}}"
          gather_facts: false
          tasks:
            - name: write
              ansible.builtin.copy:
                content: x
                dest: {tmp_path}/written
        """)  # fmt: skip
    assert scaling.scale_up(inventory, "n1", RunOptions(check=True)).wait(LIMIT).status is RunStatus.COMPLETED
    assert not (tmp_path / "written").exists()
    assert scaling.scale_up(inventory, "n1").wait(LIMIT).status is RunStatus.COMPLETED
    assert (tmp_path / "written").exists()


def test_nodes_and_a_cluster_that_are_in_no_file(scaling, project_dir):
    playbook(project_dir, """
        - name: Prepare
          hosts: "{{ nodes }}"
          gather_facts: false
          tasks:
            - name: show
              ansible.builtin.debug:
                msg: >-
                  {{ ansible_host }} {{ ansible_user }} {{ ansible_port }} {{ groups.slurm_controllers }}
                  {{ hostvars.controller.ansible_host }} {{ apphub_client_urls }} {{ size }}
        """)  # fmt: skip
    cluster = Cluster(
        "small", controller="10.0.0.1", apphub_urls=("http://hub:8081",), variables={"size": 3},
        credentials=Credentials(user="cluster", port=22),
    )  # fmt: skip
    nodes = [NodeSpec("n1", "10.0.0.7", Credentials(user="own")), NodeSpec("n2", "10.0.0.8")]
    run = scaling.scale_up(cluster, nodes, RunOptions(credentials=Credentials(user="run", port=2222))).wait(LIMIT)
    assert run.status is RunStatus.COMPLETED
    text = "\n".join(line.text for line in scaling.log("n1"))
    for part in ("10.0.0.7 own 22 ['controller']", "10.0.0.1 ['http://hub:8081'] 3"):
        assert part in " ".join(text.split())
    assert "10.0.0.8 cluster 22" in " ".join("\n".join(line.text for line in scaling.log("n2")).split())


def test_many_runs_at_once_on_different_nodes(scaling, inventory):
    handles = [scaling.run(Operation.CHECK, inventory, f"n{number}") for number in (1, 2, 3)]
    assert threading.active_count() > 3
    assert [handle.wait(LIMIT).status for handle in handles] == [RunStatus.COMPLETED] * 3


REPORTING = """
- name: Look
  hosts: "{{ nodes }}"
  gather_facts: false
  tasks:
    - name: look
      ansible.builtin.debug:
- name: Report
  hosts: localhost
  gather_facts: false
  tasks:
    - name: write
      ansible.builtin.copy:
        dest: "{{ report }}"
        content: >-
          {{ {'nodes': {'n1': {'ready': true}, 'n2': {'ready': false, 'code': 'disk-full', 'reason': 'no space.',
              'remedy': 'Make some.'}}} }}
    - name: all are ready
      ansible.builtin.fail:
        msg: n2 not ready
"""


def test_a_check_takes_the_result_of_each_node_from_the_playbooks_report(scaling, inventory, project_dir):
    (project_dir / "playbooks" / "check_nodes.yml").write_text(REPORTING)
    run = scaling.check(inventory, "n[1-2]").wait(LIMIT)
    tasks = tasks_of(scaling, run)
    assert tasks["n1"].status is TaskStatus.COMPLETED
    assert tasks["n2"].status is TaskStatus.FAILED
    assert tasks["n2"].error == ("disk-full", "no space.", "Make some.")
    assert run.status is RunStatus.FAILED


WARNING_MODULE = """
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({"text": {}})
module.warn(module.params["text"])
module.exit_json(changed=False)
"""


def test_what_modules_of_the_collection_warn_of_is_told_with_the_run(scaling, inventory, project_dir, monkeypatch):
    # only a controller makes those of the collection warn
    monkeypatch.setattr("slurmscale.progress.events.OWN_ACTIONS", ("ansible.legacy.own", "own"))
    for name in ("own", "other"):
        path = project_dir / "playbooks" / "library" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(WARNING_MODULE)
    playbook(project_dir, """
        - name: Only play
          hosts: "{{ nodes }}"
          gather_facts: false
          tasks:
            - name: warn
              own: {text: "n1 registers late: {{ ansible_password }}"}
            - name: warn of what concerns nobody
              other: {text: noise}
            - name: result
              ai_infra.slurm.node_result:
        """)  # fmt: skip
    options = RunOptions(extra_vars={"ansible_password": "hunter22-planted"})
    run = scaling.scale_up(inventory, "n[1-2]", options).wait(LIMIT)
    assert (run.status, run.warnings) == (RunStatus.COMPLETED, ("n1 registers late: ********",))


def test_a_run_that_failed_elsewhere_is_not_called_completed(scaling, inventory, project_dir):
    playbook(project_dir, """
        - name: Only play
          hosts: "{{ nodes }}"
          gather_facts: false
          tasks:
            - name: fine
              ansible.builtin.debug:
        - name: Afterwards
          hosts: slurm_controllers
          gather_facts: false
          tasks:
            - name: broken
              ansible.builtin.fail:
                msg: the controller is upset
        """)  # fmt: skip
    run = scaling.scale_up(inventory, "n1").wait(LIMIT)
    assert run.status is RunStatus.FAILED
    assert run.error_message == "ctl1: the controller is upset"
    assert "broken" in run.error_remedy
    assert "the controller is upset" in "\n".join(line.text for line in scaling.log())


def test_what_changes_in_files_is_logged_on_request(scaling, inventory, project_dir, tmp_path):
    playbook(project_dir, f"""
- hosts: n1
  gather_facts: false
  tasks:
    - ansible.builtin.copy: {{dest: {tmp_path}/made, content: "new {{{{ api_token }}}}"}}
""")  # fmt: skip
    for diff in (True, False):
        (tmp_path / "made").write_text("old line\n")
        options = RunOptions(extra_vars={"api_token": "token-1234567890"}, diff=diff)
        run = scaling.scale_up(str(inventory), "n1", options).wait(60)
        text = "\n".join(line.text for line in scaling.log("n1", run.id))
        assert ("-old line" in text, "+new ********" in text) == (diff, diff)
        assert "1234567890" not in text
