"""Takes pictures of the page in light and dark, on a desk and on a phone: `make screenshots`.

The few that the documentation shows go to docs/images, all others to .cache/screenshots.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect, sync_playwright
from slurmscale.operations import Operation
from slurmscale.store.tables import runs, tasks
from sqlalchemy import update

from .recording import Recording
from .service import PASSWORD, Service
from .visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
NODES = [f"node{number:02d}" for number in range(1, 53)] + ["gpu01", "gpu02", "gpu03", "login1", *"abcd"]
SIZES = {"desk": {"width": 1440, "height": 800}, "phone": {"width": 360, "height": 740}}
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


def made_up(service: Service) -> str:
    """Make some runs of the last hours and one at work, and return the id of that one."""
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
    return run.id


def _earlier(service: Service, run_id: str, minutes: int) -> None:
    """Let a run have begun earlier; one that has ended took some minutes."""
    began = time.time() - minutes * 60
    with service.scaling.store.begin() as connection:
        for table, name in ((runs, "id"), (tasks, "run_id")):
            of_run = update(table).where(table.c[name] == run_id)
            connection.execute(of_run.values(started_at=began))
            connection.execute(of_run.where(table.c.completed_at.is_not(None)).values(completed_at=began + 254))


def views(run_id: str) -> dict[str, tuple[str, Callable[[Visitor], None]]]:
    """Return each view's address, and what is done before its picture is taken."""

    def unfold(visitor: Visitor) -> None:
        visitor.find("summary").click()
        expect(visitor.find(".running tbody tr").first).to_be_visible()

    def log(visitor: Visitor) -> None:
        visitor.page.get_by_role("button", name="Log node21").click()
        expect(visitor.find(".log pre")).to_be_visible()

    def fill(visitor: Visitor) -> None:
        visitor.find("[name=nodes]").fill("node[47-52]")

    def plan(visitor: Visitor) -> None:
        fill(visitor)
        visitor.button("Check readiness").click()
        visitor.button("Plan 5 nodes").click()
        expect(visitor.button("Add 5 nodes")).to_be_visible()

    def nothing(visitor: Visitor) -> None:
        expect(visitor.find("main table, main form").first).to_be_visible()

    return {
        "status": ("slurm", nothing),
        "tasks": ("slurm", unfold),
        "runs": ("slurm/runs", nothing),
        "run": (f"slurm/runs/{run_id}", nothing),
        "log": (f"slurm/runs/{run_id}", log),
        "add": ("slurm/add", fill),
        "plan": ("slurm/add", plan),
        "remove": ("slurm/remove", fill),
        "clusters": ("slurm/clusters", nothing),
        "audit": ("slurm/audit", nothing),
        "settings": ("slurm/settings", nothing),
    }


def main() -> None:
    """Take all pictures."""
    others = ROOT / ".cache/screenshots"
    images = ROOT / "docs/images"
    for folder in (others, images):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        service = Service(Path(folder), NODES)
        run_id = made_up(service)
        service.start()
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for scheme in ("light", "dark"):
            for size, viewport in SIZES.items():
                visitor = Visitor(chromium, service, color_scheme=scheme, viewport=viewport)
                for password in ("a wrong one", PASSWORD):
                    login = {"username": "ada", "password": password}
                    visitor.context.request.post(f"{service.url}/api/auth/login", data=login)
                visitor.sign_in("ada")
                for view, (path, prepare) in views(run_id).items():
                    visitor.go(path)
                    expect(visitor.find("[data-live=live]")).to_be_visible()
                    prepare(visitor)
                    name = f"{view}-{scheme}-{size}"
                    visitor.page.screenshot(path=(images if name in SHOWN else others) / f"{name}.png")
                visitor.close()
        chromium.close()
        service.scaling.cancel(run_id)
        service.close()


if __name__ == "__main__":
    main()
