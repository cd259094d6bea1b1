"""Figures for Prometheus, read from the database: the same from every process, and right after a restart."""

from __future__ import annotations

from itertools import accumulate, product
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from slurmscale.operations import Operation
from slurmscale.service.access.authentication import Principal, requires
from slurmscale.service.access.permissions import Permission
from slurmscale.service.state import Parts  # noqa: TC001 - FastAPI reads the annotations
from slurmscale.states import RUN_ACTIVE, RunStatus
from slurmscale.store.counters import (
    CONTACTS,
    DURATIONS,
    MORE,
    CounterKey,
    CounterName,
    Group,
    read_counters,
    read_gauges,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric

    from slurmscale.store.counters import Gauges
    from slurmscale.store.engine import Database

router = APIRouter(tags=["service"])

_CHANGING = tuple(operation.value for operation in Operation if operation.definition.changes_nodes)
_ENDS = tuple(status.value for status in RunStatus if status not in RUN_ACTIVE)
_LABELS = ("cluster", "operation")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(
    request: Request, parts: Parts, _principal: Annotated[Principal, Depends(requires(Permission.METRICS_READ))]
) -> Response:
    """Tell the figures in the text format of Prometheus, or in that of OpenMetrics when it is asked for."""
    registry = CollectorRegistry()
    stalled_after = parts.scaling.settings.stalled_minutes * 60
    state = request.app.state
    queue = parts.scaling.queue
    workers = 1 if queue is None else queue.workers()
    figures = Figures(parts.scaling.store, stalled_after, len(state.stream.sessions), state.apphubs.up, workers)
    registry.register(figures)
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), media_type=media_type)


class Figures(Collector):
    """All figures at one moment.

    Args:
        database: Where they are read.
        stalled_after: Seconds without recent activity after which a node counts as stalled.
        viewers: Connections of those who watch.
        apphubs: Whether each AppHub answered, by address.
        workers: Processes that carry runs.
    """

    def __init__(
        self, database: Database, stalled_after: float, viewers: int, apphubs: Mapping[str, bool], workers: int
    ) -> None:
        self._database = database
        self._stalled_after = stalled_after
        self._viewers = viewers
        self._apphubs = apphubs
        self._workers = workers

    def describe(self) -> list[Metric]:
        """Return nothing: what there is, is read when it is asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all figures."""
        counted = read_counters(self._database)
        moment = read_gauges(self._database, self._stalled_after)
        clusters = moment.clusters | {key.cluster for key in counted}
        # also what has not happened yet: of a figure that begins with its first event, the event is not seen
        groups = [Group(*pair) for pair in product(sorted(clusters), _CHANGING)]
        yield from _nodes(counted, groups)
        yield _contacts(counted, sorted(clusters))
        yield from _runs(counted)
        yield from _at_work(moment, groups)
        yield from _external(moment)
        yield GaugeMetricFamily("slurm_scale_workers", "Processes that carry runs.", self._workers)
        up = GaugeMetricFamily("slurm_apphub_up", "Whether an AppHub answered when it was asked last.", labels=["url"])
        for url, found in sorted(self._apphubs.items()):
            up.add_metric([url], found)
        yield up
        yield GaugeMetricFamily("slurm_scale_viewers", "Connections on which progress is watched.", self._viewers)
        yield CounterMetricFamily("slurm_scale_auth_failures", "Logins that were refused.", moment.failed_logins)


def _nodes(counted: dict[CounterKey, float], groups: list[Group]) -> Iterator[Metric]:
    attempts = CounterMetricFamily("slurm_node_scale_attempts", "Nodes whose scaling has ended.", labels=_LABELS)
    success = CounterMetricFamily("slurm_node_scale_success", "Nodes that were scaled.", labels=_LABELS)
    failed = CounterMetricFamily("slurm_node_scale_failed", "Nodes whose scaling failed.", labels=_LABELS)
    duration = HistogramMetricFamily("slurm_node_scale_duration_seconds", "How long nodes took.", labels=_LABELS)
    for group in groups:
        done, lost = (
            counted.get(CounterKey(name, *group), 0.0) for name in (CounterName.NODES_DONE, CounterName.NODES_FAILED)
        )
        attempts.add_metric(group, done + lost)
        success.add_metric(group, done)
        failed.add_metric(group, lost)
        buckets = _buckets(counted, CounterKey(CounterName.NODE_DURATION, *group), DURATIONS)
        seconds = counted.get(CounterKey(CounterName.NODE_SECONDS, *group), 0.0)
        duration.add_metric(group, buckets, seconds)
    yield from (attempts, success, failed, duration)


def _buckets(counted: dict[CounterKey, float], key: CounterKey, ends: tuple[float, ...]) -> list[tuple[str, float]]:
    names = [*(f"{end:g}" for end in ends), MORE]
    counts = accumulate(counted.get(key._replace(detail=name), 0.0) for name in names)
    return list(zip(names, counts, strict=True))


def _contacts(counted: dict[CounterKey, float], clusters: list[str]) -> Metric:
    found = HistogramMetricFamily(
        "slurm_ssh_connection_duration_seconds",
        "How long hosts took to answer the first module that a run started on them.",
        labels=["cluster"],
    )
    for cluster in clusters:
        buckets = _buckets(counted, CounterKey(CounterName.CONTACT_DURATION, cluster, ""), CONTACTS)
        found.add_metric([cluster], buckets, counted.get(CounterKey(CounterName.CONTACT_SECONDS, cluster, ""), 0.0))
    return found


def _runs(counted: dict[CounterKey, float]) -> Iterator[Metric]:
    ended = CounterMetricFamily("slurm_scale_runs", "Runs that have ended.", labels=("operation", "status"))
    totals: dict[tuple[str, str], float] = dict.fromkeys(product(map(str, Operation), _ENDS), 0.0)
    for key, value in counted.items():
        if key.name is CounterName.RUNS:
            pair = (key.operation, key.detail)
            totals[pair] = totals.get(pair, 0.0) + value
    for labels, value in totals.items():
        ended.add_metric(labels, value)
    interrupted = sum(value for (_, status), value in totals.items() if status == RunStatus.INTERRUPTED)
    yield ended
    yield CounterMetricFamily("slurm_scale_runs_interrupted", "Runs whose process was lost.", interrupted)


def _at_work(moment: Gauges, groups: list[Group]) -> Iterator[Metric]:
    active = GaugeMetricFamily("slurm_node_scale_active", "Nodes that are worked on or wait for it.", labels=_LABELS)
    stalled = GaugeMetricFamily(
        "slurm_node_scale_stalled", "Nodes in progress without recent activity.", labels=_LABELS
    )
    for group in sorted({*groups, *moment.active, *moment.stalled}):
        active.add_metric(group, moment.active.get(group, 0))
        stalled.add_metric(group, moment.stalled.get(group, 0))
    yield from (active, stalled)
    yield GaugeMetricFamily("slurm_scale_queue_length", "Runs that wait for a process.", moment.waiting)
    yield GaugeMetricFamily(
        "slurm_scale_queue_oldest_seconds", "How long the oldest of them has waited.", moment.waiting_seconds
    )


def _external(moment: Gauges) -> Iterator[Metric]:
    labels = ("cluster", "status")
    health = GaugeMetricFamily("slurm_external_cluster_health", "What the last look at a cluster found.", labels=labels)
    for cluster, found in sorted(moment.external.items()):
        for status in ("healthy", "unhealthy"):
            health.add_metric((cluster, status), found == status)
    yield GaugeMetricFamily("slurm_external_cluster_total", "External clusters that are known.", len(moment.external))
    yield health
