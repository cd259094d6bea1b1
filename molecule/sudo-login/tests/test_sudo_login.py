"""All that is done to nodes without root on either side, to be read from top to bottom."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from testing import INVENTORY, ROOT, SLURM, lab_host, revisions

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

    AsNobody = Callable[..., subprocess.CompletedProcess[str]]

NODES = "rocky1,ubuntu1"
HOSTS = ("ctl1", "rocky1", "ubuntu1")


def playbook(as_nobody: AsNobody, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = str(ROOT / "playbooks" / f"{name}.yml")
    return as_nobody("ansible-playbook", "-i", "inventory/hosts.yml", path, "-e", f"nodes={NODES}", *arguments)


def node_states(ctl1: Host) -> list[str]:
    return sorted(ctl1.check_output("sinfo --noheader --Node --format '%%N %%T'").split("\n"))


@pytest.mark.parametrize("host", HOSTS)
def test_root_is_locked_and_sudo_asks_for_the_password(host: str) -> None:
    assert lab_host(host).check_output("passwd --status root").split()[1] == "L"
    assert lab_host(host).run("runuser --user admin -- sudo --non-interactive true").rc != 0


def test_the_ubuntu_node_knows_no_key() -> None:
    keys = "test -e ~admin/.ssh/authorized_keys"
    assert (lab_host("ubuntu1").run(keys).rc, lab_host("rocky1").run(keys).rc) == (1, 0)


def test_the_control_machines_user_is_not_root(as_nobody: AsNobody) -> None:
    assert as_nobody("id", "--user", "--name").stdout.strip() == "nobody"


def test_machines_become_nodes(as_nobody: AsNobody, ctl1: Host) -> None:
    run = playbook(as_nobody, "scale_up")
    assert run.returncode == 0, run.stdout
    assert node_states(ctl1) == ["rocky1 idle", "ubuntu1 idle"]


def test_a_second_run_changes_nothing(as_nobody: AsNobody) -> None:
    run = playbook(as_nobody, "scale_up")
    assert run.returncode == 0, run.stdout
    assert set(re.findall(r"changed=(\d+)", run.stdout)) == {"0"}


def test_no_password_is_shown(as_nobody: AsNobody) -> None:
    password = (INVENTORY / "password").read_text().strip()
    run = playbook(as_nobody, "check_nodes", "-vvv", "--diff")
    assert run.returncode == 0, run.stdout
    assert password not in run.stdout


@pytest.mark.parametrize("name", HOSTS)
def test_the_password_is_in_no_journal(name: str) -> None:
    journal = lab_host(name).check_output("journalctl --no-pager --all --output=export")
    assert "Invoked with" in journal, "Ansible's modules tell there what they are given"
    found = [line for line in journal.splitlines() if (INVENTORY / "password").read_text().strip() in line]
    assert found == []


def test_a_wrong_sudo_password_fails_its_node_only(as_nobody: AsNobody, home: Path) -> None:
    of_one_host = home / "inventory" / "host_vars" / "rocky1.yml"
    of_one_host.parent.mkdir()
    of_one_host.write_text("ansible_become_password: wrong")
    of_one_host.chmod(0o644)
    try:
        run = playbook(as_nobody, "scale_up")
    finally:
        shutil.rmtree(of_one_host.parent)
    assert run.returncode != 0
    assert re.search(r"^ +rocky1 +failed .*sudo password", run.stdout, re.MULTILINE), run.stdout
    assert re.search(r"^ +ubuntu1 +unchanged ", run.stdout, re.MULTILINE), run.stdout


def test_what_stands_still_is_started(as_nobody: AsNobody, ctl1: Host) -> None:
    lab_host("ubuntu1").check_output("systemctl stop slurmd")
    lab_host("rocky1").check_output("systemctl stop munge")
    run = playbook(as_nobody, "repair_cluster", "-e", "action=fix")
    assert run.returncode == 0, run.stdout
    assert node_states(ctl1) == ["rocky1 idle", "ubuntu1 idle"]
    assert lab_host("ubuntu1").service("slurmd").is_running
    assert lab_host("rocky1").service("munge").is_running


def test_each_partition_runs_a_job(as_nobody: AsNobody) -> None:
    run = playbook(as_nobody, "repair_cluster", "-e", "action=test")
    assert run.returncode == 0, run.stdout
    assert "COMPLETED" in run.stdout


def test_all_hosts_get_a_new_munge_key(as_nobody: AsNobody, ctl1: Host) -> None:
    def keys() -> set[str]:
        return {lab_host(name).check_output("sha256sum < /etc/munge/munge.key") for name in HOSTS}

    (old,) = keys()
    run = as_nobody("ansible-playbook", "-i", "inventory/hosts.yml", str(ROOT / "playbooks/rotate_munge_key.yml"))
    assert run.returncode == 0, run.stdout
    (new,) = keys()
    assert new != old
    assert node_states(ctl1) == ["rocky1 idle", "ubuntu1 idle"]


def test_nodes_are_upgraded(as_nobody: AsNobody, ctl1: Host) -> None:
    inventory = ("-i", "inventory/hosts.yml")
    made = as_nobody("ansible-playbook", *inventory, str(ROOT / "molecule/upgrade/versions.yml"))
    assert made.returncode == 0, made.stdout
    sources = {"apphub_sources": ["/srv/packages", "/srv/new1", "/srv/new2"]}
    publish = str(ROOT / "playbooks/publish_apphub.yml")
    published = as_nobody("ansible-playbook", *inventory, publish, "-e", json.dumps(sources))
    assert published.returncode == 0, published.stdout
    run = playbook(as_nobody, "upgrade_nodes", "-e", f"slurm_version={SLURM}-4+new1", "-e", "batch=2")
    assert run.returncode == 0, run.stdout
    for node in NODES.split(","):
        assert revisions(lab_host(node)) == {f"{SLURM}-4+new1"}
    assert node_states(ctl1) == ["rocky1 idle", "ubuntu1 idle"]


def test_nodes_are_taken_out(as_nobody: AsNobody, ctl1: Host) -> None:
    run = playbook(as_nobody, "scale_down", "-e", "confirm=true", "-e", "uninstall=true")
    assert run.returncode == 0, run.stdout
    assert node_states(ctl1) == [""]
    assert not any(lab_host(node).package("munge").is_installed for node in NODES.split(","))
