"""Nodes behind a host that lets few log in at once: sshd there closes the connections of the others."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from testing import INVENTORY, lab_address, node_names, run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

# Two may be about to log in, any further one is refused.
FEW = "MaxStartups 2:100:2"
# Fails when there is none. In lower case it is found however a version of sshd writes it.
REFUSED = "journalctl --unit ssh --since @%s --grep maxstartups"


@pytest.fixture
def behind(ctl1: Host) -> Iterator[Path]:
    """Let ctl1 be the host between and take few logins; return an inventory to be used beside the lab's."""
    ctl1.check_output("printf '%%s\\n' %s > /etc/ssh/sshd_config.d/few.conf && systemctl reload ssh", FEW)
    # A folder of its own: a connection that stands open does not log in. The path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="cp"))
    known = f"-o UserKnownHostsFile={INVENTORY}/known_hosts -o StrictHostKeyChecking=yes"
    jump = f"ssh -i {INVENTORY}/id_ed25519 {known} -W %h:%p root@{lab_address('ctl1')}"
    variables = {
        "ansible_ssh_common_args": f'{known} -o ControlPersist=5s -o ProxyCommand="{jump}"',
        "ansible_control_path_dir": str(folder),
    }
    (folder / "behind.yml").write_text(json.dumps({"slurm_nodes": {"vars": variables}}))
    yield folder / "behind.yml"
    ctl1.check_output("rm /etc/ssh/sshd_config.d/few.conf && systemctl reload ssh")
    shutil.rmtree(folder)


def test_all_nodes_are_reached(ctl1: Host, behind: Path, tmp_path: Path) -> None:
    begun, report = time.time(), tmp_path / "ready.json"
    run_playbook("check_nodes", "-i", str(behind), "-e", f"report={report}")
    checked = json.loads(report.read_text())["nodes"]
    assert set(checked) == set(node_names())
    unreachable = [name for name, node in checked.items() if node["code"] == "host-unreachable"]
    assert not unreachable, checked
    assert ctl1.check_output(REFUSED, str(int(begun)))
