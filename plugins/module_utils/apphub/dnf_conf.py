# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Excludes in dnf's main configuration, which belongs to the administrator: merged in, everything else kept."""

from __future__ import annotations

import re
from typing import Iterable, List

_SECTION = re.compile(r"^\[([^]]*)\]")
# Two names of one option; dnf adds up what both of them say.
_EXCLUDE = re.compile(r"^(exclude|excludepkgs)\s*=\s*")


def _main(lines: List[str]) -> range:
    """Return the indexes of the lines of section main, without its head; empty when there is no such section."""
    start = None
    for index, line in enumerate(lines):
        section = _SECTION.match(line)
        if section and start is not None:
            return range(start, index)
        if section and section.group(1) == "main":
            start = index + 1
    return range(start, len(lines)) if start is not None else range(0)


def excluded(text: str) -> List[str]:
    """Return the patterns of packages that section main excludes."""
    lines = text.splitlines()
    patterns: List[str] = []
    inside = False
    for index in _main(lines):
        line = lines[index]
        match = _EXCLUDE.match(line)
        # An indented line continues the value of the option above it.
        inside = bool(match) or (inside and line[:1].isspace())
        if inside and not line.lstrip().startswith(("#", ";")):
            patterns += re.split(r"[\s,]+", _EXCLUDE.sub("", line))
    return [pattern for pattern in patterns if pattern]


def exclude(text: str, patterns: Iterable[str]) -> str:
    """Add patterns to what section main excludes.

    Args:
        text: Content of dnf.conf, which may be empty.
        patterns: Patterns of package names.

    Returns:
        The new content; the same when all of them are there.
    """
    there = excluded(text)
    missing = ",".join(pattern for pattern in patterns if pattern not in there)
    if not missing:
        return text
    lines = text.splitlines()
    main = _main(lines)
    for index in main:
        match = _EXCLUDE.match(lines[index])
        if match:
            # In front, where it is right also for a value that goes on in further lines.
            value = lines[index][match.end() :]
            lines[index] = match.group(0) + missing + ("," + value if value.strip() else value)
            break
    else:
        if not main and "[main]" not in (line.strip() for line in lines):
            lines.insert(0, "[main]")
            main = range(1, 1)
        lines.insert(main.start, "excludepkgs=" + missing)
    return "\n".join(lines) + "\n"


def include(text: str, patterns: Iterable[str]) -> str:
    """Take patterns out of what section main excludes; the opposite of exclude().

    Args:
        text: Content of dnf.conf.
        patterns: Patterns of package names.

    Returns:
        The new content, without an exclude that has become empty.
    """
    patterns = set(patterns)
    lines = text.splitlines()
    for index in reversed(_main(lines)):
        match = _EXCLUDE.match(lines[index])
        there = re.split(r"[\s,]+", lines[index][match.end() :]) if match else []
        if not match or not patterns & set(there):
            continue
        left = ",".join(pattern for pattern in there if pattern and pattern not in patterns)
        continued = index + 1 < len(lines) and lines[index + 1][:1].isspace()
        lines[index : index + 1] = [match.group(0).rstrip() + left] if left or continued else []
    return "\n".join(lines) + "\n" if lines else ""
