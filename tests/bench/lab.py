"""Labs to measure on, and what a playbook costs there: seconds, CPU of the control machine, module runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
CALLBACKS = Path(__file__).parent / "callback_plugins"
TIMEOUT = 3600
_MEMORY_SECONDS = 1.0


@dataclass
class Cost:
    """What a command cost: wall seconds; CPU seconds and the most memory of all processes that it started here.

    rss_mb is the memory of the command's own process, pss_mb that of all at one moment, what they share counted once.
    """

    seconds: float
    cpu: float
    rss_mb: float = 0.0
    pss_mb: float = 0.0


@contextlib.contextmanager
def control_group() -> Iterator[Path]:
    """Make a control group, which counts the CPU of a process and of all that it starts, also of what outlives it."""
    base = next((path for path in (Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup")) if path.is_dir()), None)
    if base is None:
        sys.exit("CPU time is counted by a control group, and this machine shows none in /sys/fs/cgroup.")
    group = Path(tempfile.mkdtemp(prefix="slurmscale-bench-", dir=base))
    try:
        yield group
    finally:
        # ssh's masters stay for a minute
        while left := (group / "cgroup.procs").read_text().split():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.05)
        group.rmdir()


def cpu_seconds(group: Path) -> float:
    """Return what a control group has used by now."""
    usage = group / "cpuacct.usage"
    if usage.exists():
        return int(usage.read_text()) / 1e9
    return int((group / "cpu.stat").read_text().split()[1]) / 1e6


def memory_mb(group: Path) -> float:
    """Return the memory of all processes in a control group now."""
    used = 0
    for pid in (group / "cgroup.procs").read_text().split():
        # It may have ended meanwhile.
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            used += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return used / 1024


@contextlib.contextmanager
def memory_watched(group: Path) -> Iterator[list[float]]:
    """Look at the memory of a control group now and then; the most stands in the result."""
    most, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(_MEMORY_SECONDS):
            most[0] = max(most[0], memory_mb(group))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def run(command: Sequence[str], log: Path, **environment: str) -> Cost:
    """Run a command in a control group of its own; its output goes to a log that is shown only when it fails."""
    with control_group() as group, log.open("w") as output, memory_watched(group) as most:
        enter = f'echo $$ > {group}/cgroup.procs; exec "$@"'
        begun = time.monotonic()
        process = subprocess.Popen(
            ["sh", "-c", enter, "sh", *command],
            cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
        code, rss = _wait(process)
        cost = Cost(time.monotonic() - begun, cpu_seconds(group), rss, most[0])
    _require_success(code, command, log)
    return cost


def do(command: Sequence[str], log: Path) -> None:
    """Run a command whose cost is of no interest. What it starts may stay, such as the name server of the lab."""
    with log.open("w") as output:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    _require_success(done.returncode, command, log)


def _require_success(code: int, command: Sequence[str], log: Path) -> None:
    if code:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{log.read_text()[-6000:]}")


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Wait for a process; return its exit code and the largest memory that it had itself, in MB."""
    watchdog = time.monotonic() + TIMEOUT
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_maxrss / 1024
        if time.monotonic() > watchdog:
            process.kill()
        time.sleep(0.02)


class Inventory:
    """Hosts that playbooks run on.

    Args:
        path: The inventory file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = ROOT / ".bench" / "ansible.log"
        self.log.parent.mkdir(exist_ok=True)

    def playbook(self, name: str, *arguments: str, variables: dict[str, Any] | None = None, **environment: str) -> Cost:
        """Run a playbook of the project, named by its path; return what it cost."""
        given = ["-e", json.dumps(variables)] if variables else []
        return run(["ansible-playbook", "-i", str(self.path), name, *given, *arguments], self.log, **environment)

    def play(self, name: str, **variables: Any) -> Cost:
        """Run one of the product's playbooks, with connections of its own; return what it cost."""
        with tempfile.TemporaryDirectory(prefix="bench-") as sockets:
            return self.playbook(f"playbooks/{name}.yml", variables=variables, ANSIBLE_SSH_CONTROL_PATH_DIR=sockets)

    def counted(self, name: str, **variables: Any) -> tuple[Cost, dict[str, int]]:
        """Run one of the product's playbooks; return what it cost and the module runs per host."""
        with tempfile.NamedTemporaryFile(suffix=".json") as counted:
            cost = self.playbook(
                f"playbooks/{name}.yml", variables=variables,
                ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS), MODULE_RUNS_FILE=counted.name,
            )  # fmt: skip
            runs: dict[str, int] = json.loads(Path(counted.name).read_text())["runs"]
            return cost, runs


class Lab(Inventory):
    """A lab of containers, made for a benchmark.

    Args:
        prefix: Its name.
        generation: Version of Slurm.
    """

    def __init__(self, prefix: str = "lab-bench", generation: str = "24.11") -> None:
        super().__init__(ROOT / "inventories" / prefix / "hosts.yml")
        self.prefix, self.generation = prefix, generation

    def _lab(self, action: str, **variables: Any) -> None:
        given = {"lab_prefix": self.prefix, "lab_slurm": self.generation, **variables}
        do(["ansible-playbook", f"molecule/lab/{action}.yml", "-e", json.dumps(given)], self.log)

    def create(self, rocky: int, ubuntu: int) -> None:
        """Make the hosts that are missing."""
        self._lab("create", lab_rocky_nodes=rocky, lab_ubuntu_nodes=ubuntu)

    def destroy(self) -> None:
        """Remove the lab."""
        self._lab("destroy")

    def addresses(self) -> dict[str, str]:
        """Return the addresses of the lab's hosts."""
        groups = yaml.safe_load(self.path.read_text())["all"]["children"].values()
        return {name: host["ansible_host"] for group in groups for name, host in group["hosts"].items()}

    def controller(self, command: str) -> subprocess.Popen[str]:
        """Start a command on the controller."""
        folder = self.path.parent
        identity = ["-i", str(folder / "id_ed25519"), "-o", f"UserKnownHostsFile={folder}/known_hosts"]
        address = f"root@{self.addresses()['ctl1']}"
        return subprocess.Popen(["ssh", *identity, address, command], text=True, stdout=subprocess.PIPE)

    def ask(self, command: str) -> str:
        """Return what a command on the controller prints."""
        return self.controller(command).communicate(timeout=60)[0].strip()

    def reset(self, nodes: Sequence[str]) -> None:
        """Make nodes bare again: their containers anew, and the controller without them."""
        arguments = json.dumps({"nodes": [{"name": name} for name in nodes], "state": "absent"})
        module = ["-m", "ai_infra.slurm.slurm_nodes", "-a", arguments]
        do(["ansible", "-i", str(self.path), "ctl1", *module], self.log)
        names = [f"slurmscale-{self.prefix}-{name}" for name in nodes]
        do(["podman", "rm", "--force", "--time", "0", *names], self.log)
        names_known = self.addresses()
        rocky, ubuntu = (sum(name.startswith(kind) for name in names_known) for kind in ("rocky", "ubuntu"))
        self.create(rocky, ubuntu)
