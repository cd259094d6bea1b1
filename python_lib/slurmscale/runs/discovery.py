"""Looks at clusters, remembers what they are, and forgets them; nothing is changed on a cluster by it."""

from __future__ import annotations

import dataclasses
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog

from slurmscale.errors import ClusterError, RefusedError, SlurmscaleError
from slurmscale.inventory import ansible_inventory
from slurmscale.inventory.described import describe
from slurmscale.models import Discovery, Failure, RunOptions, when
from slurmscale.operations import Operation
from slurmscale.periodic import PeriodicCall
from slurmscale.runner import project
from slurmscale.runs import known_clusters
from slurmscale.runs.request import Request
from slurmscale.runs.wait_for_report import queried_report, recorded_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slurmscale.models import Cluster
    from slurmscale.runner.protocol import Job, Launch
    from slurmscale.runs.handle import RunHandle
    from slurmscale.runs.logins import ClusterLogins
    from slurmscale.settings import Settings
    from slurmscale.store.repository import Store

_LIMIT = 60.0
"""Seconds for a look."""
_HEALTHY_SECONDS = 30.0
"""A cluster that does not answer in this time is not healthy."""
LOOK_SECONDS = 60.0
"""From one look at the health of an external cluster to the next one."""
_AT_ONCE = 8
_PAUSE = 5.0
REUSED = {
    "reuse_existing_config": ("slurm.conf", "slurmscale setup-controller makes a controller of a bare machine."),
    "reuse_existing_munge": ("munge key", "Add it as a managed cluster, then: slurmscale rotate-key"),
    "reuse_existing_database": ("accounting database", "slurmscale does not set up slurmdbd."),
}
"""What of an external cluster is used as it is, with what to do instead where that is not wanted."""

log = structlog.get_logger(__name__)


def look_after_clusters(known: Clusters) -> PeriodicCall:
    """Keep the health of external clusters up to date, from `start` to `close`."""
    return PeriodicCall(known.look_again, _PAUSE, "clusters", "the clusters are not known for the moment")


class Clusters:
    """The clusters that others set up.

    Args:
        config: Settings.
        store: Where they are remembered.
        make_job: Makes the job that runs a playbook without a record.
        logins: The logins that are kept of them.
        start: Begins a run.
    """

    def __init__(
        self,
        config: Settings,
        store: Store,
        make_job: Callable[[Launch], Job],
        logins: ClusterLogins,
        start: Callable[[Request], RunHandle],
    ) -> None:
        self._logins = logins
        self._config = config
        self._store = store
        self._make_job = make_job
        self._start = start

    def test(
        self,
        cluster: Cluster,
        options: RunOptions | None = None,
        *,
        fingerprint: str = "",
        requested_by: str | None = None,
        recorded: bool = True,
    ) -> Discovery:
        """Find out, stage by stage, whether a cluster can be worked with, and what it is.

        Args:
            cluster: The cluster; it need not be a known one.
            options: Login and variables, as for a run.
            fingerprint: Of the controller's ssh key, as somebody compared it; no other key is accepted then.
            requested_by: The user of a service who asks.
            recorded: It is a run, with a log, that can be cancelled; else it leaves nothing.

        Returns:
            What was found; a stage that failed is an answer, too.

        Raises:
            RefusedError: The question can't be asked, for what was given has no meaning.
        """
        options = options or RunOptions()
        wanted: dict[str, Any] = {"discover_fingerprint": fingerprint} if fingerprint else {}
        if cluster.controller and not cluster.inventory:
            # no setting for other hosts decides whether this one is trusted
            wanted["discover_strict"] = True
        options = dataclasses.replace(
            options, extra_vars=options.extra_vars | wanted, timeout=options.timeout or _LIMIT
        )
        request = Request(Operation.DISCOVER_CLUSTER, cluster, {}, options, requested_by=requested_by)
        if not recorded:
            return _discovery(queried_report(self._config, request, self._make_job))
        run_id, report = recorded_report(request, self._start)
        return _discovery(report, run_id)

    def connect(self, cluster: Cluster, found: Discovery, **config: Any) -> Cluster:
        """Remember an external cluster that was tested.

        Args:
            cluster: The cluster, with how to log in; passwords are not kept.
            found: What the test found.
            **config: `max_nodes`, and the options of `REUSED`, which must be true. `needs_password` when it was
                tested with one that is not kept.

        Returns:
            The cluster as it is remembered.

        Raises:
            RefusedError: The test failed, the name is taken, or something can't be had as it is wanted.
        """
        if not found.success or found.info is None:
            why = found.error or Failure("cluster-unusable", "The cluster was not tested.")
            raise ClusterError(why.reason, why.remedy, code=why.code)
        if any(one.name == cluster.name for one in self._store.clusters()):
            raise ClusterError(
                f"There is a cluster {cluster.name} already.", "Choose another name, or forget it first."
            )
        for name, (what, instead) in REUSED.items():
            if not config.setdefault(name, True):
                raise ClusterError(
                    f"The {what} of an external cluster is used as it is: {name} can't be false.", instead
                )
        nodes, limit = len(found.info["nodes"]), config.setdefault("max_nodes", None)
        if limit is not None and limit < nodes:
            raise ClusterError(f"The cluster has {nodes} nodes, more than {limit}.", "Give a higher limit, or none.")
        given = cluster.credentials
        if given.password or given.become_password or given.private_key:
            config["needs_password"] = True
        config |= {
            "discovered_at": _iso(time.time()),
            "original_cluster_name": found.info["cluster_name"],
        }
        # an inventory says itself how its hosts are reached
        keys = () if cluster.inventory else found.host_keys
        external = dataclasses.replace(cluster, cluster_type="external", config=config, host_keys=keys)
        known_clusters.add(self._store, _with_discovery(external, found))
        return self._store.cluster(cluster.name)

    def import_inventory(self, cluster: Cluster, vault: Iterable[str] = ()) -> list[str]:
        """Read the inventory of a cluster into the database, so that any machine can work with it.

        Args:
            cluster: The cluster, with the path of its inventory.
            vault: Arguments that tell Ansible the password of its vault.

        Returns:
            The secrets of the inventory, by name; they are not kept.

        Raises:
            ClusterError: It can't be read, or holds what only a file can.
        """
        content = project.find(self._config.project_dir)
        found = ansible_inventory.read([cluster.inventory or ""], os.environ | content.environment(), vault)
        described, left = describe(cluster, found)
        known_clusters.add(self._store, described)
        return left

    def refresh(
        self, name: str, options: RunOptions | None = None, *, requested_by: str | None = None, recorded: bool = True
    ) -> Discovery:
        """Look at a known cluster again, and remember what it is and whether it is healthy.

        Args:
            name: The cluster.
            options: Login and variables, as for a run.
            requested_by: As in `test`.
            recorded: As in `test`.

        Raises:
            NotFoundError: There is no such cluster.
            RefusedError: The question could not be asked; the cluster counts as unhealthy.
        """
        cluster = self._store.cluster(name)
        try:
            known = self._logins.with_login(cluster)
            found = self.test(known, options, requested_by=requested_by, recorded=recorded)
        except RefusedError:
            self._store.record_look(name, None)
            raise
        self._store.record_look(name, found.info if found.success else None)
        return found

    def look_again(self) -> None:
        """Look at some external clusters at which no process has looked for a minute.

        One that was connected with a password is left out where none is kept and the settings have none: a look
        without it would tell nothing.
        """
        names = [name for name in self._store.claim_looks(LOOK_SECONDS, _AT_ONCE) if self._has_login(name)]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="look") as pool:
            list(pool.map(self._look_again, names))

    def _has_login(self, name: str) -> bool:
        own = self._config.ssh_password or self._config.become_password or self._logins.about(name)
        return bool(own) or not self._store.cluster(name).config.get("needs_password")

    def _look_again(self, name: str) -> None:
        try:
            found = self.refresh(name, RunOptions(timeout=_HEALTHY_SECONDS), recorded=False)
        except SlurmscaleError as exc:
            log.warning("a cluster does not answer", cluster=name, error=exc.reason)
            return
        if found.error:
            log.warning("a cluster is not healthy", cluster=name, stage=found.stage, error=found.error.reason)

    def forget(self, name: str) -> None:
        """Forget a cluster; nothing is changed on it, and the records of its runs stay.

        Raises:
            NotFoundError: There is no such cluster.
            RefusedError: A run is in progress on it.
        """
        active = [run.id for run in self._store.runs(limit=1, cluster=name, active=True)]
        if active:
            raise RefusedError(f"Run {active[0]} is in progress on cluster {name}.", "Wait for its end, or cancel it.")
        self._store.remove_cluster(name)


def _iso(epoch: float) -> str:
    moment = when(epoch)
    return moment.isoformat(timespec="seconds") if moment else ""


def _with_discovery(cluster: Cluster, found: Discovery) -> Cluster:
    if not found.success:
        return dataclasses.replace(cluster, health="unhealthy")
    return dataclasses.replace(cluster, health="healthy", seen_at=time.time(), info=found.info)


def _discovery(report: dict[str, Any], run_id: str | None = None) -> Discovery:
    error = report["error"]
    return Discovery(
        success=report["success"],
        stage=report["stage"],
        stages=tuple(report["stages"]),
        fingerprint=report["fingerprint"],
        host_keys=tuple(report["host_keys"]),
        info=report["info"],
        error=Failure(**error) if error else None,
        run_id=run_id,
    )
