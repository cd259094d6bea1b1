#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module apphub_apt."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_apt
short_description: Install packages from AppHub with apt
version_added: "0.1.0"
description:
  - Reads AppHub's list, and no other. All lists of a distribution take longer than everything else. Only when AppHub
    lacks a dependency the others are read as well, which on a fresh image are empty. What is missing then is reported
    for each package, with where it was looked for, before anything is installed.
  - Waits for whoever installs packages already, such as unattended upgrades, and keeps needrestart from restarting
    services.
  - Finishes an installation or a removal that was cut off, by a cancel for instance; apt would refuse to go on. A
    package that was only half unpacked is removed first, because apt has no archive of the pinned version; it is
    installed again where other packages depend on it. A removal is brought to its end, and what is wanted is installed
    again.
  - Then installs O(packages) in one transaction, in one module run for what would be two with M(ansible.builtin.apt),
    which reads all lists or none. Services are not started meanwhile, because whoever configures them does; a
    policy-rc.d of the administrator comes back afterwards, also when an earlier run was cut off.
  - With O(version), makes exactly one version of Slurm apt's candidate, permanently. An upgrade of the system does
    not change it, whatever AppHub publishes later.
options:
  url:
    description: Address of the AppHub. Without it, only what was cut off is finished.
    type: str
  source:
    description: File that names the AppHub as a source of apt.
    type: path
    default: /etc/apt/sources.list.d/apphub.sources
  exclusive:
    description: Patterns of the names of packages that come from AppHub. Only such are removed, or what apt was
      removing with them.
    type: list
    elements: str
    required: true
  version:
    description: Version of Slurm, whole or its beginning, such as V(24.11), of which the newest is taken.
    type: str
    default: ""
  packages:
    description:
      - Packages to install. Those whose names begin with C(slurm) get the O(version); of others, an installed one stays
        as it is.
    type: list
    elements: str
    default: []
  lock_timeout:
    description: Seconds to wait until nobody else installs packages.
    type: float
    required: true
  preferences:
    description: File with the candidate. It is removed when no O(version) is stated.
    type: path
    default: /etc/apt/preferences.d/00apphub-version.pref
attributes:
  check_mode:
    description: Reads AppHub's list, tells what would be changed and installed, and changes nothing else.
    support: full
  diff_mode:
    description: Shows the file with the candidate before and after, and what is installed.
    support: full
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Install slurmd and munge
  ai_infra.slurm.apphub_apt:
    url: http://apphub:8081
    exclusive: ["slurm*", "libslurm*", "munge*", "libmunge*"]
    version: "24.11"
    packages: [munge, slurmd]
    lock_timeout: 600
"""

RETURN = r"""
version:
  description: The whole version that is the candidate; empty when O(version) is.
  returned: success
  type: str
  sample: 24.11.5-4
installed:
  description: Packages that were installed or changed, with all that came along.
  returned: success
  type: list
  elements: str
  sample: [libmunge2, munge, slurmd]
repaired:
  description: What was done about an installation that was cut off.
  returned: success
  type: list
  elements: str
  sample: ["dpkg --configure --pending --force-confold"]
"""

import contextlib
import fnmatch
import os
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import install_failures
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError, fail
from ansible_collections.ai_infra.slurm.plugins.module_utils.files import options as file_options
from ansible_collections.ai_infra.slurm.plugins.module_utils.files import writer as node_files
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import apt_locks, dpkg_state
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands as slurm_commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.versions import is_version

ARGUMENTS = {
    "url": {"type": "str"},
    "source": {"type": "path", "default": "/etc/apt/sources.list.d/apphub.sources"},
    "exclusive": {"type": "list", "elements": "str", "required": True},
    "version": {"type": "str", "default": ""},
    "packages": {"type": "list", "elements": "str", "default": []},
    "lock_timeout": {"type": "float", "required": True},
    "preferences": {"type": "path", "default": "/etc/apt/preferences.d/00apphub-version.pref"},
}
CANDIDATE = """\
# Managed by the role apphub-client.
Explanation: the version that the last run stated; another one by playbooks/upgrade_nodes.yml
Package: slurm* libslurm*
Pin: version {0}
Pin-Priority: 995
"""
# dpkg works on while a run that began it is gone; half an hour is more than the slowest disk needs.
_DPKG_SECONDS = 1800
# Left to itself, apt tries a server that does not answer for four minutes.
UPDATE_ALL = (
    "apt-get", "update", "--quiet",
    "--option=DPkg::Lock::Timeout=120",
    "--option=Acquire::http::Timeout=10",
    "--option=Acquire::https::Timeout=10",
    "--option=Acquire::Retries=1",
)  # fmt: skip
UPDATE = (
    *UPDATE_ALL,
    "--option=Dir::Etc::sourceparts=-",
    "--option=APT::Get::List-Cleanup=false",
    "--option=APT::Update::Error-Mode=any",
)

INSTALL = (
    "apt-get", "install", "--quiet", "--yes", "--no-install-recommends",
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
    "--option=DPkg::Lock::Timeout=120",
)  # fmt: skip
# A package that can't be installed, and below it what it needs, each but the first without its name.
_UNMET = re.compile(r"^ (?:(\S+) :)? +(?:Pre-)?Depends: (.+) but (.+)$", re.MULTILINE)
_LEFT_OUT = "it is not going to be installed"


def finish_interrupted(exclusive: List[str]) -> List[str]:
    """Finish what an installation or a removal left that was cut off.

    Args:
        exclusive: Patterns of the packages that may be removed.

    Returns:
        The commands that this took; none when nothing was left.
    """
    journal = dpkg_state.has_journal()
    removals = _plan_removals(_read_packages(exclusive), journal=journal)
    before = slurm_commands.run(["dpkg", "--audit"]).stdout
    commands = list(removals)
    if before or journal:
        commands.append(["dpkg", "--configure", "--pending", "--force-confold"])
    if commands:
        with no_service_starts():
            for command in commands:
                slurm_commands.run(command, timeout=_DPKG_SECONDS)
        # What somebody else's package can't finish, it won't finish here either: that is no change.
        if not (removals or journal) and slurm_commands.run(["dpkg", "--audit"]).stdout == before:
            return []
    elif dpkg_state.remove_policy():
        commands.append(["rm", dpkg_state.POLICY])
    return [" ".join(command) for command in commands]


class _Package(NamedTuple):
    """What dpkg knows of a package: whether it must be reinstalled, what was asked for, and what it is."""

    name: str
    flag: str
    want: str
    status: str
    ours: bool

    @property
    def leaves(self) -> bool:
        """Whether somebody asked for its removal, which is not done."""
        done = {"deinstall": ("config-files", "not-installed"), "purge": ("not-installed",)}
        return self.status not in done.get(self.want, (self.status,))

    @property
    def half(self) -> bool:
        """Whether it is neither there nor away: one of ours that was unpacked, or any whose removal had begun."""
        return (self.ours and self.flag == "reinstreq") or (self.leaves and self.status == "half-installed")

    def has_begun_to_leave(self, *, journal: bool) -> bool:
        """Say whether its removal has begun, and was not only marked by somebody."""
        return self.half or (self.ours and (journal or self.status == "config-files"))


def _read_packages(exclusive: List[str]) -> List[_Package]:
    shown = "${Package} ${db:Status-Eflag} ${db:Status-Want} ${db:Status-Status}\n"
    listed = slurm_commands.run(["dpkg-query", "--show", "--showformat", shown]).stdout
    ours = re.compile("|".join(map(fnmatch.translate, exclusive)))
    rows = (line.split() for line in listed.splitlines())
    return [_Package(name, flag, want, status, bool(ours.match(name))) for name, flag, want, status in rows]


def _plan_removals(packages: List[_Package], *, journal: bool) -> List[List[str]]:
    """Return the commands that remove what is half there, and the rest of a removal that had begun."""
    half = [package for package in packages if package.half]
    # apt asks for all that shall go before it begins, and forgets what of it came as a dependency.
    leaving = [package for package in packages if package.leaves]
    begun = any(package.has_begun_to_leave(journal=journal) for package in leaving)
    rest = [package for package in leaving if begun and not package.half]
    return [*_remove(half, "--force-remove-reinstreq", "--force-depends"), *_remove(rest)]


def _remove(packages: List[_Package], *options: str) -> List[List[str]]:
    """Return a command for those that are to be removed, and one for those whose configuration files are to go, too."""
    purged = [package.name for package in packages if package.want == "purge"]
    removed = [package.name for package in packages if package.want != "purge"]
    return [
        ["dpkg", action, *options, *names] for action, names in (("--remove", removed), ("--purge", purged)) if names
    ]


def restore_dependencies() -> List[str]:
    """Install dependencies that packages lack, if nothing is removed for it; return the commands that this took."""
    if slurm_commands.run(["apt-get", "check", "--quiet"]).rc == 0:
        return []
    command = ["apt-get", "install", "--quiet", "--yes", "--fix-broken", "--no-remove", "--no-install-recommends"]
    with no_service_starts():
        slurm_commands.run(command, timeout=_DPKG_SECONDS)
    return [" ".join(command)]


def read_list(url: str, source: str, lock_timeout: float) -> None:
    """Read AppHub's list.

    Raises:
        FailureError: It can't be read.
    """
    command = [*UPDATE, f"--option=Dir::Etc::sourcelist={source}"]
    answer = slurm_commands.run(command, timeout=300)
    if answer.rc and apt_locks.holder():
        # Somebody began in between.
        apt_locks.wait_until_free(lock_timeout)
        answer = slurm_commands.run(command, timeout=300)
    if answer.rc:
        raise FailureError(
            Code.PACKAGE_INSTALLATION_FAILED,
            f"The list of {url}/pkgs/deb cannot be read: {answer.message}",
            f"Compare with curl -i {url}/healthz on this machine. If the list is damaged, publish again.",
        )


def list_sources() -> List[str]:
    """Return the address of each source of apt, with its suite, also of those whose lists were never read."""
    told = slurm_commands.run(["apt-get", "update", "--print-uris"]).stdout
    return sorted(set(re.findall(r"^'(\S+?)/(?:\./)?InRelease' ", told, re.MULTILINE)))


def find_unmet(answer: slurm_commands.CommandResult) -> List[Tuple[str, str, str]]:
    """Read which dependencies apt does not find.

    Returns:
        Each with the package that has it, the dependency with its version, and what apt says of it.
    """
    unmet, package = [], ""
    for name, need, said in _UNMET.findall(answer.stdout):
        package = name or package
        unmet.append((package, need, said))
    return unmet


def candidate(url: str, package: str, version: str) -> str:
    """Return the newest version of a package on AppHub that is the one meant.

    Raises:
        FailureError: There is none.
    """
    lines = slurm_commands.run(["apt-cache", "madison", package]).stdout.splitlines()
    columns = [[column.strip() for column in line.split("|")] for line in lines]
    # Newest first. Other sources, and what is only installed, don't count.
    there = [found for _name, found, origin in columns if origin.startswith(url + "/")]
    if version in there:
        return version
    fitting = [found for found in there if is_version(found, version)]
    if not fitting:
        raise FailureError(
            Code.APPHUB_PACKAGE_MISSING,
            f"{url} has no {package} {version} for this machine, but {', '.join(there) or 'none at all'}.",
            "Publish it, or state another slurm_version.",
        )
    return fitting[0]


@contextlib.contextmanager
def no_service_starts() -> Iterator[None]:
    """Forbid packages to start their services, and bring back afterwards what was there.

    A policy that a run left that was cut off is not taken for the administrator's.
    """
    if os.path.lexists(dpkg_state.POLICY) and not dpkg_state.is_ours(dpkg_state.POLICY):
        os.replace(dpkg_state.POLICY, dpkg_state.kept_policy())
    attributes = file_options.Attributes(mode=0o755, owner=None, group=None, uid=None, gid=None)
    wanted = file_options.WantedFile(dpkg_state.POLICY, dpkg_state.NO_STARTS, attributes, secret=False)
    node_files.put_file(wanted, lambda _temporary, _path: None, check_mode=False)
    try:
        yield
    finally:
        dpkg_state.remove_policy()


def install(url: str, packages: List[str], version: str, *, check_mode: bool) -> List[str]:
    """Install packages in one transaction.

    Args:
        url: The AppHub, for messages.
        packages: Their names.
        version: The whole version of those of Slurm; empty when any is right.
        check_mode: Only try.

    Returns:
        Names of what was, or would be, installed or changed.

    Raises:
        FailureError: apt can't.
    """
    status = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n", *packages]
    there = re.findall(r"^installed (\S+)$", slurm_commands.run(status).stdout, re.MULTILINE)
    wanted = [
        f"{name}={version}" if version and name.startswith("slurm") else name
        for name in packages
        if name not in there or (version and name.startswith("slurm"))
    ]
    if not wanted:
        return []

    tried = try_install(wanted)
    if tried.rc and find_unmet(tried):
        tried = _look_elsewhere(url, wanted)
    if tried.rc:
        raise FailureError(*install_failures.refused(url, packages, tried.message))
    planned = re.findall(r"^Inst (\S+) ", tried.stdout, re.MULTILINE)
    if planned and not check_mode:
        with no_service_starts():
            done = slurm_commands.run([*INSTALL, *wanted], timeout=_DPKG_SECONDS)
        if done.rc:
            raise FailureError(*install_failures.refused(url, packages, done.message))
    return sorted(planned)


def try_install(wanted: List[str]) -> slurm_commands.CommandResult:
    """Let apt tell what it would install."""
    return slurm_commands.run([*INSTALL, "--simulate", *wanted], timeout=_DPKG_SECONDS)


def _look_elsewhere(url: str, wanted: List[str]) -> slurm_commands.CommandResult:
    """Look for what AppHub lacks in the other sources of the machine, whose lists may be empty or old.

    Raises:
        FailureError: They lack it, too.
    """
    sources = list_sources()
    read = None
    if any(not source.startswith(url + "/") for source in sources):
        read = slurm_commands.run(UPDATE_ALL, timeout=300)
    tried = try_install(wanted)
    missing = _collect_missing(wanted, tried) if tried.rc else {}
    if not missing:
        return tried
    unread = f" Not all of their lists can be read: {read.message}." if read and read.rc else ""
    looked_for = f"{', '.join(sources)}.{unread}"
    instead = "let the machine have a source of the distribution that has them"
    raise FailureError(*install_failures.dependencies_missing(url, missing, looked_for, instead))


def _collect_missing(wanted: List[str], tried: slurm_commands.CommandResult) -> Dict[str, List[str]]:
    """Return by package what it needs that no source has, also what only other dependencies need."""
    missing: Dict[str, List[str]] = {}
    asked, answer = list(wanted), tried
    while True:
        unmet = find_unmet(answer)
        for package, need, said in unmet:
            if said != _LEFT_OUT and need not in missing.setdefault(package, []):
                missing[package].append(need)
        # apt tells what these lack when they are asked for themselves.
        further = {need.partition(" ")[0] for _package, need, said in unmet if said == _LEFT_OUT} - set(asked)
        if not further:
            return {package: needs for package, needs in missing.items() if needs}
        asked += sorted(further)
        answer = try_install(asked)


def prefer(path: str, version: str, *, check_mode: bool) -> node_files.Change:
    """Make a version the candidate, or none when it is empty."""
    if not version:
        return node_files.remove(path, check_mode=check_mode)
    attributes = file_options.Attributes(mode=0o644, owner=None, group=None, uid=None, gid=None)
    content = CANDIDATE.format(version).encode("utf-8")
    wanted = file_options.WantedFile(path, content, attributes, secret=False)
    return node_files.put_file(wanted, lambda _temporary, _path: None, check_mode=check_mode)


def run(params: Dict[str, Any], *, check_mode: bool) -> Dict[str, Any]:
    """Do all of it and return what the module returns.

    Raises:
        FailureError: AppHub's list can't be read, or lacks the version or a dependency; or somebody else does not end.
        file_options.FileError: The file with the candidate can't be written.
    """
    apt_locks.wait_until_free(params["lock_timeout"])
    repaired = [] if check_mode else finish_interrupted(params["exclusive"])
    if not params["url"]:
        return {"changed": bool(repaired), "diff": [], "version": "", "installed": [], "repaired": repaired}
    url = params["url"].rstrip("/")
    read_list(url, params["source"], params["lock_timeout"])
    slurm = [name for name in params["packages"] if name.startswith("slurm")]
    version = candidate(url, slurm[0], params["version"]) if params["version"] and slurm else ""
    change = prefer(params["preferences"], version, check_mode=check_mode)
    if not check_mode:
        repaired += restore_dependencies()
    installed = install(url, params["packages"], version, check_mode=check_mode)
    if installed:
        change.diffs.append({"prepared": "".join(f"install {name}\n" for name in installed)})
    return {
        "changed": change.changed or bool(repaired or installed),
        "diff": change.diffs,
        "version": version,
        "installed": installed,
        "repaired": repaired,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    # What apt makes there when it is killed goes with what the module itself leaves then.
    # needrestart would restart services of others, which it may do when the administrator upgrades the machine.
    os.environ.update(DEBIAN_FRONTEND="noninteractive", NEEDRESTART_SUSPEND="1", TMPDIR=module.tmpdir)
    try:
        module.exit_json(**run(module.params, check_mode=module.check_mode))
    except FailureError as error:
        fail(module, error.failure)
    except (file_options.FileError, OSError) as error:
        fail(module, Failure(Code.PACKAGE_INSTALLATION_FAILED, f"{error}", "Correct it, then run again."))


if __name__ == "__main__":
    main()
