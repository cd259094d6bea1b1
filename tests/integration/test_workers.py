"""What ansible.cfg does for the workers that Ansible forks."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
FILTER = """
import gc

class FilterModule:
    def filters(self):
        return {"frozen": lambda _: gc.get_freeze_count()}
"""


def frozen_in_a_worker(folder: Path, environment: Mapping[str, str]) -> int:
    """Return how many objects the garbage collector of a worker leaves out."""
    (folder / "filter_plugins").mkdir()
    (folder / "filter_plugins/frozen.py").write_text(FILTER)
    tasks = [{"ansible.builtin.debug": {"msg": "frozen={{ 0 | frozen }}"}}]
    (folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    paths = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")}
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", folder / "play.yml"],
        env=os.environ | paths | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.partition("frozen=")[2].split()[0].strip("'"))


def test_workers_do_not_search_the_memory_of_the_main_process(tmp_path: Path) -> None:
    # Ansible alone has a hundred thousand objects by then.
    assert frozen_in_a_worker(tmp_path, {}) > 10_000


def test_it_is_a_callback_that_can_be_left_out(tmp_path: Path) -> None:
    assert frozen_in_a_worker(tmp_path, {"ANSIBLE_CALLBACKS_ENABLED": "ai_infra.slurm.slurm_plan"}) < 10_000
