# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Picks what a client bundle is made of out of packages or an install tree: commands, plugins, and their libraries."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Optional, Pattern, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import packages as apphub_packages
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import elf as apphub_bundle_elf

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
        arch: The architecture of all of it, in Debian's words.
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


class Stock:
    """The files to pick from, opened lot by lot and only as far as something is still looked for."""

    def __init__(self, lots: Iterable[Iterable[Entry]]) -> None:
        """Use lots of files, the likeliest first."""
        self._lots = iter(lots)
        self._entries: Dict[str, Entry] = {}
        self._named: Dict[str, List[str]] = {}

    def _open_next(self) -> bool:
        lot = next(self._lots, None)
        if lot is None:
            return False
        for entry in lot:
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
        """Return the path of a file in such a folder, empty when no lot has one."""
        while True:
            for path in sorted(self._named.get(name, [])):
                if folder.search(os.path.dirname(path)) and self.content(path) is not None:
                    return path
            if not self._open_next():
                return ""


def pick(stock: Stock, where: str) -> Contents:
    """Pick the commands with their plugins and all libraries that they need.

    Args:
        stock: The files to pick from.
        where: What they are, for messages.

    Returns:
        What the bundle holds.

    Raises:
        apphub_packages.PublishError: Something is missing, or does not fit together.
    """
    result = Contents()
    for name in COMMANDS:
        data = stock.command(name)
        if data is not None:
            result.commands[name] = data
    missing = [name for name in COMMANDS if name not in result.commands]
    if missing:
        raise apphub_packages.PublishError(
            "{0} has no bin/{1}: the client bundle needs {2}".format(where, missing[0], ", ".join(COMMANDS))
        )
    result.plugin_folder = stock.plugin_folder()
    if result.plugin_folder:
        files = stock.files_of(result.plugin_folder)
        result.plugins = {name: data for name, data in files.items() if _LIBRARY.search(name)}
    _close(result, stock, where)
    return result


def _close(result: Contents, stock: Stock, where: str) -> None:
    """Add the libraries that are needed, and what those need, and note what they all are made for."""
    todo = [*sorted(result.commands.items()), *sorted(result.plugins.items())]
    known = set(result.plugins)
    elves: List[Tuple[str, apphub_bundle_elf.Elf]] = []
    while todo:
        name, data = todo.pop(0)
        try:
            elf = apphub_bundle_elf.read(data)
        except apphub_bundle_elf.ElfError as error:
            raise apphub_packages.PublishError("{0} of {1} is {2}".format(name, where, error)) from None
        elves.append((name, elf))
        for needed in elf.needed:
            if needed in known or _C_LIBRARY.match(needed):
                continue
            known.add(needed)
            library = stock.library(needed)
            if library is None:
                result.from_host.append(needed)
            else:
                result.libraries[needed] = library
                todo.append((needed, library))
    result.from_host.sort()
    _describe(result, elves, where)


def _describe(result: Contents, elves: List[Tuple[str, apphub_bundle_elf.Elf]], where: str) -> None:
    archs = {elf.arch: name for name, elf in elves}
    if len(archs) > 1:
        mixed = ", ".join("{0} is for {1}".format(name, arch) for arch, name in sorted(archs.items()))
        raise apphub_packages.PublishError("{0} mixes architectures: {1}".format(where, mixed))
    result.arch = next(iter(archs))
    result.loader = next((elf.interpreter for _name, elf in elves if elf.interpreter), "")
    result.glibc = max(elf.glibc for _name, elf in elves)
    linked = {needed for _name, elf in elves for needed in elf.needed}
    if os.path.basename(result.loader).startswith("ld-musl-"):
        result.libc = "musl"
    elif result.loader:
        result.libc = "glibc"
    foreign = {"musl": "libc.so.6", "glibc": "libc.musl-"}.get(result.libc)
    if foreign and any(needed.startswith(foreign) for needed in linked):
        raise apphub_packages.PublishError("{0} mixes C libraries: musl and glibc".format(where))
