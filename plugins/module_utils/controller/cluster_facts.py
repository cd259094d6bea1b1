# Apache License 2.0 (see LICENSE)
"""Describes a cluster from its controller: what slurmctld answers, and what files and systemd tell when it doesn't."""

from __future__ import annotations

import contextlib
import glob
import grp
import hashlib
import ipaddress
import os
import pwd
import re
import socket
import stat
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_files import FileSet
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.managed_nodes_conf import (
    GRES_FILE,
    NODE_FILE,
    read_autodetect,
    read_gres,
    read_nodes,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.slurmctld_service import (
    describe_daemon,
    journal_lines,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.supported_systems import local_system
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands, hostlist, parsers
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import (
    SlurmConfig,
    SlurmConfigError,
    Statement,
    nodes_of,
    partitions_of,
    read_text,
)

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.installation import Installation

MUNGE_KEY = "/etc/munge/munge.key"
#: Settings that other steps decide on. Those of the database's password are left out on purpose.
CONFIG_KEYS = (
    "AccountingStorageType", "AuthType", "ClusterName", "CommunicationParameters", "CredType", "GresTypes", "HASH_VAL",
    "JobAcctGatherType", "LaunchParameters", "MaxNodeCount", "MpiDefault", "MessageTimeout", "PluginDir",
    "PlugStackConfig", "PrologFlags", "ProctrackType", "ReturnToService", "SchedulerType", "SelectType",
    "SelectTypeParameters", "SlurmUser", "SlurmctldParameters", "SlurmctldPort", "SlurmctldTimeout",
    "SlurmdLogFile", "SlurmdParameters", "SlurmdPidFile", "SlurmdPort", "SlurmdSpoolDir", "SlurmdTimeout", "SlurmdUser",
    "SrunPortRange", "StateSaveLocation", "SwitchType", "TaskPlugin", "TopologyPlugin", "TreeWidth",
    "UnkillableStepTimeout",
)  # fmt: skip
_PROGRAM = re.compile(r"^(Prolog|Epilog|TaskProlog|TaskEpilog|HealthCheckProgram)(\[\d+\])?$")
_CONF_NAME = re.compile(r"^[\w.-]+\.(conf|yaml)$")
# These hold passwords, and nodes never need them.
_PRIVATE = frozenset(("slurmdbd.conf",))


def describe(installation: Installation, munge_key: str, timeout: float) -> Dict[str, Any]:
    """Return the description of the cluster whose controller this host is; nothing is changed."""
    daemon = describe_daemon(installation.service)
    conf = installation.conf
    asked = _ask(conf, timeout)
    config = _config(conf) if asked["nodes"] else None
    defined = _defined(config)
    for name, node in asked["nodes"].items():
        line = defined.get(name)
        node["defined_in"] = line.where if line else ""
        node["managed"] = line is not None and os.path.basename(line.path) == NODE_FILE
    settings = asked["config"] or _settings_from_files(conf, asked)
    slurm_user = re.sub(r"\(.*", "", settings.get("SlurmUser", "root" if settings else "slurm"))
    failure = _failure(conf, daemon, asked)
    system = local_system()
    cluster = {
        "answering": asked["answering"],
        "message": failure.message if failure else "",
        "failure": failure.as_dict() if failure else None,
        "version": asked["config"].get("SLURM_VERSION") or commands.installed_version("slurmctld") or "",
        "name": settings.get("ClusterName", ""),
        "cluster_name": settings.get("ClusterName", ""),
        "conf_file": conf,
        "environment": installation.environment,
        "conf_dir": os.path.dirname(os.path.realpath(conf)),
        "configless": "enable_configless" in settings.get("SlurmctldParameters", "").lower(),
        "port": _port(settings, "SlurmctldPort", 6817),
        "slurmd_port": _port(settings, "SlurmdPort", 6818),
        "controllers": _with_addresses(asked["controllers"], asked["hosts"]),
        "config": {key: settings[key] for key in CONFIG_KEYS if key in settings},
        "node_programs": {**_programs(settings), **_plugins(os.path.dirname(conf), settings)},
        "nodes": asked["nodes"],
        "registered": _registered(config),
        "gres_autodetect": _autodetect(conf),
        "interrupted": FileSet(conf).interrupted() is not None,
        "partitions": asked["partitions"],
        "reservations": asked["reservations"],
        "users": {"slurm": _user(slurm_user), "munge": _user("munge")},
        "munge_key": dict(_file(munge_key), path=munge_key),
        "daemon": daemon,
        "time": time.time(),
        "addresses": local_addresses(),
        "os": {name: system[name] for name in ("id", "version_id", "pretty")},
        "files": _conf_files(os.path.dirname(os.path.realpath(conf))),
    }
    # On many clusters SlurmUser isn't called slurm: `slurm` is whoever slurmctld runs as.
    cluster["slurm_user"] = slurm_user
    return cluster


def _ask(conf: str, timeout: float) -> Dict[str, Any]:
    """Ask slurmctld. One question that it doesn't answer ends the asking, as each waits for its own time-out."""
    asked: Dict[str, Any] = {"config": {}, "nodes": {}, "partitions": {}, "controllers": [], "problem": ""}
    asked["hosts"] = []
    asked["reservations"] = {}
    ping = commands.run(["scontrol", "ping"], timeout=timeout, conf=conf)
    asked["controllers"] = parsers.parse_ping(ping.stdout)
    asked["answering"] = any(one["up"] for one in asked["controllers"])
    if not asked["answering"]:
        asked["problem"] = "" if asked["controllers"] else ping.message
        return asked
    try:
        asked["config"] = commands.show_config(timeout, conf)
        asked["hosts"] = [value for key, value in asked["config"].items() if key.startswith("SlurmctldHost")]
        asked["nodes"] = commands.show_nodes(timeout, conf)
        asked["partitions"] = commands.show_partitions(timeout, conf)
        asked["reservations"] = _reservations(timeout, conf)
    except commands.SlurmCommandError as problem:
        asked.update(answering=False, problem=str(problem))
    return asked


def _reservations(timeout: float, conf: str) -> Dict[str, Dict[str, Any]]:
    """Return all reservations, also those to come, each with its nodes by name."""
    text = commands.scontrol(["--all", "--oneliner", "show", "reservation"], timeout, conf)
    return {
        name: dict(reservation._asdict(), nodes=hostlist.expand(reservation.nodes, conf))
        for name, reservation in parsers.parse_reservations(text).items()
    }


def _config(conf: str) -> Optional[SlurmConfig]:
    try:
        return SlurmConfig.load(conf)
    except (SlurmConfigError, OSError):
        return None


def _defined(config: Optional[SlurmConfig]) -> Dict[str, Statement]:
    """Return the line that defines each node; none for dynamic nodes."""
    if not config:
        return {}
    try:
        lines = nodes_of(config, lambda text: hostlist.expand(text, config.path))
    except commands.SlurmCommandError:
        return {}
    return {name: line.statement for name, line in lines.items()}


def _registered(config: Optional[SlurmConfig]) -> Dict[str, Dict[str, Any]]:
    """Return what slurm_nodes wrote of each node; nothing when that can't be read."""
    if not config:
        return {}
    gres_text = ""
    try:
        with contextlib.suppress(FileNotFoundError):
            gres_text = read_text(os.path.join(os.path.dirname(config.path), GRES_FILE))
        path = config.include_path(NODE_FILE)
        nodes = read_nodes(config, path, lambda text: hostlist.expand(text, config.path))
    except (commands.SlurmCommandError, OSError):
        return {}
    gres = read_gres(gres_text)
    return {name: {"params": params, "gres_lines": gres.get(name, [])} for name, params in nodes.items()}


def _autodetect(conf: str) -> Dict[str, str]:
    """Return the AutoDetect of gres.conf by node, and under an empty name that of all others."""
    found: Dict[str, str] = {}
    with contextlib.suppress(OSError, commands.SlurmCommandError):
        for nodes, way in read_autodetect(read_text(os.path.join(os.path.dirname(conf), GRES_FILE))):
            found.update(dict.fromkeys(hostlist.expand(nodes, conf) if nodes else [""], way))
    return found


def _settings_from_files(conf: str, asked: Dict[str, Any]) -> Dict[str, str]:
    """Read the settings, controllers and partitions that slurm.conf tells when slurmctld doesn't."""
    try:
        config = SlurmConfig.load(conf)
    except SlurmConfigError as problem:
        asked["problem"] = asked["problem"] or str(problem)
        return {}
    hosts = [line.get("SlurmctldHost") for line in config.settings("SlurmctldHost")]
    hosts = hosts or [config.value("ControlMachine")] * bool(config.value("ControlMachine"))
    asked["hosts"] = hosts
    asked["controllers"] = asked["controllers"] or [
        {"host": host.partition("(")[0], "mode": "backup" if index else "primary", "up": False}
        for index, host in enumerate(hosts)
    ]
    asked["partitions"] = {
        name: {
            "nodes": found["nodes"],
            "default": found["statement"].get("Default").upper() == "YES",
            "state": found["statement"].get("State", "UP").upper(),
            "total_nodes": None,
        }
        for name, found in partitions_of(config).items()
    }
    return {key: config.value(key) for key in CONFIG_KEYS if config.settings(key)}


def _failure(conf: str, daemon: Dict[str, Any], asked: Dict[str, Any]) -> Optional[Failure]:
    """Return why slurmctld does not answer; None when it does."""
    if asked["answering"]:
        return None
    unit = f"{daemon['unit']}.service"
    if daemon["load"] != "loaded" and not daemon["main_pid"]:
        return Failure(
            Code.SERVICE_MISSING,
            f"slurmctld is not on this host: systemd has no unit {unit} and no process of that name runs.",
            "Point the group slurm_controllers at the host that runs slurmctld, or set one up by "
            "playbooks/setup_controller.yml.",
        )
    if not os.path.exists(conf):
        reason = f"slurmctld is installed, but {conf} is missing."
        return Failure(Code.CONFIGURATION_UNREADABLE, reason, "Set the cluster up, or name its slurm.conf.")
    state = f"runs as process {daemon['main_pid']}" if daemon["main_pid"] else "is not running"
    problem = f" Slurm says: {asked['problem'].rstrip('.')}." if asked["problem"] else ""
    lines = journal_lines(daemon["unit"], 8)
    journal = f"\nIts last journal lines:\n{lines}" if lines else ""
    return Failure(
        Code.CONTROLLER_NOT_ANSWERING,
        f"slurmctld does not answer: it {state}, {unit} is {daemon['active']}/{daemon['sub']}.{problem}{journal}",
        "Repair or start it, then run again.",
    )


def _programs(settings: Dict[str, str]) -> Dict[str, str]:
    """Return the programs that slurmd runs on nodes, by the parameter that names them; of a pattern its directory."""
    named = {key: value for key, value in settings.items() if _PROGRAM.match(key) and value.startswith("/")}
    return {key: os.path.dirname(path) if set("*?[") & set(path) else path for key, path in named.items()}


def _plugins(directory: str, settings: Dict[str, str]) -> Dict[str, str]:
    """Return the plugins that plugstack.conf calls required, without which jobs fail, with their path."""
    found: Dict[str, str] = {}
    waiting = [settings.get("PlugStackConfig") or os.path.join(directory, "plugstack.conf")]
    seen = set(waiting)
    while waiting:
        try:
            lines = read_text(waiting.pop()).splitlines()
        except OSError:
            continue
        for kind, path in re.findall(r"(?m)^\s*(required|include)\s+(/\S+)", "\n".join(lines)):
            if kind == "required":
                found[f"plugin {os.path.basename(path)}"] = path
            else:
                more = sorted(set(glob.glob(path)) - seen)
                waiting += more
                seen |= set(more)
    return found


def _port(settings: Dict[str, str], key: str, default: int) -> int:
    """Return a port; of a range such as 6817-6820 the first."""
    found = re.match(r"\d+", settings.get(key, ""))
    return int(found.group()) if found else default


def _user(name: str) -> Optional[Dict[str, Any]]:
    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        return None
    try:
        group = grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        group = str(entry.pw_gid)
    return {"uid": entry.pw_uid, "gid": entry.pw_gid, "group": group, "name": entry.pw_name}


def _file(path: str) -> Dict[str, Any]:
    """Return a file's fingerprint and rights, never its content."""
    found = {"exists": False, "sha256": None, "mode": None, "owner": None, "group": None}  # type: Dict[str, Any]
    try:
        status = os.stat(path)
    except OSError:
        return found
    found.update(exists=True, mode=f"{stat.S_IMODE(status.st_mode):04o}")
    found["owner"] = _name(pwd.getpwuid, status.st_uid)
    found["group"] = _name(grp.getgrgid, status.st_gid)
    try:
        with open(path, "rb") as stream:
            found["sha256"] = hashlib.sha256(stream.read()).hexdigest()
    except OSError:
        found["sha256"] = None
    return found


def _name(lookup: Any, number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def _conf_files(directory: str) -> Dict[str, Dict[str, Any]]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return {}
    wanted = (name for name in names if _CONF_NAME.match(name) and name not in _PRIVATE)
    return {name: _file(os.path.join(directory, name)) for name in wanted}


def local_addresses() -> Dict[str, Any]:
    """Return the names and addresses by which other hosts reach this one."""
    host = socket.gethostname()
    result = commands.run(["ip", "-o", "addr", "show", "scope", "global"], timeout=10)
    ips = re.findall(r"\binet6? ([0-9a-fA-F.:]+)/", result.stdout) if result.rc == 0 else []
    if not ips:
        try:
            ips = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None)})
        except OSError:
            ips = []
    return {"hostname": host, "fqdn": socket.getfqdn(), "ips": ips}


def _with_addresses(controllers: List[Dict[str, Any]], stated: List[str]) -> List[Dict[str, Any]]:
    """Add to each controller all addresses by which a node's configuration may name it.

    Args:
        controllers: The controllers.
        stated: The values of SlurmctldHost, such as `ctl1(10.0.0.2)`.
    """
    given = dict(value.rstrip(")").split("(", 1) for value in stated if "(" in value)
    local = local_addresses()
    own = (local["hostname"], local["fqdn"], local["hostname"].partition(".")[0])
    described = []
    for controller in controllers:
        host = str(controller["host"])
        found = {given[host]} if host in given else set()
        with contextlib.suppress(OSError, UnicodeError):
            found |= {str(entry[4][0]) for entry in socket.getaddrinfo(given.get(host, host), None)}
        found |= set(local["ips"]) if host in own else set()
        described.append(dict(controller, addresses=sorted(address for address in found if not _is_loopback(address))))
    return described


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
