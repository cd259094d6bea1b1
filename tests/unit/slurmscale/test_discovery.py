"""Clusters that others set up: tested, connected under conditions, looked at again, and forgotten."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fakes.answering_job import AnsweringJob
from pydantic import SecretStr
from slurmscale.cli import cluster_commands, query_commands
from slurmscale.cli.app import app
from slurmscale.documents import SCHEMAS
from slurmscale.errors import ClusterError, NodesError, NotFoundError, RefusedError
from slurmscale.inventory.extra_vars import unsafe
from slurmscale.models import Cluster, Counts, Credentials, Discovery, Run, RunOptions
from slurmscale.operations import Operation
from slurmscale.runner.processes import owner
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
from slurmscale.states import RunStatus, TaskStatus
from typer.testing import CliRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurmscale.runner.protocol import Launch

ROOT = Path(__file__).resolve().parents[3]
FINGERPRINT = f"SHA256:{'a' * 43}"
KEY = "ctl ssh-ed25519 AAAA"
INFO = {
    "cluster_name": "hpc", "version": "24.11.5", "conf_file": "/etc/slurm/slurm.conf", "configless": False,
    "port": 6817, "slurm_user": "slurm",
    "controllers": [{"host": "ctl", "mode": "primary", "up": True, "addresses": []}],
    "partitions": {"main": {"nodes": "n[1-2]", "default": True, "state": "UP", "total_nodes": 2}},
    "nodes": {"n1": {"state": "IDLE", "reason": ""}, "n2": {"state": "DOWN", "reason": "gone"}},
    "states": {"IDLE": 1, "DOWN": 1}, "accounting": "accounting_storage/none", "auth": "auth/munge", "munge_key": True,
    "os": {"id": "ubuntu", "version_id": "24.04", "pretty": "Ubuntu 24.04.1 LTS"},
}  # fmt: skip
UNKNOWN = {"code": "host-key-unknown", "reason": "The host key of ctl is not known.", "remedy": "Compare it."}
KEYED = Cluster("hpc", controller="ctl", credentials=Credentials(user="admin"))
EXTERNAL = Cluster("hpc", controller="ctl", credentials=Credentials(user="admin", password="hunter22", port=2222))


class Answering:
    """A cluster that answers a look as it is told."""

    def __init__(self, folder: Path) -> None:
        self.launches: list[Launch] = []
        self.report: dict[str, Any] = {}
        self.settings = Settings(data_dir=folder / "data", project_dir=ROOT)
        self.scaling = Scaling(self.settings, make_job=self.job)
        self.clusters = self.scaling.clusters

    def job(self, launch: Launch) -> AnsweringJob:
        self.launches.append(launch)
        fingerprint = launch.extra_vars.get("discover_fingerprint")
        report = self.report if fingerprint or "unknown" not in self.report else self.report["unknown"]
        return AnsweringJob(report, "controller")

    def says(self, stage: str = "slurm", error: dict[str, str] | None = None, info: Any = None, **more: Any) -> None:
        stages = [{"stage": stage, "ok": error is None, "found": "x", "error": error}]
        self.report = {
            "kind": "cluster", "controller": "controller",
            "success": error is None, "stage": stage, "stages": stages, "fingerprint": FINGERPRINT, "error": error,
            "host_keys": [KEY], "info": None if error else info or INFO, **more,
        }  # fmt: skip


@pytest.fixture
def hpc(tmp_path: Path) -> Iterator[Answering]:
    hpc = Answering(tmp_path)
    hpc.says()
    yield hpc
    hpc.scaling.close()


def connect(hpc: Answering, **config: Any) -> Cluster:
    return hpc.clusters.connect(EXTERNAL, hpc.clusters.test(EXTERNAL), **config)


def test_a_stage_that_failed_is_an_answer(hpc: Answering) -> None:
    hpc.says("hostkey", UNKNOWN)
    found = hpc.clusters.test(EXTERNAL)
    assert (found.success, found.stage, found.fingerprint, found.info) == (False, "hostkey", FINGERPRINT, None)
    assert found.error
    assert found.error.code == "host-key-unknown"
    assert hpc.launches[0].playbook.name == "discover_cluster.yml"
    (run,) = hpc.scaling.runs()
    (task,) = hpc.scaling.tasks(run.id)
    assert (found.run_id, run.operation, run.status) == (run.id, Operation.DISCOVER_CLUSTER, RunStatus.FAILED)
    assert (task.node, task.error_code, task.error_remedy) == ("controller", "host-key-unknown", "Compare it.")
    with pytest.raises(ClusterError, match="not known") as refused:
        hpc.clusters.connect(EXTERNAL, found)
    assert refused.value.code == "host-key-unknown"
    assert hpc.scaling.store.clusters() == []


def test_a_fingerprint_has_a_form(hpc: Answering) -> None:
    hpc.clusters.test(EXTERNAL, fingerprint=FINGERPRINT)
    assert hpc.launches[0].extra_vars == {"discover_fingerprint": unsafe(FINGERPRINT), "discover_strict": True}
    with pytest.raises(RefusedError, match="discover_fingerprint"):
        hpc.clusters.test(EXTERNAL, fingerprint="SHA256:short")


def test_a_connected_cluster_is_remembered_without_its_password(hpc: Answering) -> None:
    cluster = connect(hpc, max_nodes=10)
    assert (cluster.cluster_type, cluster.health, cluster.info) == ("external", "healthy", INFO)
    assert cluster.credentials == Credentials(user="admin", port=2222)
    assert cluster.config.pop("discovered_at").endswith("+00:00")
    assert cluster.config == {
        "reuse_existing_config": True, "reuse_existing_munge": True, "reuse_existing_database": True, "max_nodes": 10,
        "original_cluster_name": "hpc", "needs_password": True,
    }  # fmt: skip
    assert cluster.seen_at
    assert abs(cluster.seen_at - time.time()) < 300
    with pytest.raises(ClusterError, match="already"):
        connect(hpc)


@pytest.mark.parametrize(
    "config",
    [
        {"reuse_existing_config": False}, {"reuse_existing_munge": False}, {"reuse_existing_database": False},
        {"max_nodes": 1},
    ],
)  # fmt: skip
def test_what_can_not_be_had_is_refused_with_what_to_do(config: dict[str, Any], hpc: Answering) -> None:
    with pytest.raises(ClusterError) as refused:
        connect(hpc, **config)
    assert refused.value.remedy
    assert hpc.scaling.store.clusters() == []


def test_only_the_confirmed_host_key_is_accepted_from_then_on(hpc: Answering) -> None:
    connect(hpc)
    hpc.clusters.refresh("hpc")
    variables = hpc.launches[-1].added["_meta"]["hostvars"]["controller"]
    arguments = variables["ansible_ssh_common_args"]["__ansible_unsafe"]
    path = hpc.settings.data_dir / "known_hosts" / "hpc"
    assert arguments.startswith(f"-o UserKnownHostsFile={path} ")
    assert "StrictHostKeyChecking=yes" in arguments
    assert variables["ansible_host_key_checking"] is True
    assert path.read_text() == f"{KEY}\n"
    assert path.stat().st_mode & 0o077 == 0


def test_a_look_tells_the_health_and_keeps_what_was_known(hpc: Answering) -> None:
    seen = connect(hpc).seen_at
    hpc.says("auth", {"code": "host-unreachable", "reason": "No login.", "remedy": "Check the key."})
    assert not hpc.clusters.refresh("hpc").success
    cluster = hpc.scaling.store.cluster("hpc")
    assert (cluster.health, cluster.seen_at, cluster.info) == ("unhealthy", seen, INFO)
    hpc.says(info=INFO | {"version": "25.05.0"})
    hpc.clusters.refresh("hpc")
    cluster = hpc.scaling.store.cluster("hpc")
    assert cluster.info
    assert (cluster.health, cluster.info["version"]) == ("healthy", "25.05.0")
    hpc.report = {}
    with pytest.raises(RefusedError):
        hpc.clusters.refresh("hpc")
    assert hpc.scaling.store.cluster("hpc").health == "unhealthy"


def test_a_look_that_somebody_asked_for_is_a_run_without_secrets_and_its_host_no_node(hpc: Answering) -> None:
    connect(hpc)
    hpc.clusters.refresh("hpc", RunOptions(credentials=Credentials(password="hunter22")), requested_by="ada")
    looked, tested = hpc.scaling.runs()
    assert [(run.status, run.cluster, run.requested_by) for run in (tested, looked)] == [
        (RunStatus.COMPLETED, "hpc", None), (RunStatus.COMPLETED, "hpc", "ada"),
    ]  # fmt: skip
    assert hpc.scaling.log("controller", looked.id)
    status = hpc.scaling.status()
    assert [view.id for view in status.recent_operations] == [looked.id, tested.id]
    assert (status.success_nodes, status.failed_nodes, status.progress) == (0, 0, 0)
    hpc.says("auth", {"code": "host-unreachable", "reason": "No login.", "remedy": "Check the key."})
    hpc.clusters.refresh("hpc")
    assert hpc.scaling.status().failed_nodes == 0
    hpc.scaling.store.close()
    for path in hpc.settings.data_dir.rglob("*"):
        assert path.is_dir() or b"hunter22" not in path.read_bytes(), path


def minutes_pass(hpc: Answering) -> None:
    with hpc.scaling.store.begin() as connection:
        connection.exec_driver_sql("UPDATE clusters SET updated_at = updated_at - 61")


def test_external_clusters_are_looked_at_each_minute_by_one_of_all_processes(hpc: Answering) -> None:
    hpc.clusters.connect(KEYED, hpc.clusters.test(KEYED))
    hpc.scaling.add_cluster(Cluster("managed", controller="other"))
    asked, recorded = len(hpc.launches), hpc.scaling.runs()
    hpc.clusters.look_again()
    assert len(hpc.launches) == asked
    with Scaling(hpc.settings, make_job=hpc.job) as other:
        minutes_pass(hpc)
        hpc.says("tcp", {"code": "host-unreachable", "reason": "No answer.", "remedy": "Start it."})
        for clusters in (hpc.clusters, other.clusters, hpc.clusters):
            clusters.look_again()
        assert len(hpc.launches) == asked + 1
        assert hpc.launches[-1].timeout == 30
        assert hpc.scaling.store.cluster("hpc").health == "unhealthy"
        minutes_pass(hpc)
        hpc.says()
        for clusters in (other.clusters, hpc.clusters):
            clusters.look_again()
    assert len(hpc.launches) == asked + 2
    # it would fill the table of runs
    assert hpc.scaling.runs() == recorded
    found = hpc.scaling.store.cluster("hpc")
    assert (found.health, hpc.scaling.store.cluster("managed").health) == ("healthy", "")
    assert found.seen_at
    assert found.seen_at > found.created_at


def test_a_cluster_whose_password_is_not_kept_is_not_called_unhealthy_for_that(hpc: Answering) -> None:
    connect(hpc)
    asked = len(hpc.launches)
    minutes_pass(hpc)
    hpc.clusters.look_again()
    assert (len(hpc.launches), hpc.scaling.store.cluster("hpc").health) == (asked, "healthy")
    known = hpc.settings.model_copy(update={"ssh_password": SecretStr("hunter22")})
    with Scaling(known, make_job=hpc.job) as other:
        minutes_pass(hpc)
        other.clusters.look_again()
    assert len(hpc.launches) == asked + 1


def test_what_was_changed_or_forgotten_during_a_look_stays_so(hpc: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(hpc)
    store, test = hpc.scaling.store, hpc.clusters.test

    def meanwhile(change: Callable[[], object]) -> None:
        def look(*given: Any, **more: Any) -> Discovery:
            change()
            return test(*given, **more)

        monkeypatch.setattr(hpc.clusters, "test", look)
        hpc.clusters.refresh("hpc")

    changed = replace(store.cluster("hpc"), apphub_urls=("https://apphub.example",))
    meanwhile(lambda: store.save_cluster(changed))
    assert store.cluster("hpc").apphub_urls == ("https://apphub.example",)
    meanwhile(lambda: store.remove_cluster("hpc"))
    assert store.clusters() == []


def test_an_external_cluster_keeps_its_configuration_its_key_and_its_size(hpc: Answering) -> None:
    connect(hpc, max_nodes=3)
    for operation in (Operation.SETUP_CONTROLLER, Operation.ROTATE_MUNGE_KEY):
        with pytest.raises(RefusedError, match="external cluster"):
            hpc.scaling.run(operation, "hpc")
    with pytest.raises(NodesError, match="would have 4 nodes, and may have 3"):
        hpc.scaling.scale_up("hpc", "n[2-4]")


@pytest.mark.parametrize(
    ("operation", "status", "problem"),
    [
        (Operation.SCALE_UP, TaskStatus.COMPLETED, "would have 4 nodes, and may have 3"),
        (Operation.SCALE_UP, TaskStatus.FAILED, None),
        (Operation.SCALE_DOWN, TaskStatus.COMPLETED, None),
        (Operation.CHECK, TaskStatus.COMPLETED, None),
    ],
)
def test_nodes_that_joined_or_left_since_the_last_look_count(
    operation: Operation, status: TaskStatus, problem: str | None, hpc: Answering
) -> None:
    connect(hpc, max_nodes=3)
    store = hpc.scaling.store
    node = "n1" if operation is Operation.SCALE_DOWN else "n3"
    run = Run("r1", "hpc", operation, RunStatus.PENDING, (node,), Counts(1, 1), time.time(), **owner())
    task = store.create_run(run)[node]
    change = dict.fromkeys(("error_code", "error_message", "error_remedy", "started_at", "completed_at"))
    change |= {"phase": "", "step": "", "progress": 100, "updated_at": time.time()}
    store.record(run, [{**change, "b_id": task, "status": status}], status=RunStatus.COMPLETED)
    if problem:
        with pytest.raises(NodesError, match=problem):
            hpc.scaling.scale_up("hpc", "n4")
    else:
        hpc.scaling.scale_up("hpc", "n4").wait()


def test_a_cluster_with_a_run_at_work_is_not_forgotten(hpc: Answering) -> None:
    connect(hpc)
    run = Run("r1", "hpc", Operation.CHECK, RunStatus.PENDING, ("n1",), Counts(1, 1), time.time(), **owner())
    hpc.scaling.store.create_run(run)
    with pytest.raises(RefusedError, match="r1 is in progress"):
        hpc.clusters.forget("hpc")
    hpc.scaling.store.record(run, status=RunStatus.COMPLETED)
    hpc.clusters.forget("hpc")
    with pytest.raises(NotFoundError):
        hpc.scaling.store.cluster("hpc")


@pytest.fixture
def command(hpc: Answering, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(cluster_commands, "Scaling", lambda: Scaling(hpc.settings, make_job=hpc.job))
    return lambda *arguments, **more: CliRunner().invoke(app, ["cluster", *arguments], **more)


def test_the_command_tests_and_shows_each_stage(hpc: Answering, command: Any) -> None:
    done = command("test", "--controller", "ctl", "--user", "admin", "--port", "2222")
    assert done.exit_code == 0
    assert "partitions: main (n[1-2])" in done.stdout
    assert "nodes: 1 IDLE, 1 DOWN" in done.stdout
    assert "system: Ubuntu 24.04.1 LTS" in done.stdout
    login = hpc.launches[0].added["_meta"]["hostvars"]["controller"]
    assert login == unsafe({"ansible_host": "ctl", "ansible_user": "admin", "ansible_port": 2222})
    hpc.says("hostkey", UNKNOWN)
    done = command("test", "--controller", "ctl", "--json")
    assert done.exit_code == 1
    assert set(json.loads(done.stdout)) == set(SCHEMAS["cluster-test"].model_fields)
    assert json.loads(done.stdout)["error"] == UNKNOWN


def test_a_look_is_shown_again_by_its_run(hpc: Answering, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = json.loads(command("test", "--controller", "ctl", "--json").stdout)
    monkeypatch.setattr(query_commands, "Scaling", lambda: Scaling(hpc.settings, make_job=hpc.job))
    shown = CliRunner().invoke(app, ["report", tested["run_id"]]).stdout
    assert "slurm ok x" in " ".join(shown.split())
    assert "system: Ubuntu 24.04.1 LTS" in shown


def test_the_command_asks_for_the_host_key_and_connects(
    hpc: Answering, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hpc.says("hostkey", UNKNOWN)
    unknown = hpc.report
    hpc.says(unknown=unknown)
    arguments = ("connect", "hpc", "--controller", "ctl", "--max-nodes", "9")
    refused = command(*arguments)
    assert "not known" in str(refused.exception)
    # told once, by the refusal
    assert "not known" not in refused.output
    assert "hostkey" in refused.stdout
    at_terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True), stdout=sys.stdout, stderr=sys.stderr)
    monkeypatch.setattr(cluster_commands, "sys", at_terminal)
    assert "not confirmed" in str(command(*arguments, input="n\n").exception)
    done = command(*arguments, input="y\n")
    assert FINGERPRINT in done.stderr
    assert "hpc: connected" in done.stdout
    listed = command("list").stdout
    assert "external" in listed
    assert "healthy" in listed
    shown = json.loads(command("info", "hpc", "--json").stdout)
    assert set(shown) == set(SCHEMAS["cluster-info"].model_fields)
    assert shown["config"]["max_nodes"] == 9
    shown = command("info", "hpc").stdout
    assert "version: 24.11.5" in shown
    assert "configless: no" in shown
    assert "system: Ubuntu 24.04.1 LTS" in shown
    # it was kept by an older version
    cluster = hpc.scaling.store.cluster("hpc")
    old = {name: value for name, value in INFO.items() if name != "os"}
    hpc.scaling.store.save_cluster(replace(cluster, info=old))
    assert "system" not in command("info", "hpc").stdout
    assert command("refresh", "hpc", "--json").exit_code == 1
    assert "hpc: forgotten" in command("forget", "hpc").stdout


def test_a_cluster_that_is_not_known_is_told_with_a_remedy(command: Any) -> None:
    refused = command("forget", "nope").exception
    assert refused.reason == "There is no cluster nope."
    assert "slurmscale cluster list" in refused.remedy


def test_ways_to_name_a_cluster_exclude_each_other(command: Any) -> None:
    for wrong in (("connect", "hpc"), ("connect", "hpc", "--controller", "ctl", "--inventory", "x")):
        assert isinstance(command(*wrong).exception, RefusedError)
