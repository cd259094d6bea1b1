# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter apphub_answer."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCUMENTATION = r"""
name: apphub_answer
short_description: Says whether a server can be used as AppHub, and if not, why
version_added: "0.1.0"
description:
  - Judges what a server answered. Asks nobody.
options:
  _input:
    description: >-
      Results of M(ansible.builtin.uri) for C(/healthz), C(/pkgs/catalog.json) and C(/pkgs/apphub.asc), in this order
      and with their content. The later ones may be missing when an earlier one failed.
    type: list
    elements: dict
    required: true
  key_sha256:
    description: SHA-256 checksum that the key must have; empty when any will do.
    type: str
    default: ""
"""
EXAMPLES = r"""
- name: Judge
  ansible.builtin.debug:
    msg: "{{ [health, catalog, key] | ai_infra.slurm.apphub_answer }}"
"""
RETURN = r"""
_value:
  description: V(ok), or what is wrong.
  type: str
"""

FORMAT = 1


def apphub_answer(responses: Sequence[Mapping[str, Any]], key_sha256: str = "") -> str:
    """Return ok, or the first thing that is wrong."""
    for response in responses:
        if response.get("status") != 200:  # noqa: PLR2004 - HTTP's OK
            return f"{response.get('url', 'it')}: {_plain(str(response.get('msg') or 'no answer'))}"
    catalog = responses[1].get("json")
    if not isinstance(catalog, dict) or "repositories" not in catalog:
        return "it serves no catalog of packages, so it is no AppHub"
    if catalog.get("format") != FORMAT:
        return f"its catalog has format {catalog.get('format')}, but this version reads format {FORMAT}"
    found = hashlib.sha256(responses[2]["content"].encode()).hexdigest()
    if key_sha256 and found != key_sha256.lower():
        return f"its key has the checksum {found}, but apphub_client_key_sha256 is {key_sha256}"
    return "ok"


def _plain(message: str) -> str:
    """Return the part of the uri module's message that tells something."""
    message = re.sub(r"^Status code was .*? and not \[200\]: (Request failed: )?", "", message)
    return re.sub(r"^<urlopen error (?:\[Errno -?\d+\] )?(.*)>$", r"\1", message)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"apphub_answer": apphub_answer}
