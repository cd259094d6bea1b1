"""Every error of the library.

- SlurmscaleError: the base; its text says what was needed, what was found and what to do

  - RefusedError: the request was refused, nothing has been changed

    - NodesError: node list empty, malformed, or not in the inventory
    - OverlapError: another run works on some of these nodes; has `run_id` and `nodes`
    - ClusterError: cluster unknown, or its inventory can't be used
    - ProjectError: the playbooks can't be found

  - NotFoundError: no such run, task or log
  - StoreError: the database can't be opened, read or written
  - RunnerError: ansible-playbook could not be started
"""

from __future__ import annotations


class SlurmscaleError(Exception):
    """Base of all errors that the library raises on purpose."""


class RefusedError(SlurmscaleError):
    """The request was refused before anything was changed."""


class NodesError(RefusedError):
    """The list of nodes is empty, malformed, or names nodes that the inventory does not have."""


class OverlapError(RefusedError):
    """Another run works on some of the nodes.

    Args:
        run_id: The run that holds the nodes.
        nodes: The nodes both want.
    """

    def __init__(self, run_id: str, nodes: tuple[str, ...]) -> None:
        self.run_id = run_id
        self.nodes = nodes
        shown = ", ".join(nodes[:5]) + (f" and {len(nodes) - 5} more" if len(nodes) > 5 else "")  # noqa: PLR2004 - a readable list
        super().__init__(
            f"Run {run_id} is still at work on {shown}. Wait for it (slurmscale status --watch) or cancel it"
            f" (slurmscale cancel {run_id})."
        )


class ClusterError(RefusedError):
    """The cluster is not known, or its inventory can't be used."""


class ProjectError(RefusedError):
    """The playbooks can't be found."""


class NotFoundError(SlurmscaleError):
    """There is no such run, task or log."""


class StoreError(SlurmscaleError):
    """The database can't be opened, read or written."""


class RunnerError(SlurmscaleError):
    """ansible-playbook could not be started."""
