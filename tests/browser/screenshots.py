"""Takes pictures of the page in light and dark, on a desk, on a phone and on a wall: `make screenshots`.

The few that the documentation shows go to docs/images, all others to .cache/screenshots.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect, sync_playwright
from slurmscale.models import Cluster, SlurmJob
from slurmscale.operations import Operation
from slurmscale.store.jobs import JobRecords
from slurmscale.store.tables import runs, tasks
from sqlalchemy import update

from .recording import Recording
from .service import PASSWORD, Service
from .visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs/images"
OTHERS = ROOT / ".cache/screenshots"
NODES = [f"node{number:02d}" for number in range(1, 53)] + ["gpu01", "gpu02", "gpu03", "login1", *"abcd"]
SIZES = {
    "desk": {"width": 1440, "height": 800},
    "phone": {"width": 360, "height": 740},
    "wall": {"width": 3840, "height": 2160},
}
SHOWN = {"status-light-desk", "run-dark-desk", "run-light-phone"}
_FAR = 60
"""Percent of a node that waits for its last step."""
MISSING = {
    "code": "packages-missing",
    "reason": "slurm-smd-slurmd 24.11.5 for Ubuntu 24.04 is not on https://apphub.example.",
    "remedy": "Publish it with publish_apphub, then retry.",
}
LOOK = (("checking", "preflight", "Probe the nodes"),)
DIFF = """\
--- /etc/slurm/slurmscale-nodes.conf
+++ /etc/slurm/slurmscale-nodes.conf
-NodeSet=rocky Nodes=node[01-46]
+NodeName=node[47-51] CPUs=64 Sockets=2 CoresPerSocket=16 ThreadsPerCore=2 RealMemory=240000
+NodeSet=rocky Nodes=node[01-51]
"""
SUDO = {"code": "sudo-missing", "reason": "The node has no sudo.", "remedy": "Install sudo, or log in as root."}


HUBS = [
    {"url": "https://apphub.example", "up": True, "detail": "", "clusters": ["hall", "lab"]},
    {"url": "https://apphub2.example", "up": False, "detail": "[Errno 111] Connection refused", "clusters": ["lab"]},
]
FINDINGS = [
    {
        "where": "https://apphub.example", "check": "files", "subject": "deb/ubuntu/pool/munge_0.5.16-1_amd64.deb",
        "ok": False, "code": "apphub-file-missing", "reason": "HTTP 404 Not Found.",
        "remedy": "Publish again with playbooks/publish_apphub.yml, which puts lost files back.",
    },
    *(
        {"where": "https://apphub.example", "check": check, "subject": subject, "ok": True, "reason": "", "remedy": ""}
        for check, subject in (("key", "slurmscale.asc"), ("repository", "rpm/rocky9"), ("packages", "Slurm 24.11.5"))
    ),
]  # fmt: skip


def made_up(service: Service) -> str:
    """Make some runs of the last hours and an active one, and return the id of that one."""
    recording = service.recordings[Operation.SCALE_UP] = Recording(
        failures={"node05": (2, MISSING), "gpu02": (0, SUDO)}
    )
    for minutes, nodes in ((310, "node[01-06]"), (190, "gpu[01-03]"), (42, "login1")):
        _earlier(service, service.run(nodes).wait(60).id, minutes)
    _earlier(service, service.run("a,b,c,d", Operation.SCALE_DOWN).wait(60).id, 25)
    recording.failures = {"node21": (2, MISSING), "node34": (0, SUDO)}
    recording.wait_before(7)
    run = service.run("node[07-46]")
    # until the last event before the gate is recorded
    while min(task.progress for task in service.scaling.tasks(run.id) if task.node not in recording.failures) < _FAR:
        time.sleep(0.1)
    _earlier(service, run.id, 3)
    new = [f"node{number}" for number in range(47, 53)]
    service.recordings[Operation.CHECK] = Recording(LOOK, {"node52": (0, SUDO)})
    row = {"ready": True, "code": "", "reason": "", "remedy": "", "registration": "add"}
    nodes = {name: row | {"steps": ["repository", "packages", "key", "configuration", "slurmd"]} for name in new[:-1]}
    controller = {"host": "ctl1", "action": "reconfigure", "diff": [{"text": DIFF}]}
    service.recordings[Operation.PLAN] = Recording(
        LOOK, report={"kind": "plan", "nodes": nodes, "controller": controller}
    )
    service.recordings[Operation.CHECK_APPHUB] = Recording(LOOK, report={"findings": FINDINGS})
    _made_up_cluster(service)
    return run.id


def _made_up_cluster(service: Service) -> None:
    """Connect a cluster of others, with jobs."""
    nodes = {
        f"n{number:02d}": {"state": "ALLOCATED" if number % 3 else "IDLE", "reason": ""} for number in range(1, 13)
    }
    nodes["n07"] = {"state": "DOWN+NOT_RESPONDING", "reason": "Not responding [slurm@2026-11-27T09:12:40]"}
    nodes["n09"] = {"state": "IDLE+DRAIN", "reason": "Memory errors, ticket 4711 [root@2026-11-26T17:03:11]"}
    states = Counter(node["state"] for node in nodes.values())
    info = {
        "cluster_name": "hall", "version": "23.11.4", "conf_file": "/etc/slurm/slurm.conf", "configless": True,
        "controllers": [{"host": "ctl9", "mode": "primary", "up": True}],
        "partitions": {"main": {}, "gpu": {}}, "nodes": nodes, "states": dict(states), "munge_key": True,
        "accounting": "accounting_storage/slurmdbd",
    }  # fmt: skip
    found = {
        "resolve": "10.0.0.2", "tcp": "port 22", "hostkey": "SHA256:0Vq7cqrV4wXbcrhHPAK8VvwV6a6jd9C3qKx1xCJr2lQ",
        "auth": "root", "slurm": "hall, Slurm 23.11.4",
    }  # fmt: skip
    stages = [{"stage": stage, "ok": True, "found": text, "error": None} for stage, text in found.items()]
    answer = {"success": True, "stage": "slurm", "stages": stages, "fingerprint": found["hostkey"], "error": None}
    report = {**answer, "host_keys": ["ctl9 ssh-ed25519 AAAA"], "info": info}
    service.recordings[Operation.DISCOVER_CLUSTER] = Recording(LOOK, report=report)
    hall = Cluster("hall", controller="ctl9.example")
    service.scaling.clusters.connect(hall, service.scaling.clusters.test(hall))
    made = {"user": "alice", "partition": "main", "batch_host": "n01", "output": "/shared/alice/slurm-41.out"}
    rows = (
        ("41", "mesh", "COMPLETED", "None", "0:0", "n[01-04]"), ("42", "solve", "RUNNING", "None", "0:0", "n[01-04]"),
        ("43", "post", "PENDING", "Resources", "0:0", ""), ("44", "train", "FAILED", "OutOfMemory", "0:125", "n11"),
    )  # fmt: skip
    now = time.time()
    for number, (job_id, name, state, reason, exit_code, where) in enumerate(rows):
        said = {"name": name, "state": state, "reason": reason, "exit_code": exit_code, "nodes": where}
        at = {"submitted_at": now - 4000 + number * 600, "seen_at": now}
        job = SlurmJob(f"20261127-0900{number:02d}-abc123", "hall", job_id, **made, **said, **at)  # type: ignore[arg-type] # mixed values
        JobRecords(service.scaling.store).add(job)
    text = "step 1 of 3: read the mesh, 1,204,118 cells\nstep 2 of 3: partition it for 4 nodes\nstep 3 of 3: written\n"
    output = {"found": True, "host": "n01", "text": text, "size": len(text)}
    service.recordings[Operation.READ_JOB_OUTPUT] = Recording(LOOK, report=output)
    asked = {"job_id": "", "jobs": {}, "accounting": "kept"}
    service.recordings[Operation.QUERY_JOBS] = Recording(LOOK, report=asked)


def _earlier(service: Service, run_id: str, minutes: int) -> None:
    """Let a run have begun earlier; one that has ended took some minutes."""
    began = time.time() - minutes * 60
    with service.scaling.store.begin() as connection:
        for table, name in ((runs, "id"), (tasks, "run_id")):
            of_run = update(table).where(table.c[name] == run_id)
            connection.execute(of_run.values(started_at=began))
            connection.execute(of_run.where(table.c.completed_at.is_not(None)).values(completed_at=began + 254))


def _unfold(visitor: Visitor) -> None:
    visitor.find("summary").click()
    expect(visitor.find(".running tbody tr").first).to_be_visible()


def _log(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Log node21").click()
    expect(visitor.find(".log pre")).to_be_visible()


def _fill(visitor: Visitor) -> None:
    visitor.find("[name=cluster]").select_option("lab")
    visitor.find("[name=nodes]").fill("node[47-52]")


def _plan(visitor: Visitor) -> None:
    _fill(visitor)
    visitor.button("Check readiness").click()
    visitor.button("Plan 5 nodes").click()
    expect(visitor.button("Add 5 nodes")).to_be_visible()


def _tested(visitor: Visitor) -> None:
    for name, value in (("name", "annex"), ("host", "ctl9.example"), ("user", "root")):
        visitor.find(f"form [name={name}]").fill(value)
    visitor.button("Test connection").click()
    expect(visitor.find("form .facts")).to_be_visible()


def _output(visitor: Visitor) -> None:
    visitor.button("mesh").click()
    dialog = visitor.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Output").click()
    expect(dialog.locator("pre")).to_be_visible()


def _checked(visitor: Visitor) -> None:
    visitor.find("[name=cluster]").select_option("lab")
    visitor.button("Check AppHub").click()
    expect(visitor.page.get_by_role("table", name="What was found")).to_be_visible()


def _listed(visitor: Visitor) -> None:
    expect(visitor.find("main table")).to_be_visible()


def _nothing(visitor: Visitor) -> None:
    expect(visitor.find("main table, main form").first).to_be_visible()


def views(run_id: str) -> dict[str, tuple[str, Callable[[Visitor], None]]]:
    """Return each view's address, and what is done before its picture is taken."""

    return {
        "status": ("slurm", _nothing),
        "tasks": ("slurm", _unfold),
        "runs": ("slurm/runs", _nothing),
        "run": (f"slurm/runs/{run_id}", _nothing),
        "log": (f"slurm/runs/{run_id}", _log),
        "add": ("slurm/add", _fill),
        "plan": ("slurm/add", _plan),
        "remove": ("slurm/remove", _fill),
        "clusters": ("slurm/external-clusters", _tested),
        "nodes": ("slurm/nodes?cluster=hall", _listed),
        "jobs": ("slurm-tasks", _listed),
        "job": ("slurm-tasks", _output),
        "apphub": ("slurm/apphub", _checked),
        "audit": ("slurm/audit", _nothing),
        "settings": ("slurm/settings", _nothing),
    }


def take(visitor: Visitor, name: str) -> None:
    """Take a picture of what there is when all of it is there."""
    expect(visitor.page.get_by_text("Loading", exact=True)).to_have_count(0)
    folder = IMAGES if name in SHOWN else OTHERS
    visitor.page.screenshot(path=folder / f"{name}.png")


def main() -> None:
    """Take all pictures."""
    for folder in (OTHERS, IMAGES):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        service = Service(Path(folder), NODES)
        run_id = made_up(service)
        service.start()
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for scheme in ("light", "dark"):
            for size, viewport in SIZES.items():
                visitor = Visitor(chromium, service, color_scheme=scheme, viewport=viewport)
                visitor.go("slurm")
                expect(visitor.button("Sign in")).to_be_visible()
                take(visitor, f"sign-in-{scheme}-{size}")
                for password in ("a wrong one", PASSWORD):
                    login = {"username": "ada", "password": password}
                    visitor.context.request.post(f"{service.url}/api/auth/login", data=login)
                visitor.sign_in("ada")
                visitor.page.route("**/api/apphub/health", lambda route: route.fulfill(json={"items": HUBS}))
                for view, (path, prepare) in views(run_id).items():
                    visitor.go(path)
                    expect(visitor.find("[data-live=live]")).to_be_visible()
                    prepare(visitor)
                    take(visitor, f"{view}-{scheme}-{size}")
                visitor.close()
        chromium.close()
        service.scaling.cancel(run_id)
        service.close()


if __name__ == "__main__":
    main()
