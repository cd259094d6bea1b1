"""Ends all processes of a run: on the control machine, and the modules on the nodes.

ansible-playbook's workers call setsid(), so killing a process group leaves them alive, and killing the ssh client
leaves the module on the node alive. What works: SIGTERM to the main process, which core forwards, then SIGKILL to what
was its tree; and for the nodes one more session over the still open ssh connections, which ends everything that was
started over the same connection.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

RUN_DIR_PREFIX = "slurmscale-"
_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made in it is private
_GRACE = 1.0
_POLL = 0.02
_SWEEPS = 5
_NODE_TIMEOUT = 4.0

_ON_NODE = r"""
import os, signal, sys, time
mine = b"SSH_CONNECTION=" + sys.argv[1].encode()
def table():
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as stat:
                parents[int(pid)] = int(stat.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            pass
    return parents
def environment(pid):
    try:
        with open("/proc/%d/environ" % pid, "rb") as environ:
            return environ.read().split(b"\0")
    except OSError:
        return []
def victims():
    parents = table()
    own, pid = set(), os.getpid()
    while pid > 1:
        own.add(pid)
        pid = parents.get(pid, 0)
    found = {pid for pid in parents if pid not in own and mine in environment(pid)}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found and pid not in own} - found
        if not more:
            return found
        found |= more
def send(number):
    for pid in victims():
        try:
            os.kill(pid, number)
        except OSError:
            pass
send(signal.SIGTERM)
for _ in range(15):
    time.sleep(0.1)
    if not victims():
        sys.exit(0)
send(signal.SIGKILL)
"""
_SHELL = (
    'c="$SSH_CONNECTION"; [ -n "$c" ] || exit 0;'
    ' if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then exec sudo -n python3 - "$c"; fi; exec python3 - "$c"'
)


def owner() -> dict[str, Any]:
    """Describe this process as the owner of a run, so that others can tell whether it still lives."""
    return {
        "owner_id": secrets.token_hex(16),
        "owner_host": socket.gethostname(),
        "owner_machine": this_machine(),
        "owner_pid": os.getpid(),
        "owner_ticks": start_ticks(os.getpid()) or 0,
    }


def this_machine() -> str:
    """Name what a process id belongs to: the boot of a machine, and a namespace in it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - the text of the link, there is no such file


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since the boot: no step of the clock moves it. None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    # numbered from the third field on
    return None if fields[0] in ("Z", "X") else int(fields[19])


def is_alive(pid: int | None, ticks: int | None) -> bool | None:
    """Say whether a process still lives; its start tells it from a later one with the same number.

    Returns:
        None when it can't be told: /proc may hide the processes of other users.
    """
    if not pid or not ticks:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        found = start_ticks(pid)
        return None if found is None else found == ticks
    return start_ticks(pid) == ticks


def find_run_processes(run_dir: Path) -> list[psutil.Process]:
    """Find the processes of a run, and their descendants, by its private directory.

    It stands in their command lines or in their environment, which those inherit that belong to no tree any more.
    """
    mark = str(run_dir)
    found: dict[int, psutil.Process] = {}
    # what can't be read is somebody else's, or gone meanwhile
    for process in psutil.process_iter(["cmdline", "environ"]):
        texts = (*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values())
        if any(mark in text for text in texts):
            for one in (process, *_children(process)):
                found[one.pid] = one
    found.pop(psutil.Process().pid, None)
    return list(found.values())


def stop_processes(root: int | None, run_dir: Path, *, force: bool = False) -> list[int]:
    """End ansible-playbook and everything it started on this machine, except its ssh connections.

    Args:
        root: Process id of ansible-playbook, when it is known.
        run_dir: The run's private directory.
        force: Kill at once.

    Returns:
        The processes that could not be ended.
    """
    tree = _tree(root) or _at_work(run_dir)
    if not force and tree:
        _signal(tree[:1], "terminate")
        _wait(tree)
    # A worker may have started something a moment before it ended, and that may start something itself.
    for _ in range(_SWEEPS):
        left = [one for one in {one.pid: one for one in (*tree, *_at_work(run_dir))}.values() if _lives(one)]
        if not left:
            return []
        _signal(left, "kill")
        _wait(left)
    return [process.pid for process in left if _lives(process)]


def stop_on_nodes(control_dir: Path) -> None:
    """End what was started on the nodes over the run's ssh connections, then close the connections."""
    sockets = [path for path in control_dir.glob("*") if path.is_socket()]
    if sockets:
        with ThreadPoolExecutor(max_workers=min(32, len(sockets))) as pool:
            list(pool.map(_end_on_node, sockets))
    close_connections(control_dir)


def close_connections(control_dir: Path) -> None:
    """Close the ssh connections that were kept open for later tasks of a run."""
    masters = [process for process in find_run_processes(control_dir) if _is_connection(process)]
    _signal(masters, "terminate")
    _wait(masters)


def remove_run_dir(run_dir: Path) -> None:
    """Remove a run's private directory; nothing else is ever removed."""
    if run_dir.name.startswith(RUN_DIR_PREFIX) and _is_private(run_dir):
        shutil.rmtree(artifacts_dir(run_dir), ignore_errors=True)
        shutil.rmtree(run_dir, ignore_errors=True)


def _is_private(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def artifacts_dir(run_dir: Path) -> Path:
    """Return where a run's events pass through, for milliseconds each: in memory where the system offers that.

    A careless task may print a password; masked it is kept, but unmasked it must not touch a disk.
    """
    return _MEMORY / run_dir.name if os.access(_MEMORY, os.W_OK) else run_dir / "artifacts"


def make_run_dir() -> Path:
    """Make a private directory; its path must be short, for ssh's sockets lie in it."""
    longest = 40
    parent = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=RUN_DIR_PREFIX, dir=parent if len(parent) <= longest else "/tmp"))  # noqa: S108 - mkdtemp makes it private


def _end_on_node(control_socket: Path) -> None:
    # an ssh with a control socket needs neither name nor password: the connection is there
    command = ["ssh", "-S", str(control_socket), "-o", "BatchMode=yes", "-o", "ControlMaster=no", "node", _SHELL]
    try:
        subprocess.run(command, input=_ON_NODE.encode(), capture_output=True, timeout=_NODE_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        # a node that does not answer can't be told to stop
        return


def _tree(root: int | None) -> list[psutil.Process]:
    try:
        main = psutil.Process(root) if root is not None else None
    except psutil.NoSuchProcess:
        return []
    return [main, *_children(main)] if main else []


def _at_work(run_dir: Path) -> list[psutil.Process]:
    return [process for process in find_run_processes(run_dir) if not _is_connection(process)]


def _is_connection(process: psutil.Process) -> bool:
    try:
        return any("[mux]" in part for part in process.cmdline())
    except psutil.Error:
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _wait(processes: Iterable[psutil.Process]) -> None:
    """Wait until processes are gone, for the grace period at most; what only has to be reaped by its parent is gone."""
    left, deadline = list(processes), time.monotonic() + _GRACE
    while left := [process for process in left if _lives(process)]:
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(processes: Iterable[psutil.Process], method: str) -> None:
    foreign = []
    for process in processes:
        try:
            getattr(process, method)()
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            # what sudo started on this machine is another user's
            foreign.append(str(process.pid))
    if foreign:
        number = "-KILL" if method == "kill" else "-TERM"
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                ["sudo", "-n", "kill", number, *foreign], capture_output=True, timeout=_NODE_TIMEOUT, check=False
            )
