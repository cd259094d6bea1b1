"""The benchmarks run and measure, in a small size."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import psutil
import pytest

BENCH = Path(__file__).resolve().parent
sys.path.insert(0, str(BENCH))
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


def test_simulated_nodes_are_right_and_cost_the_control_machine_alone():
    cost = load("simulated").measure(3)
    assert cost.cpu > 1
    assert cost.pss_mb > 50


def test_a_lost_run_is_at_work_again_soon():
    assert load("takeover").measure(60) < 60


def test_viewers_learn_of_steps_soon_and_ask_the_database_for_nothing():
    few, many = (load("stream").measure(viewers, nodes=10, seconds=5) for viewers in (5, 100))
    assert many["event_to_viewer_ms_p95"] < 2_000
    assert many["viewers_200_queries_per_second"] < few["viewers_200_queries_per_second"] + 1


def test_a_cancel_reaches_another_machine_soon():
    assert load("takeover").cancel() < 10


def test_each_request_of_many_is_served_or_refused():
    measured = load("api").measure(records=2_000, rate=300, seconds=3)
    assert measured["api_requests_lost"] == 0
    assert measured["api_served_per_second"] > 0
    assert measured["api_status_ms_p95"] < 1_000


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


def test_what_a_task_costs_is_summed_over_workers_and_ansible_itself(tmp_path):
    task_cpu = load("task_cpu")
    lines = [
        {"task": "Probe", "host": "n1", "own": 0.02, "ssh": 0.01},
        {"task": "Probe", "host": "n2", "own": 0.04, "ssh": 0.01},
        {"task": "Probe", "main": 0.02, "seconds": 0.5},
    ]
    path = tmp_path / "tasks"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    nodes, tasks = task_cpu.read(path)
    assert nodes == 2
    assert task_cpu.table(tasks, total=0.12, nodes=nodes)[1:] == [
        f"{'Probe':60}    30.0    10.0    10.0    50.0        2     0.50",
        f"{'(end of workers, connections that stay open)':60} {'':23}    10.0",
        f"{'all':60} {'':23}    60.0",
    ]


def test_processes_that_outlive_a_command_count_and_are_ended(tmp_path):
    lab = load("lab")
    busy = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    cost = lab.run(["sh", "-c", f"{sys.executable} -c '{busy}'; sleep 60 & echo $! > {tmp_path}/pid"], tmp_path / "log")
    assert 0.3 < cost.cpu < 0.6
    assert cost.seconds < 5
    left = int((tmp_path / "pid").read_text())
    # What init has not collected yet is dead all the same.
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
