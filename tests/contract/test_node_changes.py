"""What a role changes on a node is registered under a name by which the result of the node is told to be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.steps import RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Tree

ROLES = ("apphub-client", "munge", "slurmd")
# They decide, read, wait or lead elsewhere.
CHANGES_NOTHING = {
    "ai_infra.slurm": {
        "apphub_check",
        "apphub_select",
        "apphub_bundle_index",
        "node_plan",
        "require",
        "slurm_cluster_info",
    },
    "ansible.builtin": {
        *(
            "getent",
            "import_role",
            "import_tasks",
            "include_role",
            "include_tasks",
            "set_fact",
            "slurp",
            "stat",
            "wait_for",
        ),
    },
}
UNCOUNTED = {
    # Of old nodes of the cluster, which are none of the run's.
    "roles/slurmd/tasks/conf_files.yml: Deploy the configuration files of the controller",
    # It is running and enabled by then.
    "roles/slurmd/tasks/start.yml: Verify that slurmd runs",
    # The manager reads what was removed before.
    "roles/slurmd/tasks/remove.yml: Reload systemd",
}


def changing(tree: Tree, path: Path) -> Iterator[tuple[str, str]]:
    """Yield each task that may change its host, and what it registers."""
    for task in tree.tasks(path):
        collection, _, action = (tree.action(task) or "").rpartition(".")
        if action and action not in CHANGES_NOTHING[collection] and task.get("changed_when") is not False:
            yield f"{path.relative_to(tree.root)}: {task['name']}", task.get("register", "")


@pytest.mark.parametrize("name", ROLES)
def test_what_changes_a_node_is_counted(tree: Tree, name: str) -> None:
    tasks = [task for path in sorted(tree.root.glob(f"roles/{name}/tasks/*.yml")) for task in changing(tree, path)]
    assert len(tasks) > 4
    assert {task for task, registered in tasks if not registered.startswith(RESULTS)} - UNCOUNTED == set()
