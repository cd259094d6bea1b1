"""In a cluster with AutoDetect=nvml: nodes whose slurmd has the plugin join with what it finds, and others are refused.

The plugin is Debian's, the library that it asks is a stand-in (nvml_stand_in.c).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from testing import GENERATION, GPU_TYPE, lab_host, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(
    GENERATION == "22.05", reason="slurmd tells no GPUs by NVML, and starts without the plugin"
)

JOIN = ("scale_up", "-e", "nodes=ubuntu[5:6]")
GRES_CONF = "/etc/slurm/gres.conf"
INSTANCE_TYPE = "nvidia_a100_1g.10gb"


@pytest.fixture(scope="module", autouse=True)
def autodetect(ctl1: Host) -> None:
    """Let the cluster find GPUs by NVML, as its administrator would."""
    ctl1.check_output(f"sed -i '1i AutoDetect=nvml' {GRES_CONF} && scontrol reconfigure")


def run_job(ctl1: Host, node: str, gres: str, command: str = "printenv CUDA_VISIBLE_DEVICES") -> str:
    """Run a job to its end and return its output."""
    return str(ctl1.check_output(f"cd / && timeout 60 srun --mpi=none --mem 10 -w {node} --gres={gres} {command}"))


def found_by_slurmd(node: str) -> list[str]:
    """Return the lines in which slurmd tells what it finds with the cluster's configuration."""
    told = lab_host(node).run("slurmd -G --conf-server ctl1:6817")
    return [line for line in (told.stdout + told.stderr).splitlines() if "Gres Name=gpu" in line]


def require_idle(ctl1: Host, node: str) -> None:
    """Fail unless a node takes jobs, and Slurm finds fault with nothing."""
    assert unwrap(ctl1.check_output(f"sinfo --noheader --nodes {node} --format '%T %E'")) == "idle none"


def test_a_node_that_has_no_nvml_goes_on(ctl1: Host) -> None:
    told = lab_host("ubuntu3").check_output("journalctl --unit slurmd --output cat --no-pager")
    assert "Attempted loading libnvidia-ml.so and libnvidia-ml.so.1 without success" in told
    require_idle(ctl1, "ubuntu3")
    assert run_job(ctl1, "ubuntu3", "gpu:3", "uname -n") == "ubuntu3"


def test_a_node_whose_slurmd_lacks_the_plugin_is_refused_before_it_is_registered(
    ctl1: Host, playbook: Playbook
) -> None:
    done = playbook(*JOIN)
    assert done.returncode == 2, done.stdout
    for node in ("ubuntu5", "ubuntu6"):
        assert re.search(rf"{node} +failed .*gpu-plugin-missing .*AutoDetect=nvml.*slurm-wlm-nvml-plugin", done.stdout)
        assert node not in ctl1.check_output("cat /etc/slurm/slurmscale-nodes.conf")


def test_such_a_slurmd_would_not_start() -> None:
    """The reason of the refusal above."""
    node = lab_host("ubuntu5")
    node.check_output(
        "mkdir -p /root/conf && cd /root/conf && echo AutoDetect=nvml > gres.conf"
        " && printf '%s\\n' ClusterName=x SlurmctldHost=ctl1 ProctrackType=proctrack/linuxproc TaskPlugin=task/none"
        f" GresTypes=gpu 'NodeName=ubuntu5 CPUs=2 RealMemory=100 Gres=gpu:{GPU_TYPE}:2' > slurm.conf"
    )
    ended = node.run("timeout 10 slurmd -D -f /root/conf/slurm.conf")
    assert ended.rc == 1, ended
    assert "cannot find gpu plugin for gpu/nvml" in ended.stderr
    assert "slurmd initialization failed" in ended.stderr


def test_nodes_join_once_their_slurmd_has_the_plugin(ctl1: Host, playbook: Playbook) -> None:
    for node in ("ubuntu5", "ubuntu6"):
        lab_host(node).check_output("apt-get -q update && apt-get -qy install slurm-wlm-nvml-plugin")
    done = playbook(*JOIN)
    assert done.returncode == 0, done.stdout
    for node in ("ubuntu5", "ubuntu6"):
        require_idle(ctl1, node)


def test_whole_gpus_are_registered_as_the_plugin_finds_them_and_given_to_jobs(ctl1: Host) -> None:
    told = lab_host("ubuntu5").check_output("slurmd -C")
    assert f" Gres=gpu:{GPU_TYPE}:2" in told
    assert "Autodetect=nvml" in told
    assert f"Gres=gpu:{GPU_TYPE}:2" in ctl1.check_output("scontrol show node ubuntu5")
    assert f"Gres=gpu:{GPU_TYPE}:2 " in ctl1.check_output("grep ubuntu5 /etc/slurm/slurmscale-nodes.conf")
    lines = found_by_slurmd("ubuntu5")
    assert len(lines) == 2, lines
    for number, line in enumerate(lines):
        # Cores and nothing but ENV_NVML come from the plugin alone.
        assert re.search(rf"Type={GPU_TYPE} Count=1 .*File=/dev/nvidia{number} Cores=0-1 .*HAS_TYPE,ENV_NVML$", line)
    assert run_job(ctl1, "ubuntu5", "gpu:1") == "0"
    assert run_job(ctl1, "ubuntu5", f"gpu:{GPU_TYPE}:2") == "0,1"


def require_instances(ctl1: Host) -> None:
    """Fail unless slurmd has the two instances by their names, and a job is told the one that it has."""
    lines = found_by_slurmd("ubuntu6")
    assert len(lines) == 2, lines
    for number, line in zip((7, 8), lines, strict=True):
        caps = f"/dev/nvidia-caps/nvidia-cap{number}6,/dev/nvidia-caps/nvidia-cap{number}7"
        assert re.search(rf"Type={INSTANCE_TYPE} Count=1 .*File=/dev/nvidia0,{caps} .*HAS_TYPE,ENV_NVML$", line)
    assert run_job(ctl1, "ubuntu6", f"gpu:{INSTANCE_TYPE}:1") == "MIG-GPU-1/7/0"
    assert run_job(ctl1, "ubuntu6", "gpu:2") == "MIG-GPU-1/7/0,MIG-GPU-1/8/0"


def test_instances_are_registered_with_their_profile_and_given_to_jobs_by_name(ctl1: Host) -> None:
    assert f"Gres=gpu:{INSTANCE_TYPE}:2" in ctl1.check_output("scontrol show node ubuntu6")
    assert "NodeName=ubuntu6 AutoDetect=nvml\n" in ctl1.file(GRES_CONF).content_string
    require_instances(ctl1)


def test_a_second_run_changes_nothing(playbook: Playbook) -> None:
    done = playbook(*JOIN)
    assert done.returncode == 0, done.stdout
    assert not re.search(r"changed=[1-9]", done.stdout)
    assert len(re.findall(r"ubuntu[56] +unchanged", done.stdout)) == 2, done.stdout


def test_instances_are_found_without_the_administrators_line(ctl1: Host, playbook: Playbook) -> None:
    ctl1.check_output(f"sed -i '/^AutoDetect=nvml$/d' {GRES_CONF} && scontrol reconfigure")
    lab_host("ubuntu6").check_output("systemctl restart slurmd")
    done = playbook(*JOIN)
    assert not re.search(r"changed=[1-9]", done.stdout)
    require_idle(ctl1, "ubuntu6")
    require_instances(ctl1)
