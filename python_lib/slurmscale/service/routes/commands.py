"""Doing: nodes are made, removed, looked at, AppHubs checked; runs are planned, cancelled and repeated."""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.responses import JSONResponse

from slurmscale.clean_text import clean
from slurmscale.errors import Code, NotFoundError, OverlapError, RefusedError, SlurmscaleError
from slurmscale.models import Credentials, NodeSpec, Run, RunOptions
from slurmscale.operations import Operation
from slurmscale.service.access.authentication import Principal, deny, record, require_all_clusters, requires, visible
from slurmscale.service.access.permissions import Permission
from slurmscale.service.api import requests as wanted
from slurmscale.service.api.idempotency import RepeatableRoute, key_of, made_run
from slurmscale.service.api.schemas import NodeAnswer, RunAnswer, RunView
from slurmscale.service.problems import ProblemError
from slurmscale.service.state import Parts, Service
from slurmscale.states import FAILED, RUN_ACTIVE, RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slurmscale.models import Cluster

router = APIRouter(prefix="/api/slurm", tags=["commands"], route_class=RepeatableRoute)
apphub = APIRouter(prefix="/api/apphub", tags=["apphub"], route_class=RepeatableRoute)

Checker = Annotated[Principal, Depends(requires(Permission.CHECK))]
Scaler = Annotated[Principal, Depends(requires(Permission.SCALE))]
Remover = Annotated[Principal, Depends(requires(Permission.REMOVE))]
RunId = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
TaskId = Annotated[str, Path(max_length=320, pattern=r"^[A-Za-z0-9-]+:[A-Za-z0-9._-]+$")]
Prefer = Annotated[str | None, Header(max_length=200, description="`wait=SECONDS` waits for the end, at most 600.")]

_LONGEST_WAIT = 600
_POLL_SECONDS = 0.5
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")
_LINES = 200
_MOST_RUNS = 50
"""Runs of one user that wait or are active."""
_PLAN_SECONDS = 24 * 3600.0
_YES = ("true", "yes", "1")
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    200: {"model": RunAnswer, "description": "It was waited for, and has ended."},
    202: {"model": RunAnswer, "description": "It is in progress; `Location` says where to look."},
}
_NODES: dict[int | str, dict[str, Any]] = {
    200: {"model": dict[str, NodeAnswer], "description": "It was waited for, and has ended."},
    202: {"model": dict[str, NodeAnswer], "description": "It is in progress; `Location` says where to look."},
}
_REPORT: dict[int | str, dict[str, Any]] = {
    200: {"model": dict[str, Any], "description": "It was waited for: the report of readiness, format 1."},
    202: {"model": RunAnswer, "description": "It is in progress; `Location` says where to look."},
}


@dataclass(frozen=True, slots=True)
class _Call:
    """A request for a run, and who makes it."""

    request: Request
    principal: Principal
    parts: Service
    prefer: str | None

    def sees(self, cluster: str) -> None:
        """Refuse a cluster that the caller is not for."""
        if not self.principal.sees(cluster):
            raise deny(self.request, self.principal, f"access to the cluster {cluster}", cluster=cluster)

    def may_take(self, variables: Mapping[str, Any], cluster: str) -> None:
        """Refuse to take machines of other clusters for who is limited to some: which ones, only the machine tells."""
        # a command may have written it as a word
        if str(variables.get("take_over")).lower() in _YES:
            require_all_clusters(self.request, self.principal, cluster=cluster)

    async def start(
        self,
        operation: Operation,
        cluster: str | None,
        nodes: str | Sequence[str | wanted.Machine],
        options: RunOptions,
        check: Callable[[Cluster, Sequence[NodeSpec]], None] | None = None,
    ) -> Run:
        """Request a run, and let it begin as soon as it may."""

        def ask() -> Run:
            found = self.parts.cluster(cluster, self.principal)
            self.sees(found.name)
            self.may_take(options.extra_vars, found.name)
            named = wanted.nodes_of_request(nodes, self.parts.config)
            wanted.check_places(named, found, self.parts.config)
            if check is not None:
                check(found, named)
            self._require_room()
            return self.parts.scaling.request(
                operation, found, named, options, requested_by=self.principal.name, key=key_of(self.request)
            )

        return await self.submit(ask, operation)

    async def submit(self, ask: Callable[[], Run], operation: Operation | None = None) -> Run:
        """Run what requests a run, hand it to the executor, and record both in the audit trail."""

        def work() -> Run:
            made = made_run(self.request)
            if made is not None:
                return self.parts.scaling.store.run(made)
            try:
                run = ask()
            except SlurmscaleError as exc:
                more = {"run_id": exc.run_id} if isinstance(exc, OverlapError) else {}
                action = operation.value if operation else None
                record(self.request, self.principal, "failed", action, details={"code": exc.code}, **more)
                raise
            record(
                self.request, self.principal, "success", run.operation.value, cluster=run.cluster,
                nodes=",".join(run.nodes), run_id=run.id, details={"dry_run": run.check},
            )  # fmt: skip
            self.parts.executor.submit(run.id)
            return run

        return await anyio.to_thread.run_sync(work)

    async def end_of(self, run: Run) -> Run:
        """Wait for a run as long as the caller wants to, and return how it stands."""
        seconds = _wait_seconds(self.prefer)
        deadline = anyio.current_time() + (seconds or 0)
        while seconds and run.status in RUN_ACTIVE and anyio.current_time() < deadline:
            await anyio.sleep(min(_POLL_SECONDS, max(0.0, deadline - anyio.current_time())))
            run = await anyio.to_thread.run_sync(self.parts.scaling.store.run, run.id)
        return run

    async def answer(self, run: Run) -> JSONResponse:
        """Wait for a run, and tell what became of it."""
        run = await self.end_of(run)
        logs = await anyio.to_thread.run_sync(self._logs, run) if run.status not in RUN_ACTIVE else []
        body = RunAnswer(
            success=_success(run), logs=logs, error=run.error_message, run=RunView.of(run, self.parts.base)
        )
        return self.reply(run, body.as_json())

    def reply(self, run: Run, content: dict[str, Any]) -> JSONResponse:
        """Return an answer with the headers that it has."""
        headers = {"Location": f"{self.parts.base}/api/slurm/runs/{run.id}"}
        seconds = _wait_seconds(self.prefer)
        if seconds:
            headers["Preference-Applied"] = f"wait={seconds}"
        return JSONResponse(content, 202 if run.status in RUN_ACTIVE else 200, headers)

    def _logs(self, run: Run) -> list[str]:
        store = self.parts.scaling.store
        node = run.nodes[0] if len(run.nodes) == 1 else None
        lines = [clean(line.text) for line in store.log(run.id, node)]
        return lines[-_LINES:]

    def _require_room(self) -> None:
        active = [run for run in self.parts.scaling.store.runs(active=True) if run.requested_by == self.principal.name]
        if len(active) >= _MOST_RUNS:
            raise ProblemError(
                429, Code.TOO_MANY_REQUESTS, f"{len(active)} runs of yours wait or are active.", "Wait for one.",
                headers={"Retry-After": "30"},
            )  # fmt: skip


def _checker(request: Request, principal: Checker, parts: Parts, prefer: Prefer = None) -> _Call:
    return _Call(request, principal, parts, prefer)


def _scaler(request: Request, principal: Scaler, parts: Parts, prefer: Prefer = None) -> _Call:
    return _Call(request, principal, parts, prefer)


def _remover(request: Request, principal: Remover, parts: Parts, prefer: Prefer = None) -> _Call:
    return _Call(request, principal, parts, prefer)


CheckCall = Annotated[_Call, Depends(_checker)]
ScaleCall = Annotated[_Call, Depends(_scaler)]
RemoveCall = Annotated[_Call, Depends(_remover)]


@router.post("/plan", status_code=202, responses=_ACCEPTED)
async def plan(body: wanted.Plan, call: CheckCall) -> JSONResponse:
    """Plan an operation; `/runs/{id}/plan` shows the plan when its run has ended."""
    options = RunOptions(forks=body.options.forks, timeout=body.options.timeout, credential=body.credential)
    if body.operation == "scale-up":
        given = body.options.variables()
        taken = {option.name for option in Operation.PLAN.definition.options}
        variables = {name: value for name, value in given.items() if name in taken or name.startswith("slurm")}
        options = dataclasses.replace(options, extra_vars=variables)
        return await call.answer(await call.start(Operation.PLAN, body.cluster, body.nodes, options))
    options = dataclasses.replace(options, check=True)
    return await call.answer(await call.start(Operation.SCALE_DOWN, body.cluster, body.nodes, options))


@router.post("/scale-up", status_code=202, responses=_ACCEPTED)
async def scale_up(body: wanted.ScaleUp, call: ScaleCall) -> JSONResponse:
    """Make nodes of machines, register them and verify them with a job."""
    return await _scale_up(body, call)


@router.post("/nodes/scale", status_code=202, responses=_ACCEPTED)
async def scale_nodes(body: wanted.ScaleUp, call: ScaleCall) -> JSONResponse:
    """Do the same as `scale-up`."""
    return await _scale_up(body, call)


async def _scale_up(body: wanted.ScaleUp, call: _Call) -> JSONResponse:
    def check(cluster: Cluster, nodes: Sequence[NodeSpec]) -> None:
        if body.plan_id is not None:
            _check_plan(call, body.plan_id, cluster, nodes)

    options = wanted.run_options(body)
    return await call.answer(await call.start(Operation.SCALE_UP, body.cluster, body.nodes, options, check))


@router.post("/nodes/install", status_code=202, responses=_ACCEPTED)
async def install(body: wanted.Install, call: ScaleCall) -> JSONResponse:
    """Make a node of one machine."""
    return await call.answer(await call.start(Operation.SCALE_UP, body.cluster, [body.node_name], RunOptions()))


@router.post("/nodes/batch-install", status_code=202, responses=_NODES)
async def batch_install(body: wanted.BatchInstall, call: ScaleCall) -> JSONResponse:
    """Make nodes of machines, in one run; the answer tells of each node."""
    names = [node.node_name for node in body.nodes]
    run = await call.end_of(await call.start(Operation.SCALE_UP, body.cluster, names, RunOptions()))
    return call.reply(run, await anyio.to_thread.run_sync(_node_answers, call.parts, run))


@router.post("/init-nodes", status_code=202, responses=_ACCEPTED)
async def init_nodes(body: wanted.InitNodes, call: ScaleCall) -> JSONResponse:
    """Make nodes of machines that are given by their address."""

    def check(cluster: Cluster, _nodes: Sequence[NodeSpec]) -> None:
        wanted.check_repository(body.repo_url, cluster.apphub_urls)

    machines = [wanted.machine_of(node) for node in body.nodes]
    return await call.answer(await call.start(Operation.SCALE_UP, body.cluster, machines, RunOptions(), check))


@router.post("/scale-down", status_code=202, responses=_ACCEPTED)
async def scale_down(body: wanted.ScaleDown, call: RemoveCall) -> JSONResponse:
    """Drain nodes and take them out of the cluster."""
    options = wanted.run_options(body)
    return await call.answer(await call.start(Operation.SCALE_DOWN, body.cluster, body.nodes, options))


@router.post("/nodes/check", status_code=202, responses=_REPORT)
async def check_nodes(body: wanted.Check, call: CheckCall) -> JSONResponse:
    """Look whether nodes are ready; with `Prefer: wait=60` the report of readiness is the answer."""
    variables = wanted.variables_of(body, Operation.CHECK)
    options = RunOptions(extra_vars=variables, credential=body.credential)
    run = await call.end_of(await call.start(Operation.CHECK, body.cluster, body.nodes, options))
    report = await anyio.to_thread.run_sync(call.parts.scaling.store.report, run.id)
    if run.status not in RUN_ACTIVE and report is not None:
        return call.reply(run, report)
    return await call.answer(run)


@apphub.post("/check", status_code=202, responses=_ACCEPTED)
async def check_apphub(body: wanted.ApphubTarget, call: CheckCall) -> JSONResponse:
    """Look what is wrong with the AppHubs of a cluster; `/runs/{id}/plan` shows the report when its run has ended."""
    return await call.answer(await call.start(Operation.CHECK_APPHUB, body.cluster, [], RunOptions()))


@router.post("/runs/{run_id}/cancel", status_code=202, responses={202: {"model": RunView}})
async def cancel_run(run_id: RunId, call: ScaleCall) -> JSONResponse:
    """Stop a run."""
    run = await anyio.to_thread.run_sync(_cancel, call, run_id)
    return JSONResponse(RunView.of(run, call.parts.base).as_json(), 202)


@router.post("/runs/{run_id}/retry", status_code=202, responses=_ACCEPTED)
async def retry_run(run_id: RunId, body: wanted.Retry, call: ScaleCall) -> JSONResponse:
    """Run the nodes of a run again that did not succeed; passwords have to be given again."""
    return await call.answer(await call.submit(lambda: _retry(call, run_id, body)))


@router.post("/tasks/{task_id}/cancel", status_code=202, responses={202: {"model": RunView}})
async def cancel_task(task_id: TaskId, call: ScaleCall) -> JSONResponse:
    """Stop the run of one node; one node of many can't be stopped alone."""
    run = await anyio.to_thread.run_sync(_run_of_task, call, task_id)
    if len(run.nodes) > 1:
        raise ProblemError(
            409, Code.TASK_IS_PART_OF_RUN, f"One node of {len(run.nodes)} cannot be stopped alone.",
            f"Cancel run {run.id}.", run_id=run.id,
        )  # fmt: skip
    return await cancel_run(run.id, call)


@router.post("/tasks/{task_id}/retry", status_code=202, responses=_ACCEPTED)
async def retry_task(task_id: TaskId, body: wanted.Retry, call: ScaleCall) -> JSONResponse:
    """Run one node again that failed."""
    node = task_id.partition(":")[2]
    return await call.answer(await call.submit(lambda: _retry(call, _run_of_task(call, task_id).id, body, node)))


def _success(run: Run) -> bool | None:
    return None if run.status in RUN_ACTIVE else run.status is RunStatus.COMPLETED


def _wait_seconds(prefer: str | None) -> int:
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), _LONGEST_WAIT) if found else 0


def _node_answers(parts: Service, run: Run) -> dict[str, Any]:
    ended = run.status not in RUN_ACTIVE
    answers = {}
    for task in parts.scaling.store.tasks(run.id):
        lines = parts.scaling.store.log(run.id, task.node)[-_LINES:] if ended else []
        success = task.succeeded if task.succeeded or task.failed else None
        answers[task.node] = NodeAnswer(
            success=success, logs=[clean(line.text) for line in lines], error=task.error_message
        ).as_json()
    return answers


def _check_plan(call: _Call, plan_id: str, cluster: Cluster, nodes: Sequence[NodeSpec]) -> None:
    """Refuse a plan that does not say what is about to be done."""
    found = visible(call.parts.scaling.store.run(plan_id), call.principal)
    fits = (
        found.operation is Operation.PLAN
        and found.status not in RUN_ACTIVE
        and found.cluster == cluster.name
        and {node.name for node in nodes} <= set(found.nodes)
        and found.created_at > time.time() - _PLAN_SECONDS
    )
    if not fits:
        raise RefusedError(
            f"Run {plan_id} is no finished plan of the last day for these nodes of {cluster.name}.",
            "Plan again, and look at it.", code=Code.PLAN_DIFFERS,
        )  # fmt: skip


def _of_caller(call: _Call, run_id: str) -> Run:
    """Return a run that the caller sees, and whose operation he might have started."""
    run = visible(call.parts.scaling.store.run(run_id), call.principal)
    needed = Permission(run.operation.definition.permission)
    if not call.principal.may(needed):
        raise deny(call.request, call.principal, f"the permission {needed.value}", permission=needed.value)
    return run


def _run_of_task(call: _Call, task_id: str) -> Run:
    run_id, _, node = task_id.partition(":")
    run = _of_caller(call, run_id)
    if node not in run.nodes:
        raise NotFoundError(f"Node {node} is not part of run {run.id}.")
    return run


def _cancel(call: _Call, run_id: str) -> Run:
    run = _of_caller(call, run_id)
    try:
        ended = call.parts.scaling.cancel(run.id, wait=0.0)
    except SlurmscaleError as exc:
        record(call.request, call.principal, "failed", "cancel", run_id=run.id, details={"code": exc.code})
        raise
    record(
        call.request, call.principal, "success", "cancel", run_id=run.id, cluster=run.cluster,
        nodes=",".join(run.nodes),
    )  # fmt: skip
    return ended


def _retry(call: _Call, run_id: str, body: wanted.Retry, node: str | None = None) -> Run:
    run = _of_caller(call, run_id)
    call.may_take(run.variables, run.cluster)
    only = [node] if node else list(body.nodes or ())
    failed = {task.node for task in call.parts.scaling.store.tasks(run.id, status=FAILED)}
    others = [one for one in only if one not in failed]
    if others:
        raise RefusedError(f"Node {others[0]} did not fail in run {run.id}.", "Name nodes that did.")
    given = body.credentials.credentials()
    again = [
        NodeSpec(name, login["host"], _completed(given, login))
        for name, login in run.logins.get("nodes", {}).items()
        if name in (only or failed)
    ]
    options = RunOptions(credentials=given, credential=body.credential)
    return call.parts.scaling.request_retry(
        run.id, options, again, only=only, requested_by=call.principal.name, key=key_of(call.request)
    )


def _completed(given: Credentials, login: Mapping[str, Any]) -> Credentials:
    """Return a login that was given again, with what the run knew of it and nobody said anew."""
    known = {name: login.get(name) for name in ("user", "port", "private_key_file")}
    return dataclasses.replace(given, **{name: value for name, value in known.items() if getattr(given, name) is None})
