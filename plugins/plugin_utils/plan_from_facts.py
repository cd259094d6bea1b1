# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a node, from facts alone: whether the cluster can take it, how it is registered, and its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code
from ansible_collections.ai_infra.slurm.plugins.plugin_utils import readiness, registration
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.hosts_file import wanted_entries
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.missing_packages import apphub_gaps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness import Finding

CHECKS = ("readiness", "registration", "definition", "packages")


class Packages(NamedTuple):
    """What a node needs of AppHub, and which repositories of its own it is to have beside it."""

    repository: str
    names: Sequence[str]
    beside: Sequence[str] = ()


class Request(NamedTuple):
    """What the user states of a node."""

    name: str
    version: str
    registration: str = "static"
    dynamic: bool = False
    take_over: bool = False
    thresholds: readiness.Thresholds = readiness.Thresholds()


def plan(
    request: Request,
    node: Mapping[str, Any],
    cluster: Mapping[str, Any],
    *,
    defined: Mapping[str, Any] | None = None,
    catalog: Mapping[str, Any] | None = None,
    packages: Packages | None = None,
    reach: Mapping[str, Any] | None = None,
    address: str = "",
    addresses: Mapping[str, str] | None = None,
    common: Iterable[Finding] = (),
    joining: Iterable[str] = (),
    steps: Iterable[str] = (),
    checks: Iterable[str] = CHECKS,
    apphub_failure: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Plan one node.

    Args:
        request: What the user states of it.
        node: What slurm_node_probe found.
        cluster: What slurm_cluster_info found; empty where the controller does not answer.
        defined: definition and findings, as the filter node_definition returns them; None when it can't be defined.
        catalog: AppHub's catalog; None when there is no AppHub.
        packages: What the node needs of it.
        reach: How the controller sees the node, as for `readiness.assess`.
        address: What NodeAddr is where it is not stated; empty when the name of the node does.
        addresses: Those of all nodes by their names, when they are to be written to its /etc/hosts where it needs them.
        common: Findings that concern all nodes.
        joining: Names of all nodes of the run.
        steps: Which steps the roles need, in their order.
        checks: Which of CHECKS are made.
        apphub_failure: Why there is no AppHub, which stops a node that needs a step.

    Returns:
        ready; findings, one per check (check, code, ok, needed, found, reason, remedy); definition or None; the steps
        in order, of a node that is not ready none; and hosts, the names and addresses that its /etc/hosts is to have.
    """
    wanted = set(checks)
    definition = (defined or {}).get("definition")
    if definition and address and "NodeAddr" not in definition["params"]:
        definition = {**definition, "params": {**definition["params"], "NodeAddr": address}}
        reach = {**(reach or {}), "name": address}
    findings: list[Finding] = []
    needed = list(dict.fromkeys(steps))
    written = node.get("hosts_file") or {}
    hosts = written if addresses is None else wanted_entries(node, cluster, addresses)
    if "readiness" in wanted:
        entries = {name: value for name, value in hosts.items() if written.get(name) != value}
        findings += readiness.assess(
            node,
            cluster,
            request.thresholds,
            reach=reach,
            take_over=request.take_over,
            entries=entries,
            name=request.name,
        )
        if hosts != written:
            needed.insert(0, "hosts")
    if "registration" in wanted:
        findings += _registration(request, cluster, joining)
    if "definition" in wanted:
        findings += (defined or {}).get("findings") or ()
    if "packages" in wanted:
        findings += _packages(request, node, catalog, packages)
    if apphub_failure and set(needed) - {"hosts"}:
        what = "an AppHub, as there is something to do on the node"
        findings.append({"check": "AppHub", "ok": False, "needed": what, "found": "none", **apphub_failure})
    ready = all(finding["ok"] for finding in (*common, *findings))
    return {
        "ready": ready,
        "findings": findings,
        "definition": definition,
        "steps": needed if ready else [],
        "hosts": hosts,
    }


def _registration(request: Request, cluster: Mapping[str, Any], joining: Iterable[str]) -> Iterator[Finding]:
    if not cluster.get("version"):
        return
    yield from registration.wanted_version(request.version, cluster)
    yield from registration.suitable(
        request.name,
        cluster,
        request.registration,
        dynamic=request.dynamic,
        joining=len({*(cluster.get("nodes") or {}), *joining}) if request.dynamic else 0,
    )


def _packages(
    request: Request, node: Mapping[str, Any], catalog: Mapping[str, Any] | None, packages: Packages | None
) -> Iterator[Finding]:
    if not catalog or not packages:
        return
    missing = apphub_gaps(catalog, packages.repository, node["os"]["arch"], packages.names, request.version)
    needed = "packages of Slurm and munge for this system in AppHub"
    if not missing:
        yield readiness.finding("packages", Code.APPHUB_PACKAGE_MISSING, True, needed, packages.repository, "")  # noqa: FBT003 - a record
    own = node.get("repositories") or {}
    for name in packages.beside if packages.repository.startswith("rpm/") else ():
        yield readiness.finding(
            f"repository {name}",
            Code.PACKAGE_SOURCE_MISSING,
            name in own,
            "a repository of the machine, as apphub_client_dependency_repositories says",
            name if name in own else f"only {', '.join(own)}" if own else "no repository",
            "Add it to the machine (dnf repolist --all), or take it out of apphub_client_dependency_repositories.",
        )
    for gap in missing:
        yield {"check": "packages", "ok": False, "needed": needed, "found": gap["reason"], **gap}
