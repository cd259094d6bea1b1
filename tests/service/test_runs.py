from __future__ import annotations

import pytest
from slurmscale.documents import RunDocument
from slurmscale.models import Failure, LogLine
from slurmscale.states import RunStatus
from slurmscale.store.tables import row_of_log_line


def test_the_status_is_the_librarys(as_role, scaling, record_run):
    record_run()
    answer = as_role().get("/api/slurm/scaling/status")
    assert answer.status_code == 200
    assert answer.json() == scaling.status().as_json()


def test_a_run_is_shown_with_its_links(as_role, record_run):
    run = record_run()
    found = as_role().get(f"/api/slurm/runs/{run.id}").json()
    assert (found["id"], found["operation"], found["status"]) == (run.id, "scale-up", "pending")
    assert found["counts"] == {"total": 2, "active": 2, "success": 0, "failed": 0}
    assert found["links"]["tasks"] == f"/api/slurm/runs/{run.id}/tasks"
    tasks = as_role().get(found["links"]["tasks"]).json()["items"]
    assert [task["node"] for task in tasks] == ["n1", "n2"]
    assert as_role().get(f"/api/slurm/tasks/{run.id}:n2").json() == tasks[1]
    assert as_role().get("/api/slurm/tasks", params={"run": run.id}).json()["items"] == tasks


def test_all_runs_are_found_page_by_page_each_once(as_role, record_run):
    made = [record_run().id for _ in range(7)]
    client, path, seen = as_role(), "/api/slurm/runs?limit=3", []
    while path:
        answer = client.get(path)
        seen += [run["id"] for run in answer.json()["items"]]
        link = answer.headers.get("link")
        path = link.partition(">")[0].removeprefix("<") if link else None
        assert bool(path) is (answer.json()["next_cursor"] is not None)
    assert seen == made[::-1]


def test_runs_are_filtered(as_role, record_run, scaling):
    first = record_run(cluster="a", nodes=("x1",))
    second = record_run(cluster="b", nodes=("x2",))
    scaling.store.end_run(second, RunStatus.CANCELLED, Failure("run-cancelled", "It was cancelled."))

    def ids(**params):
        return [run["id"] for run in as_role().get("/api/slurm/runs", params=params).json()["items"]]

    assert ids(cluster="a") == [first.id]
    assert ids(status="cancelled") == [second.id]
    assert ids(node="x2") == [second.id]
    assert ids(operation="scale-down") == []
    assert ids(since=first.created_at + 0.5) == [second.id]


@pytest.mark.parametrize("params", [
    {"limit": 0}, {"limit": 201}, {"cursor": "x"}, {"cursor": "W10="}, {"cursor": "é"}, {"status": "odd"},
    {"since": "nan"}, {"operation": "rm"},
])  # fmt: skip
def test_what_is_no_filter_is_refused(as_role, params):
    answer = as_role().get("/api/slurm/runs", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "request-invalid")


@pytest.mark.parametrize("path", [
    "runs/none", "runs/none/tasks", "runs/none/log", "runs/none/log.txt", "tasks/none:n1", "tasks/none:n1/logs",
])  # fmt: skip
def test_what_is_not_there_is_not_found(as_role, path):
    answer = as_role().get(f"/api/slurm/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_logs_are_read_in_parts_and_as_text(as_role, record_run, scaling):
    run = record_run()
    lines = [LogLine("n1", number, 1.0, "runner_on_ok", "t", f"line {number}") for number in range(5)]
    scaling.store.record(run, lines=[row_of_log_line(line, run.id) for line in lines])
    client = as_role()
    first = client.get(f"/api/slurm/tasks/{run.id}:n1/logs?limit=3").json()
    rest = client.get(f"/api/slurm/runs/{run.id}/log", params={"node": "n1", "after": first["last"]}).json()
    assert [line["text"] for line in (*first["items"], *rest["items"])] == [f"line {number}" for number in range(5)]
    last = client.get(f"/api/slurm/tasks/{run.id}:n1/logs", params={"before": 2**53, "limit": 1}).json()["items"]
    assert last == rest["items"][-1:]
    q = last[0]["text"]
    assert client.get(f"/api/slurm/tasks/{run.id}:n1/logs", params={"q": q}).json()["items"] == last
    assert client.get(f"/api/slurm/tasks/{run.id}:n1/logs", params={"after": 2**63}).status_code == 422
    text = client.get(f"/api/slurm/runs/{run.id}/log.txt?node=n1")
    assert text.text == "".join(f"line {number}\n" for number in range(5))
    assert "attachment" in text.headers["content-disposition"]
    assert client.get(f"/api/slurm/runs/{run.id}/log?node=n9").status_code == 404


def test_who_is_limited_to_a_cluster_sees_nothing_of_others(as_role, record_run):
    mine, other = record_run(cluster="mine"), record_run(cluster="other")
    client = as_role("viewer", clusters=["mine"])
    assert [run["id"] for run in client.get("/api/slurm/runs").json()["items"]] == [mine.id]
    assert client.get("/api/slurm/runs?cluster=other").json()["items"] == []
    status = client.get("/api/slurm/scaling/status").json()
    assert [run["id"] for run in status["active_operations"]] == [mine.id]
    for path in (f"runs/{other.id}", f"runs/{other.id}/tasks", f"runs/{other.id}/log", f"tasks/{other.id}:n1"):
        assert client.get(f"/api/slurm/{path}").status_code == 404


def test_the_time_that_is_left_is_told_where_earlier_runs_tell_it(as_role, record_run, scaling):
    run = record_run()
    client = as_role()
    assert client.get(f"/api/slurm/runs/{run.id}").json()["remaining"] is None
    # by whichever process carries it
    scaling.store.record(run, remaining=42)
    assert client.get(f"/api/slurm/runs/{run.id}").json()["remaining"] == 42
    assert client.get("/api/slurm/runs").json()["items"][0]["remaining"] == 42
    (view,) = client.get("/api/slurm/scaling/status").json()["active_operations"]
    assert view["remaining"] == 42


def test_a_run_tells_what_was_warned_of(as_role, record_run):
    run = record_run(warnings=("n1 has not registered again yet.",))
    client = as_role("viewer")
    assert client.get(f"/api/slurm/runs/{run.id}").json()["warnings"] == ["n1 has not registered again yet."]
    assert client.get("/api/slurm/runs").json()["items"][0]["warnings"] == ["n1 has not registered again yet."]
    assert RunDocument.of_run(run).as_json()["warnings"] == ["n1 has not registered again yet."]
