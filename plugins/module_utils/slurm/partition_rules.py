# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the accounts and QOS that a partition does not take.

With EnforcePartLimits=NO, which is its default, slurmctld accepts such a job and lets it wait for ever, and
`sbatch --test-only` says that it would start.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Set

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands, parsers


def refusal(partition: str, user: str, account: Optional[str], qos: Optional[str], conf: Optional[str] = None) -> str:
    """Say why jobs would never start in a partition; empty when no rule is known to keep them from it.

    Args:
        partition: Its name.
        user: Who submits them.
        account: Their account, when one is stated; else that by which the user is known first.
        qos: Their QOS, when one is stated.
        conf: A slurm.conf in place of Slurm's default.

    Raises:
        SlurmCommandError: The controller gives no answer.
    """
    text = commands.scontrol(["--all", "--oneliner", "show", "partition"], conf=conf)
    rules = next((one for one in parsers.parse_records(text) if one.get("PartitionName") == partition), {})
    if not (_stated(rules, "Accounts") or _stated(rules, "Qos")):
        return ""
    enforced = commands.show_config(conf=conf).get("AccountingStorageEnforce", "").lower().split(",")
    if qos and "qos" in enforced and _refused(rules, "Qos", qos.lower(), {qos.lower()}):
        return f"partition {partition} does not take the QOS {qos} ({_stated(rules, 'Qos')})"
    if "associations" in enforced and _stated(rules, "Accounts"):
        account = account or _first_line(["user", user, "format=defaultaccount"], conf)
        if account and _refused(rules, "Accounts", account.lower(), _with_parents(account.lower(), conf)):
            return f"partition {partition} does not take the account {account} ({_stated(rules, 'Accounts')})"
    return ""


def _stated(rules: Dict[str, str], kind: str) -> str:
    """Return the rule of a partition as Slurm writes it; where there are both, only that which allows counts."""
    for key in ("Allow" + kind, "Deny" + kind):
        if rules.get(key, "ALL") not in ("ALL", "(null)", ""):
            return f"{key}={rules[key]}"
    return ""


def _refused(rules: Dict[str, str], kind: str, name: str, names: Set[str]) -> bool:
    key, _, value = _stated(rules, kind).partition("=")
    listed = set(value.lower().split(","))
    return name in listed if key.startswith("Deny") else bool(key) and not names & listed


def _with_parents(account: str, conf: Optional[str]) -> Set[str]:
    """Return an account and those above it, for which newer versions let it in as well."""
    lines = _sacctmgr(["associations", "user=", "format=account,parentname"], conf)
    parents = dict(line.split("|")[:2] for line in lines if "|" in line)
    found: Set[str] = set()
    while account and account not in found:
        found.add(account)
        account = parents.get(account, "")
    return found


def _first_line(arguments: List[str], conf: Optional[str]) -> str:
    return (_sacctmgr(arguments, conf) or [""])[0].strip()


def _sacctmgr(arguments: List[str], conf: Optional[str]) -> List[str]:
    result = commands.run(["sacctmgr", "--noheader", "--parsable2", "show", *arguments], conf=conf)
    return result.stdout.splitlines() if result.rc == 0 else []
