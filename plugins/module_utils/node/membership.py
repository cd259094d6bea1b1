# Apache License 2.0 (see LICENSE)
"""Finds which Slurm cluster a machine belongs to already, and what would be disrupted if it were taken over.

Reads only, and only what slurmd itself uses, so that a machine of another cluster is recognised by the control
machine before anything is changed.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.node.processes import (
    Process,
    list_jobs,
    read,
    step_daemons,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import (
    CONF_FILES,
    SlurmConfig,
    SlurmConfigError,
)

# What a configless slurmd was given. The first is a link to it that slurmd makes when it starts.
_CACHED = (
    "run/slurm/conf/slurm.conf",
    "var/spool/slurm*/conf-cache/slurm.conf",
    "var/spool/slurm*/*/conf-cache/slurm.conf",
    "var/lib/slurm*/slurmd/conf-cache/slurm.conf",
)
# slurmd and what it starts use munge too; the rest shows which cluster they belong to.
_NOT_COUNTED = frozenset(("munged", "slurmd", "slurmstepd"))
_SLURMD_UNITS = frozenset(("slurmd.service", "slurmstepd.scope"))
_UNIT = re.compile(r"([^/\s]+\.(?:service|scope))(?=/|\s|$)")


class Options(NamedTuple):
    """Where slurmd takes its configuration from."""

    conf_server: str = ""
    conf_file: str = ""


def parse_options(argv: List[str]) -> Options:
    """Find the options that say where slurmd's configuration comes from.

    Args:
        argv: The arguments of slurmd.
    """
    conf_server, conf_file = "", ""
    for index, argument in enumerate(argv):
        following = argv[index + 1] if index + 1 < len(argv) else ""
        if argument == "--conf-server":
            conf_server = following
        elif argument.startswith("--conf-server="):
            conf_server = argument.partition("=")[2]
        else:
            # -f may stand behind options that take no value, as in -Df.
            found = re.match(r"-[bcCDGhMsvVZ]*f(.*)$", argument)
            conf_file = (found.group(1) or following) if found else conf_file
    return Options(conf_server, conf_file)


def configured_arguments(files: Iterable[str], root: str = "/") -> List[str]:
    """Return the arguments that the service slurmd is configured to start with.

    Args:
        files: Files, those among them that service units take SLURMD_OPTIONS from; the last one counts.
        root: Where the file system begins.
    """
    arguments: List[str] = []
    for path in files:
        text = (read(os.path.join(root, path.lstrip("/"))) or b"").decode("utf-8", "replace")
        for value in re.findall(r"^\s*SLURMD_OPTIONS=(.*)$", text, re.MULTILINE):
            try:
                # Once for the quotes of the file, once for the words within.
                arguments = shlex.split(" ".join(shlex.split(value)))
            except ValueError:
                arguments = value.split()
    return arguments


def _slurm_conf_variable(process: Process) -> str:
    environment = read(os.path.join(process.directory, "environ")) or b""
    found = re.search(rb"(?:^|\0)SLURM_CONF=([^\0]*)", environment)
    return found.group(1).decode("utf-8", "replace") if found else ""


def find_conf(options: Options, slurmd: Optional[Process], root: str = "/") -> Optional[str]:
    """Find the slurm.conf that slurmd works with, in slurmd's own order of precedence.

    Args:
        options: The options that slurmd runs with, or will start with.
        slurmd: The running slurmd; the configuration that was fetched earlier for one that is gone tells nothing.
        root: Where the file system begins.

    Returns:
        The file, or None when there is none.
    """
    cached = [path for pattern in _CACHED for path in glob.glob(os.path.join(root, pattern)) if os.path.exists(path)]
    newest = max(cached, key=os.path.getmtime) if cached else None
    if options.conf_server:
        return newest
    stated = options.conf_file or (_slurm_conf_variable(slurmd) if slurmd else "")
    for path in (stated,) if stated else CONF_FILES:
        place = os.path.join(root, path.lstrip("/"))
        if os.path.exists(place):
            return place
    # Without any of these slurmd finds its controller by DNS.
    return newest if slurmd else None


def _host(text: str) -> str:
    """Return the name in `host(address)` or `host:port`."""
    return re.sub(r"(\(.*\)|:\d+)$", "", text.strip())


def read_conf(path: str) -> Tuple[Optional[str], List[str]]:
    """Read which cluster a slurm.conf is of.

    Args:
        path: The file.

    Returns:
        ClusterName in lower case, as Slurm takes it, and the hosts of the controllers.

    Raises:
        SlurmConfigError: It can't be read.
    """
    config = SlurmConfig.load(path)
    hosts = [line.get("SlurmctldHost") for line in config.settings("SlurmctldHost")]
    # Names that Slurm has had until 18.08 and still reads.
    hosts = hosts or [config.value("ControlMachine"), config.value("BackupController")]
    return config.value("ClusterName").lower() or None, [_host(host) for host in hosts if host]


def munge_users(processes: List[Process]) -> List[str]:
    """List what uses munge beside slurmd and the jobs under it: programs that have loaded its library.

    Args:
        processes: The processes of the machine.

    Returns:
        Services, or names of programs that run outside one.
    """
    users = set()
    for process in processes:
        if process.name in _NOT_COUNTED or b"/libmunge.so" not in (
            read(os.path.join(process.directory, "maps")) or b""
        ):
            continue
        units = _UNIT.findall((read(os.path.join(process.directory, "cgroup")) or b"").decode("utf-8", "replace"))
        if not _SLURMD_UNITS & set(units):
            users.add(units[-1] if units and units[-1].endswith(".service") else process.name)
    return sorted(users)


def read_membership(
    processes: List[Process], slurmd: Optional[Process], files: Iterable[str] = (), root: str = "/"
) -> Tuple[Dict[str, Any], List[str]]:
    """Tell what a machine is part of.

    Args:
        processes: The processes of the machine.
        slurmd: The one of them that is slurmd, if it runs.
        files: Files, those among them that slurmd takes its options from when it is started.
        root: Where the file system begins.

    Returns:
        The dict `membership` as the module slurm_node_probe documents it, and what could not be read.
    """
    arguments = slurmd.argv[1:] if slurmd else configured_arguments(files, root)
    options = parse_options(arguments)
    conf = find_conf(options, slurmd, root)
    cluster_name, controllers, problems = None, [], []  # type: Optional[str], List[str], List[str]
    if conf:
        try:
            cluster_name, controllers = read_conf(conf)
        except SlurmConfigError as problem:
            problems.append(str(problem))
    munge_running = any(process.name == "munged" for process in processes)
    return {
        "slurmd_running": slurmd is not None,
        "slurmd_options": arguments,
        "conf_server": options.conf_server or None,
        "slurm_conf": conf,
        "cluster_name": cluster_name,
        "controllers": controllers or [_host(host) for host in options.conf_server.split(",") if host],
        "jobs": list_jobs(processes),
        "job_processes": len(step_daemons(processes)),
        "munge_running": munge_running,
        "munge_users": munge_users(processes) if munge_running else [],
    }, problems
