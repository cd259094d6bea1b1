"""Services, packages, files and disks of a machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.facts import (
    account_ids,
    dnf_repositories,
    file_facts,
    free_megabytes,
    half_done,
    package_query,
    parse_packages,
    parse_services,
)

if TYPE_CHECKING:
    from fakes.machine import Machine

DATA = Path(__file__).parents[1] / "data"


def recorded(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


def test_services_are_read_and_what_was_not_told_is_none() -> None:
    services = parse_services(recorded("systemctl-show.txt"))
    assert services["munge"] == {
        "load": "loaded",
        "active": "active",
        "enabled": "enabled",
        "fragment": "/usr/lib/systemd/system/munge.service",
        "main_pid": 520,
        "result": "success",
    }
    assert services["slurmd"] is not None
    assert (services["slurmd"]["active"], services["slurmd"]["main_pid"]) == ("failed", None)
    assert services["slurmctld"] is None
    assert set(services) == {"munge", "slurmd", "slurmctld"}


def test_unit_that_does_not_exist_has_empty_fields() -> None:
    text = "MainPID=0\nResult=success\nId=slurmd.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n"
    slurmd = parse_services(text)["slurmd"]
    assert slurmd is not None
    assert (slurmd["load"], slurmd["enabled"], slurmd["fragment"]) == ("not-found", None, None)


def test_dpkg_lists_what_is_installed_and_no_network_monitor() -> None:
    text = recorded("dpkg-query-22.05.txt") + "installed\tslurm\t0.4.4-1\tinstall\n"
    packages = parse_packages(text, "Debian")
    assert packages["slurmd"] == "22.05.8-4+deb12u3"
    assert "slurm-wlm-plugins" not in packages, "known to dpkg, but not installed"
    assert "slurm" not in packages


def test_rpm_lists_slurm_itself() -> None:
    text = "installed\tslurm\t22.05.9-1.el9\tinstall\ninstalled\tslurm-slurmd\t22.05.9-1.el9\tinstall\n"
    assert parse_packages(text, "RedHat") == {"slurm": "22.05.9-1.el9", "slurm-slurmd": "22.05.9-1.el9"}


def test_what_dpkg_left_half_done_is_found_whoever_it_belongs_to() -> None:
    text = (
        "installed\tmunge\t1\tinstall\nhalf-configured\tlibhwloc15\t2\tinstall\nunpacked\tslurmd\t24\tinstall\n"
        "config-files\told\t1\tdeinstall\nnot-installed\tslurm-wlm\t\tpurge\n"
    )
    assert half_done(text) == ["libhwloc15", "slurmd"]
    assert parse_packages(text, "Debian") == {"munge": "1"}


def test_a_purge_of_ours_that_has_left_configuration_files_is_half_done() -> None:
    text = "config-files\tslurmd\t24\tpurge\nconfig-files\tmunge\t1\tdeinstall\nconfig-files\tfax\t1\tpurge\n"
    assert half_done(text) == ["slurmd"]


def test_what_rpm_has_in_two_versions_is_half_done() -> None:
    text = "installed\tslurm\t23-1\tinstall\ninstalled\tmunge\t1-1\tinstall\ninstalled\tslurm\t24-1\tinstall\n"
    assert half_done(text) == ["slurm"]


def test_repositories_of_dnf_are_listed_with_whether_they_are_enabled(machine: Machine) -> None:
    machine.write("etc/yum.repos.d/rocky.repo", "[baseos]\nname=x\n[crb]\nenabled = 0\n")
    machine.write("etc/yum.repos.d/epel.repo", "[epel]\nenabled=1\nbaseurl=http://x/$releasever%2f\n")
    machine.write("etc/yum.repos.d/broken.repo", "no section\n")
    assert dnf_repositories(machine.root) == {"baseos": True, "crb": False, "epel": True}


def test_redhat_is_asked_by_rpm_even_where_dpkg_exists() -> None:
    assert package_query("RedHat")[0] == "rpm"
    assert package_query("Debian")[0] == "dpkg-query"


def test_file_is_described_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "munge.key"
    path.write_bytes(b"secret")
    path.chmod(0o400)
    facts = file_facts(str(path))
    assert facts["sha256"] == hashlib.sha256(b"secret").hexdigest()
    assert (facts["exists"], facts["kind"], facts["mode"], facts["uid"]) == (True, "file", "0400", os.geteuid())
    assert "secret" not in str(facts)


def test_missing_file_directory_and_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "none")
    assert file_facts(str(tmp_path / "none"))["exists"] is False
    assert file_facts(str(tmp_path / "link"))["link"] is True
    directory = file_facts(str(tmp_path))
    assert (directory["kind"], directory["sha256"]) == ("directory", None)


def test_pipe_is_described_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert file_facts(str(tmp_path / "pipe"))["kind"] == "other"


def test_disk_of_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    free = free_megabytes(str(tmp_path / "a" / "b"))
    assert free is not None
    assert free == pytest.approx(free_megabytes(str(tmp_path)), abs=200)


def test_who_has_a_number_is_told_by_the_machine_itself(machine: Machine) -> None:
    machine.write(
        "etc/passwd", "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n+nis::::::\nchrony:x:991:990::/:\n"
    )
    machine.write("etc/group", "root:x:0:\nchrony:x:990:alice\n")
    assert account_ids(machine.root) == {
        "uids": {"0": "root", "991": "chrony"},
        "gids": {"0": "root", "990": "chrony"},
    }
