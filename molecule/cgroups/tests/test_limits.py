"""What a job may use is what it was given, by the kernel and not by its goodwill."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
from testing import lab_host

if TYPE_CHECKING:
    from testinfra.host import Host

DENIED = "Operation not permitted"
OPEN = """
import os
for number in (0, 1):
    try:
        os.close(os.open(f"/dev/nvidia{number}", os.O_RDWR))
    except OSError as problem:
        print(problem.strerror)
    else:
        print("open")
"""


def srun(ctl1: Host, options: str, *command: str) -> tuple[int, str]:
    """Run a job, and return its exit code and all that it printed."""
    done = ctl1.run(f"cd / && timeout 60 srun --time 1 {options} {shlex.join(command)} 2>&1")
    return done.rc, done.stdout


def settings(text: str, separator: str) -> dict[str, str]:
    """Return the values in a text of Slurm's, by their keys."""
    pairs = (part.partition("=") for part in text.split(separator))
    return {key.strip(): value.strip() for key, _, value in pairs}


def test_the_cluster_is_as_it_comes(ctl1: Host) -> None:
    config = settings(ctl1.check_output("scontrol show config"), "\n")
    assert config["ProctrackType"] == "proctrack/cgroup"
    # Slurm sorts them in its own way.
    assert set(config["TaskPlugin"].split(",")) == {"task/affinity", "task/cgroup"}
    assert [config[f"Constrain{what}"] for what in ("Cores", "RAMSpace", "Devices")] == ["yes"] * 3


@pytest.mark.parametrize("cores", [1, 2])
def test_a_job_that_asks_the_kernel_for_all_cores_gets_its_own(ctl1: Host, cores: int) -> None:
    node = settings(ctl1.check_output("scontrol --oneliner show node ubuntu1"), " ")
    cpus = cores * int(node["ThreadsPerCore"])
    greedy = "import os; os.sched_setaffinity(0, range(os.cpu_count())); print(len(os.sched_getaffinity(0)))"
    assert srun(ctl1, f"--ntasks 1 --cpus-per-task {cpus}", "python3", "-c", greedy) == (0, f"{cpus}\n")


def test_a_job_ends_that_takes_more_memory_than_it_asked_for(ctl1: Host) -> None:
    hungry = "import sys; print(len(b'x' * (int(sys.argv[1]) << 20)) >> 20)"
    assert srun(ctl1, "--mem 200", "python3", "-c", hungry, "50") == (0, "50\n")
    assert srun(ctl1, "--mem 600", "python3", "-c", hungry, "400") == (0, "400\n")
    code, said = srun(ctl1, "--mem 200 --job-name hungry", "python3", "-c", hungry, "400")
    assert code != 0, said
    jobs = [settings(line, " ") for line in ctl1.check_output("scontrol --oneliner show job").splitlines()]
    assert [job["JobState"] for job in jobs if job["JobName"] == "hungry"] == ["OUT_OF_MEMORY"]


def test_a_process_that_leaves_its_job_ends_with_it(ctl1: Host) -> None:
    code, said = srun(ctl1, "--mem 50", "sh", "-c", "(setsid sleep 4242 > /dev/null 2>&1 &); sleep 1; pgrep -cx sleep")
    assert (code, said) == (0, "1\n")
    gone = "for i in $(seq 30); do pgrep -x sleep > /dev/null || exit 0; sleep 0.5; done; exit 1"
    lab_host("ubuntu1").check_output(gone)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", [DENIED, DENIED]),
        ("--gres=gpu:1", ["open", DENIED]),
        ("--gres=gpu:2", ["open", "open"]),
    ],
)
def test_a_job_opens_the_devices_that_it_was_given_and_no_other(ctl1: Host, options: str, expected: list[str]) -> None:
    node = lab_host("ubuntu1")
    assert node.check_output("python3 -c %s", OPEN).split("\n") == ["open", "open"], "slurmd itself may open both"
    code, said = srun(ctl1, f"--mem 50 {options}", "python3", "-c", OPEN)
    assert (code, said.splitlines()) == (0, expected)
