# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter sysusers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: sysusers
short_description: Return lines for systemd-sysusers that create missing accounts with stated uids and gids
version_added: "0.1.0"
description:
  - Slurm and munge refuse messages between hosts on which their users have different numbers.
options:
  _input:
    description: The accounts that are there, by name, null where one is missing.
    type: dict
    required: true
  wanted:
    description: The accounts as they are on the controller, with uid and gid, null where it has none.
    type: dict
    required: true
  ids:
    description: >-
      The keys uids and gids with the names of accounts and groups by number, as
      M(ai_infra.slurm.slurm_node_probe) returns them; by them an account with another name is found.
    type: dict
    default: {}
"""
EXAMPLES = r"""
- name: Show what would be made
  ansible.builtin.debug:
    msg: "{{ preflight_node.users | ai_infra.slurm.sysusers(preflight_cluster.users) }}"
"""
RETURN = r"""
_value:
  description: Lines in the format of sysusers.d, empty when nothing is missing.
  type: list
  elements: str
"""

# In the account's comment, by which an uninstallation knows what was made for Slurm (see the role munge).
MARK = "Made by slurmscale"


def sysusers(
    found: Mapping[str, Any], wanted: Mapping[str, Any], ids: Mapping[str, Mapping[str, str]] | None = None
) -> list[str]:
    """Return the lines for the accounts that are wanted and missing."""
    lines: list[str] = []
    uids = (ids or {}).get("uids") or {}
    for name, account in sorted(wanted.items()):
        # SlurmUser may be called otherwise on this cluster, and root is everywhere.
        user = account.get("name") or name if account else ""
        there = found.get(name) or (account and uids.get(str(account["uid"])) == user)
        if account and account["uid"] != 0 and not there:
            # The group may have another name than the user, only its number matters.
            lines += [
                f"g {account.get('group') or user} {account['gid']}",
                f'u {user} {account["uid"]}:{account["gid"]} "{MARK}"',
            ]
    return lines


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"sysusers": sysusers}
