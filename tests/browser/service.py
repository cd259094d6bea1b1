"""The service with a replay in place of Ansible, in a thread of this process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import uvicorn
from argon2 import PasswordHasher
from slurmscale.models import Cluster, RunOptions
from slurmscale.operations import Operation
from slurmscale.scaling import Scaling
from slurmscale.service.access.accounts import Accounts
from slurmscale.service.access.permissions import Role
from slurmscale.service.app import create_app
from slurmscale.service.settings import ServiceSettings
from slurmscale.settings import Settings

from .recording import Recording, ReplayJob, nodes_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from slurmscale.runner.protocol import Launch
    from slurmscale.runs.handle import RunHandle

PASSWORD = "a password of twelve"  # noqa: S105 - made up
_START_SECONDS = 60


class Service:
    """A service with one cluster, `lab`, and three users: ada is admin, otto operator, vera viewer.

    Args:
        folder: Where its files lie.
        nodes: The nodes of the cluster's inventory; without any the cluster is described by its addresses, which is
            quicker, and requests by the page are refused.
    """

    def __init__(self, folder: Path, nodes: Iterable[str] = ()) -> None:
        self.recordings = {operation: Recording() for operation in Operation}
        self.launches: list[Launch] = []
        self.port = 0
        self.scaling = Scaling(Settings(data_dir=folder), make_job=self._job)
        cluster = Cluster("lab", controller="ctl1", apphub_urls=("https://apphub.example",))
        if nodes:
            inventory = folder / "hosts.yml"
            hosts = ", ".join(f"{name}: " for name in nodes)
            inventory.write_text(f"slurm_controllers: {{hosts: {{ctl1: }}}}\nslurm_nodes: {{hosts: {{{hosts}}}}}\n")
            cluster = Cluster("lab", inventory=str(inventory))
        self.scaling.add_cluster(cluster)
        self.accounts = Accounts(self.scaling.store, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        for name, role in (("ada", Role.ADMIN), ("otto", Role.OPERATOR), ("vera", Role.VIEWER)):
            self.accounts.add_user(name, role, password=PASSWORD)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to listen, on the same port as before if there was one."""
        app = create_app(self.scaling, ServiceSettings(), self.accounts)
        self._server = uvicorn.Server(
            uvicorn.Config(app, port=self.port, log_level="warning", timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        for _ in range(_START_SECONDS * 20):
            if self._server.started:
                break
            self._thread.join(0.05)
        assert self._server.started
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Stop listening; connections are cut."""
        self._server.should_exit = True
        self._thread.join(_START_SECONDS)

    def close(self) -> None:
        """Stop, and close the database."""
        self.stop()
        self.scaling.close()

    def run(self, nodes: str, operation: Operation = Operation.SCALE_UP, **options: Any) -> RunHandle:
        """Start a run as somebody else would."""
        return self.scaling.run(operation, "lab", nodes, RunOptions(**options))

    def _job(self, launch: Launch) -> ReplayJob:
        self.launches.append(launch)
        name, action = launch.playbook.name, launch.extra_vars.get("action")
        planned = Operation.PLAN if launch.extra_vars.get("plan_only") else None
        operation = planned or next(
            one
            for one in Operation
            if one is not Operation.PLAN
            and one.playbook == name
            and one.definition.variables.get("action", action) == action
        )
        return ReplayJob(self.recordings[operation], nodes_of(launch))
