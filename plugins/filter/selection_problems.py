# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter selection_problems."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DOCUMENTATION = r"""
name: selection_problems
short_description: Return what is wrong with a selection of nodes
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
  ai_infra.slurm.require:
    findings: "{{ ['node07'] | ai_infra.slurm.selection_problems(['node07'], groups) }}"
"""
RETURN = r"""
_value:
  description: What is wrong, each with code, reason and remedy.
  type: list
  elements: dict
"""

SUBSCRIPT = re.compile(r"\[[-\d:]+\]$")


def selection_problems(
    terms: Sequence[str], selected: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> list[dict[str, str]]:
    """Return what is wrong with the selection."""
    return [problem.as_dict() for problem in (*_of_names(terms, selected, groups), *_of_servers(selected, groups))]


def _of_names(terms: Sequence[str], selected: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Iterator[Failure]:
    if not groups.get("slurm_controllers"):
        yield Failure(
            Code.REQUEST_INVALID,
            "The group slurm_controllers is missing or empty. Nothing was changed.",
            "Put the cluster's controller into it, the primary one first.",
        )
    known = {*groups, *groups.get("all", ())}
    names = [term for term in terms if not term.startswith(("!", "&"))]
    unknown = [term for term in names if not _matches(term, known)]
    twice = sorted({term for term in names if names.count(term) > 1})
    if unknown:
        yield Failure(
            Code.REQUEST_INVALID,
            f"nodes names {', '.join(unknown)}, which the inventory does not know. Nothing was changed.",
            "Correct the name or add the host to the inventory.",
        )
    if twice:
        yield Failure(
            Code.REQUEST_INVALID,
            f"nodes names {', '.join(twice)} twice. Nothing was changed.",
            "Name each node once.",
        )
    # To Ansible an empty pattern means all hosts.
    if not unknown and not (names and selected):
        yield Failure(
            Code.REQUEST_INVALID,
            f"nodes selects no host ({', '.join(terms) or 'it is empty'}). Nothing was changed.",
            "Say which nodes to work on, e.g. -e nodes=node07,node08.",
        )


def _of_servers(selected: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Iterator[Failure]:
    servers = {*groups.get("slurm_controllers", ()), *groups.get("apphub", ())}
    # A controller becomes a node, too, only when the inventory says so.
    found = [host for host in selected if host in servers and host not in groups.get("slurm_nodes", ())]
    if found:
        yield Failure(
            Code.SERVER_SELECTED,
            f"nodes selects {', '.join(found)}, a controller or AppHub. Nothing was changed.",
            "Name compute nodes only. To make a node of it deliberately, put it into the group slurm_nodes, too.",
        )


def _matches(term: str, known: set[str]) -> bool:
    if term.startswith("~"):
        return any(re.match(term[1:], name) for name in known)
    return any(fnmatchcase(name, pattern) for name in known for pattern in (term, SUBSCRIPT.sub("", term)))


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"selection_problems": selection_problems}
