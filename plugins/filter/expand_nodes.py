# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter expand_nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError
from ansible.plugins.inventory import detect_range, expand_hostname_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DOCUMENTATION = r"""
name: expand_nodes
short_description: Turns the value of C(nodes) into a list of host patterns
version_added: "0.1.0"
description:
  - Splits at commas and expands ranges as inventories write them, such as C(node[07:12]), which host patterns of
    Ansible don't know. A range behind the name of a group stays what it is there, a part of that group.
options:
  _input:
    description: The value of the extra variable C(nodes).
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


def expand_nodes(nodes: Any, groups: Iterable[str]) -> list[str]:
    """Return the host patterns that the value of ``nodes`` stands for."""
    terms = nodes.split(",") if isinstance(nodes, str) else list(nodes or [])
    expanded: list[str] = []
    for term in (str(term).strip() for term in terms):
        if detect_range(term) and not term.startswith(("~", "!", "&")) and term.split("[")[0] not in groups:
            try:
                expanded += expand_hostname_range(term)
            except Exception as error:  # its own errors are AnsibleErrors, a bad number is a ValueError
                raise AnsibleFilterError(
                    f"nodes: {term!r} is not a range such as node[07:12] (colon, both ends, same width): {error}"
                ) from error
        elif term:
            expanded.append(term)
    return expanded


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"expand_nodes": expand_nodes}
