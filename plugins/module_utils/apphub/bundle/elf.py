# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What a program or a shared library needs in order to run, read from its own ELF headers."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

MAGIC = b"\x7fELF"
# Architectures in Debian's words, by the number that ELF has for them.
MACHINES = {62: "amd64", 183: "arm64", 21: "ppc64el", 22: "s390x", 243: "riscv64"}

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_SONAME = 1, 5, 14
_DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF


class ElfError(Exception):
    """A file is no ELF file that this module can read."""


@dataclass(frozen=True)
class Elf:
    """One program or shared library.

    Attributes:
        arch: Its architecture, in Debian's words.
        interpreter: The dynamic loader it names; empty for a library and for a static program.
        needed: File names of the libraries it is linked with.
        soname: The name it is known by as a library; empty when it has none.
        glibc: The newest version of glibc that its symbols ask for, (0, 0) when they ask for none.
    """

    arch: str
    interpreter: str
    needed: Tuple[str, ...]
    soname: str
    glibc: Tuple[int, ...]


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


class _Reader:
    """Unpacks numbers of a 64-bit ELF file."""

    def __init__(self, data: bytes) -> None:
        if data[:4] != MAGIC or len(data) < 64 or data[4] != 2:  # noqa: PLR2004 - ELFCLASS64
            raise ElfError("no 64-bit ELF file")
        self.data = data
        self.order = "<" if data[5] == 1 else ">"

    def numbers(self, layout: str, offset: int) -> Tuple[int, ...]:
        return struct.unpack_from(self.order + layout, self.data, offset)

    def text(self, offset: int) -> str:
        return self.data[offset : self.data.index(b"\0", offset)].decode("utf-8", "replace")

    def segments(self) -> List[_Segment]:
        (start,) = self.numbers("Q", 32)
        size, count = self.numbers("HH", 54)
        result = []
        for index in range(count):
            kind, _flags, offset, address, _physical, in_file = self.numbers("IIQQQQ", start + index * size)
            result.append(_Segment(kind, offset, address, in_file))
        return result

    def dynamic(self, segment: Optional[_Segment]) -> Iterator[Tuple[int, int]]:
        """Yield tag and value of each entry of the dynamic section, when there is one."""
        if segment is None:
            return
        for offset in range(segment.offset, segment.offset + segment.size, 16):
            tag, value = self.numbers("qQ", offset)
            if tag == 0:
                return
            yield tag, value


def _glibc(reader: _Reader, strings: int, offset: int, count: int) -> Tuple[int, ...]:
    """Return the newest GLIBC_x.y among the needed symbol versions."""
    newest: Tuple[int, ...] = (0, 0)
    for _library in range(count):
        _version, entries, _file, first, following = reader.numbers("HHIII", offset)
        entry = offset + first
        for _entry in range(entries):
            _hash, _flags, _other, name, step = reader.numbers("IHHII", entry)
            match = re.match(r"^GLIBC_([0-9.]+)$", reader.text(strings + name))
            if match:
                newest = max(newest, tuple(int(part) for part in match.group(1).split(".")))
            entry += step
        offset += following
    return newest


def read(data: bytes) -> Elf:
    """Read a program or a library.

    Args:
        data: The whole file.

    Returns:
        What it needs.

    Raises:
        ElfError: It is no 64-bit ELF file, or a broken one.
    """
    reader = _Reader(data)
    try:
        return _read(reader)
    except (struct.error, ValueError, IndexError):
        raise ElfError("a broken ELF file") from None


def _read(reader: _Reader) -> Elf:
    (machine,) = reader.numbers("H", 18)
    if machine not in MACHINES:
        raise ElfError("an ELF file for machine number {0}, which is not one of {1}".format(machine, MACHINES))
    segments = reader.segments()
    by_kind = {segment.kind: segment for segment in segments}

    def place(address: int) -> int:
        for segment in segments:
            if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        raise ValueError(address)

    entries = list(reader.dynamic(by_kind.get(_PT_DYNAMIC)))
    tags: Dict[int, int] = dict(entries)
    strings = place(tags[_DT_STRTAB]) if _DT_STRTAB in tags else 0
    glibc: Tuple[int, ...] = (0, 0)
    if _DT_VERNEED in tags:
        glibc = _glibc(reader, strings, place(tags[_DT_VERNEED]), tags.get(_DT_VERNEEDNUM, 0))
    return Elf(
        arch=MACHINES[machine],
        interpreter=reader.text(by_kind[_PT_INTERP].offset) if _PT_INTERP in by_kind else "",
        needed=tuple(reader.text(strings + value) for tag, value in entries if tag == _DT_NEEDED),
        soname=reader.text(strings + tags[_DT_SONAME]) if _DT_SONAME in tags else "",
        glibc=glibc,
    )
