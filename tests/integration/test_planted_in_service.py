"""A secret in every field of a request that may hold one, on a site of services and workers: none is found anywhere."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes.receiver import running
from fakes.waiting import wait_for
from integration.test_planted_secrets import everything_in, forms
from integration.test_secrets import Watch
from integration.test_worker import LIMIT, Site

PLANTED = {
    "password of a node": "planted/node=1 é",
    "sudo password of a node": "planted/sudo&2 'x'",
    "kept password": "planted/kept+3",
    "kept sudo password": "planted/kept/sudo?4",
    "password of the cluster": "planted/cluster 5",
    "sudo password of the cluster": "planted/cluster/sudo=6",
    "script of a job": "planted-script-0007",
}
PLAYBOOK = """
- name: Prepare
  hosts: "{{ nodes }}"
  gather_facts: false
  tasks:
    - name: careless
      ansible.builtin.debug:
        msg: "{{ ansible_password | default('no') }} {{ ansible_become_password | default('no') | b64encode }}"
    - name: careless command
      ansible.builtin.command:
        argv: [echo, "{{ ansible_password | default('no') }}"]
    - name: time to look around
      ansible.builtin.command: sleep 2
    - name: careless failure
      ansible.builtin.fail:
        msg: "no login with {{ ansible_password }}"
      when: ansible_password is defined
- name: Report the result of each node
  hosts: "{{ nodes }}"
  gather_facts: false
  tasks:
    - name: finished
      ai_infra.slurm.node_result:
"""
JOBS = """
- name: Submit
  hosts: slurm_controllers
  gather_facts: false
  tasks:
    - name: submit
      ansible.builtin.command:
        cmd: sh -c "cat > /dev/null; sleep 1"
        stdin: "{{ job_script | default('') }}"
    - name: report
      ansible.builtin.copy:
        dest: "{{ report }}"
        mode: "0600"
        content: >-
          {"job_id": "17", "accounting": "none", "host": "ctl1", "found": true, "text": "done", "size": 4,
          "problem": "", "jobs": {"17": {"state": "RUNNING", "reason": "", "exit_code": "", "nodes": "n1",
          "user": "ann", "partition": "p", "batch_host": "n1", "name": "j", "output": "/x"}}}
      delegate_to: localhost
"""


class WatchAll(Watch):
    """Looks at all processes of the machine: those of a run may have left the tree of the one that began it."""

    def processes(self):
        return psutil.pids()

    def run_directories(self):
        # the tables are read by their database
        return [path for path in super().run_directories() if not path.name.startswith("slurmscale-pg-")]


@pytest.fixture
def receiver():
    with running() as receiver:
        yield receiver


@pytest.fixture
def site(config, url, inventory, project_dir, tmp_path):
    (project_dir / "playbooks" / "scale_up.yml").write_text(PLAYBOOK)
    (project_dir / "playbooks" / "run_jobs.yml").write_text(JOBS)
    Path(inventory).write_text(Path(inventory).read_text().replace("  vars:\n", "  vars:\n    job_user: ann\n", 1))
    site = Site(config, url, inventory, tmp_path)
    yield site
    site.close()


@pytest.fixture
def needles():
    """What must be found nowhere, and what it is."""
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    planted = PLANTED | {"private key": max(key.splitlines(), key=len)}
    return key, {form: name for name, secret in planted.items() for form in forms(secret)}


def follow(site, run_id, told):
    """Read the server-sent events of a run to its end."""
    with site.client.stream("GET", "/api/slurm/events", params={"run": run_id}) as answer:
        told += list(answer.iter_lines())


def all_answers(site, ids):
    """Ask all that can be asked for, with all that is known; returns what was answered, by path."""
    answers = {}
    for path, methods in site.client.get("/openapi.json").json()["paths"].items():
        if "get" not in methods:
            continue
        wanted = {one["name"] for one in methods["get"].get("parameters", ()) if one["in"] == "path"}
        for values in itertools.product(*(ids[name] for name in sorted(wanted))):
            where = path.format(**dict(zip(sorted(wanted), values, strict=True)))
            # a stream ends with its run
            parameters = [{"run": run} for run in ids["run_id"]] if path.endswith("/events") else [{}]
            if path.endswith(("/log", "/log.txt")):
                parameters = [{}, *({"node": f"n{number}"} for number in range(1, 5))]
            for one in parameters:
                answer = site.client.get(where, params=one)
                assert answer.status_code < 500, f"{where} {answer.text}"
                answers[f"{where} {one}"] = f"{answer.headers}{answer.text}"
    return answers


def keep_and_ask(site, key):
    """Keep logins, and ask for runs with logins of their own, with a kept one, and with that of the cluster."""
    kept = {"cluster": "lab", "password": PLANTED["kept password"], "become_password": PLANTED["kept sudo password"]}
    credential = site.client.post("/api/slurm/credentials", json=kept).json()["id"]
    login = {"username": "ann", "password": PLANTED["password of the cluster"]}
    login["become_password"] = PLANTED["sudo password of the cluster"]
    assert site.client.put("/api/slurm/clusters/lab/login", json=login).status_code < 300
    own = {"password": PLANTED["password of a node"], "become_password": PLANTED["sudo password of a node"]}
    return [
        site.ask([{"host": "n1", **own}, {"host": "n2", "private_key": key}]),
        site.ask(["n3"], credential=credential),
        site.ask(["n4"]),
    ]


def carry(site, asked):
    """Let a worker carry the runs, and submit a job; returns the runs, the job, and the events of the runs."""
    told = []
    viewers = [threading.Thread(target=follow, args=(site, run_id, told)) for run_id in asked]
    for viewer in viewers:
        viewer.start()
    site.start("worker", "--concurrency", "2")
    script = f"#!/bin/sh\necho {PLANTED['script of a job']}\n"
    job = site.client.post("/api/jobs/submit", json={"cluster_id": "lab", "command": script})
    assert job.status_code == 201, job.text
    ended = [site.ended(run_id) for run_id in asked]
    for viewer in viewers:
        viewer.join(LIMIT)
    return ended, job.json()["id"], "\n".join(told)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_no_secret_of_a_request_is_found_on_a_site_of_services_and_workers(site, url, receiver, needles, tmp_path):
    key, found_as = needles

    def found_in(content):
        return {name for form, name in found_as.items() if form in content}

    watch = WatchAll(found_as, tmp_path / "data", tmp_path / "log")
    watch.start()
    hook = {"url": receiver.url, "events": ["run.completed", "run.failed"]}
    hook_id = site.client.post("/api/webhooks", json=hook).json()["id"]
    asked = keep_and_ask(site, key)
    # they wait, with their secrets sealed
    places = {"tables before": everything_in(url)}
    ended, job_id, places["events"] = carry(site, asked)
    assert [run["status"] for run in ended] == ["failed", "failed", "completed"]
    wait_for(lambda: len(receiver.got) >= len(asked), LIMIT)
    watch.over.set()
    watch.join()
    watch.look()
    runs = [run["id"] for run in site.client.get("/api/slurm/runs").json()["items"]]
    tasks = [f"{asked[0]}:n1", f"{asked[0]}:n2", f"{asked[1]}:n3"]
    ids = {"run_id": runs, "task_id": tasks, "job_id": [job_id], "cluster_id": ["lab"], "webhook_id": [hook_id]}
    places |= all_answers(site, ids)
    told = "\n".join("\n".join([path, *headers.values(), body]) for path, headers, body in receiver.got)
    places |= {"log": site.log(), "tables": everything_in(url), "deliveries": told}
    # the secrets were there, and are masked
    for run, node, least in ((asked[0], "n1", 3), (asked[1], "n3", 3), (asked[2], "n4", 1)):
        assert places[f"/api/slurm/runs/{run}/log {{'node': '{node}'}}"].count("********") >= least
    assert "no login with ********" in places["events"]
    assert {name: found_in(content) for name, content in places.items() if found_in(content)} == {}
    assert watch.found == set()
    assert {"cmdline", "environ", "log"} <= watch.looked_at
