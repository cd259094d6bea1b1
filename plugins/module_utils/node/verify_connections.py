# Apache License 2.0 (see LICENSE)
"""Verifies that nodes reach each other: jobs of two nodes, in each of which srun starts a task on both."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Set, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.verify_jobs import JobRun, Options, choose_partition
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands

_REMEDY = (
    "Nodes must resolve each other's NodeAddr and reach SlurmdPort and the ports of srun on each other (any port, or"
    " those of SrunPortRange): see firewall, DNS and /etc/hosts on both, and journalctl -u slurmd."
)
# Of jobs that were not run to their end for a reason that no node is to blame for.
_NOT_TRIED = ("PENDING", "PREEMPTED", "CANCELLED")


def choose_pairs(
    names: List[str], nodes: Dict[str, Dict[str, Any]], partitions: Dict[str, Any], avoid: Iterable[str] = ()
) -> List[List[str]]:
    """Choose the nodes of each job: the first new one with an idle old one, the others with each other.

    Args:
        names: The new nodes.
        nodes: All nodes of the cluster.
        partitions: All partitions.
        avoid: Nodes that are to be in no job.

    Returns:
        Two nodes for each job, in the last one three where the number is odd; none where no two can run a job together.
    """
    new = [name for name in names if name in nodes]
    old = [name for name in sorted(nodes) if name not in {*new, *avoid} and nodes[name]["state"] == ["IDLE"]]
    batches: List[List[str]] = []
    for name in new:
        if any(name in batch for batch in batches):
            continue
        taken = [one for batch in batches for one in batch]
        others = [other for other in (new if batches else old + new) if other != name and other not in taken]
        partner = next((other for other in others if _may_share([name, other], nodes, partitions)), None)
        if partner:
            batches.append([name, partner])
        elif batches and _may_share([*batches[-1], name], nodes, partitions):
            batches[-1].append(name)
    return batches


def _may_share(names: List[str], nodes: Dict[str, Any], partitions: Dict[str, Any]) -> bool:
    try:
        choose_partition([nodes[name] for name in names], partitions)
    except FailureError:
        return False
    return True


class ConnectionJobs:
    """Jobs over several nodes, submitted; none when there are no two nodes that can run one together.

    Args:
        names: New nodes, each of which runs a job by itself.
        options: What the jobs are like.
        avoid: Nodes that are to be in no job.

    Raises:
        SlurmCommandError: The controller gives no answer.
    """

    def __init__(self, names: List[str], options: Options, avoid: Iterable[str] = ()) -> None:
        self.new = set(names)
        nodes, partitions = commands.show_nodes(conf=options.conf), commands.show_partitions(conf=options.conf)
        self.batches = choose_pairs(names, nodes, partitions, avoid)
        self.run = JobRun([name for batch in self.batches for name in batch], options)
        for batch in self.batches:
            self.run.submit_one(batch, nodes, partitions)

    def results(self, verified: Set[str]) -> Tuple[Dict[str, Failure], List[Dict[str, Any]], List[str]]:
        """Wait for the end of the jobs; cancel those over a new node that turned out to be no good by itself.

        Args:
            verified: The new nodes whose own jobs succeeded.

        Returns:
            Why nodes failed, for each job its nodes, ok and message, and the verified nodes whose job was cancelled
            for the sake of another one. A job that found no room in time, or that the cluster does not take, blames
            nobody.
        """
        counted = [batch for batch in self.batches if self.new & set(batch) <= verified]
        dropped = [batch for batch in self.batches if batch not in counted]
        self.run.drop(dropped)
        self.run.follow()
        failures: Dict[str, Failure] = {}
        told = []
        for batch in counted:
            found = self.run.outcomes[batch[0]]
            tried = found["job_id"] and found["state"] not in _NOT_TRIED
            told.append({"nodes": batch, "ok": found["ok"] if tried else None, "message": found["message"]})
            if tried and not found["ok"]:
                reason = f"An srun over {' and '.join(batch)} failed: {found['message']}."
                failures.update(
                    {name: Failure(Code.NODES_NOT_CONNECTED, reason, _REMEDY) for name in batch if name in self.new}
                )
        return failures, told, [name for batch in dropped for name in batch if name in verified]
