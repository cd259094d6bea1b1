from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from slurmscale.models import SlurmJob
from slurmscale.store.jobs import JobRecords

DESCRIBED = ("state", "reason", "exit_code", "nodes", "user", "partition", "batch_host", "name", "output")


@pytest.fixture
def job(scaling):
    found = SlurmJob("20260101-000000-abc123", "lab", "17", state="COMPLETED", submitted_at=1.0, seen_at=2.0)
    JobRecords(scaling.store).add(found)
    return found


def test_a_job_is_shown_by_our_id_and_by_slurms(as_role, job):
    client = as_role("viewer")
    shown = client.get(f"/api/jobs/{job.id}").json()
    assert (shown["job_id"], shown["state"], shown["ended"]) == ("17", "COMPLETED", True)
    assert client.get("/api/jobs/17").json() == shown
    assert client.get("/api/jobs").json() == {"items": [shown], "next_cursor": None}
    assert client.get("/api/jobs?cluster=other").json() == {"items": [], "next_cursor": None}
    # Slurm is not asked for one that has ended
    assert client.get(f"/api/jobs/{job.id}/status").json() == shown


def test_jobs_of_other_clusters_are_not_shown(as_role, job):
    client = as_role("viewer", clusters=["other"])
    assert client.get("/api/jobs").json() == {"items": [], "next_cursor": None}
    assert client.get(f"/api/jobs/{job.id}").status_code == 404


@pytest.mark.usefixtures("lab")
def test_what_a_job_is_submitted_with_is_no_template_and_its_user_no_choice(as_role, launches):
    launches.result = {"job_id": "18", "jobs": {}, "accounting": False, "job": {"state": "PENDING"}}
    body = {"command": "echo {{ 1 }}", "cluster_id": "lab", "partition": "main"}
    answer = as_role("operator").post("/api/jobs/submit", json=body)
    assert launches[0].playbook.name == "run_jobs.yml"
    secret = launches[0].added["all"]["vars"]["slurmscale_secrets"]
    assert secret["job_script"] == {"__ansible_unsafe": "#!/bin/sh\necho {{ 1 }}\n"}
    assert answer.status_code < 500
    assert as_role("operator").post("/api/jobs/submit", json={**body, "user": "root"}).status_code == 422
    assert as_role("viewer").post("/api/jobs/submit", json=body).status_code == 403


@pytest.mark.usefixtures("lab")
def test_a_job_is_submitted_once_and_found_where_the_answer_says(as_role, launches):
    launches.result = {"job_id": "18", "jobs": {"18": dict.fromkeys(DESCRIBED, "") | {"state": "PENDING"}},
                       "accounting": "none"}  # fmt: skip
    client, key = as_role("operator"), {"Idempotency-Key": "job"}
    body = {"name": "hello", "command": "hostname", "cluster_id": "lab", "partition": "main"}
    made = client.post("/api/jobs/submit", json=body, headers=key)
    assert (made.status_code, made.json()["job_id"], made.json()["state"]) == (201, "18", "PENDING")
    assert client.get(made.headers["location"]).json() == made.json()
    assert client.get("/api/jobs/lab:18").json() == made.json()
    again = client.post("/api/jobs/submit", json=body, headers=key)
    assert (again.status_code, again.json()) == (201, made.json())
    assert (again.headers["location"], len(launches)) == (made.headers["location"], 1)


@pytest.mark.usefixtures("lab")
def test_slurm_is_asked_how_jobs_stand_once_per_cluster_and_only_of_those_that_have_not_ended(
    as_role, scaling, launches, job
):
    client = as_role("viewer")
    assert client.get("/api/jobs?refresh=true").json()["items"][0]["id"] == job.id
    assert not launches
    for number in ("18", "19"):
        JobRecords(scaling.store).add(
            SlurmJob(f"20260101-000001-{number}", "lab", number, state="PENDING", submitted_at=1.0, seen_at=2.0)
        )
    launches.result = {
        "job_id": "",
        "jobs": {"18": dict.fromkeys(DESCRIBED, "") | {"state": "RUNNING"}},
        "accounting": "none",
    }
    found = {one["job_id"]: one for one in client.get("/api/jobs?refresh=true").json()["items"]}
    assert len(launches) == 1
    assert (found["18"]["state"], found["19"]["lost"], found["17"]["state"]) == ("RUNNING", True, "COMPLETED")


@pytest.mark.parametrize("text", ["../x", "n1:", ":17", "%2Fetc%2Fhosts:17", "lab:x y"])
def test_what_is_no_job_is_not_found(as_role, text):
    assert as_role("viewer").get(f"/api/jobs/{text}").status_code in (404, 422)


@pytest.mark.usefixtures("lab")
def test_an_ended_job_can_not_be_cancelled(as_role, job):
    assert as_role("operator").post(f"/api/jobs/{job.id}/cancel").status_code == 409
    assert as_role("operator").delete(f"/api/jobs/{job.id}").status_code == 409


def test_a_cluster_of_others_is_looked_at_and_connected(as_role, launches):
    info = {"cluster_name": "old", "nodes": ["n1", "n2"], "version": "24.11.5"}
    launches.result = {
        "success": True, "stage": "slurm", "stages": [], "fingerprint": "SHA256:x", "host_keys": ["c ssh-ed25519 AAAA"],
        "info": info, "error": None,
    }  # fmt: skip
    admin = as_role("admin")
    ssh = {"host": "192.0.2.50", "port": 22, "username": "root", "auth_type": "password", "password": "s3cret words"}
    tested = admin.post("/api/slurm/clusters/test-connection", json={"master_ssh": ssh})
    assert (tested.status_code, tested.json()["success"], tested.json()["info"]) == (200, True, info)
    body = {"name": "old", "master_ssh": ssh, "config": {"max_nodes": 10}}
    assert as_role("operator").post("/api/slurm/clusters/connect", json=body).status_code == 403
    made = admin.post("/api/slurm/clusters/connect", json=body)
    assert (made.status_code, made.json()["cluster_type"], made.json()["health"]) == (201, "external", "healthy")
    taken = admin.post("/api/slurm/clusters/connect", json=body)
    assert (taken.status_code, "already" in taken.json()["detail"]) == (409, True)
    nodes = admin.get("/api/slurm/clusters/old/nodes").json()
    assert [(node["name"], node["state"]) for node in nodes["items"]] == [("n1", []), ("n2", [])]
    assert nodes["seen_at"]
    assert admin.get("/api/slurm/clusters/old/info").json()["info"] == info
    assert admin.post("/api/slurm/clusters/old/refresh", json={}).json()["stage"] == "slurm"
    assert "s3cret" not in tested.text + made.text
    own = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    ssh = {"host": "192.0.2.50", "username": "root", "auth_type": "key", "key": own}
    tested = admin.post("/api/slurm/clusters/test-connection", json={"master_ssh": ssh})
    assert (tested.status_code, tested.json()["success"], own.splitlines()[1] in tested.text) == (200, True, False)
    assert launches[-1].added["_meta"]["hostvars"]["controller"]["ansible_private_key"] == {"__ansible_unsafe": own}
    assert launches[-1].environment["ANSIBLE_SSH_AGENT"] == "auto"
