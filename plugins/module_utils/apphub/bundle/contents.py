# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Picks what a client bundle is made of out of packages or an install tree: commands, plugins, and their libraries."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Optional, Pattern, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import elf
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

COMMANDS = ("sacct", "sacctmgr", "salloc", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")

# What lies where the plugins are: Slurm's own library, and in a Slurm that is linked without it a plugin.
_MARKS = ("libslurmfull.so", "auth_munge.so")
_ANY_FOLDER = re.compile("")
_COMMAND_FOLDER = re.compile(r"/bin$")
# The dynamic loader looks into these.
_LIBRARY_FOLDER = re.compile(r"/lib(64)?(/[a-z0-9_]+-linux-[a-z0-9]+)?$")
_LIBRARY = re.compile(r"\.so(\.[0-9][0-9a-z.]*)?$")
# A C library only works with the loader of its own version, so that of the machine is used.
_C_LIBRARY = re.compile(
    r"^(ld-linux.*|ld-musl-.*|libc\.musl-.*|libc\.so(\.6)?"
    r"|lib(anl|BrokenLocale|c_malloc_debug|dl|m|mvec|nss_[a-z]+|pthread|resolv|rt|thread_db|util)\.so\.[0-9]+)$"
)


@dataclass(frozen=True)
class Entry:
    """One file of a package or a tree.

    Attributes:
        path: Where it is installed, with a leading slash.
        data: Its content; None for a link.
        link: Path that it links to; empty for a file.
    """

    path: str
    data: Optional[bytes] = None
    link: str = ""


@dataclass
class Contents:
    """What a bundle holds, file names with content.

    Attributes:
        commands: The commands.
        plugins: Slurm's plugins and its own library.
        libraries: The libraries of others that they need.
        plugin_folder: Where Slurm looks for its plugins; empty when it has none.
        arch: The architecture of all of it, as Debian names it.
        libc: The C library: glibc or musl, or static.
        loader: The dynamic loader that runs the commands; empty when they are static.
        glibc: The oldest glibc that runs it; (0, 0) without glibc.
        from_host: Libraries that were found nowhere, so that the machine must have them.
    """

    commands: Dict[str, bytes] = field(default_factory=dict)
    plugins: Dict[str, bytes] = field(default_factory=dict)
    libraries: Dict[str, bytes] = field(default_factory=dict)
    plugin_folder: str = ""
    arch: str = ""
    libc: str = "static"
    loader: str = ""
    glibc: Tuple[int, ...] = (0, 0)
    from_host: List[str] = field(default_factory=list)


class Files:
    """The files to pick from; a package is opened only as long as something is not found in those before it."""

    def __init__(self, packages: Iterable[Iterable[Entry]]) -> None:
        """Take the files of several packages, the likeliest package first."""
        self._packages = iter(packages)
        self._entries: Dict[str, Entry] = {}
        self._named: Dict[str, List[str]] = {}

    def _open_next(self) -> bool:
        package = next(self._packages, None)
        if package is None:
            return False
        for entry in package:
            if entry.path not in self._entries:
                self._entries[entry.path] = entry
                self._named.setdefault(os.path.basename(entry.path), []).append(entry.path)
        return True

    def content(self, path: str) -> Optional[bytes]:
        """Return the content of a file that was opened, through links; None when there is none."""
        for _hop in range(8):
            entry = self._entries.get(path)
            if entry is None or not entry.link:
                return entry.data if entry else None
            path = os.path.normpath(os.path.join(os.path.dirname(path), entry.link))
        return None

    def files_of(self, folder: str) -> Dict[str, bytes]:
        """Return the files of a folder that were opened so far, by name."""
        found = {path: self.content(path) for path in self._entries if os.path.dirname(path) == folder}
        return {os.path.basename(path): data for path, data in sorted(found.items()) if data is not None}

    def command(self, name: str) -> Optional[bytes]:
        """Return a command, None when it is nowhere."""
        return self.content(self._find(name, _COMMAND_FOLDER))

    def library(self, name: str) -> Optional[bytes]:
        """Return a library from one of the folders that the loader looks into, None when it is nowhere."""
        return self.content(self._find(name, _LIBRARY_FOLDER))

    def plugin_folder(self) -> str:
        """Return where the plugins are; empty when there are none."""
        for mark in _MARKS:
            path = self._find(mark, _ANY_FOLDER)
            if path:
                return os.path.dirname(path)
        return ""

    def _find(self, name: str, folder: Pattern[str]) -> str:
        """Return the path of a file in such a folder, empty when no package has one."""
        while True:
            for path in sorted(self._named.get(name, [])):
                if folder.search(os.path.dirname(path)) and self.content(path) is not None:
                    return path
            if not self._open_next():
                return ""


def pick(files: Files, where: str) -> Contents:
    """Pick the commands with their plugins and all libraries that they need.

    Args:
        files: The files to pick from.
        where: What they are, for messages.

    Returns:
        What the bundle holds.

    Raises:
        FailureError: Something is missing, or does not fit together.
    """
    result = Contents()
    for name in COMMANDS:
        data = files.command(name)
        if data is not None:
            result.commands[name] = data
    missing = [name for name in COMMANDS if name not in result.commands]
    if missing:
        raise FailureError(
            Code.CLIENT_BUNDLE_INPUT_INVALID,
            f"{where} has no bin/{missing[0]}: the client bundle needs {', '.join(COMMANDS)}.",
            "Add the packages or programs that are missing, or leave this release out by apphub_absent_versions.",
        )
    result.plugin_folder = files.plugin_folder()
    if result.plugin_folder:
        found = files.files_of(result.plugin_folder)
        result.plugins = {name: data for name, data in found.items() if _LIBRARY.search(name)}
    _add_libraries(result, files, where)
    return result


def _add_libraries(result: Contents, files: Files, where: str) -> None:
    """Add the libraries that are needed, and what those need, and note what they all are made for."""
    ahead = {**result.commands, **result.plugins}
    known = set(result.plugins)
    elves: Dict[str, elf.Elf] = {}
    while ahead:
        try:
            found = elf.read(ahead)
        except FailureError as error:
            code, reason, remedy = error.failure
            raise FailureError(code, f"Of {where}: {reason}", remedy) from None
        elves.update(found)
        ahead = {}
        for needed in sorted({needed for one in found.values() for needed in one.needed}):
            if needed in known or _C_LIBRARY.match(needed):
                continue
            known.add(needed)
            library = files.library(needed)
            if library is None:
                result.from_host.append(needed)
            else:
                result.libraries[needed] = ahead[needed] = library
    result.from_host.sort()
    _describe(result, elves, where)


def _describe(result: Contents, elves: Dict[str, elf.Elf], where: str) -> None:
    archs = {one.arch: name for name, one in elves.items()}
    if len(archs) > 1:
        mixed = ", ".join(f"{name} is for {arch}" for arch, name in sorted(archs.items()))
        raise _invalid_input(f"{where} mixes architectures: {mixed}.")
    result.arch = next(iter(archs))
    result.loader = next((one.interpreter for one in elves.values() if one.interpreter), "")
    result.glibc = max(one.glibc for one in elves.values())
    linked = {needed for one in elves.values() for needed in one.needed}
    if os.path.basename(result.loader).startswith("ld-musl-"):
        result.libc = "musl"
    elif result.loader:
        result.libc = "glibc"
    foreign = {"musl": "libc.so.6", "glibc": "libc.musl-"}.get(result.libc)
    if foreign and any(needed.startswith(foreign) for needed in linked):
        raise _invalid_input(f"{where} mixes C libraries: musl and glibc.")


def _invalid_input(reason: str) -> FailureError:
    return FailureError(Code.CLIENT_BUNDLE_INPUT_INVALID, reason, "Make it of one build of Slurm and its libraries.")
