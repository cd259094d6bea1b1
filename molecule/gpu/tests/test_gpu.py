"""A node with GPUs is registered with what it has, and its jobs see them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml
from testing import GENERATION, GPU_TYPE, INVENTORY, lab_address, lab_host, put_gpu_into, run_slurmscale

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

SHOW = "printenv CUDA_VISIBLE_DEVICES; test -c /dev/nvidia$CUDA_VISIBLE_DEVICES && echo there"


def run_job(ctl1: Host, *options: str) -> str:
    """Run a job to its end and return its output."""
    chosen = " ".join(options)
    return str(ctl1.check_output(f"cd / && srun --mpi=none --mem 10 {chosen} sh -c '{SHOW}'"))


def test_the_gpus_are_registered_with_the_type_that_slurm_gives_them(ctl1: Host) -> None:
    assert f"Gres=gpu:{GPU_TYPE}:2" in ctl1.check_output("scontrol show node ubuntu2")
    assert "Gres=(null)" in ctl1.check_output("scontrol show node ubuntu1")
    lines = ctl1.file("/etc/slurm/gres.conf").content_string
    assert f"NodeName=ubuntu2 Name=gpu Type={GPU_TYPE} File=/dev/nvidia0,/dev/nvidia1" in lines
    assert "GresTypes               = gpu" in ctl1.check_output("scontrol show config")
    states = ctl1.check_output("sinfo --noheader --Node --format '%%N %%T'").splitlines()
    assert states == [f"ubuntu{number} idle" for number in range(1, 5)]


@pytest.mark.parametrize("wanted", ["gpu:1", f"gpu:{GPU_TYPE}:1"])
def test_a_job_with_a_gpu_sees_its_device(ctl1: Host, wanted: str) -> None:
    assert run_job(ctl1, "-w ubuntu2", f"--gres={wanted}").split() == ["0", "there"]


def test_instances_of_a_divided_gpu_are_registered_with_all_their_files_beside_a_whole_one(ctl1: Host) -> None:
    # Without types, as slurmd does not start with some of them.
    assert "Gres=gpu:3" in ctl1.check_output("scontrol show node ubuntu3")
    lines = ctl1.file("/etc/slurm/gres.conf").content_string
    assert "NodeName=ubuntu3 Name=gpu File=/dev/nvidia1\n" in lines
    for number in (7, 8):
        files = f"/dev/nvidia0,/dev/nvidia-caps/nvidia-cap{number}6,/dev/nvidia-caps/nvidia-cap{number}7"
        assert f"NodeName=ubuntu3 Name=gpu MultipleFiles={files}" in lines
    # slurmd has three of them, and no fourth one.
    job = "cd / && srun --mpi=none --mem 10 -w ubuntu3 --gres=gpu:%s uname -n"
    assert ctl1.check_output(job, "3") == "ubuntu3"
    assert "configuration is not available" in ctl1.run(job, "4").stderr


@pytest.mark.skipif(GENERATION == "22.05", reason="slurmd -C tells no GPUs")
@pytest.mark.parametrize(("node", "count"), [("ubuntu2", 2), ("ubuntu3", 2)])
def test_slurmd_counts_gpus_whole_without_nvml(node: str, count: int) -> None:
    """Else the others of these tests would show nothing of a slurmd that tells GPUs."""
    told = lab_host(node).check_output("slurmd -C")
    assert f"Gres=gpu:{GPU_TYPE}:{count}" in told
    assert "Autodetect=nvidia" in told


def test_gpus_of_amd_are_registered_with_their_files_and_given_to_jobs(ctl1: Host) -> None:
    assert "Gres=gpu:2" in ctl1.check_output("scontrol show node ubuntu4")
    lines = ctl1.file("/etc/slurm/gres.conf").content_string
    assert "NodeName=ubuntu4 Name=gpu File=/dev/dri/renderD128,/dev/dri/renderD129" in lines
    told = ctl1.check_output("cd / && srun --mpi=none --mem 10 -w ubuntu4 --gres=gpu:1 printenv ROCR_VISIBLE_DEVICES")
    assert told == "0"


def test_slurmd_finds_on_the_node_what_is_configured() -> None:
    told = lab_host("ubuntu2").run("slurmd -G --conf-server ctl1:6817")
    assert re.search(
        rf"Gres Name=gpu Type={GPU_TYPE} Count=2 .*File=/dev/nvidia0,/dev/nvidia1", told.stdout + told.stderr
    ), told


def test_a_working_node_that_gains_a_gpu_offers_it_and_keeps_its_job(ctl1: Host, playbook: Playbook) -> None:
    job = ctl1.check_output("cd / && sbatch --parsable --output /dev/null -w ubuntu1 --mem 10 --wrap 'sleep 900'")
    put_gpu_into("ubuntu1")
    done = playbook("scale_up", "-e", "nodes=ubuntu1")
    assert done.returncode == 0, done.stdout
    told = ctl1.check_output("scontrol show node ubuntu1")
    assert f"Gres=gpu:{GPU_TYPE}:1" in told
    assert re.search(r"State=(MIXED|ALLOCATED) ", told), told
    assert run_job(ctl1, "-w ubuntu1 --overlap", "--gres=gpu:1").split() == ["0", "there"]
    assert ctl1.check_output("squeue --noheader --format '%%T %%N' --job %s", job) == "RUNNING ubuntu1"
    ctl1.check_output("scancel %s", job)


def test_a_second_run_changes_nothing(playbook: Playbook) -> None:
    done = playbook("scale_up", "-e", "nodes=ubuntu[1:4]")
    assert len(re.findall(r"ubuntu[1-4] +unchanged", done.stdout)) == 4, done.stdout


def test_more_gpus_than_there_are_are_refused(playbook: Playbook) -> None:
    stated = f'{{"nodes": "ubuntu2", "slurmd_parameters": {{"Gres": "gpu:{GPU_TYPE}:4"}}}}'
    done = playbook("scale_up", "-e", stated)
    assert done.returncode == 2, done.stdout
    assert "node-definition-invalid" in done.stdout
    assert "the node has 2 of gpu" in done.stdout


def test_nodes_with_other_names_than_their_machines_join_by_ranges_with_gaps(
    ctl1: Host, playbook: Playbook, tmp_path: Path
) -> None:
    names = {"gpu-node-007": "ubuntu1", "gpu-node-010": "ubuntu2"}
    left = playbook("scale_down", "-e", "nodes=ubuntu[1:2] confirm=true")
    assert left.returncode == 0, left.stdout
    lab = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    lab["all"]["children"]["slurm_nodes"]["hosts"] = {
        name: {"ansible_host": lab_address(machine)} for name, machine in names.items()
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump(lab))
    checked = run_slurmscale(tmp_path / "data", "check", "gpu-node-[007:007,010]", "-i", str(inventory))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert all(re.search(rf"{name} +ready", checked.stdout) for name in names), checked.stdout
    up = ("scale_up", "-i", str(inventory), "-e", "nodes=gpu-node-[007,010]")
    done = playbook(*up)
    assert done.returncode == 0, done.stdout
    states = ctl1.check_output("sinfo --noheader --Node --nodes 'gpu-node-[007,010]' --format '%%N %%T'").splitlines()
    assert states == ["gpu-node-007 idle", "gpu-node-010 idle"]
    for name, machine in names.items():
        arguments = lab_host(machine).check_output("tr '\\0' ' ' < /proc/$(pgrep --oldest slurmd)/cmdline")
        assert f"-N {name}" in arguments
    assert run_job(ctl1, "-w gpu-node-010", "--gres=gpu:1").split() == ["0", "there"]
    again = playbook(*up)
    assert all(re.search(rf"{name} +unchanged", again.stdout) for name in names), again.stdout
    assert not re.search(r"changed=[1-9]", again.stdout)
