"""ELF files with the headers that readelf and the dynamic loader read, and no code."""

from __future__ import annotations

import struct

MUSL = "/lib/ld-musl-x86_64.so.1"
GLIBC = "/lib64/ld-linux-x86-64.so.2"
MACHINES = {"amd64": 62, "arm64": 183, "i386": 3}


def elf(  # noqa: PLR0915 - a list of the parts of a file
    needed: tuple[str, ...] = (), loader: str = "", glibc: tuple[str, ...] = (), *, machine: int = 62, tail: bytes = b""
) -> bytes:
    """Return a 64-bit little-endian ELF file.

    Args:
        needed: Libraries that it is linked with.
        loader: Its dynamic loader; empty for a library.
        glibc: Versions of glibc that its symbols ask for.
        machine: Number of the architecture.
        tail: What follows at its end, to tell files apart.
    """
    strings = bytearray(b"\0")

    def offset_of(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text) - 1

    names = [offset_of(name) for name in needed]
    versions = [offset_of("GLIBC_" + version) for version in glibc]
    libc = offset_of("libc.so.6") if versions else 0
    interpreter_at = 64 + 3 * 56
    interpreter = loader.encode() + b"\0"
    interpreter += bytes(-len(interpreter) % 8)
    verneed = struct.pack("<HHIII", 1, len(versions), libc, 16, 0) if versions else b""
    for index, name in enumerate(versions):
        verneed += struct.pack("<IHHII", 0, 0, index + 2, name, 16 if index + 1 < len(versions) else 0)
    dynamic_at = interpreter_at + len(interpreter)
    dynamic_size = 16 * (len(names) + 3 + (2 if versions else 0))
    strings_at = dynamic_at + dynamic_size
    strings_size = len(strings)
    strings += bytes(-len(strings) % 8)
    verneed_at = strings_at + len(strings)
    tags = [(1, name) for name in names] + [(5, strings_at), (10, strings_size)]
    tags += [(0x6FFFFFFE, verneed_at), (0x6FFFFFFF, 1)] if versions else []
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in [*tags, (0, 0)])
    section_names = b"\0.dynamic\0.dynstr\0.gnu.version_r\0.shstrtab\0"
    names_at = verneed_at + len(verneed)
    sections_at = names_at + len(section_names) + -(names_at + len(section_names)) % 8
    # name, type, flags, address, offset, size, link, info, alignment, size of an entry
    sections = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (1, 6, 2, dynamic_at, dynamic_at, len(dynamic), 2, 0, 8, 16),
        (10, 3, 2, strings_at, strings_at, strings_size, 0, 0, 1, 0),
        *([(18, 0x6FFFFFFE, 2, verneed_at, verneed_at, len(verneed), 2, 1, 8, 0)] if versions else []),
        (33, 3, 0, 0, names_at, len(section_names), 0, 0, 1, 0),
    ]
    segments = [
        (1, 0, names_at),
        (2, dynamic_at, len(dynamic)),
        (3 if loader else 4, interpreter_at, len(loader) + 1 if loader else 0),
    ]
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH",
        3,
        machine,
        1,
        0,
        64,
        sections_at,
        0,
        64,
        56,
        len(segments),
        64,
        len(sections),
        len(sections) - 1,
    )
    header += b"".join(struct.pack("<IIQQQQQQ", kind, 4, at, at, at, size, size, 1) for kind, at, size in segments)
    content = header + interpreter + dynamic + bytes(strings) + verneed + section_names
    content += bytes(sections_at - len(content))
    return content + b"".join(struct.pack("<IIQQQQIIQQ", *section) for section in sections) + tail
