# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter expand_nodes."""

from __future__ import annotations

import itertools
import re
from math import prod
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError
from ansible.plugins.inventory import detect_range, expand_hostname_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DOCUMENTATION = r"""
name: expand_nodes
short_description: Turn the value of C(nodes) into a list of host patterns
version_added: "0.1.0"
description:
  - Splits at commas and expands ranges as inventories write them, such as C(node[07:12]), and as Slurm writes them,
    such as C(node[007,010-012]), which host patterns of Ansible don't know. A range behind the name of a group stays
    what it is there, a part of that group.
options:
  _input:
    description: The value of the extra variable C(nodes). Its ranges stand for 10,000 hosts at most.
    type: str
    required: true
  groups:
    description: Names of the inventory's groups, for example the variable C(groups).
    type: list
    elements: str
    required: true
"""
EXAMPLES = r"""
- name: Work on six nodes and a group
  ansible.builtin.debug:
    msg: "{{ 'node[07:12],gpu_nodes' | ai_infra.slurm.expand_nodes(groups) }}"
"""
RETURN = r"""
_value:
  description: Host patterns in the order they were given.
  type: list
  elements: str
"""


MOST_NODES = 10_000
_SPAN = r"\d{1,9}(?:[-:]\d{1,9})?"
_BRACKETS = re.compile(rf"\[({_SPAN}(?:,{_SPAN})*)\]")
# A name's own characters and brackets; a leading ! leaves out.
_RANGES = re.compile(rf"!?(?:[A-Za-z0-9._-]|{_BRACKETS.pattern})+")
_COMMA = re.compile(r",(?![^\[\]]*\])")


def expand_nodes(nodes: Any, groups: Iterable[str]) -> list[str]:
    """Return the host patterns that the value of ``nodes`` stands for."""
    terms = _COMMA.split(nodes) if isinstance(nodes, str) else list(nodes or [])
    expanded: list[str] = []
    for term in (str(term).strip() for term in terms):
        ranged = "[" in term and term.lstrip("!").split("[")[0] not in groups
        if ranged and _RANGES.fullmatch(term):
            expanded += _names(term)
        elif ranged and detect_range(term) and not term.startswith(("~", "!", "&")):
            # With letters, or with steps.
            try:
                expanded += expand_hostname_range(term)
            except Exception as error:  # its own errors are AnsibleErrors, a bad number is a ValueError
                raise AnsibleFilterError(
                    f"nodes: {term!r} is not a range such as node[07:12] or node[007,010-012]: {error}"
                ) from error
        elif term:
            expanded.append(term)
    return expanded


def _names(term: str) -> Iterator[str]:
    """Expand numbers in brackets, which keep the width of the first one of their range."""
    *parts, last = _BRACKETS.split(term)
    spans = [[_span(span, term) for span in listed.split(",")] for listed in parts[1::2]]
    # Counted before it is expanded, which may take all memory.
    if prod(sum(end - first + 1 for first, end, _width in numbers) for numbers in spans) > MOST_NODES:
        raise AnsibleFilterError(f"nodes: {term!r} stands for more than {MOST_NODES:,} hosts.")
    numbers = [
        [str(number).zfill(width) for first, end, width in listed for number in range(first, end + 1)]
        for listed in spans
    ]
    for chosen in itertools.product(*numbers):
        yield "".join(itertools.chain(*zip(parts[::2], chosen, strict=True))) + last


def _span(text: str, term: str) -> tuple[int, int, int]:
    first, *rest = re.split("[-:]", text)
    end = rest[0] if rest else first
    if int(end) < int(first) or (first.startswith("0") and len(first) > 1 and len(end) < len(first)):
        raise AnsibleFilterError(
            f"nodes: {term!r} is not a range such as node[07:12] or node[007,010-012]: {text} does not go upwards."
        )
    return int(first), int(end), len(first)


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"expand_nodes": expand_nodes}
