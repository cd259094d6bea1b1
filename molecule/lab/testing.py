"""What the tests of all scenarios share: the lab's hosts, and a way to run the product's playbooks against them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil
import pytest
import testinfra
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
# Slurm's generation, and the version that the lab's packages have.
GENERATION = os.environ.get("LAB_SLURM", "24.11")
SLURM = {"24.11": "24.11.5", "22.05": "22.05.8"}[GENERATION]
PODMAN = f"CONTAINERS_CONF={ROOT}/molecule/lab/containers.conf podman"
INVENTORY = ROOT / "inventories" / os.environ.get("LAB_PREFIX", "lab-test")
GPU_TYPE = "nvidia_a100-sxm4-80gb"
"""How Slurm calls the GPU of `put_gpu_into`."""

# How often a test of random moments strikes, and what makes them; the same seed repeats what was seen.
KILLS = int(os.environ.get("LAB_KILLS") or 4)
SEED = int(os.environ.get("LAB_SEED") or random.SystemRandom().randrange(2**32))


def container(host: str) -> str:
    """Return the name of a host's container."""
    return f"slurmscale-{INVENTORY.name}-{host}"


def in_container(host: str, command: str) -> str:
    """Return the shell command that runs a command in a host's container, without sshd or a network."""
    return f"{PODMAN} exec --privileged {container(host)} sh -c {shlex.quote(command)}"


def run_command(command: str, timeout: float = 60) -> None:
    """Run a shell command on this machine."""
    subprocess.run(command, shell=True, check=True, timeout=timeout, stdout=subprocess.DEVNULL)  # noqa: S602 - our own


def host_in_container(name: str) -> testinfra.host.Host:
    """Return a host of the lab as root, through its container."""
    return testinfra.get_host(f"podman://{container(name)}")


def lab_address(name: str) -> str:
    """Return the address of a host."""
    groups = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"].values()
    return next(str(group["hosts"][name]["ansible_host"]) for group in groups if name in group["hosts"])


def lab_host(name: str) -> testinfra.host.Host:
    """Return a host of the lab as root: by the lab's ssh key, or through its container where root can't log in."""
    inventory = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    if inventory["all"]["vars"]["ansible_user"] != "root":
        return host_in_container(name)
    address = lab_address(name)
    extra = f"-o UserKnownHostsFile={INVENTORY}/known_hosts -o ConnectTimeout=10"
    return testinfra.get_host(f"ssh://root@{address}?ssh_identity_file={INVENTORY}/id_ed25519", ssh_extra_args=extra)


def node_names() -> list[str]:
    """Return the names of the lab's nodes."""
    inventory = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    return list(inventory["all"]["children"]["slurm_nodes"]["hosts"])


def controller_starts(ctl1: testinfra.host.Host, since: str) -> int:
    """Return how often systemd has started slurmctld since a time in seconds."""
    # The id of systemd's message "Started ...".
    started = "MESSAGE_ID=39f53479d3a045ac8e11786248231fbf UNIT=slurmctld.service"
    return int(ctl1.check_output(f"journalctl --since @%s --output cat {started} | wc -l", since))


def revisions(host: testinfra.host.Host) -> set[str]:
    """Return the revisions of all packages of Slurm on a node, without the mark of the system."""
    if host.exists("rpm"):
        answer = host.check_output("rpm -qa --queryformat '%{VERSION}-%{RELEASE}\\n' 'slurm*'")
    else:
        answer = host.check_output("dpkg-query -W -f '${Version}\\n' 'slurm*' | grep .")
    return {re.sub(r"\.el\d+$", "", line) for line in answer.splitlines()}


def put_gpu_into(host: str) -> None:
    """Let a machine have a GPU, as a stand-in: what the driver shows of it, and its device file, the kernel's null."""
    folder, driver = "/proc/driver/nvidia/gpus/0000:00:00.0", "/sys/bus/pci/drivers/nvidia/0000:00:00.0"
    show = (
        "set -eu; mount -t tmpfs tmpfs /proc/driver; mount -t tmpfs tmpfs /sys/bus/pci/drivers;"
        f" mkdir -p {folder} {driver};"
        f" printf 'Model: NVIDIA A100-SXM4-80GB\\nDevice Minor: 0\\n' > {folder}/information;"
        f" echo 0-1 > {driver}/local_cpulist;"
        " mknod --mode 666 /dev/nvidia0 c 1 3"
    )
    run_command(in_container(host, show))


def set_down(ctl1: testinfra.host.Host, node: str, reason: str) -> None:
    """Set a node DOWN as an administrator would."""
    ctl1.check_output("scontrol update NodeName=%s State=DOWN Reason=%s", node, reason)


def unwrap(text: str) -> str:
    """Return a text with each run of white space replaced by one space: Ansible wraps long messages."""
    return " ".join(text.split())


def run_playbook(name: str, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run one of the playbooks and return its exit code and all its output."""
    return _run(str(ROOT / "playbooks" / f"{name}.yml"), *arguments, timeout=timeout)


def run_slurmscale(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a data directory of its own."""
    return subprocess.run(
        ["slurmscale", *arguments],
        env={**os.environ, "SLURMSCALE_DATA_DIR": str(data), "SLURMSCALE_PROJECT_DIR": str(ROOT), "COLUMNS": "1000"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )


def run_roles(
    host: str, *roles: str, environment: dict[str, str] | None = None, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run roles on a host from a plain playbook; ROLE/ENTRY names another entry point than main."""
    parts = [role.partition("/") for role in roles]
    tasks = [{"ansible.builtin.import_role": {"name": name, "tasks_from": entry or "main"}} for name, _, entry in parts]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        play = {
            "hosts": host,
            "gather_facts": False,
            "environment": environment or {},
            "vars": variables,
            "tasks": tasks,
        }
        json.dump([play], file)
        file.flush()
        return _run(file.name, "--diff", timeout=300)


def start_playbook(name: str, *arguments: str, output: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start one of the playbooks, which the test may kill.

    Its output goes into the file that is given: connections of ssh outlive a run that was killed and hold a pipe open.
    """
    return _start(str(ROOT / "playbooks" / f"{name}.yml"), *arguments, output=output)


def strike_at(run: subprocess.Popen[str], seconds: float, strike: Callable[[], bool]) -> float:
    """Strike a run after some seconds, or as soon as there is something to strike; return when that was."""
    begun = time.monotonic()
    while run.poll() is None:
        if time.monotonic() - begun > seconds and strike():
            return time.monotonic() - begun
        time.sleep(0.05)
    return time.monotonic() - begun


def kill(run: subprocess.Popen[str]) -> None:
    """Kill a run that goes on, with Ansible's workers, which have sessions of their own."""
    if run.poll() is None:
        main = psutil.Process(run.pid)
        # So that it starts no further ones. Until it is waited for, its number is not another process's.
        main.suspend()
        for process in (*main.children(recursive=True), main):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    run.wait()
    if run.stdout:
        run.stdout.close()


def _run(*arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    process = _start(*arguments)
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException:
        kill(process)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def _start(*arguments: str, output: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = ["ansible-playbook", "-i", str(INVENTORY / "hosts.yml"), *arguments]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        # Molecule sets it, and it would win.
        "ANSIBLE_FORCE_COLOR": "0",
        "COLUMNS": "1000",
    }
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        start_new_session=True,
        # A playbook that asks something must not find the terminal of whoever runs the tests.
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


@pytest.fixture(scope="session")
def ctl1() -> testinfra.host.Host:
    return lab_host("ctl1")


@pytest.fixture(scope="session")
def before(ctl1: testinfra.host.Host) -> dict[str, Any]:
    """Return what prepare.yml recorded."""
    content: dict[str, Any] = json.loads(ctl1.check_output("cat /var/tmp/before.json"))
    return content


def require_unharmed(ctl1: testinfra.host.Host, before: dict[str, Any]) -> None:
    """Fail unless the controller answers, and the old node and its job go on."""
    assert "is UP" in ctl1.check_output("scontrol ping")
    assert ctl1.check_output("squeue --noheader --format '%%T %%N' --job %s", before["job"]) == "RUNNING ubuntu1"
    started = lab_host("ubuntu1").check_output("systemctl show --property InvocationID --value slurmd")
    assert started == before["slurmd_start"]


@pytest.fixture
def cluster_is_unharmed(ctl1: testinfra.host.Host, before: dict[str, Any]) -> Iterator[None]:
    """After the test: the controller answers, and the old node and its job go on."""
    yield
    require_unharmed(ctl1, before)


@pytest.fixture
def playbook() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return run_playbook."""
    return run_playbook
