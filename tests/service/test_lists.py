"""Each list of the API comes in parts, or says that it is whole."""

from __future__ import annotations

import pytest
from slurmscale.models import SlurmJob
from slurmscale.service.app import describe
from slurmscale.store.jobs import JobRecords

DESCRIPTION = describe()


def lists():
    """Yield the path of each list, the names of its parameters, and the schema of its answer."""
    for path, methods in DESCRIPTION["paths"].items():
        answer = methods.get("get", {"responses": {}})["responses"].get("200", {}).get("content", {})
        name = answer.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
        schema = DESCRIPTION["components"]["schemas"].get(name, {})
        if "items" in schema.get("properties", {}):
            yield pytest.param({one["name"] for one in methods["get"].get("parameters", ())}, schema, id=path)


def test_the_lists_are_found():
    assert {one.id for one in lists()} >= {
        "/api/slurm/runs", "/api/slurm/runs/{run_id}/tasks", "/api/slurm/clusters", "/api/jobs", "/api/audit",
        "/api/users", "/api/tokens", "/api/webhooks", "/api/webhooks/{webhook_id}/deliveries",
        "/api/slurm/credentials", "/api/slurm/clusters/{cluster_id}/nodes", "/api/apphub/health",
        "/api/slurm/tasks/{task_id}/logs",
    }  # fmt: skip


@pytest.mark.parametrize(("parameters", "schema"), list(lists()))
def test_a_list_has_a_way_to_its_next_part_or_says_that_it_is_whole(parameters, schema):
    fields = set(schema["properties"])
    if "limit" in parameters:
        assert ("cursor" in parameters and "next_cursor" in fields) or ("after" in parameters and "last" in fields)
        assert not schema["description"].startswith("All ")
    else:
        assert "cursor" not in parameters
        assert "next_cursor" not in fields
        assert schema["description"].startswith("All "), schema["description"]


@pytest.fixture
def followed(as_role):
    """Return a function that follows a list to its end, by its links; returns the parts."""

    def follow(path, **limits):
        client, parts = as_role("admin", **limits), []
        while path:
            answer = client.get(path)
            assert answer.status_code == 200, answer.text
            parts.append(answer.json()["items"])
            link = answer.headers.get("link")
            following = answer.json()["next_cursor"]
            assert (link is None) == (following is None)
            path = link and link.partition(">")[0].removeprefix("<")
        return parts

    return follow


def test_all_jobs_are_found_part_by_part(followed, scaling):
    records = JobRecords(scaling.store)
    for number in range(9):
        # of some that were submitted at the same moment, the id decides
        job = SlurmJob(f"j{number}", "lab" if number % 3 else "far", str(number), submitted_at=float(number // 4))
        records.add(job)
    newest = [f"j{number}" for number in reversed(range(9))]
    parts = followed("/api/jobs?limit=2")
    assert [[job["id"] for job in part] for part in parts] == [newest[at : at + 2] for at in range(0, 9, 2)]
    of_lab = [name for name in newest if int(name[1:]) % 3]
    for path, limits in (
        ("/api/jobs?limit=4&cluster=lab", {}),
        ("/api/jobs?limit=4", {"clusters": ["lab"], "name": "l"}),
    ):
        assert [job["id"] for part in followed(path, **limits) for job in part] == of_lab


def test_a_part_is_asked_of_slurm_alone(as_role, scaling, launches):
    records = JobRecords(scaling.store)
    records.add(SlurmJob("j1", "far", "1", state="PENDING", submitted_at=1.0))
    records.add(SlurmJob("j2", "lab", "2", state="COMPLETED", submitted_at=2.0))
    assert [job["id"] for job in as_role().get("/api/jobs?limit=1&refresh=true").json()["items"]] == ["j2"]
    assert launches == []


def test_the_audit_trail_is_followed_by_its_links(followed, as_role):
    for number in range(5):
        assert as_role("admin").post("/api/tokens", json={"name": f"t{number}"}).status_code == 201
    parts = followed("/api/audit?limit=2&action=create-token")
    assert [len(part) for part in parts] == [2, 2, 1]
    assert len({row["id"] for part in parts for row in part}) == 5


@pytest.mark.parametrize("path", ["/api/jobs", "/api/slurm/runs"])
@pytest.mark.parametrize("cursor", ["x", "W10=", "eyJ9"])
def test_what_is_no_cursor_is_refused(as_role, path, cursor):
    assert as_role().get(path, params={"cursor": cursor}).status_code == 422
