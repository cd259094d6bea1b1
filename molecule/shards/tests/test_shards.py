"""Two workers share a scale-up; one of them is lost in the middle of its part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conftest import SHARDS
from fakes.waiting import wait_for
from slurmscale.operations import Operation
from slurmscale.states import RUN_ACTIVE, RunStatus
from slurmscale.store.tables import run_shards
from sqlalchemy import select
from testing import INVENTORY, node_names

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from slurmscale.scaling import Scaling
    from testinfra.host import Host

SECONDS_A_NODE = 120
RECONFIGURED = "grep --count 'Processing Reconfiguration Request' /var/log/slurm/slurmctld.log || true"


def shards(scaling: Scaling, run_id: str) -> list[tuple[str, str, int]]:
    """Return stage, status and process of each part of a run."""
    query = select(run_shards.c.stage, run_shards.c.status, run_shards.c.owner_pid)
    with scaling.store.engine.connect() as connection:
        rows = connection.execute(query.where(run_shards.c.run_id == run_id).order_by(run_shards.c.number)).all()
    return [(row.stage, row.status, row.owner_pid) for row in rows]


def test_two_workers_share_a_scale_up_and_one_is_killed(
    scaling: Scaling, start_worker: Callable[[], subprocess.Popen[bytes]], ctl1: Host
) -> None:
    nodes = node_names()
    before = int(ctl1.check_output(RECONFIGURED))
    run_id = scaling.request(Operation.SCALE_UP, str(INVENTORY / "hosts.yml"), nodes).id
    assert [stage for stage, _, _ in shards(scaling, run_id)] == ["prepare"] * SHARDS
    workers = {worker.pid: worker for worker in (start_worker(), start_worker())}
    wait_for(lambda: sum(status == "running" for _, status, _ in shards(scaling, run_id)) == 2)
    # in the middle of the installation
    wait_for(lambda: any(task.phase == "packages" for task in scaling.tasks(run_id)), 600)
    lost = next(pid for _, status, pid in shards(scaling, run_id) if status == "running")
    workers[lost].kill()
    workers[lost].wait()
    wait_for(lambda: scaling.store.run(run_id).status not in RUN_ACTIVE, SECONDS_A_NODE * len(nodes))
    run, tasks = scaling.store.run(run_id), scaling.tasks(run_id)
    reasons = {task.node: task.error_message for task in tasks if task.failed}
    assert (run.status, run.counts.success, reasons) == (RunStatus.COMPLETED, len(nodes), {}), run
    assert (run.attempt, f"/{lost}" in (run.explanation or "")) == (2, True)
    stages = shards(scaling, run_id)
    assert [stage for stage, _, _ in stages] == ["prepare"] * SHARDS + ["register"] + ["start"] * SHARDS
    assert {status for _, status, _ in stages} == {"completed"}
    # one reconfiguration for all, and each node takes jobs
    assert int(ctl1.check_output(RECONFIGURED)) == before + 1
    states = ctl1.check_output("sinfo --noheader --Node --format '%%N %%T'").split("\n")
    assert sorted(states) == sorted(f"{node} idle" for node in nodes)
    ran = ctl1.check_output(f"srun --nodes {len(nodes)} hostname | sort | uniq | wc -l")
    assert int(ran) == len(nodes)
