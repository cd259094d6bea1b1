# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Finds how the slurmctld of this host is installed: its unit, its slurm.conf and where Slurm's commands are."""

from __future__ import annotations

import os
import re
from typing import Dict, List, NamedTuple, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import slurmctld_service
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import CONF_FILES

#: The unit of the packages.
SERVICE = "slurmctld"
_EXEC_START = re.compile(r"argv\[\]=(.*?) ;")


class Installation(NamedTuple):
    """How slurmctld is installed.

    Attributes:
        service: Its unit, without `.service`.
        stated_conf: The slurm.conf that was stated or that slurmctld was started with; None when nobody stated one.
        program: The path of slurmctld, empty when it was not found.
    """

    service: str
    stated_conf: Optional[str]
    program: str

    @property
    def conf(self) -> str:
        """The slurm.conf: the stated one, else the one where slurmctld's program or a package looks for it."""
        prefix = os.path.dirname(os.path.dirname(self.program)) if self.program else ""
        places = ([os.path.join(prefix, "etc/slurm.conf")] if prefix else []) + list(CONF_FILES)
        return self.stated_conf or next(filter(os.path.exists, places), CONF_FILES[0])

    @property
    def directories(self) -> List[str]:
        """Where Slurm's commands are, apart from the usual places."""
        prefix = os.path.dirname(os.path.dirname(self.program)) if self.program else ""
        return [os.path.join(prefix, name) for name in ("bin", "sbin")] if prefix not in ("", "/", "/usr") else []

    @property
    def environment(self) -> Dict[str, str]:
        """Return the variables with which Slurm's commands work on this host."""
        path = os.environ.get("PATH", "/usr/bin:/bin").split(":")
        return {
            "PATH": ":".join([one for one in self.directories if one not in path] + path),
            **({"SLURM_CONF": self.conf} if self.stated_conf or os.path.exists(self.conf) else {}),
        }


def use_installation(conf: Optional[str] = None, service: Optional[str] = None) -> Installation:
    """Find the installation, and let this process find Slurm's commands.

    Args:
        conf: The slurm.conf, when it is stated.
        service: The unit, when it is stated.
    """
    found = _of_process(service) or _of_unit(service) or Installation(service or SERVICE, None, "")
    os.environ["PATH"] = found.environment["PATH"]
    return found._replace(stated_conf=conf or found.stated_conf)


def _of_process(service: Optional[str]) -> Optional[Installation]:
    unit = slurmctld_service.unit_properties(service or SERVICE)
    pid = int(unit.get("MainPID") or 0) or slurmctld_service.find_process("slurmctld")
    program = slurmctld_service.process_program(pid) if pid else ""
    # It is kept from ordinary users, as is the environment of the process.
    if not program:
        return None
    name = slurmctld_service.unit_of(pid) or SERVICE
    argv = slurmctld_service.process_args(pid)
    conf = slurmctld_service.option_value(argv, "f") or slurmctld_service.process_variable(pid, "SLURM_CONF")
    return Installation(service or name, conf or None, program)


def _of_unit(service: Optional[str]) -> Optional[Installation]:
    """Find the unit of a slurmctld that does not run, or whose process this user can't read; one that runs first."""
    wanted = f"{service}.service" if service else "*.service"
    properties = "--property=Id,MainPID,ExecStart,Environment,EnvironmentFiles"
    shown = commands.run(["systemctl", "show", "--all", properties, wanted], timeout=15)
    found = []
    for block in shown.stdout.split("\n\n") if shown.rc == 0 else []:
        unit = dict(line.partition("=")[::2] for line in block.splitlines())
        started = _EXEC_START.search(unit.get("ExecStart", ""))
        argv = started.group(1).split() if started else []
        if argv and os.path.basename(argv[0]) == "slurmctld":
            pid = int(unit.get("MainPID") or 0)
            conf = slurmctld_service.option_value(slurmctld_service.process_args(pid) or argv, "f")
            conf = conf or _variable_of_unit(block)
            found.append((not pid, Installation(unit["Id"][: -len(".service")], conf or None, argv[0])))
    return min(found, key=lambda one: one[0])[1] if found else None


def _variable_of_unit(properties: str) -> str:
    """Return the SLURM_CONF that a unit states, itself or in a file; empty when it states none."""
    stated = re.search(r"^Environment=(?:.*\s)?\"?SLURM_CONF=([^\s\"]+)", properties, re.MULTILINE)
    for path in re.findall(r"^EnvironmentFiles=(.*) \(ignore_errors=", properties, re.MULTILINE):
        text = slurmctld_service.read_text(path)
        # systemd lets a file win over the unit, and the last one over the others.
        stated = re.search(r"^\s*SLURM_CONF=[\"']?([^\s\"']+)", text, re.MULTILINE) or stated
    return stated.group(1) if stated else ""
