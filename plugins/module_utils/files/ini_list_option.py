# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Words of an option in a configuration file that belongs to the administrator: merged in, everything else kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable, List, Optional, Pattern, Tuple

#: The argument spec of such an option.
ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "section": {"type": "str", "required": True},
    "options": {"type": "list", "elements": "str", "required": True},
}
_SECTION = re.compile(r"^\[([^]]*)\]")


@dataclass(frozen=True)
class WordList:
    """An option that lists words, separated by commas or blanks, such as excludepkgs in dnf.conf.

    Attributes:
        section: The section that the option stands in.
        options: The names of the option, of which the first is written. The words of all of them add up.
    """

    section: str
    options: Tuple[str, ...]

    def words(self, text: str) -> List[str]:
        """Return the words that are there."""
        lines = text.splitlines()
        found: List[str] = []
        inside = False
        for index in self._body(lines):
            line = lines[index]
            match = self._option.match(line)
            # An indented line continues the value of the option above it.
            inside = bool(match) or (inside and line[:1].isspace())
            if inside and not line.lstrip().startswith(("#", ";")):
                found += re.split(r"[\s,]+", self._option.sub("", line))
        return [word for word in found if word]

    def add(self, text: str, words: Iterable[str]) -> str:
        """Add words.

        Args:
            text: Content of the file, which may be empty.
            words: What has to be there.

        Returns:
            The new content; the same when all of them are there.
        """
        there = self.words(text)
        missing = ",".join(word for word in words if word not in there)
        if not missing:
            return text
        lines = text.splitlines()
        body = self._body(lines)
        for index in body:
            match = self._option.match(lines[index])
            if match:
                # In front, where it is right also for a value that goes on in further lines.
                value = lines[index][match.end() :]
                lines[index] = match.group(0) + missing + ("," + value if value.strip() else value)
                break
        else:
            head = f"[{self.section}]"
            if not body and head not in (line.strip() for line in lines):
                lines.insert(0, head)
                body = range(1, 1)
            lines.insert(body.start, f"{self.options[0]}={missing}")
        return "\n".join(lines) + "\n"

    def remove(self, text: str, words: Iterable[str]) -> str:
        """Take words out; the opposite of add().

        Args:
            text: Content of the file.
            words: What must not be there.

        Returns:
            The new content, without an option that has become empty; the same when none of them is there.
        """
        unwanted = set(words)
        if not unwanted & set(self.words(text)):
            return text
        lines = text.splitlines()
        for index in reversed(self._body(lines)):
            match = self._option.match(lines[index])
            there = re.split(r"[\s,]+", lines[index][match.end() :]) if match else []
            if not match or not unwanted & set(there):
                continue
            left = ",".join(word for word in there if word and word not in unwanted)
            continued = index + 1 < len(lines) and lines[index + 1][:1].isspace()
            lines[index : index + 1] = [match.group(0).rstrip() + left] if left or continued else []
        return "\n".join(lines) + "\n" if lines else ""

    @property
    def _option(self) -> Pattern[str]:
        return re.compile(rf"^({'|'.join(map(re.escape, self.options))})\s*=\s*")

    def _body(self, lines: List[str]) -> range:
        """Return the indexes of the section's lines, without its head; empty when there is no such section."""
        start: Optional[int] = None
        for index, line in enumerate(lines):
            section = _SECTION.match(line)
            if section and start is not None:
                return range(start, index)
            if section and section.group(1) == self.section:
                start = index + 1
        return range(start, len(lines)) if start is not None else range(0)


def read(path: str) -> str:
    """Return the content of a file as text that can be written back; nothing when there is no such file.

    Raises:
        OSError: It can't be read.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""
