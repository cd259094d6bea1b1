# Apache License 2.0 (see LICENSE)
"""Reads slurm.conf and its includes as Slurm does, and edits them without touching anything else.

Pure but for `SlurmConfig.load`. A statement remembers where each of its values stands in its file, so that an edit
changes exactly these characters: comments, continuation lines and spacing stay as the administrator wrote them.
"""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

#: Where Slurm's programs look for slurm.conf; Debian before 11 and Ubuntu before 22.04 use the second.
CONF_FILES = ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf")
# Line kinds whose further keys are parameters of the thing they name, in lower case as Slurm ignores case.
RECORDS = frozenset(("nodename", "partitionname", "nodeset", "downnodes", "frontendname"))
_PAIR = re.compile(r"(?:^|(?<=\s))([A-Za-z0-9_.]+)\s*[-*+/]?=\s*(\"[^\"]*\"|[^\s\"]\S*|)")
_INCLUDE = re.compile(r"^\s*include\s+(\S+)\s*$", re.IGNORECASE)
_COMMENT = re.compile(r"(?<!\\)#.*")
# Only a line feed ends a line for Slurm, unlike for str.splitlines.
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_SEPARATOR = " "
_WITHOUT_END = "# Before slurmscale added the next line, this file had no line feed at its end."
_CONTINUES = re.compile(r"(?<!\\)(?:\\\\)*\\\s*$")


class SlurmConfigError(FailureError):
    """The configuration on disk can't be read as Slurm would read it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(Code.CONFIGURATION_UNREADABLE, reason, remedy)


class Pair(NamedTuple):
    """One Key=Value, with the offsets of the value (without quotes) in the text of its file."""

    key: str
    value: str
    start: int
    end: int


class Statement(NamedTuple):
    """One logical line: continuation lines joined, comments taken out."""

    path: str
    number: int
    kind: str
    pairs: Dict[str, Pair]

    @property
    def name(self) -> str:
        """What the line defines, such as `n[1-3]`; empty for a plain setting."""
        return self.pairs[self.kind].value if self.kind in RECORDS else ""

    @property
    def params(self) -> Dict[str, str]:
        """The other Key=Value pairs, keys as written."""
        return {pair.key: pair.value for key, pair in self.pairs.items() if key != self.kind}

    @property
    def where(self) -> str:
        """File and line for a message."""
        return f"{self.path} line {self.number}"

    def get(self, key: str, default: str = "") -> str:
        """Return a parameter's value; the key's case doesn't matter."""
        pair = self.pairs.get(key.lower())
        return pair.value if pair else default


class _Logical(NamedTuple):
    number: int
    text: str
    offsets: List[int]


def _logical_lines(text: str) -> Iterator[_Logical]:
    offset, joined, offsets, first = 0, "", [], 1  # type: int, str, List[int], int
    for number, line in enumerate(_LINE.findall(text), 1):
        if not joined:
            first = number
        body = _COMMENT.sub("", line.rstrip("\r\n"))
        more = _CONTINUES.search(body)
        if more:
            body = body[: body.rindex("\\")]
        joined += body
        offsets.extend(range(offset, offset + len(body)))
        offset += len(line)
        if not more:
            yield _Logical(first, joined, offsets)
            joined, offsets = "", []
    if joined:
        yield _Logical(first, joined, offsets)


def _statement(path: str, line: _Logical) -> Optional[Statement]:
    pairs: Dict[str, Pair] = {}
    kind = ""
    for found in _PAIR.finditer(line.text):
        key, raw, begin = found.group(1), found.group(2), found.start(2)
        value, inset = (raw[1:-1], 1) if raw.startswith('"') and raw.endswith('"') and len(raw) > 1 else (raw, 0)
        start = line.offsets[begin + inset] if value else line.offsets[found.end() - 1] + 1
        end = line.offsets[begin + inset + len(value) - 1] + 1 if value else start
        pairs.setdefault(key.lower(), Pair(key, value, start, end))
        kind = kind or key.lower()
    return Statement(path, line.number, kind, pairs) if pairs else None


class SlurmConfig:
    """slurm.conf with everything it includes.

    Attributes:
        path: The slurm.conf.
        files: Text of each file read, in the order of reading.
        statements: All lines of all files in Slurm's order.
        includes: Included path -> (file that includes it, line number, the name as written).
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.files: Dict[str, str] = {}
        self.statements: List[Statement] = []
        self.includes: Dict[str, Tuple[str, int, str]] = {}

    @classmethod
    def load(cls, path: str, read: Optional[Callable[[str], str]] = None) -> "SlurmConfig":
        """Read a slurm.conf.

        Args:
            path: The file.
            read: Returns the text of a path; for tests and for candidates not written yet.

        Raises:
            SlurmConfigError: A file is missing or can't be read.
        """
        config = cls(path)
        config._read(path, read or read_text, "")
        return config

    def _read(self, path: str, read: Callable[[str], str], included_by: str) -> None:
        if path in self.files:
            return
        try:
            text = read(path)
        except OSError as problem:
            by = f", which {included_by} includes" if included_by else ""
            raise SlurmConfigError(f"cannot read {path}{by}: {problem.strerror or problem}") from problem
        self.files[path] = text
        for line in _logical_lines(text):
            include = _INCLUDE.match(line.text)
            if include:
                target = self.include_path(include.group(1))
                self.includes.setdefault(target, (path, line.number, include.group(1)))
                self._read(target, read, f"{path} line {line.number}")
                continue
            statement = _statement(path, line)
            if statement:
                self.statements.append(statement)

    def include_path(self, name: str) -> str:
        """Say which file an Include means: without a path it lies beside slurm.conf; %c is the cluster's name."""
        name = name.strip('"').replace("%c", self.value("ClusterName").lower())
        return os.path.normpath(os.path.join(os.path.dirname(self.path), name))

    def of_kind(self, kind: str) -> List[Statement]:
        """Return the lines that start with a key such as NodeName."""
        return [statement for statement in self.statements if statement.kind == kind.lower()]

    def settings(self, key: str) -> List[Statement]:
        """Return the lines that set a global parameter."""
        key = key.lower()
        return [one for one in self.statements if one.kind not in RECORDS and key in one.pairs]

    def value(self, key: str, default: str = "") -> str:
        """Return a global parameter; as in Slurm the last one wins."""
        found = self.settings(key)
        return found[-1].get(key) if found else default


def read_text(path: str) -> str:
    """Read a file of configuration; bytes that are no UTF-8 survive writing it back."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return stream.read()


class NodeLine(NamedTuple):
    """What defines a node: its line, and its parameters with those of NodeName=DEFAULT lines before it."""

    statement: Statement
    params: Dict[str, str]


class Edit(NamedTuple):
    """Characters to put into a file at an offset of its present text, in place of some of it."""

    path: str
    offset: int
    addition: str
    removed: int = 0


def nodes_of(config: SlurmConfig, expand: Callable[[str], List[str]]) -> Dict[str, NodeLine]:
    """Return what defines each node; the first line wins where a node is defined twice."""
    found: Dict[str, NodeLine] = {}
    default: Dict[str, str] = {}
    for statement in config.of_kind("NodeName"):
        if statement.name.upper() == "DEFAULT":
            default = dict(default, **statement.params)
            continue
        line = NodeLine(statement, dict(default, **statement.params))
        for name in expand(statement.name):
            found.setdefault(name, line)
    return found


def partitions_of(config: SlurmConfig) -> Dict[str, Dict[str, Any]]:
    """Return {partition: {nodes, statement}}, where `nodes` counts PartitionName=DEFAULT lines before it."""
    default, found = "", {}  # type: str, Dict[str, Dict[str, Any]]
    for statement in config.of_kind("PartitionName"):
        if statement.name.upper() == "DEFAULT":
            default = statement.get("Nodes", default)
        else:
            found[statement.name] = {"nodes": statement.get("Nodes", default), "statement": statement}
    return found


def append_to_value(statement: Statement, key: str, item: str) -> Edit:
    """Append an item to a comma-separated value where it stands."""
    pair = statement.pairs[key.lower()]
    return Edit(statement.path, pair.end, ("," if pair.value else "") + item)


def insert_after_name(config: SlurmConfig, statement: Statement, addition: str) -> Edit:
    """Put ` Key=Value` behind the name that a line defines, and behind the name's closing quote."""
    end = statement.pairs[statement.kind].end
    quoted = config.files[statement.path][end : end + 1] == '"'
    return Edit(statement.path, end + quoted, " " + addition)


def apply_edits(files: Dict[str, str], edits: List[Edit]) -> Dict[str, str]:
    """Return the texts of the edited files; offsets are those of the texts given."""
    edited: Dict[str, str] = {}
    for edit in sorted(edits, key=lambda one: one.offset, reverse=True):
        text = edited.get(edit.path, files[edit.path])
        edited[edit.path] = text[: edit.offset] + edit.addition + text[edit.offset + edit.removed :]
    return edited


def remove_from_value(statement: Statement, key: str, item: str) -> List[Edit]:
    """Take an item that was appended to a comma-separated value out of it; nothing where it doesn't stand there."""
    pair, length = statement.pairs[key.lower()], len(item) + 1
    if pair.value == item:
        return [Edit(statement.path, pair.end - len(item), "", len(item))]
    if pair.value.endswith("," + item):
        return [Edit(statement.path, pair.end - length, "", length)]
    position = pair.value.find(f",{item},")
    # A value that goes on in the next line has gaps, before which offsets can't be counted.
    if position < 0 or pair.end - pair.start != len(pair.value):
        return []
    return [Edit(statement.path, pair.start + position, "", length)]


def remove_after_name(config: SlurmConfig, statement: Statement, addition: str) -> List[Edit]:
    """Take ` Key=Value` out that insert_after_name has put there; nothing where it doesn't stand there."""
    edit = insert_after_name(config, statement, addition)
    there = config.files[edit.path][edit.offset :].startswith(edit.addition)
    return [edit._replace(addition="", removed=len(edit.addition))] if there else []


def append_line(text: str, line: str) -> str:
    """Add a line at the end, whatever the end looks like, so that remove_line finds out how it looked."""
    newline = "\r\n" if "\r\n" in text else "\n"
    last = _COMMENT.sub("", text.rstrip("\r\n").rpartition("\n")[2])
    # A line with a blank ends a last line that was left continued.
    between = _SEPARATOR + newline if _CONTINUES.search(last) else ""
    if text and not text.endswith("\n"):
        # Slurm reads beyond the end of an Include that ends a file without a line feed, so the line can't do without.
        between = newline + between + _WITHOUT_END + newline
    return text + between + line + newline


def remove_line(text: str, line: str) -> str:
    """Take out a line that append_line has added, and what it has added with it."""
    newline = r"\r?\n"
    with_it = rf"(?:{_SEPARATOR}{newline})?({re.escape(_WITHOUT_END)}{newline})?"
    found = re.search(rf"(?m)^{with_it}{re.escape(line)}(?:{newline}|\Z)", text)
    if not found:
        return text
    before = text[: found.start()]
    return (re.sub(newline + r"\Z", "", before) if found.group(1) else before) + text[found.end() :]
