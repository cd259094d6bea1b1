#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module apphub_mirror."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_mirror
short_description: Fetch packages and their dependencies from a distribution into a folder of packages
version_added: "0.1.0"
description:
  - Asks apt which packages an empty machine would need, leaves out what every machine has (the essential packages, apt,
    and what these need), and downloads the rest into C(FOLDER/packages/REPOSITORY), from where
    M(ai_infra.slurm.apphub_publish) takes them.
  - apt verifies what it downloads by the signature of the distribution. It has lists of its own here, in C(FOLDER/apt),
    and neither reads what is installed nor installs anything.
  - What was fetched before is not fetched again, and stays when the distribution has a newer version.
requirements:
  - On the host C(apt-get), 2.0 or later.
options:
  repository:
    description: Repository that the packages are for, C(deb/DISTRIBUTION/CODENAME), such as V(deb/ubuntu/noble).
    type: str
    required: true
  packages:
    description: Names of the packages, with a version where one is meant, as apt takes it, such as V(slurmd=24.11*).
    type: list
    elements: str
    default: [munge, slurm-client, slurmctld, slurmd]
  sources:
    description:
      - Lines of a sources.list that have the packages and all that they need, such as
        C(deb [signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] http://archive.ubuntu.com/ubuntu noble main).
      - The host's own when empty; they are taken only for the release that the host itself has.
    type: list
    elements: str
    default: []
  architectures:
    description: Architectures as Debian names them; the host's own when empty.
    type: list
    elements: str
    default: []
  folder:
    description: Where to keep what is fetched.
    type: path
    default: /var/lib/apphub/mirror
attributes:
  check_mode:
    description: Tells what would be fetched. The distribution's lists are read for that, into a place that is removed.
    support: full
  diff_mode:
    description: Shows the packages that are there before and after.
    support: full
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Fetch the distribution's Slurm with all that it needs
  ai_infra.slurm.apphub_mirror:
    repository: deb/ubuntu/noble
    packages: [munge, slurmd, slurm-client]
"""

RETURN = r"""
fetched:
  description: Files that were fetched, or would be.
  returned: success
  type: list
  sample: [slurmd_24.11.5-4_amd64.deb]
packages:
  description: Files that the packages and all that they need consist of, also those that were there.
  returned: success
  type: list
"""

import contextlib
import os
import platform
import re
import tempfile
from typing import Any, Dict, Iterator, List, Set, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError, fail

ARGUMENTS = {
    "repository": {"type": "str", "required": True},
    "packages": {"type": "list", "elements": "str", "default": ["munge", "slurm-client", "slurmctld", "slurmd"]},
    "sources": {"type": "list", "elements": "str", "default": []},
    "architectures": {"type": "list", "elements": "str", "default": []},
    "folder": {"type": "path", "default": "/var/lib/apphub/mirror"},
}
_INST = re.compile(r"(?m)^Inst (\S+?)(?::\S+)? \((\S+) .*?\[(\S+)\]\)")


class Apt:
    """apt as it is on an empty machine of an architecture."""

    def __init__(self, home: str, arch: str, sources: List[str]) -> None:
        """Prepare its folders.

        Args:
            home: Where it keeps its lists.
            arch: The machine's architecture.
            sources: Lines of its sources.list; the host's own sources when empty.
        """
        self.home = home
        for folder in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(home, folder), exist_ok=True)
        with open(os.path.join(home, "sources.list"), "w", encoding="utf-8") as stream:
            stream.writelines(line + "\n" for line in sources)
        settings = {
            "APT::Architecture": arch,
            "APT::Architectures": arch,
            "APT::Install-Recommends": "false",
            "APT::Update::Error-Mode": "any",
            "Dir::Cache": os.path.join(home, "cache"),
            # The host may be a client of an AppHub.
            "Dir::Etc::preferences": os.devnull,
            "Dir::Etc::preferencesparts": os.devnull,
            "Dir::State::lists": os.path.join(home, "lists"),
            "Dir::State::status": os.devnull,
        }
        if sources:
            settings.update({"Dir::Etc::sourcelist": os.path.join(home, "sources.list"), "Dir::Etc::sourceparts": "-"})
        self._options = [word for setting in settings.items() for word in ("-o", f"{setting[0]}={setting[1]}")]

    def get(self, *arguments: str, cwd: str = "/") -> str:
        """Run apt-get and return what it said.

        Raises:
            FailureError: It failed.
        """
        return commands.run(["apt-get", *self._options, *arguments], cwd=cwd).decode("utf-8", "replace")

    def closure(self, packages: List[str]) -> Dict[str, str]:
        """Return what an installation would bring: names and versions of the packages, by the names of their files."""
        found = _INST.findall(self.get("install", "--simulate", *packages))
        return {f"{name}_{version.split(':', 1)[-1]}_{arch}.deb": f"{name}={version}" for name, version, arch in found}

    def base(self) -> Dict[str, str]:
        """Return the packages that every machine has, as far as the sources have them.

        systemd is not among them: client bundles are made of these packages, for machines that lack its libraries.
        """
        return self.closure(["?or(?essential, ?exact-name(apt))"])


def check(params: Dict[str, Any]) -> None:
    """Make sure that there can be sources of the repository.

    Raises:
        FailureError: There can't.
    """
    repository = params["repository"]
    if not re.match(r"^deb/[a-z]+/[a-z]+$", repository):
        raise FailureError(
            Code.APPHUB_MIRROR_FAILED,
            f"{repository} cannot be mirrored, only deb/DISTRIBUTION/CODENAME.",
            "Fetch RPMs on a machine of that release, with dnf download --resolve, and copy them into a folder of "
            "packages.",
        )
    with open("/etc/os-release", encoding="utf-8") as stream:
        release = dict(re.findall(r'(?m)^(\w+)="?([^"\n]*)', stream.read()))
    own = f"deb/{release.get('ID', 'linux')}/{release.get('VERSION_CODENAME', 'unknown')}"
    if not params["sources"] and own != repository:
        raise FailureError(
            Code.APPHUB_MIRROR_FAILED,
            f"{repository} cannot be mirrored from the sources of this host, which are of {own}.",
            "State sources in apphub_mirror_sources.",
        )


@contextlib.contextmanager
def home_of(params: Dict[str, Any], arch: str, *, check_mode: bool) -> Iterator[str]:
    """Give a place for apt's lists, which spare reading them again; in check mode, one that is removed."""
    if check_mode:
        with tempfile.TemporaryDirectory() as home:
            yield home
    else:
        yield os.path.join(params["folder"], "apt", f"{params['repository'].replace('/', '-')}-{arch}")


def fetch(apt: Apt, missing: Dict[str, str], target: str) -> None:
    """Download packages, and put them in place when all are there."""
    os.makedirs(target, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=apt.home) as work:
        # apt drops its rights for a download, and this folder is root's.
        apt.get("-o", "APT::Sandbox::User=root", "download", *sorted(missing.values()), cwd=work)
        for name in os.listdir(work):
            os.chmod(os.path.join(work, name), 0o644)
            # apt writes an epoch into the name; archives leave it out, and so do addresses that need no quoting.
            os.replace(os.path.join(work, name), os.path.join(target, re.sub(r"_[0-9]+%3a", "_", name)))


def missing(apt: Apt, packages: List[str], there: List[str]) -> Tuple[Dict[str, str], List[str]]:
    """Return what has to be fetched, and the files of all that is needed.

    Raises:
        FailureError: The sources lack something.
    """
    apt.get("update")
    base = apt.base()
    needed = {name: spec for name, spec in apt.closure(packages).items() if name not in base}
    return {name: spec for name, spec in needed.items() if name not in there}, list(needed)


def mirror(params: Dict[str, Any], *, check_mode: bool) -> Dict[str, Any]:
    """Fetch what is not there yet.

    Args:
        params: The module's options.
        check_mode: Fetch nothing.

    Returns:
        The module's result.

    Raises:
        FailureError: The sources lack something.
    """
    check(params)
    target = os.path.join(params["folder"], "packages", params["repository"])
    there = sorted(name for name in os.listdir(target) if name.endswith(".deb")) if os.path.isdir(target) else []
    wanted: Set[str] = set()
    fetched: Set[str] = set()
    machine = platform.machine()
    for arch in params["architectures"] or [{"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)]:
        with home_of(params, arch, check_mode=check_mode) as home:
            apt = Apt(home, arch, params["sources"])
            try:
                lacking, needed = missing(apt, params["packages"], there)
                if lacking and not check_mode:
                    fetch(apt, lacking, target)
            except FailureError as error:
                raise FailureError(
                    Code.APPHUB_MIRROR_FAILED,
                    f"{params['repository']} for {arch} cannot be mirrored: {error.failure.reason}",
                    "Correct packages or sources in apphub_mirror_sources, then run again.",
                ) from None
        wanted.update(needed)
        fetched.update(lacking)
    return {
        "changed": bool(fetched),
        "fetched": sorted(fetched),
        "packages": sorted(wanted),
        "diff": {
            "before_header": target,
            "after_header": target,
            "before": "".join(name + "\n" for name in there),
            "after": "".join(name + "\n" for name in sorted({*there, *fetched})),
        },
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    os.umask(0o022)
    try:
        result = mirror(module.params, check_mode=module.check_mode)
    except FailureError as error:
        fail(module, error.failure)
    except OSError as error:
        fail(module, Failure(Code.APPHUB_MIRROR_FAILED, f"{error}.", "Correct it, then run again."))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
