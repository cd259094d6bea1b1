"""From an address to a known cluster and back, to be read from top to bottom; nothing is changed on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from slurmscale.errors import NotFoundError
from slurmscale.models import Credentials
from slurmscale.states import TaskStatus
from testing import SLURM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.models import Cluster
    from slurmscale.scaling import Scaling
    from testinfra.host import Host

# What a look could leave: files, processes of Slurm that were started anew, and what slurmctld knows.
FOLDERS = "/etc /usr /opt /srv /root /var/lib/munge /var/lib/slurm"
TRACES = (
    f"find {FOLDERS} -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum",
    "systemctl show --property InvocationID --value slurmctld munge ssh",
    "scontrol --all show node | grep -v -e Time -e LastBusy; scontrol --all show partition",
    "cat /etc/passwd /etc/group",
)


def traces(ctl1: Host) -> list[str]:
    return [ctl1.check_output(command) for command in TRACES]


@pytest.fixture(scope="module", autouse=True)
def nothing_is_changed(ctl1: Host) -> Iterator[None]:
    """After all tests: the controller is as it was, and so is who may be trusted here."""
    known_hosts = Path.home() / ".ssh" / "known_hosts"
    before, known = traces(ctl1), known_hosts.read_bytes() if known_hosts.exists() else b""
    yield
    assert traces(ctl1) == before
    assert (known_hosts.read_bytes() if known_hosts.exists() else b"") == known


@pytest.mark.parametrize(
    ("changed", "failure"),
    [
        ({"controller": "no-such-host.invalid"}, ("resolve", "name-not-resolved")),
        ({"credentials": Credentials(port=9)}, ("tcp", "port-unreachable")),
        ({}, ("hostkey", "host-key-unknown")),
    ],
)
def test_each_stage_says_why_it_failed_and_what_to_do(
    changed: dict[str, Any], failure: tuple[str, str], scaling: Scaling, theirs: Cluster
) -> None:
    found = scaling.clusters.test(dataclasses.replace(theirs, **changed))
    assert found.error
    assert (found.success, found.stage, found.error.code) == (False, *failure)
    assert found.error.remedy
    assert [one["ok"] for one in found.stages] == [True] * (len(found.stages) - 1) + [False]
    (task,) = scaling.tasks(found.run_id)
    assert (task.status, task.error_code, task.error_message) == (
        TaskStatus.FAILED,
        found.error.code,
        found.error.reason,
    )
    assert scaling.status().failed_nodes == 0


def test_a_cluster_is_connected_when_its_host_key_was_confirmed(scaling: Scaling, theirs: Cluster, ctl1: Host) -> None:
    found = scaling.clusters.test(theirs)
    assert found.stage == "hostkey"
    assert found.fingerprint in ctl1.check_output("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    nobody = dataclasses.replace(
        theirs, credentials=Credentials("nobody-at-all", None, theirs.credentials.private_key_file)
    )
    assert scaling.clusters.test(nobody, fingerprint=found.fingerprint).stage == "auth"
    found = scaling.clusters.test(theirs, fingerprint=found.fingerprint)
    assert found.success, found
    assert [one["stage"] for one in found.stages] == ["resolve", "tcp", "hostkey", "auth", "sudo", "slurm"]
    cluster = scaling.clusters.connect(theirs, found, max_nodes=5)
    assert cluster.info
    assert (cluster.cluster_type, cluster.health) == ("external", "healthy")
    assert (cluster.info["cluster_name"], cluster.info["version"], cluster.info["configless"]) == (
        "theirs",
        SLURM,
        False,
    )
    assert sorted(cluster.info["nodes"]) == ["old1", "old2", "old3"]
    assert cluster.info["partitions"]["batch"]["nodes"] == "old[1-2]"
    assert [one["up"] for one in cluster.info["controllers"]] == [True]
    assert cluster.info["os"]["id"] == ctl1.system_info.distribution
    assert cluster.info["accounting"] in {"accounting_storage/none", ""}


def test_it_is_reached_again_by_the_key_that_was_confirmed_and_by_no_other(scaling: Scaling) -> None:
    assert scaling.clusters.refresh("theirs").success
    known = scaling.store.cluster("theirs")
    (line,) = known.host_keys
    name, kind, _ = line.split()
    other = "AAAAC3NzaC1lZDI1NTE5AAAAIGluIHRoZSBtaWRkbGUgc29tZWJvZHkgbGlzdGVucyEh"
    scaling.store.save_cluster(dataclasses.replace(known, host_keys=(f"{name} {kind} {other}",)))
    found = scaling.clusters.refresh("theirs")
    assert found.error
    assert (found.stage, found.error.code) == ("hostkey", "host-key-differs")
    assert scaling.store.cluster("theirs").health == "unhealthy"
    scaling.store.save_cluster(known)


def test_a_key_may_be_a_text_and_its_agent_ends_with_the_look(scaling: Scaling, theirs: Cluster) -> None:
    path = Path(theirs.credentials.private_key_file or "")
    fingerprint = scaling.clusters.test(theirs).fingerprint
    other = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    for text, stage in ((path.read_text(), "slurm"), (other, "auth")):
        given = dataclasses.replace(theirs, credentials=Credentials(theirs.credentials.user, private_key=text))
        found = scaling.clusters.test(given, fingerprint=fingerprint)
        assert (found.stage, found.success) == (stage, stage == "slurm"), found
    # asked later, a process of somebody else may have ended
    processes = [process.info for process in psutil.process_iter(["name", "cmdline"])]
    agents = [one["cmdline"] or [] for one in processes if one["name"] == "ssh-agent"]
    assert not [one for one in agents if "slurmscale-run-" in " ".join(one)]


def test_a_forgotten_cluster_is_gone_from_here(scaling: Scaling) -> None:
    scaling.clusters.forget("theirs")
    with pytest.raises(NotFoundError):
        scaling.store.cluster("theirs")
