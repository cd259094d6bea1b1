"""Ends all processes of a run: on the control machine, and the modules on the nodes.

ansible-playbook's workers call setsid(), so killing a process group leaves them alive, and killing the ssh client
leaves the module on the node alive. What works: SIGTERM to the main process, which core forwards, then SIGKILL to what
was its tree; and for the nodes one more session over the still open ssh connections, which ends everything that was
started over the same connection. Where sudo wants a password, that session can't end what runs as root; the caller, who
has the password, then runs the same program once more as root.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_GRACE = 1.0
_POLL = 0.02
_SWEEPS = 5
_NODE_TIMEOUT = 4.0

_ON_NODE = r"""
import os, re, signal, sys, time
mode, marks = sys.argv[2], [word.encode() for word in sys.argv[3:]]
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
def words(pid, file):
    try:
        with open("/proc/%d/%s" % (pid, file), "rb") as content:
            return content.read().split(b"\0")
    except OSError:
        return []
def is_first(pid):
    if marks:
        return any(mark in word for word in words(pid, "cmdline") for mark in marks)
    return mine in words(pid, "environ")
def victims():
    parents = table()
    own, pid = set(), os.getpid()
    while pid > 1:
        own.add(pid)
        pid = parents.get(pid, 0)
    found = {pid for pid in parents if pid not in own and is_first(pid)}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found and pid not in own} - found
        if not more:
            return found
        found |= more
def held():
    lines = b" ".join(word for pid in victims() for word in words(pid, "cmdline"))
    return sorted(set(re.findall(b"BECOME-SUCCESS-[a-z]{32}", lines))) if os.getuid() else []
def tell():
    print("root " + b" ".join(held()).decode())
def send(number):
    for pid in victims():
        try:
            os.kill(pid, number)
        except OSError:
            pass
if mode == "spare" and held():
    tell()
    sys.exit(0)
for _ in range(5):
    if not held():
        break
    time.sleep(0.1)
else:
    tell()
send(signal.SIGTERM)
for _ in range(15):
    time.sleep(0.1)
    if not victims():
        sys.exit(0)
send(signal.SIGKILL)
"""
"""Ends, on a node, what was started over the ssh connection over which it is run itself; Python 3.6 and later.

It prints "root" and the marks of Ansible's sudos when it may not end all of it; in the mode `spare` it then ends
nothing, as root's processes are found by what started them. With marks as arguments it ends what these sudos started.
"""
_SHELL = (
    'c="$SSH_CONNECTION"; [ -n "$c" ] || exit 0; if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null;'
    ' then exec sudo -n python3 - "$c" {0}; fi; exec python3 - "$c" {0}'
)
_HELD = re.compile(r"root((?: BECOME-SUCCESS-[a-z]{32})+)\n")
_DEADLY = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
"""Signals by which Ansible ends none of its processes itself."""


def owner() -> dict[str, Any]:
    """Describe this process as the owner of a run, so that others can tell whether it still lives."""
    return {
        "owner_id": secrets.token_hex(16),
        "owner_host": socket.gethostname(),
        "owner_machine": this_machine(),
        "owner_pid": os.getpid(),
        "owner_ticks": start_ticks(os.getpid()) or 0,
    }


def worker_name() -> str:
    """Name this process as people find it: its machine, and its number there."""
    return f"{socket.gethostname()}/{os.getpid()}"


def this_machine() -> str:
    """Name what a process id belongs to: the boot of a machine, and a namespace in it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - the text of the link, there is no such file


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since the boot: no step of the clock moves it. None when it is gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in ("Z", "X") else None


def find_killed_child(pid: int) -> tuple[int, int] | None:
    """Find a child of a process that was killed or has crashed, and that its parent has not taken notice of.

    Returns:
        Its number, and that of the signal.
    """
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return None
    for child in map(int, children):
        fields = _stat(child)
        # the last one is what wait() will return: the signal in its low bits
        if fields and fields[0] == "Z" and (number := int(fields[-1]) & 0x7F) in _DEADLY:
            return child, number
    return None


def _stat(pid: int) -> list[str]:
    """Return what the kernel tells of a process from the third field on; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def is_stopped(pid: int) -> bool:
    """Say whether a process stands still until somebody wakes it: it was stopped, or a debugger holds it."""
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False


def seconds_since_boot() -> float:
    """Return seconds that pass also while the machine sleeps, and that no step of the clock moves."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


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


def stop_on_nodes(control_dir: Path, as_root: Callable[[str], None] | None = None) -> bool:
    """End what was started on the nodes over the run's ssh connections, then close the connections.

    Args:
        control_dir: Where the sockets of the connections lie.
        as_root: Runs a command over the same connections as root, for nodes whose sudo wants a password.

    Returns:
        Whether processes of root may be left.
    """
    left = _end_over(control_dir, "spare" if as_root else "end")
    if left and as_root:
        program = base64.b64encode(_ON_NODE.encode()).decode()
        loader = f"import base64; exec(base64.b64decode('{program}'))"
        as_root(shlex.join(["python3", "-c", loader, "", "end", *left]))
        left = _end_over(control_dir, "end")
    close_connections(control_dir)
    return bool(left)


def _end_over(control_dir: Path, mode: str) -> list[str]:
    """Return the marks of the sudos that started what may be left."""
    sockets = [path for path in control_dir.glob("*") if path.is_socket()]
    if not sockets:
        return []
    with ThreadPoolExecutor(max_workers=min(32, len(sockets))) as pool:
        return [mark for marks in pool.map(_end_on_node, sockets, [mode] * len(sockets)) for mark in marks]


def close_connections(control_dir: Path) -> None:
    """Close the ssh connections that were kept open for later tasks of a run."""
    masters = [process for process in find_run_processes(control_dir) if _is_connection(process)]
    _signal(masters, "terminate")
    _wait(masters)


def _end_on_node(control_socket: Path, mode: str) -> list[str]:
    # an ssh with a control socket needs neither name nor password: the connection is there
    command = ["ssh", "-S", str(control_socket), "-o", "BatchMode=yes", "-o", "ControlMaster=no", "node"]
    try:
        done = subprocess.run(
            [*command, _SHELL.format(mode)], input=_ON_NODE.encode(), capture_output=True, timeout=_NODE_TIMEOUT,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        # a node that does not answer can't be told to stop
        return []
    # what else a node says, such as a greeting, is nothing that may get into a command
    found = _HELD.fullmatch(done.stdout.decode(errors="replace"))
    return found[1].split() if found else []


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
