# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What a role has to do on a node: the files to write, and the steps that are missing."""

from __future__ import annotations

import base64
import hashlib
import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Options of the module slurm_node_files, in the order in which it goes by them.
OPTIONS = ("sysusers", "directories", "files", "words", "absent")
#: What the names begin with that are registered of changes to a node: by roles, and by the stage that writes for all.
RESULTS = ("apphub_client_", "munge_", "slurmd_", "scale_written")


def node_changed(host: Mapping[str, Any]) -> bool:
    """Tell whether a role changed anything on a node, by the variables of the host."""
    results = (result for name, result in host.items() if name.startswith(RESULTS))
    return any(isinstance(result, Mapping) and result.get("changed") for result in results)


def node_files(parts: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Put together what one run of the module slurm_node_files is to do.

    Args:
        parts: What each role wants, in the module's own options. A file without content must not be there. The content
            of one that is secret may be given as text.

    Returns:
        All options of the module. The directories of all files are among them.
    """
    merged: dict[str, list[Any]] = {option: [] for option in OPTIONS}
    for part in parts:
        for option in OPTIONS:
            merged[option] += part.get(option) or []
    merged["absent"] += [item["path"] for item in merged["files"] if not _stated(item)]
    merged["files"] = [_as_option(item) for item in merged["files"] if _stated(item)]
    places = [*merged["files"], *(item for item in merged["words"] if item.get("present"))]
    parents = [{"path": posixpath.dirname(item["path"])} for item in places]
    # What states a mode comes first, and wins.
    directories: dict[str, Any] = {}
    for item in [*merged["directories"], *parents]:
        directories.setdefault(item["path"], item)
    merged["directories"] = list(directories.values())
    merged["absent"] = list(dict.fromkeys(merged["absent"]))
    return merged


def _stated(item: Mapping[str, Any]) -> bool:
    return bool(item.get("content") or item.get("content_base64") or item.get("sha256"))


def _as_option(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file as the module takes it: a secret in base64, which is never logged."""
    if not item.get("secret") or "content" not in item:
        return dict(item)
    content = base64.b64encode(item["content"].encode("utf-8")).decode("ascii")
    rest = {key: value for key, value in item.items() if key != "content"}
    return {"mode": "0600", **rest, "content_base64": content}


def outdated_files(node: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Tell which files are not as they have to be.

    Args:
        node: The facts of the module slurm_node_probe. A file that it was not asked for counts as outdated.
        wanted: Options of the module slurm_node_files; a file may state `sha256` in place of its content.

    Returns:
        Paths in alphabetical order.
    """
    files = node.get("files") or {}
    paths = [item["path"] for item in wanted.get("files") or [] if _differs(files.get(item["path"]) or {}, item)]
    paths += [path for path in wanted.get("absent") or [] if (files.get(path) or {"exists": True})["exists"]]
    for item in wanted.get("words") or []:
        there = set((node.get("words") or {}).get(item["path"]) or [])
        if set(item.get("present") or []) - there or set(item.get("absent") or []) & there:
            paths.append(item["path"])
    return sorted(paths)


def _differs(found: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    stated = [key for key in ("mode", "owner", "group") if item.get(key) is not None]
    return found.get("sha256") != _checksum(item) or any(found.get(key) != item[key] for key in stated)


def _checksum(item: Mapping[str, Any]) -> str:
    if "sha256" in item:
        return str(item["sha256"])
    if "content_base64" in item:
        return hashlib.sha256(base64.b64decode(item["content_base64"])).hexdigest()
    return hashlib.sha256(item["content"].encode("utf-8")).hexdigest()


def node_steps(
    node: Mapping[str, Any],
    files: Mapping[str, Mapping[str, Any]],
    packages: Iterable[str] = (),
    service: str = "",
    *,
    restart: bool = False,
) -> list[str]:
    """Tell what a role has to do on a node.

    Args:
        node: The facts of the module slurm_node_probe.
        files: The options of the module slurm_node_files by the step that applies them.
        packages: What has to be installed: the step `packages`.
        service: What has to run, now and after a boot: the step of this name, also when its files are outdated.
        restart: The service has to be restarted in any case.

    Returns:
        The steps that are missing, in their order; none on a node that is as it has to be.
    """
    steps = [step for step, wanted in files.items() if wanted.get("sysusers") or outdated_files(node, wanted)]
    written = bool(steps)
    packages = set(packages)
    if packages - set(node.get("packages") or {}) or (packages and node.get("half_done")):
        steps.append("packages")
    if service:
        state = (node.get("services") or {}).get(service) or {}
        if written or restart or (state.get("active"), state.get("enabled")) != ("active", "enabled"):
            steps.append(service)
    return steps


def files_changed(result: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    """Tell whether a run of the module slurm_node_files changed anything of what one role wants.

    Args:
        result: What the module returned; None or without files where it did not run.
        wanted: The role's part of its options.
    """
    result = result or {}
    if wanted.get("sysusers") and result.get("accounts"):
        return True
    wants = {option: [_path(item) for item in wanted.get(option) or []] for option in OPTIONS[1:]}
    return any(
        ((result.get(option) or {}).get(path) or {}).get("changed", False)
        for option, paths in wants.items()
        for path in paths
    )


def _path(item: Any) -> str:
    path: str = item if isinstance(item, str) else item["path"]
    return path
