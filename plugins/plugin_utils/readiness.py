# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What a machine must have to be a compute node, compared with what was found on it and on its controller."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible.module_utils.basic import _PY_MIN
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.network import is_address
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.supported_systems import SUPPORTED, SYSTEMS
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import versions
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.firewall import closed_ports, opening
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.node_address import is_usable
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.probe_request import slurmctld_door

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What ansible-core itself needs there grows with its releases; the modules need 3.8.
PYTHON = max((3, 8), tuple(_PY_MIN))
KEY = "/etc/munge/munge.key"
# What a machine may say of itself.
ARCHITECTURES = frozenset(("x86_64", "aarch64", "ppc64le", "s390x", "riscv64"))
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
DEVICE = re.compile(r"/dev/[A-Za-z0-9_/-]{1,64}")
Finding = dict[str, Any]


class Thresholds(NamedTuple):
    """What a machine must keep to."""

    max_skew: float = 60
    min_free_mb: int = 512
    min_memory_mb: int = 256


_THRESHOLDS = Thresholds()


def finding(  # noqa: PLR0917 - a record
    check: str,
    code: Code,
    ok: bool,  # noqa: FBT001 - a record
    needed: str,
    found: str,
    remedy: str,
) -> Finding:
    """Return one line of a report; the code says what is wrong when it is not ok."""
    return {
        "check": check,
        "code": code.value,
        "ok": ok,
        "needed": needed,
        "found": found,
        "reason": "" if ok else f"{check}: needed {needed}, found {found.rstrip('.')}.",
        "remedy": "" if ok else remedy,
    }


def system(node: Mapping[str, Any], thresholds: Thresholds) -> Iterator[Finding]:
    """Compare operating system, rights, Python and hardware."""
    os, hardware = node["os"], node["hardware"] or {}
    yield finding(
        "operating system",
        Code.SYSTEM_UNSUPPORTED,
        bool(os["supported"]),
        SUPPORTED,
        os.get("pretty") or str(os.get("id")),
        "Install one of the supported systems, or leave this machine out of nodes.",
    )
    yield finding(
        "privileges",
        Code.PRIVILEGES_MISSING,
        node["uid"] == 0,
        "uid 0",
        f"uid {node['uid']}",
        "Log in as root, or set ansible_become: true and a user that may become root.",
    )
    yield finding(
        "Python",
        Code.PYTHON_TOO_OLD,
        tuple(int(part) for part in node["python"].split(".")[:2]) >= PYTHON,
        f"{version_text(PYTHON)} or later",
        node["python"],
        "Install a newer python3, or set ansible_python_interpreter to one that is there.",
    )
    yield finding(
        "CPUs",
        Code.HARDWARE_NOT_MEASURED,
        (hardware.get("cpus") or 0) > 0,
        "at least 1",
        str(hardware.get("cpus") or "not measured"),
        "See why neither slurmd -C nor the kernel tells the CPUs: slurmd -C; lscpu",
    )
    yield finding(
        "memory",
        Code.MEMORY_TOO_SMALL,
        (hardware.get("real_memory") or 0) >= thresholds.min_memory_mb,
        f"{thresholds.min_memory_mb} MB",
        f"{hardware.get('real_memory') or 0} MB",
        "Give the machine more memory, or set preflight_min_memory_mb lower.",
    )


def claims(node: Mapping[str, Any]) -> Iterator[Finding]:
    """Refuse names and values that no genuine machine reports, because they go into slurm.conf.

    A partition may take nodes by their features, and whoever has a machine chooses what it says.
    """
    os, hardware = node["os"], node.get("hardware") or {}
    said = [
        ("architecture", os.get("arch"), str(os.get("arch")) in ARCHITECTURES),
        ("operating system", os.get("id"), not os["supported"] or str(os.get("id")) in SYSTEMS),
        ("host name", node.get("hostname"), bool(HOST_NAME.fullmatch(str(node.get("hostname"))))),
    ]
    for gres in hardware.get("gres") or []:
        words = [str(gres.get("name")), str(gres.get("type") or "any"), str(gres.get("count"))]
        paths = [*gres["files"], *(path for files in gres.get("instances") or [] for path in files)]
        usual = all(WORD.fullmatch(word) for word in words) and all(DEVICE.fullmatch(path) for path in paths)
        said.append(("gres", gres, usual))
    wrong = [f"{what} {value!r}" for what, value, usual in said if value is not None and not usual]
    yield finding(
        "what the machine says",
        Code.NODE_CLAIM_INVALID,
        not wrong,
        "names that are known or have the usual form",
        "; ".join(wrong) or "nothing unusual",
        "Check who administers this machine: what it reports can't be entered in slurm.conf.",
    )


def version_text(numbers: tuple[int, ...]) -> str:
    """Write a version of Python."""
    return ".".join(str(number) for number in numbers)


def version(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare slurmd with slurmctld: never newer, and inside Slurm's window."""
    found, controller = node.get("slurm_version"), cluster.get("version")
    if not controller:
        return
    yield finding(
        "Slurm version",
        Code.SLURM_VERSION_UNSUITABLE,
        not found or not (versions.is_newer(found, controller) or versions.is_too_old(found, controller)),
        f"at most {controller} and at most {versions.window(controller)} releases older",
        found or "not installed",
        f"Remove the installed slurmd {found}; scale_up then installs the controller's version from AppHub.",
    )


def authentication(cluster: Mapping[str, Any]) -> Iterator[Finding]:
    """Refuse a cluster that does not authenticate by munge, because nodes are given nothing else."""
    kind = (cluster.get("config") or {}).get("AuthType")
    if kind:
        yield finding(
            "authentication",
            Code.AUTH_TYPE_UNSUPPORTED,
            kind == "auth/munge",
            "AuthType=auth/munge",
            str(kind),
            "Such a node needs the key of this kind (for auth/slurm slurm.key), which is never read or deployed here:"
            " add it by hand, or let the cluster use munge.",
        )


def membership(node: Mapping[str, Any], cluster: Mapping[str, Any], *, take_over: bool = False) -> Iterator[Finding]:
    """Find a machine that belongs to another cluster, runs somebody's jobs, or uses munge with another key.

    What this cluster's own key or controller shows to be ours goes on, also when a run of ours was interrupted.

    Args:
        node: What the probe found.
        cluster: What is known of the cluster.
        take_over: The machine may be taken from another cluster when no job lives there.
    """
    member = node.get("membership")
    if not member or not cluster.get("munge_key"):
        return
    same_key = _same_key(node, cluster)
    other = _other_cluster(member, cluster, same_key=same_key)
    jobs = f"jobs {', '.join(member['jobs'])}" if member["jobs"] else f"{member['job_processes']} job processes"
    remedy = (
        "Leave this machine out of nodes, or remove it from that cluster first; -e take_over=true takes it as it is."
    )
    if other and member["job_processes"] and take_over:
        yield finding(
            "cluster",
            Code.NODE_RUNS_JOBS,
            False,  # noqa: FBT003 - a record
            "a machine on which no job runs",
            f"{jobs} of {other}",
            "Wait until they have ended, or cancel them there. A machine is never taken while a job runs on it.",
        )
    else:
        running = "slurmd runs" if member["slurmd_running"] else "slurmd does not run"
        yield finding(
            "cluster",
            Code.NODE_OF_OTHER_CLUSTER,
            not other or take_over,
            "a machine that belongs to no other cluster",
            f"{other}; {running}" + (f", with {jobs}" if member["job_processes"] else "") if other else "none",
            remedy,
        )
    if not other and not same_key:
        yield finding(
            "munge",
            Code.MUNGE_IN_USE,
            not member["munge_users"] or take_over,
            "the cluster's key, or a munge that nothing uses",
            f"another key, used by {', '.join(member['munge_users'])}" if member["munge_users"] else "not in use",
            "Programs that use munge there could no longer authenticate. Leave this machine out of nodes, or stop what"
            " uses munge; -e take_over=true takes it as it is.",
        )


def _same_key(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> bool:
    ours = cluster["munge_key"].get("sha256")
    return bool(ours) and ((node.get("files") or {}).get(KEY) or {}).get("sha256") == ours


def _other_cluster(member: Mapping[str, Any], cluster: Mapping[str, Any], *, same_key: bool) -> str:
    """Return which other cluster a machine belongs to, in words; empty when it belongs to none or to this one."""
    theirs, ours = str(member["cluster_name"] or ""), str(cluster.get("name") or "").lower()
    same_name = bool(theirs) and theirs == ours
    same_controller = bool(_names(member["controllers"]) & _own_names(cluster))
    # The key alone tells nothing where several clusters share it; a name or a controller alone may be there twice.
    if [same_key, same_name, same_controller].count(True) > 1:
        return ""
    if theirs or member["controllers"]:
        known = same_controller if not theirs else same_name and not member["controllers"]
        return "" if known else _describe(theirs, member["controllers"])
    return "an unknown cluster" if not same_key and (member["job_processes"] or member["slurmd_running"]) else ""


def _describe(name: str, controllers: list[str]) -> str:
    return f"cluster {name or 'of unknown name'}" + (f" of controller {', '.join(controllers)}" if controllers else "")


def _names(hosts: list[str]) -> set[str]:
    """Return names as they compare: short and in lower case; addresses as they are."""
    return {host.lower() if is_address(host) else host.lower().partition(".")[0] for host in hosts if host}


def _own_names(cluster: Mapping[str, Any]) -> set[str]:
    addresses = cluster.get("addresses") or {}
    hosts = [controller["host"] for controller in cluster.get("controllers") or []]
    named = [str(addresses.get(key) or "") for key in ("hostname", "fqdn")]
    return _names([*hosts, *named, *(addresses.get("ips") or [])])


def skew(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> float | None:
    """Return by how many seconds the node's clock is ahead of the controller's; None when one is not known."""
    if not node.get("control_time") or not cluster.get("control_time"):
        return None
    ahead: float = (node["time"] - node["control_time"]) - (cluster["time"] - cluster["control_time"])
    return ahead


def clock(node: Mapping[str, Any], cluster: Mapping[str, Any], thresholds: Thresholds) -> Iterator[Finding]:
    """Compare the clocks."""
    ahead = skew(node, cluster)
    if ahead is not None:
        yield finding(
            "clock",
            Code.CLOCK_SKEW,
            abs(ahead) <= thresholds.max_skew,
            f"within {thresholds.max_skew} s of the controller's",
            f"{ahead:+.0f} s",
            "Set up time synchronisation (chrony) on the node; munge refuses credentials of a wrong time.",
        )


def accounts(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare the numbers of the users slurm and munge."""
    for name, wanted in (cluster.get("users") or {}).items():
        found = (node.get("users") or {}).get(name)
        if not wanted or not found or wanted.get("name", name) != name:
            continue  # made later, or SlurmUser is called otherwise on this cluster
        same = (found["uid"], found["gid"]) == (wanted["uid"], wanted["gid"])
        yield finding(
            f"user {name}",
            Code.ACCOUNT_ID_DIFFERS,
            same,
            f"uid {wanted['uid']}, gid {wanted['gid']} as on the controller",
            f"uid {found['uid']}, gid {found['gid']}",
            f"Stop what runs as {name}, give it the controller's uid and gid (usermod, groupmod, chown its files),"
            " and run again.",
        )


def account_ids(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[Finding]:
    """Find accounts of the machine that have the numbers of those that are to be made, or their names."""
    ids = node.get("account_ids") or {}
    for name, wanted in (cluster.get("users") or {}).items() if ids else ():
        user = (wanted or {}).get("name") or name
        if not wanted or wanted["uid"] == 0 or (node.get("users") or {}).get(name):
            continue
        for kind, who, number in (("uid", user, wanted["uid"]), ("gid", wanted.get("group") or user, wanted["gid"])):
            holders = ids[f"{kind}s"]
            holder = holders.get(str(number))
            other = next((held for held, named in holders.items() if named == who and held != str(number)), None)
            found = f"{kind} {number} belongs to {holder}" if holder not in {None, who} else ""
            yield finding(
                f"{kind} of {who}",
                Code.ACCOUNT_ID_TAKEN if found or not other else Code.ACCOUNT_ID_DIFFERS,
                not found and not other,
                f"{kind} {number} as on the controller, free or {who}'s",
                found or (f"{who} has {kind} {other}" if other else "free"),
                f"Give {holder if found else who} another number (usermod -u or groupmod -g, and chown its files),"
                " and run again.",
            )


def disks(node: Mapping[str, Any], thresholds: Thresholds) -> Iterator[Finding]:
    """Compare the free space."""
    for path, free in (node.get("disks") or {}).items():
        if free is not None:
            yield finding(
                f"space in {path}",
                Code.DISK_SPACE_LOW,
                free >= thresholds.min_free_mb,
                f"{thresholds.min_free_mb} MB free",
                f"{free} MB",
                f"Free some space in {path}.",
            )


def programs(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[Finding]:
    """Say whether the machine has the programs that the cluster's configuration names for its nodes."""
    # What a node that works lacks, its administrator has decided.
    for name, path in (cluster.get("node_programs") or {}).items() if not node.get("state") else ():
        found = (node.get("files") or {}).get(path)
        if found:
            yield finding(
                name,
                Code.NODE_PROGRAM_MISSING,
                bool(found.get("exists")),
                f"{path}, as the cluster's configuration says",
                path if found.get("exists") else "no such file",
                "Put it there first: without it Slurm drains the node, or its jobs fail.",
            )


def gpu_plugin(node: Mapping[str, Any], cluster: Mapping[str, Any], name: str) -> Iterator[Finding]:
    """Refuse a machine whose slurmd would end at the AutoDetect=nvml that gres.conf says."""
    ways, folders = cluster.get("gres_autodetect") or {}, (cluster.get("config") or {}).get("PluginDir", "")
    # Plugins that are in several folders are not looked for.
    if ways.get(name, ways.get("")) == "nvml" and ":" not in folders:
        lacking = bool((node["hardware"] or {}).get("nvml_plugin_missing"))
        # 22.05 goes on without the plugin.
        missing = lacking and versions.version_tuple(str(node.get("slurm_version"))) >= (24, 11)
        yield finding(
            "GPU plugin",
            Code.GPU_PLUGIN_MISSING,
            not missing,
            "a slurmd that can do what gres.conf says, AutoDetect=nvml",
            "NVIDIA's library libnvidia-ml without Slurm's plugin gpu_nvml.so, with which slurmd does not start"
            if missing
            else "nothing that keeps slurmd from starting",
            "Install the plugin there, in Debian the package slurm-wlm-nvml-plugin, and run again; or write"
            f" NodeName={name} AutoDetect=off into the controller's gres.conf.",
        )


def apphub(node: Mapping[str, Any]) -> Iterator[Finding]:
    """Say whether the node itself reaches AppHub."""
    urls = (node.get("network") or {}).get("urls") or {}
    if urls:
        yield finding(
            "AppHub",
            Code.APPHUB_UNREACHABLE,
            any(answer["ok"] for answer in urls.values()),
            "an answer to a request from the node",
            "; ".join(f"{url}: {answer['message']}" for url, answer in urls.items()),
            "Allow the connection from the node to AppHub (name, route, firewall, proxy); try on the node: "
            f"curl -i {next(iter(urls))}",
        )


def controller_from_node(
    node: Mapping[str, Any], cluster: Mapping[str, Any], entries: Mapping[str, str]
) -> Iterator[Finding]:
    """Say whether the node finds the controllers by name and reaches their port.

    Args:
        node: What the probe found; it may have been asked for names of nodes and addresses of controllers as well.
        cluster: What is known of the cluster.
        entries: Names and addresses that will be written to the node's /etc/hosts.
    """
    network = node.get("network") or {}
    resolved, answers = network.get("resolve") or {}, network.get("connect") or {}
    own = (cluster.get("addresses") or {}).get("hostname") == node.get("hostname")
    names = [controller["host"] for controller in cluster.get("controllers") or []]
    for name in filter(resolved.__contains__, names):
        coming = f"; {entries[name]} will be written to /etc/hosts" if name in entries else ""
        yield finding(
            f"name of {name}",
            Code.NAME_NOT_RESOLVED,
            bool(coming) or is_usable(resolved[name], own=own),
            "an address that is not this machine's own loopback" if not own else "an address",
            (", ".join(resolved[name]) or "none") + coming,
            f"Put {name} with its address into DNS or into the node's /etc/hosts; slurmd_write_hosts: true does so.",
        )
    for name in names:
        target = slurmctld_door(name, cluster)
        answer = answers.get(slurmctld_door(entries.get(name, ""), cluster)) or answers.get(target)
        if not answer:
            continue
        yield finding(
            f"port {target}",
            Code.PORT_UNREACHABLE,
            answer["state"] == "open",
            "slurmctld answers the node",
            f"{answer['state']}: {answer['message']}",
            f"Allow the connection from the node to {target} (firewall, route); slurmd registers over it.",
        )


def node_from_controller(node: Mapping[str, Any], reach: Mapping[str, Any]) -> Iterator[Finding]:
    """Say whether the controller finds the node by name and reaches its port.

    As long as no slurmd listens, a refused connection is as good as an open one: nothing hides the port.
    """
    if str(node.get("hostname", "unknown")).split(".")[0] in ("", "localhost"):
        yield finding(
            "host name",
            Code.HOST_NAME_INVALID,
            False,  # noqa: FBT003 - a record
            "a name of its own",
            str(node.get("hostname")),
            "Give the machine its name: hostnamectl set-hostname NAME",
        )
    name, network = reach.get("name"), reach.get("network") or {}
    if reach.get("state"):
        found = f"registered, {reach['state']}"
        yield finding("seen by the controller", Code.PORT_UNREACHABLE, bool(found), "found and reached", found, "")
        return
    if reach.get("problem"):
        remedy = "See that the controller answers over ssh, then run again."
        said = f"it can't be asked: {reach['problem']}"
        yield finding("seen by the controller", Code.HOST_UNREACHABLE, not said, "found and reached", said, remedy)
    if name not in (network.get("resolve") or {}):
        return
    addresses = network["resolve"][name]
    yield finding(
        "name on the controller",
        Code.NAME_NOT_RESOLVED,
        is_usable(addresses, own=bool(reach.get("own"))),
        f"the controller finds {name}",
        ", ".join(addresses) or "no address",
        f"Put {name} with its address into DNS or into the controller's /etc/hosts, or state NodeAddr in"
        " slurmd_parameters.",
    )
    for target, answer in (network.get("connect") or {}).items():
        if addresses and target.rpartition(":")[0] == name:
            yield _port_of_node(node, target, answer, reach)


def _port_of_node(node: Mapping[str, Any], target: str, answer: Mapping[str, str], reach: Mapping[str, Any]) -> Finding:
    running = ((node.get("services") or {}).get("slurmd") or {}).get("active") == "active"
    ports = reach.get("ports") or [target.rpartition(":")[2]]
    wall, closed = (node.get("firewall") or {}).get("name") or "", closed_ports(node.get("firewall"), ports)
    opened = answer["state"] == "filtered" and bool(closed) and bool(reach.get("opens"))
    remedy = f"Allow the connection from the controller to {target} (firewall, route)" + (
        ", and see whether slurmd listens: journalctl -u slurmd" if running else "."
    )
    if closed and answer["state"] == "filtered":
        by_hand = "; ".join(" ".join(words) for words in opening(node.get("firewall"), ports))
        remedy = f"{wall} is on there. Set slurmd_open_firewall: true, or run on it: {by_hand}"
    return finding(
        f"port {target}",
        Code.PORT_UNREACHABLE,
        opened or answer["state"] == "open" or (answer["state"] == "refused" and not running),
        "slurmd answers the controller" if running else "the controller reaches the machine",
        f"{answer['state']}: {answer['message']}" + (f"; {wall} will be opened" if opened else ""),
        remedy,
    )


def assess(
    node: Mapping[str, Any],
    cluster: Mapping[str, Any],
    thresholds: Thresholds = _THRESHOLDS,
    *,
    reach: Mapping[str, Any] | None = None,
    take_over: bool = False,
    entries: Mapping[str, str] | None = None,
    name: str = "",
) -> list[Finding]:
    """Compare a machine with all that it needs.

    Args:
        node: What slurm_node_probe found.
        cluster: What slurm_cluster_info found; empty where the controller does not answer.
        thresholds: What the machine must keep to.
        reach: How the controller sees it: name (the one it knows it by), network (what slurm_cluster_info returns), own
            (whether both are one machine), problem (why the controller could not be asked), ports (at which the node
            has to be reached), opens (whether its firewall will be told so), and state, when it is a node that works
            already, which proves all this.
        take_over: The machine may be taken from another cluster when no job lives there.
        entries: Names and addresses that will be written to its /etc/hosts.
        name: What it is called as a node.

    Returns:
        One finding per check.
    """
    return [
        *system(node, thresholds),
        *claims(node),
        *authentication(cluster),
        *membership(node, cluster, take_over=take_over),
        *version(node, cluster),
        *clock(node, cluster, thresholds),
        *accounts(node, cluster),
        *account_ids(node, cluster),
        *disks(node, thresholds),
        *programs(node, cluster),
        *gpu_plugin(node, cluster, name),
        *apphub(node),
        *controller_from_node(node, cluster, entries or {}),
        *node_from_controller(node, reach or {}),
    ]
