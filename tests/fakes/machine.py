"""A machine: as /proc, /sys, /dev and /etc show it, in a directory that stands for its root; and as its facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

# What the kernel counts a process's start in; the same everywhere on Linux.
TICKS = 100
UPTIME = 10_000


class Machine:
    """A directory that is filled with what a test needs of a machine.

    Args:
        root: An empty directory.
    """

    def __init__(self, root: Path) -> None:
        self.path = root
        self.write("proc/uptime", f"{UPTIME}.00 1.00\n")

    @property
    def root(self) -> str:
        return f"{self.path}/"

    def write(self, path: str, content: str | bytes = "") -> Path:
        target = self.path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return target

    def process(  # noqa: PLR0913 - what /proc tells of a process
        self,
        pid: int,
        name: str,
        *argv: str,
        unit: str = "",
        libraries: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        seconds: int = 0,
        namespace: str = "",
    ) -> None:
        """Add a process that began some seconds ago."""
        directory = f"proc/{pid}"
        self.write(f"{directory}/comm", name + "\n")
        self.write(f"{directory}/cmdline", "".join(f"{part}\0" for part in argv or (name,)))
        self.write(f"{directory}/environ", "".join(f"{key}={value}\0" for key, value in (environment or {}).items()))
        self.write(f"{directory}/maps", "".join(f"7f00-7f01 r-xp 00000000 fe:01 1 {path}\n" for path in libraries))
        self.write(f"{directory}/cgroup", f"0::/system.slice/{unit}\n" if unit else "0::/user.slice/user-0.slice\n")
        start = (UPTIME - seconds) * TICKS
        self.write(f"{directory}/stat", f"{pid} ({name}) S {' '.join(['0'] * 18)} {start} 0")
        if namespace:
            (self.path / directory / "ns").mkdir(exist_ok=True)
            (self.path / directory / "ns/pid").symlink_to(f"pid:[{namespace}]")

    def step(self, pid: int, job: str, step: str = "batch", seconds: int = 0) -> None:
        """Add the daemon of a job step."""
        self.process(pid, "slurmstepd", f"slurmstepd: [{job}.{step}]", unit="slurmstepd.scope", seconds=seconds)

    def hardware(self, cpus: list[tuple[str, str]], memory: int = 16384000) -> None:
        """Add CPUs, each as (package, threads of its core), and memory in kB."""
        self.write("proc/meminfo", f"MemTotal:       {memory} kB\nMemFree: 1 kB\n")
        for number, (package, siblings) in enumerate(cpus):
            topology = f"sys/devices/system/cpu/cpu{number}/topology"
            self.write(f"{topology}/physical_package_id", package + "\n")
            self.write(f"{topology}/thread_siblings_list", siblings + "\n")
        # A CPU that is switched off has no topology.
        (self.path / "sys/devices/system/cpu/cpu99").mkdir(parents=True, exist_ok=True)

    def devices(self, *names: str) -> None:
        """Add files to /dev."""
        for name in names:
            self.write(f"dev/{name}")


def facts(**changes: Any) -> dict[str, Any]:
    """Return what slurm_node_probe tells of a bare machine that can become a node."""
    known = {
        "os": {"supported": True, "pretty": "Rocky Linux 9.4", "id": "rocky", "arch": "x86_64"},
        "uid": 0,
        "hostname": "n7",
        "hardware": {"cpus": 4, "real_memory": 8000},
        "python": "3.9.18",
        "slurm_version": None,
        "time": 1000.0,
        "control_time": 1000.0,
        "users": {"slurm": None, "munge": None},
        "disks": {"/var": 5000},
        "services": {"slurmd": {"active": None}},
        "half_done": [],
        "repositories": {},
    }
    return {**known, **changes}
