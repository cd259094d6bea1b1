# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Measures a node's hardware as Slurm counts it: by slurmd itself where it is installed, else from the kernel."""

from __future__ import annotations

import glob
import os
import re
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands as slurm_commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import parsers

#: What a slurmd with NVML loads, by its release and who built it.
_NVML = ("libnvidia-ml.so", "libnvidia-ml.so.1")
_GRES = re.compile(r"^(?P<name>[^:(]+)(?::(?P<type>[^:(]*[^:(\d][^:(]*))?(?::(?P<count>\d+))?(?:\(.*\))?$")


def parse_gres(text: str) -> List[Dict[str, Any]]:
    """Read a Gres value.

    Args:
        text: Such as `gpu:a100:4,shard:8`; a count that is not there is 1.

    Returns:
        For each resource its name, type (or None), count, and an empty list of files.
    """
    found = (_GRES.match(part) for part in parsers.split_list(text))
    return [
        {"name": part.group("name"), "type": part.group("type"), "count": int(part.group("count") or 1), "files": []}
        for part in found
        if part
    ]


def parse_slurmd(text: str) -> Optional[Dict[str, Any]]:
    """Read what `slurmd -C` prints.

    Args:
        text: Its output; lines before and after the one that begins with NodeName don't matter.

    Returns:
        The hardware, or None when the line is missing or incomplete.
    """
    records = [record for record in parsers.parse_records(text) if "NodeName" in record]
    if not records:
        return None
    record = records[0]
    boards = parsers.to_int(record.get("Boards", "")) or 1
    per_board = parsers.to_int(record.get("SocketsPerBoard", ""))
    numbers = {
        "cpus": parsers.to_int(record.get("CPUs", "")),
        "boards": boards,
        "sockets": per_board * boards if per_board else parsers.to_int(record.get("Sockets", "")),
        "cores_per_socket": parsers.to_int(record.get("CoresPerSocket", "")),
        "threads_per_core": parsers.to_int(record.get("ThreadsPerCore", "")),
        "real_memory": parsers.to_int(record.get("RealMemory", "")),
    }
    if not all(numbers.values()):
        return None
    by = re.search(r"(?m)^Found gpu.* with Autodetect=(\w+)", text)
    return dict(
        numbers, source="slurmd", gres=parse_gres(record.get("Gres", "")), autodetect=by.group(1) if by else None
    )


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read().strip()
    except OSError:
        return ""


def _topology(root: str) -> List[Tuple[str, str]]:
    """Return (package, threads of its core) of each CPU that is online."""
    found = []
    for directory in glob.glob(os.path.join(root, "sys/devices/system/cpu/cpu[0-9]*/topology")):
        # Some virtual and ARM machines have no packages: -1 stands for the only one.
        package = _read(os.path.join(directory, "physical_package_id")).replace("-1", "0") or "0"
        siblings = _read(os.path.join(directory, "thread_siblings_list")) or directory
        found.append((package, siblings))
    return found


def gpu_devices(root: str = "/") -> List[str]:
    """List NVIDIA's device files.

    Args:
        root: Where the file system begins.

    Returns:
        Such as /dev/nvidia0, by number; control devices such as /dev/nvidiactl are left out.
    """
    names = [path[len(root.rstrip("/")) :] for path in glob.glob(os.path.join(root, "dev/nvidia[0-9]*"))]
    return sorted((name for name in names if re.match(r"^/dev/nvidia\d+$", name)), key=lambda name: int(name[11:]))


def gpu_types(root: str = "/") -> Dict[str, str]:
    """Return the type of each of NVIDIA's device files as Slurm's own AutoDetect=nvml calls it.

    Args:
        root: Where the file system begins.

    Returns:
        Such as {"/dev/nvidia0": "nvidia_a100-sxm4-80gb"}, as far as the driver tells it.
    """
    found = {}
    for path in glob.glob(os.path.join(root, "proc/driver/nvidia/gpus/*/information")):
        told = dict(re.findall(r"(?m)^(Model|Device Minor):[ \t]*(.*?)[ \t]*$", _read(path)))
        name = re.sub(r"\s+", "_", told.get("Model", "").lower())
        if re.match(r"^[a-z0-9][a-z0-9_.-]*$", name) and told.get("Device Minor", "").isdigit():
            found[f"/dev/nvidia{told['Device Minor']}"] = name
    return found


def mig_instances(root: str = "/") -> Dict[str, List[List[str]]]:
    """Return the instances into which NVIDIA's GPUs are divided (MIG), as far as the driver tells them.

    Args:
        root: Where the file system begins.

    Returns:
        By the device file of the GPU, for each instance the files that a job needs of it: that of the GPU, and those
        that give access to the GPU instance and to the compute instance in it.
    """
    found: Dict[str, List[List[str]]] = {}
    for path in glob.glob(os.path.join(root, "proc/driver/nvidia/capabilities/gpu*/mig/gi*/ci*/access")):
        gpu = re.search(r"/gpu(\d+)/mig/", path)
        above = os.path.join(os.path.dirname(os.path.dirname(path)), "access")
        minors = [re.search(r"(?m)^DeviceFileMinor:\s*(\d+)$", _read(one)) for one in (above, path)]
        if gpu and all(minors):
            device = f"/dev/nvidia{gpu.group(1)}"
            caps = [f"/dev/nvidia-caps/nvidia-cap{minor.group(1)}" for minor in minors if minor]
            found.setdefault(device, []).append([device, *caps])
    return {device: sorted(instances, key=_numbers) for device, instances in found.items()}


def _numbers(paths: List[str]) -> List[int]:
    return [int(number) for path in paths for number in re.findall(r"\d+", path)]


def amd_devices(root: str = "/") -> List[str]:
    """List the device files of AMD's GPUs, as Slurm's AutoDetect=rsmi names them.

    Args:
        root: Where the file system begins.

    Returns:
        Such as /dev/dri/renderD128, by number; only those that the driver for computing (KFD) has.
    """
    found = []
    for path in glob.glob(os.path.join(root, "sys/class/kfd/kfd/topology/nodes/*/properties")):
        told = dict(re.findall(r"(?m)^(simd_count|drm_render_minor) (\d+)$", _read(path)))
        # Processors stand there, too, without any unit that computes.
        if int(told.get("simd_count", 0)) and os.path.exists(
            os.path.join(root, f"dev/dri/renderD{told.get('drm_render_minor')}")
        ):
            found.append(int(told["drm_render_minor"]))
    return [f"/dev/dri/renderD{minor}" for minor in sorted(found)]


def kernel_hardware(root: str = "/") -> Optional[Dict[str, Any]]:
    """Count sockets, cores, threads and memory as the kernel shows them, in the way slurmd does.

    Args:
        root: Where the file system begins.

    Returns:
        The hardware, or None when neither /sys nor /proc tells it.
    """
    cpus = _topology(root)
    if not cpus:
        numbers = re.findall(r"^processor\s*:", _read(os.path.join(root, "proc/cpuinfo")), re.MULTILINE)
        cpus = [("0", str(index)) for index in range(len(numbers))]
    memory = re.search(r"^MemTotal:\s+(\d+) kB", _read(os.path.join(root, "proc/meminfo")), re.MULTILINE)
    if not cpus or not memory:
        return None
    cores, sockets = len(set(cpus)), len({package for package, _siblings in cpus})
    return {
        "source": "kernel",
        "cpus": len(cpus),
        "boards": 1,
        "sockets": sockets,
        "cores_per_socket": max(1, cores // sockets),
        "threads_per_core": max(1, len(cpus) // cores),
        "real_memory": int(memory.group(1)) // 1024,
        "gres": [],
        "autodetect": None,
    }


def add_devices(
    gres: List[Dict[str, Any]],
    devices: List[str],
    types: Dict[str, str],
    instances: Optional[Dict[str, List[List[str]]]] = None,
    autodetect: Optional[str] = None,
) -> List[Dict[str, Any]]:
    """Join the GPUs that slurmd found with their device files, or make them of the files alone.

    Args:
        gres: As slurmd reports it; empty before 24.11, without NVIDIA's library, and from the kernel.
        devices: The device files of GPUs.
        types: The types of those of which they are known.
        instances: What some of them are divided into, as mig_instances() returns it; only NVML tells types of these.
        autodetect: How slurmd found what it reports: nvml, or without that library nvidia, and so on.

    Returns:
        The resources. Files are named only where it is certain which GPU they are.
    """
    divided = [files for device in devices for files in (instances or {}).get(device, [])]
    gpus = [item for item in gres if item["name"] == "gpu"]
    # Which instance has which type nobody but NVML knows, and without it slurmd counts a divided GPU as a whole one.
    if divided and autodetect == "nvml":
        return gres
    if divided or not gpus:
        whole = [device for device in devices if device not in (instances or {})]
        return [*(item for item in gres if item["name"] != "gpu"), *_seen(whole, divided, types)]
    seen = _seen(devices, [], types)
    if len(gpus) == 1 and gpus[0]["count"] == len(devices):
        gpus[0]["files"] = devices
    elif {item["type"]: item["count"] for item in gpus} == {item["type"]: item["count"] for item in seen}:
        files = {item["type"]: item["files"] for item in seen}
        for item in gpus:
            item["files"] = files[item["type"]]
    return gres


def _seen(whole: List[str], divided: List[List[str]], types: Dict[str, str]) -> List[Dict[str, Any]]:
    """Return the GPUs that the kernel shows: by type, or as one without a type where that of one is not known.

    Some with a type and some without are nothing that slurmd starts with.
    """
    if divided:
        every = [*([device] for device in whole), *divided]
        flat = list(dict.fromkeys(path for files in every for path in files))
        return [{"name": "gpu", "type": None, "count": len(every), "files": flat, "instances": every}]
    by_type: Dict[Optional[str], List[str]] = {}
    for device in whole:
        by_type.setdefault(types.get(device), []).append(device)
    if None in by_type:
        by_type = {None: whole}
    return [{"name": "gpu", "type": kind, "count": len(files), "files": files} for kind, files in by_type.items()]


def nvml_plugin_missing(timeout: float = 15) -> bool:
    """Say whether a slurmd that is told AutoDetect=nvml would find NVIDIA's library, but no plugin that asks it.

    A slurmd that was built without NVML or does not find the library goes on, and takes what gres.conf says.

    Args:
        timeout: Seconds for the look at slurmd's libraries.
    """
    # First, as hardly any machine has it, and the rest takes a while.
    found = [name for name in _NVML if _loads(name)]
    if not found:
        return False
    libraries = slurm_commands.run(["sh", "-c", 'ldd "$(command -v slurmd)"'], timeout=timeout).stdout
    # It lies in the folder of Slurm's plugins.
    full = re.search(r"=> ((/\S+)/libslurmfull\.so) ", libraries)
    if not full or not os.path.exists(f"{full.group(2)}/gpu_generic.so"):
        return False
    if os.path.exists(f"{full.group(2)}/gpu_nvml.so"):
        return False
    try:
        with open(full.group(1), "rb") as stream:
            built = stream.read()
    except OSError:
        return False
    return any(b"\0" + name.encode() + b"\0" in built for name in found)


def _loads(name: str) -> bool:
    """Load a library as slurmd does."""
    try:
        import ctypes  # noqa: PLC0415 - small installations of Python have none

        ctypes.CDLL(name)
    except (ImportError, OSError):
        return False
    return True


def measure(timeout: float = 15, root: str = "/") -> Tuple[Optional[Dict[str, Any]], Optional[str]]:
    """Measure this machine.

    Args:
        timeout: Seconds for slurmd.
        root: Where the kernel's file systems begin.

    Returns:
        The hardware or None, and why slurmd's own measurement could not be used although slurmd is installed, or None.
    """
    result = slurm_commands.run(["slurmd", "-C"], timeout=timeout)
    hardware = parse_slurmd(result.stdout) if result.rc == 0 else None
    problem = None
    if hardware is None:
        if result.rc != slurm_commands.NOT_FOUND:
            problem = f"slurmd -C: {result.message}"
        hardware = kernel_hardware(root)
    if hardware is not None:
        devices = gpu_devices(root) or amd_devices(root)
        hardware["gres"] = add_devices(
            hardware["gres"], devices, gpu_types(root), mig_instances(root), hardware["autodetect"]
        )
        hardware["nvml_plugin_missing"] = nvml_plugin_missing(timeout)
    return hardware, problem
