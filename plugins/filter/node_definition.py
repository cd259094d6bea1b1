# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter node_definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness import finding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCUMENTATION = r"""
name: node_definition
short_description: Turn measured hardware and what the user states into a node's definition for slurm.conf
version_added: "0.1.0"
description:
  - Takes CPUs, topology, memory less a margin, and GPUs as they were measured. What the user states wins.
  - Names statements that the hardware can't meet, because Slurm would set such a node INVAL.
options:
  _input:
    description: The key C(hardware) of what M(ai_infra.slurm.slurm_node_probe) returns.
    type: dict
    required: true
  name:
    description: The node's name in Slurm.
    type: str
    required: true
  hostname:
    description: What C(hostname -s) answers on the node.
    type: str
  stated:
    description: Parameters of slurm.conf that replace or complete the measured ones.
    type: dict
    default: {}
  features:
    description: Features of the node.
    type: list
    elements: str
    default: []
  memory_margin:
    description: >-
      Percent of the measured memory that RealMemory leaves to the system and to kernels that differ a little.
    type: float
    default: 2
  overrides:
    description: Whether the cluster runs with C(SlurmdParameters=config_overrides) and thus accepts any value.
    type: bool
    default: false
  switch:
    description: The switch or block of topology.conf to which the node is attached.
    type: str
    default: ""
  autodetect:
    description: >-
      The AutoDetect that the administrator's gres.conf states for this node alone; none is written beside it.
    type: str
    default: ""
"""
EXAMPLES = r"""
- name: Show what would be registered
  ansible.builtin.debug:
    msg: "{{ (preflight_node.hardware | ai_infra.slurm.node_definition('node07', stated={'Weight': 10})).definition }}"
"""
RETURN = r"""
_value:
  description: >-
    The keys definition, with name, params (parameters of slurm.conf), gres_lines (lines of gres.conf) and, where it is
    stated, switch; and findings, a list of one check with check, code, ok, needed, found, reason and remedy.
  type: dict
"""

# Parameter of slurm.conf -> key of the measured hardware.
MEASURED = {
    "CPUs": "cpus",
    "Boards": "boards",
    "SocketsPerBoard": "sockets_per_board",
    "Sockets": "sockets",
    "CoresPerSocket": "cores_per_socket",
    "ThreadsPerCore": "threads_per_core",
    "RealMemory": "real_memory",
}
TOPOLOGY = ("Sockets", "CoresPerSocket", "ThreadsPerCore")
NAMES = {
    name.lower(): name for name in [*MEASURED, "Features", "Gres", "NodeAddr", "NodeHostname", "Weight", "TmpDisk"]
}
NAMES["feature"] = "Features"
NAMES["procs"] = "CPUs"


def node_definition(  # noqa: PLR0917 - a filter's options are its arguments
    hardware: Mapping[str, Any],
    name: str,
    hostname: str | None = None,
    stated: Mapping[str, Any] | None = None,
    features: Sequence[str] = (),
    memory_margin: float = 2,
    overrides: bool = False,  # noqa: FBT001, FBT002 - the same
    switch: str = "",
    autodetect: str = "",
) -> dict[str, Any]:
    """Return the definition of one node and what is wrong with it."""
    if not hardware:
        raise AnsibleFilterError(f"{name}: the hardware was not measured, and a node is not registered without it.")
    wanted = {NAMES.get(key.lower(), key): value for key, value in (stated or {}).items()}
    measured = {key: int(hardware[field]) for key, field in MEASURED.items() if hardware.get(field)}
    # Device files may be missing until the driver is used, and slurmd, which tells GPUs, may not be there yet.
    counts = None if hardware.get("source") == "kernel" and not hardware.get("gres") else _gres_counts(hardware)
    lacking = [] if overrides else _lacking(wanted, measured, counts)
    params: dict[str, Any] = {"CPUs": measured["CPUs"]}
    if "CPUs" not in wanted:  # a stated number of CPUs need not fit the measured topology
        params.update({key: measured[key] for key in TOPOLOGY if key in measured})
    params["RealMemory"] = int(measured["RealMemory"] * (100 - memory_margin) / 100)
    if hostname and hostname.split(".")[0] != name:
        params["NodeHostname"] = hostname.split(".")[0]
    if features:
        params["Features"] = ",".join(dict.fromkeys(features))
    if hardware.get("gres"):
        params["Gres"] = ",".join(_gres(gres) for gres in hardware["gres"])
    params.update(wanted)
    found = _as_stated(hardware.get("gres") or [], str(wanted.get("Gres", "")))
    lines = [line for gres in found if gres.get("files") for line in _gres_lines(name, gres)]
    # slurmd with NVML finds the files itself, of instances (MIG) with their types.
    itself = hardware.get("autodetect") == "nvml" and any(gres["name"] == "gpu" and not gres["files"] for gres in found)
    if itself and not autodetect:
        lines.append(f"NodeName={name} AutoDetect=nvml")
    definition = {"name": name, "params": params, "gres_lines": lines if "Gres" in params else []}
    if switch:
        definition["switch"] = switch
    return {"definition": definition, "findings": [_finding(lacking)]}


def _finding(lacking: Sequence[str]) -> dict[str, Any]:
    return finding(
        "definition",
        Code.NODE_DEFINITION_INVALID,
        not lacking,
        "no more than the hardware has, or Slurm would set the node INVAL",
        "; ".join(lacking) or "what was measured",
        "Correct slurmd_parameters of this node, or leave the parameter out to take the measured value.",
    )


def _lacking(wanted: Mapping[str, Any], measured: Mapping[str, int], gres: Mapping[str, int] | None) -> list[str]:
    problems = [
        f"{key}={wanted[key]} is stated, but the node has {measured[key]}"
        for key in ("CPUs", "RealMemory", "Sockets", "Boards")
        if key in wanted and key in measured and int(wanted[key]) > measured[key]
    ]
    threads = 1
    for key in TOPOLOGY:
        threads *= int(wanted.get(key, measured.get(key, 1)))
    if set(TOPOLOGY) & set(wanted) and threads > measured["CPUs"]:
        problems.append(
            f"Sockets x CoresPerSocket x ThreadsPerCore = {threads} is stated, but the node has {measured['CPUs']} CPUs"
        )
    for item in filter(None, str(wanted.get("Gres", "")).split(",")):
        kind, _, count = item.partition(":")
        number = int(count.rsplit(":", 1)[-1]) if count.rsplit(":", 1)[-1].isdigit() else 1
        if kind == "gpu" and gres is not None and number > gres.get(kind, 0):
            problems.append(f"Gres={item} is stated, but the node has {gres.get(kind, 0)} of {kind}")
    return problems


def _as_stated(found: Sequence[Mapping[str, Any]], stated: str) -> list[Mapping[str, Any]]:
    """Give GPUs the type and the number that the user states, as gres.conf and slurm.conf must agree in both."""
    kinds = [item.split(":") for item in stated.split(",") if item.split(":")[0] == "gpu"]
    gpus = [item for item in found if item["name"] == "gpu"]
    files = [path for item in gpus for path in item.get("files") or ()]
    instances = [files for item in gpus for files in item.get("instances") or ()]
    if len(kinds) != 1 or not files or (instances and len(gpus) > 1):
        return list(found)
    *kind, count = kinds[0][1:] if kinds[0][-1].isdigit() else [*kinds[0][1:], "1"]
    wanted = {"name": "gpu", "type": kind[0] if kind else None, "count": int(count), "files": files[: int(count)]}
    if instances:
        wanted |= {"files": files, "instances": instances[: int(count)]}
    same = [item for item in gpus if item.get("type") == wanted["type"] and item["count"] == wanted["count"]]
    return [*(item for item in found if item["name"] != "gpu"), *(same or [wanted])]


def _gres_counts(hardware: Mapping[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for gres in hardware.get("gres") or []:
        counts[gres["name"]] = counts.get(gres["name"], 0) + int(gres["count"])
    return counts


def _gres(gres: Mapping[str, Any]) -> str:
    return ":".join(str(part) for part in (gres["name"], gres.get("type"), gres["count"]) if part)


def _gres_lines(name: str, gres: Mapping[str, Any]) -> list[str]:
    kind = f" Type={gres['type']}" if gres.get("type") else ""
    begin = f"NodeName={name} Name={gres['name']}{kind}"
    if gres.get("instances"):
        # A whole GPU beside divided ones is an instance with one file, and MultipleFiles wants several.
        keys = ["MultipleFiles" if len(files) > 1 else "File" for files in gres["instances"]]
        return [f"{begin} {key}={','.join(files)}" for key, files in zip(keys, gres["instances"], strict=True)]
    return [f"{begin} File={','.join(gres['files'])}"]


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"node_definition": node_definition}
