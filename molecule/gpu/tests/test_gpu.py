"""A node with GPUs is registered with what it has, and its jobs see them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from testing import lab_host

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

TYPE = "nvidia_a100-sxm4-80gb"
SHOW = "printenv CUDA_VISIBLE_DEVICES; test -c /dev/nvidia$CUDA_VISIBLE_DEVICES && echo there"


def run_job(ctl1: Host, *options: str) -> str:
    """Run a job to its end and return its output."""
    chosen = " ".join(options)
    return str(ctl1.check_output(f"cd / && srun --mpi=none --mem 10 {chosen} sh -c '{SHOW}'"))


def test_the_gpus_are_registered_with_the_type_that_slurm_gives_them(ctl1: Host) -> None:
    assert f"Gres=gpu:{TYPE}:2" in ctl1.check_output("scontrol show node ubuntu2")
    assert "Gres=(null)" in ctl1.check_output("scontrol show node ubuntu1")
    lines = ctl1.file("/etc/slurm/gres.conf").content_string
    assert f"NodeName=ubuntu2 Name=gpu Type={TYPE} File=/dev/nvidia0,/dev/nvidia1" in lines
    assert "GresTypes               = gpu" in ctl1.check_output("scontrol show config")
    assert ctl1.check_output("sinfo --noheader --Node --format '%%N %%T'").split() == [
        *("ubuntu1", "idle"),
        *("ubuntu2", "idle"),
    ]


@pytest.mark.parametrize("wanted", ["gpu:1", f"gpu:{TYPE}:1"])
def test_a_job_with_a_gpu_sees_its_device(ctl1: Host, wanted: str) -> None:
    assert run_job(ctl1, f"--gres={wanted}").split() == ["0", "there"]


def test_slurmd_finds_on_the_node_what_is_configured() -> None:
    told = lab_host("ubuntu2").run("slurmd -G --conf-server ctl1:6817")
    assert re.search(
        rf"Gres Name=gpu Type={TYPE} Count=2 .*File=/dev/nvidia0,/dev/nvidia1", told.stdout + told.stderr
    ), told


def test_a_second_run_changes_nothing(playbook: Playbook) -> None:
    done = playbook("scale_up")
    assert len(re.findall(r"ubuntu[12] +unchanged", done.stdout)) == 2, done.stdout


def test_more_gpus_than_there_are_are_refused(playbook: Playbook) -> None:
    stated = f'{{"nodes": "ubuntu2", "slurmd_parameters": {{"Gres": "gpu:{TYPE}:4"}}}}'
    done = playbook("scale_up", "-e", stated)
    assert done.returncode == 2, done.stdout
    assert "node-definition-invalid" in done.stdout
    assert "the node has 2 of gpu" in done.stdout
