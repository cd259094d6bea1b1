"""Runs a playbook through ansible-runner, the only module that imports it.

ansible-runner's traps are kept in here: the event handler does nothing but queue, and pause so that runner reads some
events at once; no event file is written, nothing secret reaches the disk, and stopping is done by `processes`, because
runner's own cancel leaves Ansible's workers alive.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ansible_runner  # type: ignore[import-untyped] # the package has no types

from slurmscale.errors import Code, RunnerError
from slurmscale.models import Failure
from slurmscale.runner import processes, run_directories
from slurmscale.runner.secret_socket import SecretSocket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from slurmscale.runner.protocol import Launch

_IDENT = "run"
_CHECKING = "ANSIBLE_HOST_KEY_CHECKING"
_END_OF_EVENTS = None
_ENOUGH = b"enough"
_PACE = 0.05
"""Seconds between two looks at the queue of events."""
_PAUSE = 0.02
_READING = 0.005
"""Seconds for which events are left to gather, and for which they are then read."""
_LOOKS = 5.0
"""Seconds between two looks for processes of Ansible that were killed."""
_BECOME_TIMEOUT = 10.0
"""Seconds in which all nodes must have ended what runs as root on them."""


def run_as_root(  # noqa: PLR0913, PLR0917 - what ansible needs to know
    program: str,
    run_dir: Path,
    nodes: str | None,
    inventory: Iterable[str],
    vault_password_file: str | None,
    environment: Mapping[str, str],
    forks: int,
) -> None:
    """Run a command as root on the nodes of a run and on its controllers, with the passwords that Ansible finds.

    Args:
        program: The command.
        run_dir: The run's private directory.
        nodes: Names of nodes with commas between them; all hosts when there are none.
        inventory: Where the hosts stand.
        vault_password_file: A file or program with the vault's password.
        environment: What the run added to the environment.
        forks: Hosts at the same time.
    """
    hosts = f"slurm_controllers,{nodes},!localhost" if nodes else "all:!localhost"
    command = ["ansible", hosts, "-m", "ansible.builtin.raw", "-a", program, "--forks", str(forks)]
    for source in inventory:
        command += ["-i", source]
    if vault_password_file:
        command += ["--vault-password-file", vault_password_file]
    own = {
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(run_dir / "cp"),
        "ANSIBLE_LOCAL_TEMP": str(run_dir / "tmp"),
        "TMPDIR": str(run_dir / "tmp"),
        "ANSIBLE_TIMEOUT": "5",
    }
    try:
        subprocess.run(command, env=os.environ | environment | own, stdin=subprocess.DEVNULL, capture_output=True,
                       check=False, timeout=_BECOME_TIMEOUT, start_new_session=True)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        processes.stop_processes(None, run_dir, force=True)


def _failure(rc: int | None, of_child: int | None = None) -> Failure:
    if rc is not None:
        return Failure(Code.ANSIBLE_FAILED, f"ansible-playbook ended with return code {rc}.")
    return Failure(
        Code.ANSIBLE_FAILED,
        f"A process of ansible-playbook was killed on this machine by signal {of_child}."
        if of_child
        else "ansible-playbook was killed on this machine.",
        "Look whether memory ran out: journalctl --dmesg --grep Killed. Run it again to continue.",
    )


class AnsibleJob:
    """One ansible-playbook.

    Args:
        launch: What is to be run.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self._stopping = threading.Lock()
        self._plan_offset = 0
        self._read_until = self._look_at = 0.0
        self._killed: tuple[int, int] | None = None
        self._timer: threading.Timer | None = None
        self._command: int | None = None
        self._reached_its_end = False
        self.pid: int | None = None
        self.stopped: Failure | None = None
        self.error: Failure | None = None
        self.run_dir: Path = run_directories.make()
        self._control = self.run_dir / "cp"
        self._temporary = self.run_dir / "tmp"
        self._plan = self.run_dir / "plan.jsonl"
        self._report = self.run_dir / "report.json"
        self._channel = SecretSocket(self.run_dir, launch.added, launch.vault_password)

    def start(self) -> None:
        """Start ansible-playbook in a thread of its own."""
        self._control.mkdir(mode=0o700)
        self._temporary.mkdir(mode=0o700)
        self._swallow_command_file()
        threading.Thread(target=self._work, name="ansible-runner", daemon=True).start()
        if self._launch.timeout:
            limit = f"The time limit of {self._launch.timeout:g} s was reached."
            reason = Failure(Code.TIME_LIMIT_REACHED, limit, "Run it again to continue, with a higher limit.")
            self._timer = threading.Timer(self._launch.timeout, self.stop, [reason])
            self._timer.daemon = True
            self._timer.start()

    def stream(self, tick: float) -> Iterator[dict[str, Any] | None]:
        """Yield events soon after they come, None whenever an interval of `tick` seconds passed."""
        due = time.monotonic() + tick
        while True:
            if time.monotonic() >= due:
                due = time.monotonic() + tick
                yield None
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                # to be woken by each event costs more than to take some at once
                time.sleep(_PACE)
                continue
            if event is _END_OF_EVENTS:
                return
            yield event

    def plan_lines(self, wait: float = 0.0) -> list[dict[str, Any]]:
        """Return new lines of the plan callback's file."""
        deadline = time.monotonic() + wait
        while True:
            lines = self._read_plan()
            if lines or time.monotonic() >= deadline or self._done.is_set():
                return lines
            time.sleep(0.01)

    def report(self) -> dict[str, Any]:
        """Read the playbook's report, if it wrote one."""
        try:
            report: dict[str, Any] = json.loads(self._report.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return report

    def stop(self, reason: Failure, *, force: bool = False) -> None:
        """End ansible-playbook, its workers, and the modules on the nodes."""
        if self._done.is_set():
            return
        self.stopped = self.stopped or reason
        self._end(force=force)

    def close(self) -> None:
        """Remove the private directory and close the connections."""
        if self._timer:
            self._timer.cancel()
        if self._command is not None:
            os.write(self._command, _ENOUGH)
            self._command = None
        with self._stopping:
            processes.close_connections(self._control)
            self._channel.close()
            run_directories.remove(self.run_dir)

    def _end(self, *, force: bool) -> None:
        with self._stopping:
            left = processes.stop_processes(self.pid, self.run_dir, force=force)
            if left and self.stopped:
                numbers = ", ".join(map(str, left))
                remedy = f"End the processes {numbers} on this machine by hand: they are another user's. "
                self.stopped = self.stopped._replace(remedy=remedy + self.stopped.remedy)
            if processes.stop_on_nodes(self._control, self._end_as_root) and self.stopped:
                remedy = "On nodes whose sudo refused, what root runs there may still be running. "
                self.stopped = self.stopped._replace(remedy=remedy + self.stopped.remedy)

    def _end_as_root(self, program: str) -> None:
        """Run a command on the nodes as root, over the open connections and with the passwords that Ansible has."""
        launch = self._launch
        nodes = launch.extra_vars.get("nodes")
        run_as_root(program, self.run_dir, nodes, self._sources(), self._vault(), launch.environment, launch.forks)

    def _work(self) -> None:
        try:
            result = ansible_runner.interface.init_runner(**self._arguments())
            if _CHECKING not in os.environ | self._launch.environment:
                # else runner has any host key accepted, whatever Ansible's configuration and the inventory say
                del result.config.env[_CHECKING]
            result.run()
            # of a process that a signal ended, runner knows no return code
            if result.rc != 0 and not self.stopped:
                self.error = _failure(result.rc)
        except Exception as exc:  # noqa: BLE001 - whatever runner raises must end up in the run's record
            self.error = Failure(Code.ANSIBLE_FAILED, f"ansible-runner failed with {type(exc).__name__}: {exc}")
        finally:
            try:
                if self.stopped or not self._reached_its_end:
                    # Right after the start there was no process yet; of what came later runner ends only the main one.
                    # Its workers go on when it is killed.
                    self._end(force=True)
            finally:
                self._done.set()
                self._events.put(_END_OF_EVENTS)

    def _arguments(self) -> dict[str, Any]:
        launch = self._launch
        arguments = [*(["--check"] if launch.check else []), *(["--diff"] if launch.diff else [])]
        if vault := self._vault():
            arguments += ["--vault-password-file", shlex.quote(vault)]
        return {
            "private_data_dir": str(self.run_dir),
            "ident": _IDENT,
            "artifact_dir": str(run_directories.artifacts(self.run_dir)),
            "playbook": str(launch.playbook),
            "project_dir": str(Path.cwd()),
            "inventory": self._sources(),
            "extravars": launch.extra_vars | ({"report": str(self._report)} if launch.report else {}),
            "envvars": launch.environment
            # Of what is as it should be events say enough; text of it is some 2 % of a run's CPU, and for readers only.
            | ({} if launch.verbosity else {"ANSIBLE_DISPLAY_OK_HOSTS": "false"})
            | {
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._control),
                # elsewhere it would stay when Ansible, or a module on this machine, is killed
                "ANSIBLE_LOCAL_TEMP": str(self._temporary),
                "TMPDIR": str(self._temporary),
                "SLURMSCALE_PLAN_FILE": str(self._plan),
            },
            "cmdline": " ".join(arguments) or None,
            "forks": launch.forks,
            "verbosity": launch.verbosity or None,
            "quiet": True,
            "settings": {"pexpect_timeout": 1, "suppress_output_file": True},
            "fact_cache_type": "memory",
            "event_handler": self._on_event,
            "cancel_callback": self._has_to_end,
        }

    def _has_to_end(self) -> bool:
        """Say whether somebody stopped it, or one of its processes was killed that it goes on to wait for.

        Ansible looks for these only while all nodes do the same task; with the strategy free it waits for ever.
        """
        if self.stopped is None and self.pid and time.monotonic() > self._look_at:
            self._look_at = time.monotonic() + _LOOKS
            before, self._killed = self._killed, processes.find_killed_child(self.pid)
            # Ansible may be about to notice.
            if self._killed and self._killed == before:
                self.stopped = _failure(None, self._killed[1])
        return self.stopped is not None

    def _sources(self) -> list[str]:
        added = self._channel.inventory_script
        return [*self._launch.inventory, *([str(added)] if added else [])]

    def _vault(self) -> str | None:
        vault = self._channel.vault_script or self._launch.vault_password_file
        return str(vault) if vault else None

    def _on_event(self, event: dict[str, Any]) -> bool:
        if self.pid is None and event.get("pid"):
            self.pid = event["pid"]
        self._reached_its_end = self._reached_its_end or event.get("event") == "playbook_on_stats"
        self._events.put(event)
        if time.monotonic() > self._read_until:
            # What Ansible prints meanwhile is read at once; the terminal in between holds 4 KiB, some 30 events. Woken
            # by each of them, this thread would take a tenth of the CPU of the whole run.
            time.sleep(_PAUSE)
            self._read_until = time.monotonic() + _READING
        return False

    def _read_plan(self) -> list[dict[str, Any]]:
        try:
            with self._plan.open("rb") as plan:
                plan.seek(self._plan_offset)
                new = plan.read()
        except FileNotFoundError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self._plan_offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def _swallow_command_file(self) -> None:
        """Runner writes the whole environment into a file `command`; a pipe in its place keeps it off the disk."""
        artifacts = run_directories.make_artifacts(self.run_dir) / _IDENT
        artifacts.mkdir(mode=0o700)
        pipe = artifacts / "command"
        try:
            os.mkfifo(pipe, 0o600)
        except OSError as exc:
            raise RunnerError(
                f"{self.run_dir} takes no pipes: {exc.strerror}. Set TMPDIR to a local directory."
            ) from exc
        # opened for both directions, so that neither side waits for the other
        descriptor = self._command = os.open(pipe, os.O_RDWR)

        def drain() -> None:
            while not os.read(descriptor, 65536).endswith(_ENOUGH):
                pass
            os.close(descriptor)

        threading.Thread(target=drain, name="command-file", daemon=True).start()
