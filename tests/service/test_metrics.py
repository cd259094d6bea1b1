"""The figures are counted once, whoever ends a node or a run, and stay."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from slurmscale.models import Cluster, Failure, TaskChange
from slurmscale.operations import Operation
from slurmscale.states import RunStatus, TaskStatus
from slurmscale.store.counters import count_contacts
from slurmscale.store.tables import row_of_change

GONE = Failure("run-interrupted", "gone")


@pytest.fixture
def figures(as_role):
    """Return a function that reads all figures: the value by name and labels."""

    def read():
        answer = as_role().get("/metrics")
        assert answer.status_code == 200, answer.text
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    return read


def of(name, cluster="lab", operation="scale-up", **labels):
    return (name, *sorted({"cluster": cluster, "operation": operation, **labels}.items()))


def end(store, run, started=100.0, completed=145.0, **nodes):
    """End nodes of a run, one by one as its process does."""
    ids = {task.node: task.id for task in store.tasks(run.id)}
    changes = [
        TaskChange(node, status, 100, "", "", None, completed, started, completed) for node, status in nodes.items()
    ]
    store.record(run, [{"b_id": ids[change.node], **row_of_change(change)} for change in changes])


def test_everything_is_there_before_it_happens(figures, scaling):
    scaling.store.save_cluster(Cluster("lab", controller="c1", apphub_urls=("http://a",)))
    found = figures()
    for name in ("attempts", "success", "failed"):
        assert found[of(f"slurm_node_scale_{name}_total")] == 0
    assert found[of("slurm_node_scale_duration_seconds_bucket", le="+Inf")] == 0
    assert found[of("slurm_node_scale_active")] == 0
    assert found["slurm_scale_runs_total", ("operation", "scale-up"), ("status", "failed")] == 0
    assert found[("slurm_scale_runs_interrupted_total",)] == 0


def test_each_node_is_counted_once_when_it_ends(figures, scaling, record_run):
    run = record_run(nodes=("n1", "n2", "n3"))
    assert figures()[of("slurm_node_scale_active")] == 3
    assert figures()[of("slurm_node_scale_attempts_total")] == 0
    end(scaling.store, run, n1=TaskStatus.COMPLETED)
    end(scaling.store, run, n1=TaskStatus.COMPLETED, n2=TaskStatus.FAILED, completed=5_100.0)
    found = figures()
    assert found[of("slurm_node_scale_attempts_total")] == 2
    assert found[of("slurm_node_scale_success_total")] == 1
    assert found[of("slurm_node_scale_failed_total")] == 1
    assert found[of("slurm_node_scale_duration_seconds_bucket", le="30")] == 0
    assert found[of("slurm_node_scale_duration_seconds_bucket", le="60")] == 1
    assert found[of("slurm_node_scale_duration_seconds_bucket", le="3600")] == 1
    assert found[of("slurm_node_scale_duration_seconds_count")] == 2
    assert found[of("slurm_node_scale_duration_seconds_sum")] == 5_045
    scaling.store.end_run(run, RunStatus.INTERRUPTED, GONE)
    scaling.store.end_run(run, RunStatus.INTERRUPTED, GONE)
    found = figures()
    assert found[of("slurm_node_scale_attempts_total")] == 3
    assert found[of("slurm_node_scale_failed_total")] == 2
    assert found["slurm_scale_runs_total", ("operation", "scale-up"), ("status", "interrupted")] == 1
    assert found[("slurm_scale_runs_interrupted_total",)] == 1


def test_first_contacts_with_hosts_are_counted_by_how_long_they_took(figures, scaling, record_run):
    run = record_run()
    bucket = "slurm_ssh_connection_duration_seconds_bucket"
    found = figures()
    assert found[bucket, ("cluster", "lab"), ("le", "+Inf")] == 0
    count_contacts(scaling.store, run, [0.2, 4.0, 20.0])
    count_contacts(scaling.store, run, [])
    found = figures()
    numbers = {end: found[bucket, ("cluster", "lab"), ("le", end)] for end in ("0.25", "3", "5", "15", "+Inf")}
    assert numbers == {"0.25": 1, "3": 1, "5": 2, "15": 2, "+Inf": 3}
    assert found["slurm_ssh_connection_duration_seconds_sum", ("cluster", "lab")] == pytest.approx(24.2)


def test_what_only_looks_is_no_attempt(figures, scaling, record_run):
    apphub = record_run(operation=Operation.PUBLISH_APPHUB)
    for run in (record_run(check=True), record_run(operation=Operation.CHECK), apphub):
        end(scaling.store, run, n1=TaskStatus.FAILED)
        scaling.store.end_run(run, RunStatus.CANCELLED, GONE)
    found = figures()
    assert found[of("slurm_node_scale_attempts_total")] == 0
    assert not any(("operation", "publish-apphub") in key for key in found if key[0].startswith("slurm_node_scale"))
    assert found["slurm_scale_runs_total", ("operation", "check"), ("status", "cancelled")] == 1


def test_figures_outlive_the_runs_they_are_of(figures, scaling, record_run):
    run = record_run(nodes=("n1",))
    end(scaling.store, run, n1=TaskStatus.COMPLETED)
    scaling.store.record(run, status=RunStatus.COMPLETED)
    scaling.store.delete_runs(10**12)
    found = figures()
    assert found[of("slurm_node_scale_success_total")] == 1
    assert found["slurm_scale_runs_total", ("operation", "scale-up"), ("status", "completed")] == 1


def test_what_waits_and_what_is_stalled_is_told(figures, scaling, record_run):
    run = record_run()
    ids = {task.node: task.id for task in scaling.store.tasks(run.id)}
    change = TaskChange("n1", TaskStatus.RUNNING, 5, "", "", None, updated_at=1.0, started_at=1.0)
    scaling.store.record(run, [{"b_id": ids["n1"], **row_of_change(change)}])
    found = figures()
    assert found[("slurm_scale_queue_length",)] == 1
    assert found[("slurm_scale_queue_oldest_seconds",)] > 0
    assert found[of("slurm_node_scale_stalled")] == 1


def test_the_health_of_external_clusters_is_told(figures, scaling):
    for name, kind, health in (("a", "external", "healthy"), ("b", "external", "unhealthy"), ("c", "managed", "")):
        scaling.store.save_cluster(
            Cluster(name, controller="c1", apphub_urls=("http://a",), cluster_type=kind, health=health)
        )
    found = figures()
    assert found[("slurm_external_cluster_total",)] == 2
    states = {
        (cluster, status): found["slurm_external_cluster_health", ("cluster", cluster), ("status", status)]
        for cluster in "ab"
        for status in ("healthy", "unhealthy")
    }
    assert states == {("a", "healthy"): 1, ("a", "unhealthy"): 0, ("b", "healthy"): 0, ("b", "unhealthy"): 1}


def test_who_may_not_read_them_is_refused(as_role, client):
    assert client.get("/metrics").status_code == 401
    assert as_role(permissions=["slurm:read"]).get("/metrics").status_code == 403


def test_both_formats_are_spoken(as_role):
    assert as_role().get("/metrics").headers["content-type"].startswith("text/plain")
    answer = as_role().get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.text.endswith("# EOF\n")
