"""Text that comes from nodes, made safe for terminals, logs and databases."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"""
    (?:\x1b[\]P^_X]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?  # OSC, DCS, SOS, PM, APC: strings
    |(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?                                          # CSI: colours, cursor
    |\x1b[ -/]*[0-~]?                                                           # all others
    """,
    re.VERBOSE,
)
# Lone surrogates stand for bytes that are not UTF-8; PostgreSQL takes neither them nor NUL.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """Return a text without escape sequences and control characters; tabs and line breaks stay."""
    if _CONTROLS.search(text):
        return _CONTROLS.sub("", _ESCAPES.sub("", text))
    return text
