"""The benchmarks run and measure, in a small size."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent
pytestmark = pytest.mark.timing


def load(name):
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # processes of their own import it by this name
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_replay_records_everything_and_stays_small(tmp_path):
    replay = load("replay")
    measured = replay.replay(str(tmp_path), 200, 30)
    assert measured["events"] == 2 * 200 * 30 + 30 + 3
    assert measured["events_per_second"] > 2_000
    assert measured["rss_last_third_mb"] - measured["rss_first_third_mb"] < 50


def test_the_status_is_no_slower_with_a_hundred_times_the_records(tmp_path):
    replay = load("replay")
    few, many = replay.status_query(str(tmp_path), 1_000), replay.status_query(str(tmp_path), 100_000)
    assert many < max(20.0, 10 * few)


def test_the_wrapper_is_compared_with_plain_ansible_and_ara():
    ratios = load("wrapper").measure(hosts=3, task_count=2, repeat=1, forks=3)
    assert set(ratios) == {
        f"{kind}_ratio_{pair}" for kind in ("cpu", "wall") for pair in ("to_plain_ansible", "ara_to_plain")
    }
    # Both run what plain Ansible runs, and more; the library starts and records as well.
    assert ratios["cpu_ratio_to_plain_ansible"] > 1
    assert ratios["cpu_ratio_ara_to_plain"] > 1


def test_results_are_merged_with_those_of_others(tmp_path):
    run = load("run")
    path = tmp_path / ".bench" / "results.json"
    run.add({"a": 1, "b": 1}, path)
    assert run.add({"b": 2}, path) == {"a": 1, "b": 2}
    assert json.loads(path.read_text()) == {"a": 1, "b": 2}


def test_points_off_is_the_distance_to_the_share_of_time():
    progress = load("progress")
    assert progress.points_off([0, 50, 100], [0.0, 1.0, 2.0]) == 0
    assert progress.points_off([0, 0, 100], [0.0, 1.0, 2.0]) == 50 / 3
