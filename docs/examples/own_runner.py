"""A service that calls ansible-runner itself, and still knows how far each node is.

Usage: own_runner.py CHECKOUT INVENTORY NODES

It prints a JSON line whenever a node has moved. Of the library only `slurmscale.progress` is used, which has no
database, process or clock of its own. What `Scaling` does besides is the service's own affair then: records, claims on
machines, cancelling, passwords, secrets masked in logs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import ansible_runner
from slurmscale.inventory.hostlist import expand
from slurmscale.progress.events import parse
from slurmscale.progress.tracker import Tracker


def main(checkout: Path, inventory: Path, nodes: tuple[str, ...]) -> int:
    """Run the playbook scale_up and return the exit code: 0 when all nodes are done."""
    tracker = Tracker(nodes)
    with tempfile.TemporaryDirectory(prefix="own-runner-") as private_data_dir:
        plan = Path(private_data_dir, "plan.jsonl")
        read = 0

        def on_event(raw: dict) -> bool:
            nonlocal read
            # the callback slurm_plan writes the tasks to come, a line per play, before the play's event is handled
            if raw["event"] in ("playbook_on_play_start", "playbook_on_task_start") and plan.exists():
                lines = plan.read_text(encoding="utf-8").splitlines()
                for line in lines[read:]:
                    tracker.add_plan_line(json.loads(line))
                read = len(lines)
            tracker.handle(parse(raw, time.time()))
            for change in tracker.take_changes():
                error = change.error.as_dict() if change.error else None
                moved = {"node": change.node, "status": change.status, "progress": change.progress}
                sys.stdout.write(json.dumps({**moved, "step": change.step, "error": error}) + "\n")
            return False  # write no file per event

        ansible_runner.run(
            private_data_dir=private_data_dir,
            playbook=str(checkout / "playbooks" / "scale_up.yml"),
            inventory=str(inventory),
            extravars={"nodes": ",".join(nodes)},
            envvars={
                "ANSIBLE_COLLECTIONS_PATH": str(checkout / ".collections"),
                "ANSIBLE_ROLES_PATH": str(checkout / "roles"),
                "ANSIBLE_CALLBACKS_ENABLED": "ai_infra.slurm.slurm_plan",
                # ansible-runner has any host key accepted unless this is stated
                "ANSIBLE_HOST_KEY_CHECKING": "true",
                "SLURMSCALE_PLAN_FILE": str(plan),
            },
            event_handler=on_event,
            quiet=True,
        )
    return 0 if tracker.finished and tracker.error() is None else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), expand(sys.argv[3])))
