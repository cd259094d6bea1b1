"""Daemons and job steps among the processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.ai_infra.slurm.plugins.module_utils.node.processes import (
    find_slurmd,
    list_jobs,
    list_processes,
    list_steps,
)

if TYPE_CHECKING:
    from fakes.machine import Machine


def test_slurmd_is_found_by_its_unit_or_among_all_processes(machine: Machine) -> None:
    machine.step(9, "1")
    machine.process(12, "slurmd", "/usr/sbin/slurmd", "-Z", "--conf", "Feature=a b")
    processes = list_processes(machine.root)
    expected = ["/usr/sbin/slurmd", "-Z", "--conf", "Feature=a b"]
    for main_pid in (12, None):
        slurmd = find_slurmd(processes, main_pid)
        assert slurmd is not None
        assert slurmd.argv == expected
    assert find_slurmd(processes, 9) is None


def test_only_steps_of_jobs_are_listed(machine: Machine) -> None:
    machine.step(7, "12", seconds=5000)
    machine.process(8, "slurmstepd", "/usr/sbin/slurmstepd", "infinity")
    machine.process(9, "sleep", "slurmstepd: [13.0]")
    processes = list_processes(machine.root)
    assert list_steps(processes, machine.root) == [{"pid": 7, "job": "12", "step": "batch", "seconds": 5000}]
    assert list_jobs(processes) == ["12"]
