"""A fake slurmctld with the commands that ask and manage it, and a clock."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import node_registration
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.lock import SHARED_LOCK
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands

if TYPE_CHECKING:
    from collections.abc import Callable

CONF = "ClusterName=t\nSlurmctldParameters=enable_configless\nNodeName=n1 CPUs=2\nPartitionName=main Nodes=ALL\n"
_PROGRAMS = ("scontrol", "squeue", "systemctl", "journalctl")
#: What a fake in another process has to know; see FakeSlurmctld.install.
_STATE = ("nodes", "jobs", "calls", "up", "version", "pid", "loads", "loaded", "dies", "slow", "standby")


class Clock:
    """Time that passes only by sleeping, with things that happen meanwhile."""

    strftime = staticmethod(time.strftime)

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    monotonic = time

    def at(self, seconds: float, event: Callable[[], None]) -> None:
        self.events.append((seconds, event))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [event for when, event in self.events if when <= self.now]
        self.events = [(when, event) for when, event in self.events if when > self.now]
        for event in due:
            event()


class FakeSlurmctld:
    """A slurmctld that has read a slurm.conf, and answers Slurm's commands and those of systemd as the real ones do.

    A slurm.conf with the word Deadly ends it, one with DiesLater a moment after it was started, and one with Unparsable
    is refused by its parser. One with TooMuch makes it drain each node that it knows, for the reason `too_much`.

    Args:
        home: An empty directory; slurm.conf is in its etc.
        clock: What tells the time.
    """

    def __init__(self, home: Path, clock: Any = time) -> None:
        self.home = home
        self.clock = clock
        self.conf = home / "etc" / "slurm.conf"
        self.nodes: dict[str, dict[str, str]] = {}
        self.partitions = {"main": {"default": "YES", "state": "UP"}}
        self.jobs: dict[str, dict[str, str]] = {}
        self.accounting = ""
        self.calls: list[list[str]] = []
        self.up = True
        self.version = "22.05.8"
        self.pid = 100
        self.loads = 0
        self.loaded = ""
        self.dies = 0.0
        self.slow = 0.0
        self.standby = ""
        self.too_much = ""
        self.refuse_updates = False
        self.refuse_jobs = ""
        self.disable_root_jobs = False
        self.enforced = "none"
        self.start_jobs = True
        self.refuse_requeue = ""
        self.on_cancel: Callable[[], object] = lambda: None
        self.on_down: Callable[[], object] = lambda: None

    @classmethod
    def start(cls, home: Path, clock: Any = time) -> FakeSlurmctld:
        """Return one that runs with CONF."""
        made = cls(home, clock)
        made.conf.parent.mkdir()
        made.conf.write_text(CONF)
        made._load(CONF)
        made.loads = 0
        return made

    # --- what a test states and asks ---

    def node(self, name: str, state: str = "IDLE", reason: str = "", **more: str) -> None:
        known = {"NodeAddr": "localhost", "CPUAlloc": "0", "Partitions": "main", "RealMemory": "1000"}
        self.nodes[name] = {**known, "State": state, "Reason": reason, **more}

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

    def called(self, *beginning: str) -> list[list[str]]:
        """Return the commands so far that begin with these arguments."""
        return [call for call in self.calls if call[: len(beginning)] == list(beginning)]

    def updates(self) -> list[list[str]]:
        return [call[2:] for call in self.called("scontrol", "update")]

    def files(self) -> dict[str, str]:
        """Return the texts of all files beside slurm.conf, but for the lock of the runs."""
        files = [path for path in self.conf.parent.iterdir() if path.is_file() and path.name != SHARED_LOCK]
        return {path.name: path.read_text() for path in files}

    # --- what a module does on the controller ---

    def options(self, *names: str, **other: object) -> node_registration.Options:
        params = other.pop("params", {"CPUs": "2"})
        nodes = [{"name": name, "params": params, "gres_lines": None} for name in names]
        given = {"conf": str(self.conf), "nodes": nodes, "state": "present", "partitions": [], "apply": "auto"}
        return node_registration.Options(**{**given, "service": "slurmctld", "timeout": 5, "lock_timeout": 5, **other})

    def register(self, *names: str, check_mode: bool = False, **other: object) -> dict[str, Any]:
        return node_registration.run(self.options(*names, **other), check_mode=check_mode)

    # --- what answers a process of another one ---

    def install(self) -> Path:
        """Make programs that answer as this fake from now on; `read` what became of it."""
        self.save()
        directory = self.home / "bin"
        directory.mkdir()
        for name in _PROGRAMS:
            (directory / name).write_text(f"#!{sys.executable}\nfrom fakes.slurmctld import main\nmain()\n")
            (directory / name).chmod(0o755)
        return directory

    def save(self) -> None:
        new = self.home / f"state.{os.getpid()}"
        new.write_text(json.dumps({name: getattr(self, name) for name in _STATE}))
        new.replace(self.home / "state")

    def read(self) -> None:
        vars(self).update(json.loads((self.home / "state").read_text()))

    # --- the commands ---

    def run(self, argv: list[str], conf: str | None = None, **_options: object) -> commands.CommandResult:
        """Answer a command, in place of commands.run."""
        self.calls.append(list(argv))
        if self.dies and self.clock.time() > self.dies:
            self.up, self.dies = False, 0.0
        answer = getattr(self, f"_{argv[0]}", None)
        if answer is None:
            return self._answer(argv, commands.NOT_FOUND, error=f"cannot run {argv[0]}: No such file or directory")
        if argv[0] in ("systemctl", "journalctl"):
            return answer(list(argv))
        if "Unparsable" in self._text(conf):
            return self._answer(argv, 1, error="scontrol: error: Parsing error at unrecognized key: Unparsable")
        if argv[1] == "ping":
            standby = f"\nSlurmctld(backup) at {self.standby} is UP" if self.standby else ""
            return self._answer(argv, text=f"Slurmctld(primary) at ctl is {'UP' if self.up else 'DOWN'}{standby}")
        if not self.up:
            return self._answer(argv, 1, error="Unable to contact slurm controller (connect failure)")
        return answer(list(argv))

    def _text(self, conf: str | None = None) -> str:
        """Return slurm.conf with the file that it includes."""
        path = Path(conf) if conf else self.conf
        text = path.read_text() if path.exists() else ""
        included = path.parent / "slurmscale-nodes.conf"
        return text + (included.read_text() if "Include slurmscale" in text and included.exists() else "")

    def _load(self, text: str) -> None:
        self.loads += 1
        self.up = "Deadly" not in text
        self.loaded = text if self.up else ""
        self.dies = self.clock.time() + 0.3 if "DiesLater" in text else 0.0
        known = self.nodes
        self.nodes = {}
        for name, params in re.findall(r"^NodeName=(\S+)(.*)", text, re.MULTILINE):
            if name in known:
                self.nodes[name] = known[name]
                if "TooMuch" in text:
                    self.nodes[name].update(State="IDLE+DRAIN+INVALID_REG", Reason=self.too_much)
                else:
                    # It registers again, and stays drained.
                    self.nodes[name]["State"] = self.nodes[name]["State"].replace("+INVALID_REG", "")
            elif "placeholder" not in name:
                self.node(name, **dict(re.findall(r"(NodeAddr)=(\S+)", params)))

    @staticmethod
    def _answer(argv: list[str], rc: int = 0, text: str = "", error: str = "") -> commands.CommandResult:
        return commands.CommandResult(tuple(argv), rc, text, error, 0.0)

    def _systemctl(self, argv: list[str]) -> commands.CommandResult:
        if argv[1] == "restart":
            time.sleep(self.slow)
            self.pid += 1
            self._load(self._text())
        active = "active" if self.up else "failed"
        return self._answer(argv, text=f"LoadState=loaded\nActiveState={active}\nSubState=x\nMainPID={self.pid}")

    def _journalctl(self, argv: list[str]) -> commands.CommandResult:
        deadly = "Deadly" in self._text()
        return self._answer(argv, text=f"slurmctld: {'fatal: a deadly parameter' if deadly else 'fine'}")

    def _scontrol(self, argv: list[str]) -> commands.CommandResult:
        if argv[1] == "update":
            return self._update(argv)
        if argv[1] == "requeue":
            return self._answer(argv, int(bool(self.refuse_requeue)), error=self.refuse_requeue)
        if argv[1] == "reconfigure":
            if "Deadly" in self._text():
                return self._answer(argv, 1, error="slurm_reconfigure error: Unspecified error")
            self._load(self._text())
            return self._answer(argv)
        return self._answer(argv, text=self._show(argv))

    def _show(self, argv: list[str]) -> str:
        if argv[-2] == "hostnames":
            return "".join(name + "\n" for name in _expand(argv[-1]))
        if argv[-2] == "hostlistsorted":
            return argv[-1]
        if argv[-1] == "config":
            same = self.loaded == self._text()
            parameters = "enable_configless" if "enable_configless" in self._text() else "(null)"
            return (
                f"SLURM_VERSION = {self.version}\nSlurmctldParameters = {parameters}\n"
                f"DisableRootJobs = {'yes' if self.disable_root_jobs else 'no'}\n"
                f"AccountingStorageEnforce = {self.enforced}\n"
                f"HASH_VAL = {'Match' if same else 'Different Ours=0x1 Slurmctld=0x2'}"
            )
        if argv[-1] == "partition":
            return "\n".join(
                f"PartitionName={name} Default={one['default']} Nodes=ALL State={one['state']} TotalNodes=1"
                f" {one.get('rules', '')}"
                for name, one in self.partitions.items()
            )
        lines = []
        for name, fields in self.nodes.items():
            parts = [f"{key}={value}" for key, value in fields.items() if key != "Reason"]
            reason = f" Reason={fields['Reason']} [root@2026-01-01T00:00:00]" if fields["Reason"] else ""
            lines.append(f"NodeName={name} {' '.join(parts)}{reason}")
        return "\n".join(lines)

    def _update(self, argv: list[str]) -> commands.CommandResult:
        if self.refuse_updates:
            return self._answer(argv, 1, error="slurm_update error: Access/permission denied")
        wanted = dict(argument.split("=", 1) for argument in argv[2:])
        for name in wanted["NodeName"].split(","):
            node = self.nodes[name]
            flags = [flag for flag in node["State"].split("+") if flag != "DRAIN"]
            if "State" not in wanted:
                continue
            if wanted["State"] == "DOWN":
                node.update(State="DOWN*+DRAIN", Reason=wanted["Reason"])
                self.on_down()
            elif wanted["State"] == "DRAIN":
                node.update(State="+".join([flags[0], "DRAIN", *flags[1:]]), Reason=wanted["Reason"])
            else:
                node["State"] = "+".join(["IDLE" if flags[0] == "DOWN" else flags[0], *flags[1:]])
                # Slurm keeps the reason of a node that is resumed until it gets another one that is not empty.
                node["Reason"] = wanted.get("Reason") or node["Reason"]
        return self._answer(argv)

    def _squeue(self, argv: list[str]) -> commands.CommandResult:
        options = dict(argument.lstrip("-").partition("=")[::2] for argument in argv[1:])
        chosen = self.jobs
        if "jobs" in options:
            ids = options["jobs"].split(",")
            chosen = {job_id: job for job_id, job in self.jobs.items() if job_id in ids}
            if len(ids) == 1 and not chosen:
                return self._answer(argv, 1, error="slurm_load_jobs error: Invalid job id specified")
        if "format" in options:
            on = set(_expand(options["nodelist"]))
            busy = {job_id: job for job_id, job in chosen.items() if on & set(_expand(job["nodes"]))}
            lines = [f"{job_id} (ann, {job['state']}, on {job['nodes']})" for job_id, job in busy.items()]
        elif "ReqNodes" in options["Format"]:
            pending = {job_id: job for job_id, job in chosen.items() if job["state"] == "PENDING"}
            lines = [f"{job_id}|{job['requested']}|" for job_id, job in pending.items()]
        else:
            lines = [
                f"{job_id}|{job['state']}|{job['reason']}|{job['exit_code']}|{job['nodes']}|"
                for job_id, job in chosen.items()
            ]
        return self._answer(argv, text="\n".join(lines))

    def _sbatch(self, argv: list[str]) -> commands.CommandResult:
        if self.refuse_jobs:
            return self._answer(argv, 1, error=f"sbatch: error: Batch job submission failed: {self.refuse_jobs}")
        if "--test-only" in argv:
            return self._answer(argv)
        nodes = next(argument[11:] for argument in argv if argument.startswith("--nodelist="))
        job_id = str(100 + len(self.called("sbatch")))
        if self.start_jobs:
            self.job(job_id, "RUNNING", nodes)
            # Without accounting nothing else ends a reason.
            for name in set(_expand(nodes)) & set(self.nodes):
                self.nodes[name]["Reason"] = ""
        else:
            self.job(job_id, "PENDING", reason="Resources")
        return self._answer(argv, text=job_id + "\n")

    def _scancel(self, argv: list[str]) -> commands.CommandResult:
        for job_id in argv[2:]:
            self.jobs[job_id]["state"] = "CANCELLED"
        self.on_cancel()
        return self._answer(argv)

    def _sacctmgr(self, argv: list[str]) -> commands.CommandResult:
        """Know one account of each user, and the accounts above each account."""
        if "user" in argv:
            return self._answer(argv, text="root\n" if "root" in argv else "optics\n")
        return self._answer(argv, text="root|\nphysics|root\noptics|physics\n")

    def _sacct(self, argv: list[str]) -> commands.CommandResult:
        return self._answer(argv, 0 if self.accounting else 1, text=self.accounting)


def _expand(hosts: str) -> list[str]:
    """Return the names of a host list with one range each, such as a,n[1-3]."""
    names: list[str] = []
    for part in re.findall(r"[^,\[]+(?:\[[^]]*\])?", hosts):
        base, _bracket, numbers = part.rstrip("]").partition("[")
        first, _dash, last = numbers.partition("-")
        names += [f"{base}{number}" for number in range(int(first), int(last) + 1)] if numbers else [base]
    return names


def main() -> None:
    """Be one of the programs of a fake, which was started by its path."""
    program = Path(sys.argv[0])
    fake = FakeSlurmctld(program.parents[1])
    fake.read()
    # Whoever waits for the command sees it while it works.
    fake.calls.append([program.name, *sys.argv[1:]])
    fake.save()
    fake.calls.pop()
    result = fake.run([program.name, *sys.argv[1:]], conf=os.environ.get("SLURM_CONF"))
    fake.save()
    sys.stdout.write(result.stdout + "\n")
    sys.stderr.write(result.stderr)
    sys.exit(result.rc)
