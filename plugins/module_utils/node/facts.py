# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Gathers the facts on which making a machine a compute node depends. Reads only; what is missing is None."""

from __future__ import annotations

import configparser
import glob
import grp
import hashlib
import os
import platform
import pwd
import re
import socket
import stat
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.files.ini_list_option import WordList
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import dpkg_state
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.firewall import firewall_facts
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.hardware import measure
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.hosts_file import read_entries
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.membership import read_membership
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.processes import (
    find_slurmd,
    list_processes,
    list_steps,
    read,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.supported_systems import local_system
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands

SERVICES = ("munge", "slurmd", "slurmctld")
ACCOUNTS = ("slurm", "munge")
_PACKAGES = ("munge*", "slurm*", "ohpc-slurm*")
_OURS = re.compile(r"munge|slurm|ohpc-slurm")
#: What dpkg calls a package with which all is well.
_DPKG_DONE = ("installed", "not-installed", "config-files")
_PROPERTIES = {
    "LoadState": "load",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "FragmentPath": "fragment",
    "MainPID": "main_pid",
    "Result": "result",
}

_SHOW = [
    "systemctl",
    "show",
    "--property=Id," + ",".join(_PROPERTIES),
    *(name + ".service" for name in (*SERVICES, "firewalld")),
]


def _blocks(text: str) -> Iterator[Dict[str, str]]:
    for block in re.split(r"\n\s*\n", text):
        yield dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def is_active(text: str, name: str) -> bool:
    """Say whether a service runs, by the answer to `systemctl show` of several units."""
    return any((one.get("Id"), one.get("ActiveState")) == (f"{name}.service", "active") for one in _blocks(text))


def parse_services(text: str) -> Dict[str, Optional[Dict[str, Any]]]:
    """Read `systemctl show` of several units.

    Args:
        text: Its output: blocks of KEY=VALUE with an empty line between units.

    Returns:
        For each of our services its state, or None when systemctl has no answer.
    """
    services: Dict[str, Optional[Dict[str, Any]]] = dict.fromkeys(SERVICES)
    for fields in _blocks(text):
        name = fields.get("Id", "").rpartition(".")[0]
        if name in services:
            state: Dict[str, Any] = {key: fields.get(source) or None for source, key in _PROPERTIES.items()}
            state["main_pid"] = int(state["main_pid"] or 0) or None
            services[name] = state
    return services


def package_query(family: Optional[str]) -> List[str]:
    """Return the command that lists packages: those of Slurm and munge, and of dpkg all, as any may be half done.

    Args:
        family: Family of the operating system; all but Debian's have rpm.
    """
    if family == "Debian":
        return ["dpkg-query", "-W", "-f", r"${db:Status-Status}\t${Package}\t${Version}\t${db:Status-Want}\n"]
    return ["rpm", "-qa", "--queryformat", r"installed\t%{NAME}\t%{VERSION}-%{RELEASE}\tinstall\n", *_PACKAGES]


class _Row(NamedTuple):
    """What a package is, its name and version, and what was asked for."""

    status: str
    name: str
    version: str
    want: str

    @property
    def unfinished(self) -> bool:
        """Whether dpkg was cut off: also a purge that has left configuration files, if nobody else asked for it."""
        half_purged = self.want == "purge" and self.status == "config-files" and _OURS.match(self.name)
        return self.status not in _DPKG_DONE or bool(half_purged)


def _rows(text: str) -> List[_Row]:
    columns = len(_Row._fields)
    return [_Row(*row) for row in (line.split("\t") for line in text.splitlines()) if len(row) == columns]


def parse_packages(text: str, family: Optional[str]) -> Dict[str, str]:
    """Read the answer to package_query().

    Args:
        text: Lines of status, name, version and what was asked for.
        family: Family of the operating system.

    Returns:
        Name and version of what is installed. Debian's package `slurm` is left out: it is a network monitor.
    """
    packages = {row.name: row.version for row in _rows(text) if row.status == "installed" and _OURS.match(row.name)}
    if family == "Debian":
        packages.pop("slurm", None)
    return packages


def half_done(text: str) -> List[str]:
    """Find packages that an installation left half done which was cut off, in the answer to package_query().

    Args:
        text: Lines of status, name, version and what was asked for.

    Returns:
        Names, in alphabetical order: of dpkg what is neither installed nor away as it was asked for, of rpm what is
        there in two versions, as its upgrade removes the old one last.
    """
    rows = _rows(text)
    unfinished = {row.name for row in rows if row.unfinished}
    versions = {(row.name, row.version) for row in rows if row.status == "installed" and _OURS.match(row.name)}
    names = [name for name, _version in versions]
    return sorted(unfinished | {name for name in names if names.count(name) > 1})


def dnf_repositories(root: str = "/") -> Dict[str, bool]:
    """List the repositories that dnf knows.

    Args:
        root: Where the file system begins.

    Returns:
        Whether each is enabled, by its id.
    """
    found: Dict[str, bool] = {}
    for path in sorted(glob.glob(os.path.join(root, "etc/yum.repos.d/*.repo"))):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string((read(path) or b"").decode("utf-8", "replace"))
        except configparser.Error:
            continue
        for name in parser.sections():
            value = parser.get(name, "enabled", fallback="1").strip().lower()
            found[name] = value in {"1", "yes", "true", "on"}
    return found


def account_facts() -> Tuple[Dict[str, Optional[Dict[str, Any]]], Dict[str, Optional[int]]]:
    """Look the users and groups slurm and munge up.

    Returns:
        Users with uid, gid, group and home, and the gids of the groups; None for what does not exist.
    """
    users: Dict[str, Optional[Dict[str, Any]]] = {}
    groups: Dict[str, Optional[int]] = {}
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
            users[name] = {
                "uid": entry.pw_uid,
                "gid": entry.pw_gid,
                "group": _name(grp.getgrgid, entry.pw_gid),
                "home": entry.pw_dir,
            }
        except KeyError:
            users[name] = None
        try:
            groups[name] = grp.getgrnam(name).gr_gid
        except KeyError:
            groups[name] = None
    return users, groups


def account_ids(root: str = "/") -> Dict[str, Dict[str, str]]:
    """Tell who has which number on this machine itself, without asking a directory service.

    Args:
        root: Where the file system begins.

    Returns:
        uids and gids, each as {number: name}.
    """
    found: Dict[str, Dict[str, str]] = {}
    for key, path in (("uids", "etc/passwd"), ("gids", "etc/group")):
        text = (read(os.path.join(root, path)) or b"").decode("utf-8", "replace")
        entries = re.findall(r"^([^:#+\-\s][^:\s]*):[^:]*:(\d+):", text, re.MULTILINE)
        found[key] = {}
        for name, number in entries:
            found[key].setdefault(number, name)
    return found


def _name(lookup: Any, number: int) -> Optional[str]:
    try:
        name: str = lookup(number)[0]
    except KeyError:
        return None
    return name


def file_facts(path: str) -> Dict[str, Any]:
    """Describe a file, never its content.

    Args:
        path: The file; links are followed.

    Returns:
        exists, kind, link, sha256 (of files that can be read), mode, owner, group, uid, gid.
    """
    facts: Dict[str, Any] = dict.fromkeys(("kind", "sha256", "mode", "owner", "group", "uid", "gid"))
    facts.update(exists=False, link=os.path.islink(path))
    try:
        info = os.stat(path)
    except OSError:
        return facts
    regular = stat.S_ISREG(info.st_mode)
    content = read(path) if regular else None
    facts.update(
        exists=True,
        kind="file" if regular else "directory" if stat.S_ISDIR(info.st_mode) else "other",
        sha256=None if content is None else hashlib.sha256(content).hexdigest(),
        mode=f"{stat.S_IMODE(info.st_mode):04o}",
        owner=_name(pwd.getpwuid, info.st_uid),
        group=_name(grp.getgrgid, info.st_gid),
        uid=info.st_uid,
        gid=info.st_gid,
    )
    return facts


def listed_words(item: Dict[str, Any]) -> List[str]:
    """Return the words that an option of a file lists.

    Args:
        item: Path of the file, section and options, the names of the option.

    Returns:
        The words; none when the file can't be read.
    """
    text = (read(item["path"]) or b"").decode("utf-8", "replace")
    return WordList(item["section"], tuple(item["options"])).words(text)


def free_megabytes(path: str) -> Optional[int]:
    """Tell the free space where a path is or, as long as it does not exist, would be made.

    Args:
        path: An absolute path.

    Returns:
        Megabytes, or None when it is not known.
    """
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    try:
        info = os.statvfs(path)
    except OSError:
        return None
    return info.f_bavail * info.f_frsize // 2**20


def _fqdn(timeout: float) -> Optional[str]:
    """Ask for the full name without waiting for a resolver that does not answer."""
    names: List[str] = []
    thread = threading.Thread(target=lambda: names.append(socket.getfqdn()), daemon=True)
    thread.start()
    thread.join(timeout)
    return names[0] if names else None


def probe(
    files: List[str],
    words: List[Dict[str, Any]],
    disks: List[str],
    munge_key: str,
    *,
    credential: bool = False,
    timeout: float = 10,
    peer: Callable[[], str] = str,
) -> Dict[str, Any]:
    """Gather the facts of this machine.

    Args:
        files: Files to describe beside the munge key, those among them that slurmd takes its options from.
        words: Options of files whose words are wanted, each with path, section and options.
        disks: Paths whose free space is wanted.
        munge_key: Where munge's key is.
        credential: Make a munge credential, for the controller to decode.
        timeout: Seconds for each command.
        peer: Tells the address of a machine of the cluster, for the firewall that has rules for where it comes from.

    Returns:
        The node as the module slurm_node_probe documents it.
    """
    problems: List[str] = []

    def ask(argv: Sequence[str], accepted: Tuple[int, ...] = (0,)) -> Optional[str]:
        result = commands.run(argv, timeout=timeout)
        if result.rc not in (*accepted, commands.NOT_FOUND):
            problems.append(f"{' '.join(argv[:2])}: {result.message}")
        return result.stdout if result.rc in accepted else None

    system = local_system()
    packages = ask(package_query(system["family"]), (0, 1))  # 1 from dpkg-query: a pattern matches nothing
    units = ask(_SHOW) or ""
    services = parse_services(units)
    hardware, problem = measure(timeout)
    if problem:
        problems.append(problem)
    users, groups = account_facts()
    processes = list_processes()
    slurmd = find_slurmd(processes, (services["slurmd"] or {}).get("main_pid"))
    membership, unread = read_membership(processes, slurmd, files)
    problems.extend(unread)
    return {
        "os": system,
        "python": platform.python_version(),
        "no_proxy": os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "",
        "uid": os.geteuid(),
        "hostname": socket.gethostname(),
        "fqdn": _fqdn(2),
        "packages": None if packages is None else parse_packages(packages, system["family"]),
        "half_done": half_done(packages or "") + (["dpkg"] if dpkg_state.was_cut_off() else []),
        "repositories": dnf_repositories(),
        "firewall": firewall_facts(is_active(units, "firewalld"), ask, peer=peer),
        "hosts_file": read_entries(),
        "services": services,
        "users": users,
        "groups": groups,
        "account_ids": account_ids(),
        "files": {path: file_facts(path) for path in (munge_key, *files)},
        "words": {item["path"]: listed_words(item) for item in words},
        "hardware": hardware,
        "slurm_version": commands.installed_version("slurmd", timeout),
        "slurmd_args": slurmd.argv if slurmd else None,
        "membership": membership,
        "munge_credential": ((ask(["munge", "-n"]) or "").strip() or None) if credential else None,
        "steps": list_steps(processes),
        "disks": {path: free_megabytes(path) for path in disks},
        "problems": problems,
        "time": time.time(),
    }
