"""The cluster's munge on a node, and what happens to a key or a service that is not as it should be."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from testing import lab_host, run_roles

if TYPE_CHECKING:
    from testinfra.host import Host

MACHINES = ["rocky1", "ubuntu1"]
KEY = "/etc/munge/munge.key"


def understands(maker: Host, reader: Host) -> bool:
    """Return whether a credential made on one host is decoded on another."""
    credential = maker.check_output("munge --no-input")
    return bool(reader.run("printf %%s %s | unmunge", credential).succeeded)


@pytest.mark.parametrize("machine", MACHINES)
def test_accounts_have_the_controllers_numbers(ctl1: Host, machine: str) -> None:
    for name in ("munge", "slurm"):
        here, there = lab_host(machine).user(name), ctl1.user(name)
        assert (here.uid, here.gid) == (there.uid, there.gid)


@pytest.mark.parametrize("machine", MACHINES)
def test_key_is_the_controllers_and_only_munge_reads_it(ctl1: Host, machine: str) -> None:
    host = lab_host(machine)
    assert host.file(KEY).sha256sum == ctl1.file(KEY).sha256sum
    for path, mode in ((KEY, 0o400), ("/etc/munge", 0o700)):
        there = host.file(path)
        assert (there.user, there.group, there.mode) == ("munge", "munge", mode)


@pytest.mark.parametrize("machine", MACHINES)
def test_node_and_controller_understand_each_other_also_after_a_boot(ctl1: Host, machine: str) -> None:
    host = lab_host(machine)
    assert understands(host, ctl1)
    assert understands(ctl1, host)
    assert host.service("munge").is_enabled


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_of_slurm_comes_along(machine: str) -> None:
    assert not lab_host(machine).exists("slurmd")


def test_another_key_is_replaced_and_no_key_is_shown(ctl1: Host) -> None:
    host = lab_host("rocky1")
    host.check_output("dd if=/dev/urandom of=%s bs=128 count=1 status=none && systemctl restart munge", KEY)
    keys = [base64.b64decode(one.check_output("base64 -w 0 %s", KEY)) for one in (host, ctl1)]
    assert not understands(host, ctl1)
    run = run_roles("rocky1", "munge")
    assert run.returncode == 0, run.stdout
    assert understands(host, ctl1)
    for key in keys:
        assert base64.b64encode(key).decode()[:40] not in run.stdout


def test_mode_and_owner_of_the_key_are_put_right(ctl1: Host) -> None:
    host = lab_host("ubuntu1")
    host.check_output("chown root %s && chmod 644 %s", KEY, KEY)
    run = run_roles("ubuntu1", "munge")
    assert run.returncode == 0, run.stdout
    assert (host.file(KEY).user, host.file(KEY).mode) == ("munge", 0o400)
    assert understands(host, ctl1)


@pytest.mark.parametrize("machine", MACHINES)
def test_munge_runs_again_where_a_removal_was_killed_before_the_package_went(ctl1: Host, machine: str) -> None:
    host = lab_host(machine)
    host.check_output("systemctl stop munge && rm -r /etc/munge /var/lib/munge /var/log/munge")
    run = run_roles(machine, "munge")
    assert run.returncode == 0, run.stdout
    assert understands(host, ctl1)


def test_a_service_that_does_not_start_is_reported_with_its_journal() -> None:
    host = lab_host("ubuntu1")
    host.check_output("systemctl stop munge && chown -R nobody /var/lib/munge && chmod 777 /var/lib/munge")
    try:
        run = run_roles("ubuntu1", "munge")
    finally:
        host.check_output("chown -R munge /var/lib/munge && chmod 711 /var/lib/munge && systemctl start munge")
    assert run.returncode != 0
    assert "code: munge-not-started" in run.stdout
    assert "/var/lib/munge" in run.stdout
