# Apache License 2.0 (see LICENSE)
"""Verifies that nodes reach each other: jobs of two nodes, in each of which srun starts a task on both."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.verify_jobs import JobRun, Options, choose_partition
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands

_REMEDY = (
    "Nodes must resolve each other's NodeAddr and reach SlurmdPort and the ports of srun on each other (any port, or"
    " those of SrunPortRange): see firewall, DNS and /etc/hosts on both, and journalctl -u slurmd."
)
# Of jobs that were not run to their end for a reason that no node is to blame for.
_NOT_TRIED = ("PENDING", "PREEMPTED", "CANCELLED")


def choose_pairs(names: List[str], nodes: Dict[str, Dict[str, Any]], partitions: Dict[str, Any]) -> List[List[str]]:
    """Choose the nodes of each job: the first new one with an idle old one, the others with each other.

    Args:
        names: The new nodes.
        nodes: All nodes of the cluster.
        partitions: All partitions.

    Returns:
        Two nodes for each job, in the last one three where the number is odd; none where no two can run a job together.
    """
    new = [name for name in names if name in nodes]
    old = [name for name in sorted(nodes) if name not in new and nodes[name]["state"] == ["IDLE"]]
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


def verify_connections(names: List[str], options: Options) -> Tuple[Dict[str, Failure], List[Dict[str, Any]]]:
    """Run the jobs and wait for their end.

    Args:
        names: New nodes, each of which runs jobs by itself.
        options: What the jobs are like.

    Returns:
        Why nodes failed, and for each job its nodes, ok and message. A job that found no room in time, or that the
        cluster does not take, blames nobody.

    Raises:
        SlurmCommandError: The controller gives no answer.
    """
    nodes, partitions = commands.show_nodes(conf=options.conf), commands.show_partitions(conf=options.conf)
    batches = choose_pairs(names, nodes, partitions)
    run = JobRun([name for batch in batches for name in batch], options)
    for batch in batches:
        run.submit_one(batch, nodes, partitions)
    run.follow()
    failures: Dict[str, Failure] = {}
    told = []
    for batch in batches:
        found = run.outcomes[batch[0]]
        tried = found["job_id"] and found["state"] not in _NOT_TRIED
        told.append({"nodes": batch, "ok": found["ok"] if tried else None, "message": found["message"]})
        if tried and not found["ok"]:
            reason = f"An srun over {' and '.join(batch)} failed: {found['message']}."
            failures.update(
                {name: Failure(Code.NODES_NOT_CONNECTED, reason, _REMEDY) for name in batch if name in names}
            )
    return failures, told
