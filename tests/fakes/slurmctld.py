"""Fake controllers: one in the process of the test, one made of programs; and a clock."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_files import SHARED_LOCK
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.register_nodes import Options, run
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Time that passes only by sleeping, with things that happen meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[tuple[float, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now

    def at(self, seconds: float, event: Callable[[], None]) -> None:
        self.events.append((seconds, event))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [event for when, event in self.events if when <= self.now]
        self.events = [(when, event) for when, event in self.events if when > self.now]
        for event in due:
            event()


class FakeSlurm:
    """A controller that answers scontrol, squeue, sbatch, scancel and sacct as the real ones do."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, str]] = {}
        self.partitions = {"main": {"default": "YES", "state": "UP"}}
        self.jobs: dict[str, dict[str, str]] = {}
        self.accounting = ""
        self.calls: list[list[str]] = []
        self.down = False
        self.refuse_updates = False
        self.refuse_jobs = ""
        self.start_jobs = True
        self.refuse_requeue = ""
        self.on_cancel: Callable[[], object] = lambda: None
        self.on_down: Callable[[], object] = lambda: None

    def node(self, name: str, state: str = "IDLE", reason: str = "", **more: str) -> None:
        self.nodes[name] = {"State": state, "Reason": reason, "Partitions": "main", "RealMemory": "1000", **more}

    def job(  # noqa: PLR0913 - what squeue shows of a job
        self,
        job_id: str,
        state: str,
        nodes: str = "",
        *,
        reason: str = "None",
        exit_code: str = "0:0",
        requested: str = "",
    ) -> None:
        job = {"state": state, "nodes": nodes, "reason": reason, "exit_code": exit_code, "requested": requested}
        self.jobs[job_id] = job

    def called(self, program: str) -> list[list[str]]:
        return [call for call in self.calls if call[0] == program]

    def updates(self) -> list[list[str]]:
        return [call[2:] for call in self.called("scontrol") if call[1] == "update"]

    def run(self, argv: list[str], **_options: object) -> commands.CommandResult:
        self.calls.append(list(argv))
        if self.down:
            return self._answer(argv, 1, error="Unable to contact slurm controller (connect failure)")
        return getattr(self, f"_{argv[0]}")(list(argv))

    @staticmethod
    def _answer(argv: list[str], rc: int = 0, text: str = "", error: str = "") -> commands.CommandResult:
        return commands.CommandResult(tuple(argv), rc, text, error, 0.0)

    def _scontrol(self, argv: list[str]) -> commands.CommandResult:
        if argv[1] == "update":
            return self._update(argv)
        if argv[1] == "requeue":
            return self._answer(argv, int(bool(self.refuse_requeue)), error=self.refuse_requeue)
        if argv[-2:-1] == ["hostnames"]:
            expanded = {"n[1-3]": "n1\nn2\nn3\n", "n[1-2]": "n1\nn2\n"}
            return self._answer(argv, text=expanded[argv[-1]])
        if argv[-1] == "partition":
            lines = [
                f"PartitionName={name} Default={one['default']} Nodes=ALL State={one['state']} TotalNodes=1"
                for name, one in self.partitions.items()
            ]
            return self._answer(argv, text="\n".join(lines))
        lines = []
        for name, fields in self.nodes.items():
            parts = [f"{key}={value}" for key, value in fields.items() if key != "Reason"]
            reason = f" Reason={fields['Reason']} [root@2026-01-01T00:00:00]" if fields["Reason"] else ""
            lines.append(f"NodeName={name} {' '.join(parts)}{reason}")
        return self._answer(argv, text="\n".join(lines))

    def _update(self, argv: list[str]) -> commands.CommandResult:
        wanted = dict(argument.split("=", 1) for argument in argv[2:])
        for name in wanted["NodeName"].split(","):
            node = self.nodes[name]
            if self.refuse_updates:
                continue
            flags = [flag for flag in node["State"].split("+") if flag != "DRAIN"]
            if wanted["State"] == "DOWN":
                node.update(State="DOWN*+DRAIN", Reason=wanted["Reason"])
                self.on_down()
            elif wanted["State"] == "DRAIN":
                node.update(State="+".join([flags[0], "DRAIN", *flags[1:]]), Reason=wanted["Reason"])
            else:
                node["State"] = "+".join(["IDLE" if flags[0] == "DOWN" else flags[0], *flags[1:]])
                # Slurm keeps the reason of a node that is resumed until it is told another one that is not empty.
                node["Reason"] = wanted.get("Reason") or node["Reason"]
        if self.refuse_updates:
            return self._answer(argv, 1, error="slurm_update error: Access/permission denied")
        return self._answer(argv)

    def _squeue(self, argv: list[str]) -> commands.CommandResult:
        chosen = self.jobs
        for argument in argv:
            if argument.startswith("--jobs="):
                ids = argument[7:].split(",")
                chosen = {job_id: job for job_id, job in self.jobs.items() if job_id in ids}
                if len(ids) == 1 and not chosen:
                    return self._answer(argv, 1, error="slurm_load_jobs error: Invalid job id specified")
        if any("ReqNodes" in argument for argument in argv):
            pending = {job_id: job for job_id, job in self.jobs.items() if job["state"] == "PENDING"}
            lines = [f"{job_id}|{job['requested']}|" for job_id, job in pending.items()]
            return self._answer(argv, text="\n".join(lines))
        lines = [
            f"{job_id}|{job['state']}|{job['reason']}|{job['exit_code']}|{job['nodes']}|"
            for job_id, job in chosen.items()
        ]
        return self._answer(argv, text="\n".join(lines))

    def _sbatch(self, argv: list[str]) -> commands.CommandResult:
        if self.refuse_jobs:
            return self._answer(argv, 1, error=f"sbatch: error: Batch job submission failed: {self.refuse_jobs}")
        nodes = next(argument[11:] for argument in argv if argument.startswith("--nodelist="))
        job_id = str(100 + len(self.called("sbatch")))
        if self.start_jobs:
            self.job(job_id, "RUNNING", nodes)
        else:
            self.job(job_id, "PENDING", reason="Resources")
        return self._answer(argv, text=job_id + "\n")

    def _scancel(self, argv: list[str]) -> commands.CommandResult:
        for job_id in argv[2:]:
            self.jobs[job_id]["state"] = "CANCELLED"
        self.on_cancel()
        return self._answer(argv)

    def _sacct(self, argv: list[str]) -> commands.CommandResult:
        return self._answer(argv, 0 if self.accounting else 1, text=self.accounting)


class FakeController:
    """A controller whose programs stand in a directory: what runs is the path from the module to slurmctld and back."""

    CONF = "ClusterName=t\nSlurmctldParameters=enable_configless\nNodeName=n1 CPUs=2\nPartitionName=main Nodes=ALL\n"

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "etc").mkdir()
        (home / "bin").mkdir()
        self.conf = home / "etc" / "slurm.conf"
        self.conf.write_text(self.CONF)
        self.set(
            version="22.05.8",
            loaded=self.CONF,
            up=True,
            pid=100,
            loads=0,
            dies=0,
            states={},
            jobs="",
            slow=0,
            addresses={},
        )
        program = f"#!{sys.executable}\n" + Path(__file__).with_name("slurm_programs.py").read_text()
        for name in ("scontrol", "systemctl", "journalctl", "squeue"):
            (home / "bin" / name).write_text(program)
            (home / "bin" / name).chmod(0o755)

    @property
    def state(self) -> dict:
        return json.loads((self.home / "state").read_text())

    def set(self, **values: object) -> None:
        old = self.state if (self.home / "state").exists() else {}
        (self.home / "state").write_text(json.dumps({**old, **values}))

    def calls(self, word: str) -> int:
        path = self.home / "calls"
        return sum(word in line for line in path.read_text().splitlines()) if path.exists() else 0

    def files(self) -> dict:
        """Return the texts of all files beside slurm.conf, but for the lock of the runs."""
        files = [path for path in (self.home / "etc").iterdir() if path.is_file() and path.name != SHARED_LOCK]
        return {path.name: path.read_text() for path in files}

    def options(self, *names: str, **other: object) -> Options:
        params = other.pop("params", {"CPUs": "2"})
        nodes = [{"name": name, "params": params, "gres_lines": None} for name in names]
        given = {"conf": str(self.conf), "nodes": nodes, "state": "present", "partitions": [], "apply": "auto"}
        return Options(**{**given, "service": "slurmctld", "timeout": 5, "lock_timeout": 5, **other})

    def run(self, *names: str, check_mode: bool = False, **other: object) -> dict:
        return run(self.options(*names, **other), check_mode=check_mode)
