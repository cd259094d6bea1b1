# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the programs that make and read packages, indexes and signatures; their output is bytes, not text."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from typing import IO, Dict, Iterator, List, Optional, cast

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

# Longer than any of them takes, so that one that hangs does not stop everything for ever.
_SECONDS = 1800
_INSTALL = "Install it, or run playbooks/publish_apphub.yml: role apphub installs it."


def _environment(more: Optional[Dict[str, str]]) -> Dict[str, str]:
    return dict(os.environ, LC_ALL="C.UTF-8", **(more or {}))


def _missing(program: str) -> FailureError:
    return FailureError(Code.APPHUB_TOOL_MISSING, f"{program} is needed, but it is not installed.", _INSTALL)


def _failed(program: str, output: bytes) -> FailureError:
    text = output.decode("utf-8", "replace").strip()[-2000:]
    return FailureError(Code.APPHUB_TOOL_FAILED, f"{program} failed: {text}")


def execute(
    command: List[str], cwd: Optional[str] = None, env: Optional[Dict[str, str]] = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program, whether it succeeds or not.

    Args:
        command: The program and its arguments.
        cwd: Where to run it.
        env: What to add to its environment.

    Raises:
        FailureError: It is not there, or it did not end in time.
    """
    try:
        return subprocess.run(
            command, cwd=cwd, env=_environment(env), capture_output=True, check=False, timeout=_SECONDS
        )
    except FileNotFoundError:
        raise _missing(command[0]) from None
    except subprocess.TimeoutExpired:
        raise FailureError(Code.APPHUB_TOOL_FAILED, f"{command[0]} did not end within {_SECONDS} s.") from None


def run(command: List[str], cwd: Optional[str] = None, env: Optional[Dict[str, str]] = None) -> bytes:
    """Run a program and return its output; arguments and errors as of execute(), and an error when it fails."""
    done = execute(command, cwd, env)
    if done.returncode:
        # apt tells on one what it can't do and on the other why.
        raise _failed(command[0], b"\n".join(filter(None, (done.stderr.strip(), done.stdout.strip()))))
    return done.stdout


@contextlib.contextmanager
def output_of(command: List[str]) -> Iterator[IO[bytes]]:
    """Give the output of a program while it runs, so that the reader can stop before all of it was made.

    Args:
        command: The program and its arguments.

    Raises:
        FailureError: It is not there, or it failed although all its output was read.
    """
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(command, env=_environment(None), stdout=subprocess.PIPE, stderr=complaints)
        except FileNotFoundError:
            raise _missing(command[0]) from None
        with process:
            output = cast("IO[bytes]", process.stdout)
            try:
                yield output
                # Whoever reads an archive stops at its end, and what makes it still writes padding.
                while output.read(1 << 16):
                    pass
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            complaints.seek(0)
            raise _failed(command[0], complaints.read())
