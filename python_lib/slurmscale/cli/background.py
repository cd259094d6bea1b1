"""Lets work go on in a process of its own when its terminal is given back."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_LEFT = b"l"


def run(work: Callable[[Callable[[], None]], int], *, apart: bool) -> int:
    """Do work that may leave the terminal.

    With `apart`, a process of its own does it, in the same terminal, and this one waits for it. No thread may have
    been started before.

    Args:
        work: Gets a function to call when the caller is to get its terminal back; returns an exit code.
        apart: Whether it may have to leave.

    Returns:
        The exit code, in both processes; 0 as soon as the terminal is left.
    """
    if not apart:
        return work(lambda: None)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        return work(lambda: _leave(writer))
    os.close(writer)
    # Ctrl-C comes to both, and the other one asks what to do; a kill comes to this one only
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def forward(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    if os.read(reader, 1) == _LEFT:
        return 0
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def _leave(writer: int) -> None:
    """Give the terminal back: its end, its keys and its readers do not matter any more."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.close(null)
    with contextlib.suppress(PermissionError):
        os.setsid()
    os.write(writer, _LEFT)
    os.close(writer)
