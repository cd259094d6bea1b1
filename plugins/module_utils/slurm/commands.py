# Apache License 2.0 (see LICENSE)
"""Runs Slurm's commands. Standard library only: modules bring this to the controller and to the nodes."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import parsers, versions

TIMED_OUT = 124
NOT_FOUND = 127


class SlurmCommandError(FailureError):
    """A command of Slurm is missing, took too long or returned an error."""

    def __init__(self, reason: str, remedy: str = "", code: Code = Code.SLURM_COMMAND_FAILED) -> None:
        super().__init__(code, reason, remedy)


class CommandResult(NamedTuple):
    """What a command did. `rc` is 124 when it took too long and 127 when it isn't installed."""

    argv: Tuple[str, ...]
    rc: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def message(self) -> str:
        """One line for a person: the error that the command printed, or else its return code."""
        said = " ".join((self.stderr.strip() or self.stdout.strip()).split())
        return said or f"{self.argv[0]} returned {self.rc} without a message"


def run(
    argv: Sequence[str],
    timeout: float = 30,
    conf: Optional[str] = None,
    stdin: Optional[str] = None,
    environment: Optional[Mapping[str, str]] = None,
) -> CommandResult:
    """Run a command without a shell and never longer than `timeout` seconds.

    Args:
        argv: The program and its arguments.
        timeout: Seconds after which it is killed and rc is 124.
        conf: A slurm.conf for Slurm's commands to use in place of their default.
        stdin: Text for its standard input.
        environment: All of its environment but the path, where a job inherits it; this process's own when None.
    """
    own = dict(os.environ, LC_ALL="C", SLURM_TIME_FORMAT="standard")
    env = own if environment is None else {"PATH": own.get("PATH", "/usr/bin:/bin"), **environment}
    # Debian's root reaches sbin by default, an ssh session of other systems may not.
    env["PATH"] = env.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin"
    if conf:
        env["SLURM_CONF"] = conf
    begun = time.monotonic()
    try:
        done = subprocess.run(
            list(argv),
            input=None if stdin is None else stdin.encode(),
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            env=env,
            check=False,
        )
        rc, out, err = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        rc, out = TIMED_OUT, late.stdout or b""
        err = (late.stderr or b"") + f"\n{' '.join(argv)} gave no answer within {timeout:g} s".encode()
    except OSError as problem:
        rc, out, err = NOT_FOUND, b"", f"cannot run {argv[0]}: {problem.strerror}".encode()
    seconds = time.monotonic() - begun
    return CommandResult(tuple(argv), rc, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), seconds)


def scontrol(args: Sequence[str], timeout: float = 30, conf: Optional[str] = None) -> str:
    """Return what `scontrol ARGS` prints.

    Raises:
        SlurmCommandError: It is missing, took too long or failed; the message holds what Slurm said.
    """
    result = run(["scontrol", *args], timeout=timeout, conf=conf)
    if result.rc == NOT_FOUND:
        raise SlurmCommandError(
            f"scontrol is needed, but {result.message}.",
            "Install Slurm's client commands on this host.",
            Code.SLURM_COMMAND_MISSING,
        )
    if result.rc != 0:
        raise SlurmCommandError(f"scontrol {' '.join(args)}: {result.message}")
    return result.stdout


def installed_version(program: str = "scontrol", timeout: float = 15) -> Optional[str]:
    """Return the version that `PROGRAM -V` tells, or None when it isn't installed."""
    result = run([program, "-V"], timeout=timeout)
    return versions.version_text(versions.version_tuple(result.stdout)) or None if result.rc == 0 else None


def ping(timeout: float = 15, conf: Optional[str] = None) -> List[Dict[str, object]]:
    """Ask which controllers answer. Empty when scontrol itself can't even read its configuration."""
    return parsers.parse_ping(run(["scontrol", "ping"], timeout=timeout, conf=conf).stdout)


def answers(timeout: float = 15, conf: Optional[str] = None) -> bool:
    """Say whether some slurmctld of this cluster is up."""
    return any(controller["up"] for controller in ping(timeout, conf))


def show_nodes(timeout: float = 30, conf: Optional[str] = None) -> Dict[str, Dict[str, Any]]:
    """Return all nodes that the controller knows, also those hidden from ordinary users."""
    return parsers.parse_nodes(scontrol(["--all", "--oneliner", "show", "node"], timeout, conf))


def show_partitions(timeout: float = 30, conf: Optional[str] = None) -> Dict[str, Dict[str, object]]:
    """Return all partitions that the controller knows."""
    return parsers.parse_partitions(scontrol(["--all", "--oneliner", "show", "partition"], timeout, conf))


def show_config(timeout: float = 30, conf: Optional[str] = None) -> Dict[str, str]:
    """Return the configuration with which the controller runs."""
    return parsers.parse_config(scontrol(["show", "config"], timeout, conf))
