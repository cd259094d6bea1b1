# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter selection_problems."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCUMENTATION = r"""
name: selection_problems
short_description: Says what is wrong with a selection of nodes
version_added: "0.1.0"
description:
  - Ansible only warns of names it doesn't know and goes on with the others. A run that changes a cluster must not.
options:
  _input:
    description: Host patterns as O(ai_infra.slurm.expand_nodes#filter:_input) gives them.
    type: list
    elements: str
    required: true
  selected:
    description: The hosts that these patterns select.
    type: list
    elements: str
    required: true
  groups:
    description: The variable C(groups).
    type: dict
    required: true
"""
EXAMPLES = r"""
- name: Stop when a name is unknown
  ansible.builtin.assert:
    that: (['node07'] | ai_infra.slurm.selection_problems(['node07'], groups)) is falsy
"""
RETURN = r"""
_value:
  description: Sentences that say what was found and what to do, empty when all is well.
  type: list
  elements: str
"""

SUBSCRIPT = re.compile(r"\[[-\d:]+\]$")


def selection_problems(terms: Sequence[str], selected: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what is wrong with the selection, in sentences."""
    problems = []
    if not groups.get("slurm_controllers"):
        problems.append(
            "The group slurm_controllers is missing or empty:"
            " put the cluster's controller into it, the primary one first."
        )
    known = {*groups, *groups.get("all", ())}
    names = [term for term in terms if not term.startswith(("!", "&"))]
    unknown = [term for term in names if not _matches(term, known)]
    twice = sorted({term for term in names if names.count(term) > 1})
    if unknown:
        problems.append(
            f"nodes names {', '.join(unknown)}, which the inventory does not know:"
            " correct the name or add the host to the inventory."
        )
    if twice:
        problems.append(f"nodes names {', '.join(twice)} twice: name each node once.")
    # To Ansible an empty pattern means all hosts.
    if not unknown and not (names and selected):
        problems.append(
            f"nodes selects no host ({', '.join(terms) or 'it is empty'}):"
            " say which nodes to work on, e.g. -e nodes=node07,node08."
        )
    return problems


def _matches(term: str, known: set[str]) -> bool:
    if term.startswith("~"):
        return any(re.match(term[1:], name) for name in known)
    return any(fnmatchcase(name, pattern) for name in known for pattern in (term, SUBSCRIPT.sub("", term)))


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"selection_problems": selection_problems}
