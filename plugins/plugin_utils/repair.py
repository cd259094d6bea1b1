# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with the controller and the nodes of a running cluster, and which of it can be fixed safely."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.managed_nodes_conf import NODE_FILE
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import node_states as slurm_states
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import CONF_FILES
from ansible_collections.ai_infra.slurm.plugins.plugin_utils import readiness

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

Finding = dict[str, Any]
KEY = "/etc/munge/munge.key"
# A step of which the controller knows no job may still be starting or cleaning up.
STEP_GRACE = 60
_HELD = frozenset(("DRAIN", "DRAINING", "DRAINED"))
_INVALID = frozenset(("INVAL", "INVALID_REG"))
# How Slurm's own reasons begin when a node has less than is configured for it.
_TOO_LITTLE = ("Low ", "gres/")
_AWAY = frozenset(("NOT_RESPONDING", "UNKNOWN"))


def finding(
    code: Code, check: str, needed: str, found: str, remedy: str, *fix: str, note: bool = False, **more: Any
) -> Finding:
    """Return one thing that is wrong.

    Args:
        code: What it is, for programs.
        check: What was checked.
        needed: How it should be.
        found: How it is.
        remedy: What a person or the action fix does about it.
        fix: The steps by which the action fix corrects it; none when it is left to a person.
        note: Somebody meant it to be so.
        more: What a step needs to know.
    """
    return {
        "code": code.value,
        "check": check,
        "needed": needed,
        "found": found,
        "reason": f"{found} (needed: {needed})",
        "remedy": remedy,
        "fix": list(fix),
        "note": note,
        **more,
    }


def service(node: Mapping[str, Any], name: str) -> Iterator[Finding]:
    """Find a service that is missing, down, or not started at boot."""
    state = (node.get("services") or {}).get(name) or {}
    if state.get("load") != "loaded":
        remedy = "Install it from AppHub: " + ("setup_controller.yml" if name == "slurmctld" else "scale_up.yml")
        yield finding(Code.SERVICE_MISSING, f"service {name}", "installed", "no such unit", remedy)
        return
    if state.get("active") != "active":
        found = f"{state.get('active')} ({state.get('result')})"
        yield finding(Code.SERVICE_DOWN, f"service {name}", "active", found, "fix starts it.", name)
    if state.get("enabled") not in ("enabled", "static", "generated"):
        found = str(state.get("enabled"))
        yield finding(Code.SERVICE_NOT_ENABLED, f"{name} at boot", "enabled", found, "fix enables it.", name)


def key(node: Mapping[str, Any], wanted: str | None) -> Iterator[Finding]:
    """Find a munge key that is missing, another one, or open to others.

    Args:
        node: What the probe found.
        wanted: The fingerprint of the controller's key; None on the controller itself.
    """
    found = node["files"].get(KEY) or {}
    fix = ("munge-key",) if wanted else ()
    if not found.get("exists"):
        remedy = "fix deploys the controller's." if wanted else "Restore it from a backup, or run rotate_munge_key.yml."
        yield finding(Code.MUNGE_KEY_MISSING, "munge key", "there", f"{KEY} is missing", remedy, *fix)
        return
    if wanted and found["sha256"] != wanted:
        needed, other = f"fingerprint {wanted[:12]}", f"fingerprint {str(found['sha256'])[:12]}"
        remedy = "fix deploys the controller's."
        yield finding(Code.MUNGE_KEY_DIFFERS, "munge key", f"{needed} of the controller's", other, remedy, *fix)
    rights = f"{found['mode']} {found['owner']}:{found['group']}"
    if rights != "0400 munge:munge":
        remedy = "fix sets it; munge refuses a key that others may read."
        path = {"path": KEY, "owner": "munge", "group": "munge", "mode": "0400"}
        check = "munge key's permissions"
        yield finding(Code.PERMISSIONS_WRONG, check, "0400 munge:munge", rights, remedy, "permissions", path=path)


def directories(node: Mapping[str, Any], wanted: Mapping[str, str]) -> Iterator[Finding]:
    """Find directories that belong to somebody else or can be written by others.

    Args:
        node: What the probe found.
        wanted: Owner by path. One that is missing is made by its service.
    """
    for path, owner in wanted.items():
        found = node["files"].get(path) or {}
        if not found.get("exists") or found.get("kind") != "directory":
            continue
        if found["owner"] != owner or int(found["mode"], 8) & 0o022:
            rights = f"{found['mode']} {found['owner']}:{found['group']}"
            target = {"path": path, "owner": owner, "group": found["group"], "mode": "go-w"}
            needed = f"{owner}'s, and writable by no other"
            check = f"permissions of {path}"
            yield finding(Code.PERMISSIONS_WRONG, check, needed, rights, "fix sets them.", "permissions", path=target)


def thresholds(node: Mapping[str, Any], cluster: Mapping[str, Any], wanted: readiness.Thresholds) -> Iterator[Finding]:
    """Find a wrong clock, other user numbers, full disks and a version outside the window; all are left to a person."""
    entries = [
        *readiness.version(node, cluster),
        *readiness.clock(node, cluster, wanted),
        *readiness.accounts(node, cluster),
        *readiness.disks(node, wanted),
    ]
    for entry in entries:
        if not entry["ok"]:
            upgrade = entry["check"] == "Slurm version"
            remedy = "Upgrade it to a version that fits: upgrade_nodes.yml" if upgrade else entry["remedy"]
            yield finding(
                Code(entry.get("code", Code.TASK_FAILED)), entry["check"], entry["needed"], entry["found"], remedy
            )


def credential(answer: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Find a credential that the controller can't decode."""
    if answer and answer["failure"]:
        code, remedy = Code(answer["failure"]["code"]), answer["failure"]["remedy"]
        yield finding(code, "munge credential", "the controller decodes it", answer["message"], remedy)


def options(node: Mapping[str, Any], outdated: Sequence[str], wanted: str) -> Iterator[Finding]:
    """Find options of slurmd that are not the cluster's, on disk or in the running daemon."""
    if outdated:
        yield finding(
            Code.SLURMD_OPTIONS_DIFFER,
            "slurmd's options",
            "as this cluster needs them",
            f"{', '.join(outdated)} differ",
            "fix writes them.",
            "options",
        )
    words, args = shlex.split(wanted), node.get("slurmd_args")
    spans = [args[index : index + len(words)] for index in range(len(args))] if args else []
    if args and words and words not in spans:
        remedy = "fix restarts slurmd; jobs go on."
        found = shlex.join(args[1:])
        yield finding(Code.SLURMD_OPTIONS_DIFFER, "slurmd's arguments", wanted, found, remedy, "restart")


def configuration(node: Mapping[str, Any], cluster: Mapping[str, Any], directory: str) -> Iterator[Finding]:
    """Find configuration files of a node that are not the controller's.

    Args:
        node: What the probe found, with the files in `directory`.
        cluster: The controller's, with the fingerprints of its files.
        directory: Where the node's slurmd has them: its cache in a configless cluster, else beside slurm.conf.
    """
    needs = {name: facts["sha256"] for name, facts in (cluster.get("files") or {}).items()}
    has = {name: node["files"].get(f"{directory}/{name}") or {} for name in needs}
    if cluster.get("configless"):
        # Files that slurmctld does not send are not in the cache.
        old = [name for name, facts in has.items() if facts.get("exists") and facts["sha256"] != needs[name]]
        old += [name for name in ("slurm.conf", NODE_FILE) if name in needs and not has[name].get("exists")]
        remedy, step = "fix restarts slurmd, which takes them from the controller; jobs go on.", "restart"
    else:
        # Others, such as gres.conf or plugstack.conf, may differ from node to node.
        old = [name for name in ("slurm.conf", NODE_FILE) if name in needs and has[name].get("sha256") != needs[name]]
        remedy, step = "fix copies them from the controller and restarts slurmd; jobs go on.", "conf-files"
    if old:
        found = f"{', '.join(sorted(old))} in {directory} differ"
        needed = "the controller's files"
        yield finding(Code.CONFIGURATION_DIFFERS, "configuration", needed, found, remedy, step, files=sorted(old))


def stray_conf_files(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[Finding]:
    """Find a slurm.conf on a configless node, which the commands there take in place of the controller's."""
    ours = ((cluster.get("files") or {}).get("slurm.conf") or {}).get("sha256")
    for path in CONF_FILES if cluster.get("configless") else ():
        found = node["files"].get(path) or {}
        # The link that leads to what slurmd has fetched tells the same.
        if found.get("exists") and found.get("sha256") != ours:
            remedy = "fix renames it to slurm.conf.stray."
            yield finding(
                Code.CONFIGURATION_STRAY,
                "slurm.conf of its own",
                "none, as slurmd gets its configuration from the controller",
                f"{path} differs from the controller's",
                remedy,
                "stray-conf",
                stray=path,
            )


def steps(node: Mapping[str, Any], jobs: Iterable[str] | None) -> Iterator[Finding]:
    """Find slurmstepd processes of jobs that the controller doesn't know (any more)."""
    if jobs is None:
        return
    known = set(jobs)
    for step in node.get("steps") or []:
        if step["job"] not in known and step["seconds"] > STEP_GRACE:
            found = f"pid {step['pid']} of job {step['job']}.{step['step']}, {step['seconds']} s old"
            remedy = "fix ends it; the controller knows no such job."
            check, needed = "leftover slurmstepd", "none without a job"
            yield finding(Code.STEP_LEFT_OVER, check, needed, found, remedy, "leftover-step", pid=step["pid"])


def state(
    name: str, node: Mapping[str, Any], definition: Mapping[str, Any] | None, slurm_users: Collection[str] = ("slurm",)
) -> Iterator[Finding]:
    """Find a node that Slurm holds back, with Slurm's own reason.

    Args:
        name: The node's name in Slurm.
        node: As the controller sees it.
        definition: What its hardware would be registered as; None when it was not measured.
        slurm_users: As whom Slurm itself drains.
    """
    states, reason = set(node["state"]), str(node.get("reason") or "")
    state = str(slurm_states.state_text(dict(node)))
    if reason:
        state += f", reason '{reason}' by {node.get('reason_user') or 'somebody'}"
    resume = f"scontrol update NodeName={name} State=RESUME"
    if states & _INVALID:
        yield _invalid(name, node, definition, state)
    elif states & _HELD and node.get("reason_user") in slurm_users and reason.startswith(_TOO_LITTLE):
        # The mark of an invalid registration is gone, so what Slurm missed is there again.
        remedy = "fix resumes it: Slurm drained it for less than configured, which is no longer so."
        yield _state(Code.NODE_DRAINED_BY_SLURM, state, remedy, "undrain", "resume")
    elif states & _HELD and not slurm_states.is_ours(reason):
        remedy = f"slurmscale never takes it back. When its cause is gone: {resume}"
        yield _state(Code.NODE_HELD_BY_OTHERS, state, remedy, note=True)
    elif states & _HELD or ("DOWN" in states and slurm_states.is_ours(reason)):
        yield _state(Code.NODE_DRAINED_BY_SLURMSCALE, state, "fix resumes it once its slurmd answers.", "resume")
    elif "DOWN" in states and slurm_states.is_away(reason):
        yield _state(Code.NODE_NOT_RESPONDING, state, "fix resumes it once its slurmd answers.", "resume")
    elif "DOWN" in states:
        remedy = f"Not resumed, as somebody set it. When its cause is gone: {resume}"
        yield _state(Code.NODE_HELD_BY_OTHERS, state, remedy, note=True)
    elif states & _AWAY:
        yield _state(Code.NODE_NOT_RESPONDING, state, "fix waits until its slurmd has registered.", "resume")


def _state(code: Code, found: str, remedy: str, *fix: str, note: bool = False) -> Finding:
    return finding(code, "state", "in service", found, remedy, *fix, note=note)


def _invalid(name: str, node: Mapping[str, Any], definition: Mapping[str, Any] | None, state: str) -> Finding:
    params = (definition or {}).get("params") or {}
    more = [
        f"{key} {node[field]} > {params[key]}"
        for key, field in (("CPUs", "cpus"), ("RealMemory", "real_memory"))
        if params.get(key) and (node.get(field) or 0) > int(params[key])
    ]
    if not more:
        remedy = "fix restarts its slurmd, which registers again."
        return _state(Code.NODE_INVALID, state, remedy, "restart", "undrain", "resume")
    found = f"{state}; registered with more than it has: {', '.join(more)}"
    if node.get("managed"):
        remedy = "fix registers what was measured and restarts its slurmd."
        return _state(Code.NODE_INVALID, found, remedy, "definition", "restart", "undrain", "resume")
    remedy = f"Correct {name} in {node.get('defined_in') or 'slurm.conf'}, reconfigure, and run fix again."
    return _state(Code.NODE_INVALID, found, remedy)
