"""The example of a service that calls ansible-runner itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_service_with_an_ansible_runner_of_its_own_follows_every_node(project_dir, inventory, tmp_path):
    variables = Path(inventory).parent / "group_vars"
    variables.mkdir()
    (variables / "all.yml").write_text("bad: [n2]\n")
    done = subprocess.run(
        [sys.executable, ROOT / "docs/examples/own_runner.py", project_dir, inventory, "n[1-2]"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "python_lib"), "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    good, bad = ([line for line in lines if line["node"] == node] for node in ("n1", "n2"))
    progress = [line["progress"] for line in good]
    assert progress == sorted(progress)
    assert len({*progress}) > 3, "it moves while the work happens"
    assert (good[-1]["status"], good[-1]["progress"]) == ("completed", 100)
    assert bad[-1]["status"] == "failed"
    assert bad[-1]["error"]["code"] == "task-failed"
