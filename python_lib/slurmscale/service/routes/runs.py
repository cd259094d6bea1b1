"""Looking: the scaling status, runs, their nodes and logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic_core import to_json

from slurmscale.documents import LineDocument, TaskDocument
from slurmscale.errors import NotFoundError
from slurmscale.operations import Operation
from slurmscale.scaling_status import ScalingStatus
from slurmscale.service.access.authentication import Principal, requires, visible
from slurmscale.service.access.permissions import Permission
from slurmscale.service.api.paging import Cursor, Limit, cursor_after, link_next, place_of
from slurmscale.service.api.schemas import LogPage, RunPage, RunView, TaskList
from slurmscale.service.state import Parts, Service
from slurmscale.states import RunStatus, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.models import LogLine, Run

router = APIRouter(prefix="/api/slurm", tags=["runs"])

Reader = Annotated[Principal, Depends(requires(Permission.READ))]
RunId = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
TaskId = Annotated[str, Path(max_length=320, pattern=r"^[A-Za-z0-9-]+:[A-Za-z0-9._-]+$")]
Node = Annotated[str | None, Query(max_length=255)]
LineId = Query(ge=0, le=2**53)
_PART = 1000


@dataclass(frozen=True, slots=True)
class LogPart:
    """Which part of a log is wanted.

    Attributes:
        after: Only lines with larger numbers.
        before: Only lines with smaller numbers; the limit then keeps the newest of them.
        limit: How many at most.
        q: Only lines with this text in them.
    """

    after: Annotated[int, LineId] = 0
    before: Annotated[int | None, LineId] = None
    limit: Annotated[int, Query(ge=1, le=5000)] = 500
    q: Annotated[str, Query(max_length=200)] = ""


Part = Annotated[LogPart, Depends()]


@router.get("/scaling/status", response_model=ScalingStatus)
def scaling_status(principal: Reader, parts: Parts) -> Response:
    """Tell what is in progress, what has ended in the last day, and what is stalled."""
    # Encoded once, and not again by FastAPI: runs may have thousands of nodes. Whoever begins runs looks for those that
    # were interrupted.
    status = parts.scaling.read_status(principal.clusters).status()
    return Response(to_json(status.as_json()), media_type="application/json")


@router.get("/runs")
def runs(
    principal: Reader,
    parts: Parts,
    request: Request,
    response: Response,
    cluster: Annotated[str | None, Query(max_length=255)] = None,
    status: RunStatus | None = None,
    operation: Operation | None = None,
    node: Node = None,
    since: Annotated[float | None, Query(ge=0)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> RunPage:
    """List runs, newest first."""
    if cluster is not None and not principal.sees(cluster):
        return RunPage(items=[])
    found = parts.scaling.store.runs(
        limit=limit + 1,
        since=since,
        cluster=cluster,
        clusters=principal.clusters,
        status=status,
        operation=operation,
        node=node,
        before=place_of(cursor),
    )
    following = cursor_after(found[limit - 1].created_at, found[limit - 1].id) if len(found) > limit else None
    link_next(request, response, following)
    return RunPage(items=[RunView.of(run, parts.base) for run in found[:limit]], next_cursor=following)


@router.get("/runs/{run_id}")
def run(run_id: RunId, principal: Reader, parts: Parts) -> RunView:
    """Show a run."""
    found = _run(run_id, principal, parts)
    return RunView.of(found, parts.base)


@router.get("/runs/{run_id}/tasks")
def run_tasks(
    run_id: RunId,
    principal: Reader,
    parts: Parts,
    status: TaskStatus | None = None,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> TaskList:
    """List all nodes of a run, or those that changed after a revision."""
    _run(run_id, principal, parts)
    found, changed = parts.scaling.store.run_changes(run_id, after)
    wanted = [task for task in changed if status in (None, task.status)]
    return TaskList(items=[TaskDocument.of(task) for task in wanted], revision=found.revision)


@router.get("/runs/{run_id}/plan")
def run_plan(run_id: RunId, principal: Reader, parts: Parts) -> dict[str, Any]:
    """Show what a run reports besides its nodes: the plan of a plan, the readiness of a check."""
    found = _run(run_id, principal, parts)
    report = parts.scaling.store.report(found.id)
    if report is None:
        raise NotFoundError(f"Run {found.id} has no plan.", "A plan is there when its run has ended.")
    return report


@router.get("/runs/{run_id}/log")
def run_log(
    run_id: RunId,
    principal: Reader,
    parts: Parts,
    part: Part,
    node: Node = None,
) -> LogPage:
    """Show the log of a node, or what belongs to no node: the part of the controller."""
    found = _run(run_id, principal, parts)
    _require_node(found, node)
    lines = parts.scaling.store.log(
        found.id, node, after=part.after, before=part.before, limit=part.limit, containing=part.q
    )
    return _page(lines, part.after)


@router.get("/runs/{run_id}/log.txt", response_class=PlainTextResponse)
def run_log_text(run_id: RunId, principal: Reader, parts: Parts, node: Node = None) -> StreamingResponse:
    """Download the log as text; arguments as of `log`."""
    found = _run(run_id, principal, parts)
    _require_node(found, node)
    name = f"{found.id}{f'-{node}' if node else ''}.txt"
    return StreamingResponse(
        _lines(parts, found, node),
        media_type="text/plain",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.get("/tasks")
def tasks(
    principal: Reader, parts: Parts, run: Annotated[str, Query(max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
) -> TaskList:
    """List all nodes of a run."""
    return run_tasks(run, principal, parts)


@router.get("/tasks/{task_id}")
def task(task_id: TaskId, principal: Reader, parts: Parts) -> TaskDocument:
    """Show a node of a run."""
    run_id, _, node = task_id.partition(":")
    found = _run(run_id, principal, parts)
    for one in parts.scaling.store.tasks(found.id, node=node):
        return TaskDocument.of(one)
    raise NotFoundError(f"Node {node} is not part of run {found.id}.")


@router.get("/tasks/{task_id}/logs")
def task_logs(task_id: TaskId, principal: Reader, parts: Parts, part: Part) -> LogPage:
    """Show the log of a node of a run."""
    run_id, _, node = task_id.partition(":")
    return run_log(run_id, principal, parts, part, node)


def _run(run_id: str, principal: Principal, parts: Service) -> Run:
    return visible(parts.scaling.store.run(run_id), principal)


def _require_node(run: Run, node: str | None) -> None:
    if node is not None and node not in run.nodes:
        raise NotFoundError(f"Node {node} is not part of run {run.id}.")


def _page(lines: list[LogLine], after: int) -> LogPage:
    return LogPage(items=[LineDocument.of(line) for line in lines], last=lines[-1].id if lines else after)


def _lines(parts: Service, run: Run, node: str | None) -> Iterator[str]:
    after = 0
    while lines := parts.scaling.store.log(run.id, node, after=after, limit=_PART):
        for line in lines:
            yield f"{line.text}\n"
        after = lines[-1].id
