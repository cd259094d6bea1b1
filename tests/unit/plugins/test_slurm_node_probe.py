"""slurm_node_probe: parsing of recorded answers, and a run on this machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import facts as node_probe
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import hardware as slurm_hardware
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import operating_system as node_system
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands as slurm_commands
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_node_probe

if TYPE_CHECKING:
    from collections.abc import Callable

    Runner = Callable[..., dict[str, Any]]

DATA = Path(__file__).parents[1] / "data"


def recorded(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


def release(**fields: str) -> str:
    return "".join(f'{key}="{value}"\n' for key, value in fields.items())


# --- hardware ---


@pytest.mark.parametrize("version", ["22.05", "24.11"])
def test_slurmd_c_is_read_on_both_versions(version: str) -> None:
    assert slurm_hardware.parse_slurmd(recorded(f"slurmd-C-{version}.txt")) == {
        "source": "slurmd",
        "cpus": 2,
        "boards": 1,
        "sockets": 1,
        "cores_per_socket": 2,
        "threads_per_core": 1,
        "real_memory": 24105,
        "gres": [],
    }


def test_slurmd_c_tells_gpus_and_both_sockets() -> None:
    hardware = slurm_hardware.parse_slurmd(recorded("slurmd-C-24.11-gpu.txt"))
    assert hardware is not None
    assert (hardware["sockets"], hardware["cpus"], hardware["real_memory"]) == (2, 128, 515000)
    assert hardware["gres"] == [{"name": "gpu", "type": "nvidia_a100-sxm4-80gb", "count": 4, "files": []}]


@pytest.mark.parametrize("text", ["", "slurmd: error: no\n", "NodeName=n1 CPUs=4\n"])
def test_unusable_slurmd_c_is_none(text: str) -> None:
    assert slurm_hardware.parse_slurmd(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu:4", [("gpu", None, 4)]),
        ("gpu", [("gpu", None, 1)]),
        ("gpu:tesla", [("gpu", "tesla", 1)]),
        ("gpu:a100:2(S:0-1),gpu:v100:1,shard:8", [("gpu", "a100", 2), ("gpu", "v100", 1), ("shard", None, 8)]),
        ("(null)", []),
    ],
)
def test_gres_forms(text: str, expected: list[tuple[str, str | None, int]]) -> None:
    assert [(item["name"], item["type"], item["count"]) for item in slurm_hardware.parse_gres(text)] == expected


def fake_kernel(root: Path, cpus: list[tuple[str, str]], memory: int = 16384000) -> str:
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text(f"MemTotal:       {memory} kB\nMemFree: 1 kB\n")
    for number, (package, siblings) in enumerate(cpus):
        topology = root / f"sys/devices/system/cpu/cpu{number}/topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(package + "\n")
        (topology / "thread_siblings_list").write_text(siblings + "\n")
    # A CPU that is switched off has no topology.
    (root / "sys/devices/system/cpu/cpu99").mkdir(parents=True)
    return str(root)


def test_kernel_counts_sockets_cores_and_threads(tmp_path: Path) -> None:
    cpus = [("0", "0,4"), ("0", "1,5"), ("1", "2,6"), ("1", "3,7"), ("0", "0,4"), ("0", "1,5"), ("1", "2,6")]
    root = fake_kernel(tmp_path, [*cpus, ("1", "3,7")])
    assert slurm_hardware.kernel_hardware(root) == {
        "source": "kernel",
        "cpus": 8,
        "boards": 1,
        "sockets": 2,
        "cores_per_socket": 2,
        "threads_per_core": 2,
        "real_memory": 16000,
        "gres": [],
    }


def test_kernel_without_package_numbers_has_one_socket(tmp_path: Path) -> None:
    hardware = slurm_hardware.kernel_hardware(fake_kernel(tmp_path, [("-1", "0"), ("-1", "1")]))
    assert hardware is not None
    assert (hardware["sockets"], hardware["cores_per_socket"], hardware["threads_per_core"]) == (1, 2, 1)


def test_kernel_without_topology_counts_processors(tmp_path: Path) -> None:
    root = fake_kernel(tmp_path, [])
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel: x\n\nprocessor\t: 1\n")
    hardware = slurm_hardware.kernel_hardware(root)
    assert hardware is not None
    assert (hardware["cpus"], hardware["sockets"], hardware["cores_per_socket"]) == (2, 1, 2)


def test_kernel_agrees_with_slurmd_about_this_kind_of_machine(tmp_path: Path) -> None:
    told = slurm_hardware.parse_slurmd(recorded("slurmd-C-24.11.txt"))
    seen = slurm_hardware.kernel_hardware(fake_kernel(tmp_path, [("0", "0"), ("0", "1")], memory=24684084))
    assert told is not None
    assert seen is not None
    assert {**told, "source": "kernel"} == seen


def test_gpu_devices_are_in_order_and_without_control_devices(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia0p"):
        (tmp_path / "dev" / name).touch()
    assert slurm_hardware.gpu_devices(str(tmp_path)) == ["/dev/nvidia2", "/dev/nvidia10"]


@pytest.mark.parametrize(
    ("told", "files"),
    [
        ("", [("gpu", None, 2, ["/dev/nvidia0", "/dev/nvidia1"])]),
        ("gpu:a100:2", [("gpu", "a100", 2, ["/dev/nvidia0", "/dev/nvidia1"])]),
        ("gpu:a100:4", [("gpu", "a100", 4, [])]),
        ("gpu:a100:1,gpu:v100:1", [("gpu", "a100", 1, []), ("gpu", "v100", 1, [])]),
    ],
)
def test_files_are_named_only_where_certain(told: str, files: list[tuple[str, str | None, int, list[str]]]) -> None:
    gres = slurm_hardware.add_devices(slurm_hardware.parse_gres(told), ["/dev/nvidia0", "/dev/nvidia1"])
    assert [(item["name"], item["type"], item["count"], item["files"]) for item in gres] == files


def result(rc: int, stdout: str = "", stderr: str = "") -> slurm_commands.CommandResult:
    return slurm_commands.CommandResult(("slurmd", "-C"), rc, stdout, stderr, 0.1)


def test_failing_slurmd_falls_back_to_the_kernel_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_commands, "run", lambda *_a, **_k: result(1, stderr="slurmd: fatal: broken"))
    hardware, problem = slurm_hardware.measure(root=fake_kernel(tmp_path, [("0", "0")]))
    assert hardware is not None
    assert hardware["source"] == "kernel"
    assert problem == "slurmd -C: slurmd: fatal: broken"


def test_absent_slurmd_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_commands, "run", lambda *_a, **_k: result(slurm_commands.NOT_FOUND))
    hardware, problem = slurm_hardware.measure(root=fake_kernel(tmp_path, [("0", "0")]))
    assert hardware is not None
    assert problem is None


# --- operating system ---


@pytest.mark.parametrize(
    ("fields", "family", "major"),
    [
        ({"ID": "rocky", "VERSION_ID": "8.10", "ID_LIKE": "rhel centos fedora"}, "RedHat", 8),
        ({"ID": "rocky", "VERSION_ID": "10.0"}, "RedHat", 10),
        ({"ID": "almalinux", "VERSION_ID": "9.4"}, "RedHat", 9),
        ({"ID": "rhel", "VERSION_ID": "9.4"}, "RedHat", 9),
        ({"ID": "centos", "VERSION_ID": "9", "NAME": "CentOS Stream"}, "RedHat", 9),
        ({"ID": "ubuntu", "VERSION_ID": "20.04"}, "Debian", 20),
        ({"ID": "ubuntu", "VERSION_ID": "26.04", "VERSION_CODENAME": "resolute"}, "Debian", 26),
        ({"ID": "debian", "VERSION_ID": "11"}, "Debian", 11),
        ({"ID": "debian", "VERSION_ID": "13"}, "Debian", 13),
    ],
)
def test_supported_systems(fields: dict[str, str], family: str, major: int) -> None:
    facts = node_system.os_facts(release(**fields), "x86_64")
    assert (facts["supported"], facts["problem"]) == (True, None)
    assert (facts["family"], facts["major"]) == (family, major)


@pytest.mark.parametrize(
    ("fields", "family"),
    [
        ({"ID": "rocky", "VERSION_ID": "7.9"}, "RedHat"),
        ({"ID": "rocky", "VERSION_ID": "11.0"}, "RedHat"),
        ({"ID": "centos", "VERSION_ID": "8", "NAME": "CentOS Linux"}, "RedHat"),
        ({"ID": "fedora", "VERSION_ID": "41"}, "RedHat"),
        ({"ID": "ubuntu", "VERSION_ID": "18.04"}, "Debian"),
        ({"ID": "ubuntu", "VERSION_ID": "26.10"}, "Debian"),
        ({"ID": "debian", "VERSION_ID": "10"}, "Debian"),
        ({"ID": "debian"}, "Debian"),
        ({"ID": "linuxmint", "VERSION_ID": "22", "ID_LIKE": "ubuntu debian"}, "Debian"),
        ({"ID": "alpine", "VERSION_ID": "3.20"}, None),
        ({}, None),
    ],
)
def test_other_systems_are_refused_with_the_list_of_supported_ones(fields: dict[str, str], family: str | None) -> None:
    facts = node_system.os_facts(release(**fields), "x86_64")
    assert facts["supported"] is False
    assert facts["family"] == family
    assert facts["problem"].endswith("is not supported; supported are " + node_system.SUPPORTED)


def test_quotes_in_os_release_are_read_as_a_shell_would() -> None:
    text = 'ID=\'debian\'\nVERSION_ID=12\n# comment\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nBROKEN="\n'
    facts = node_system.os_facts(text, "aarch64")
    assert (facts["id"], facts["pretty"], facts["arch"]) == ("debian", "Debian GNU/Linux 12 (bookworm)", "aarch64")


# --- services and packages ---


def test_services_are_read_and_what_was_not_told_is_none() -> None:
    services = node_probe.parse_services(recorded("systemctl-show.txt"))
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
    slurmd = node_probe.parse_services(text)["slurmd"]
    assert slurmd is not None
    assert (slurmd["load"], slurmd["enabled"], slurmd["fragment"]) == ("not-found", None, None)


def test_dpkg_lists_what_is_installed_and_no_network_monitor() -> None:
    text = recorded("dpkg-query-22.05.txt") + "installed\tslurm\t0.4.4-1\n"
    packages = node_probe.parse_packages(text, "Debian")
    assert packages["slurmd"] == "22.05.8-4+deb12u3"
    assert "slurm-wlm-plugins" not in packages, "known to dpkg, but not installed"
    assert "slurm" not in packages


def test_rpm_lists_slurm_itself() -> None:
    text = "installed\tslurm\t22.05.9-1.el9\ninstalled\tslurm-slurmd\t22.05.9-1.el9\n"
    assert node_probe.parse_packages(text, "RedHat") == {"slurm": "22.05.9-1.el9", "slurm-slurmd": "22.05.9-1.el9"}


def test_redhat_is_asked_by_rpm_even_where_dpkg_exists() -> None:
    assert node_probe.package_query("RedHat")[0] == "rpm"
    assert node_probe.package_query("Debian")[0] == "dpkg-query"


# --- files, disks, processes ---


def test_file_is_described_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "munge.key"
    path.write_bytes(b"secret")
    path.chmod(0o400)
    facts = node_probe.file_facts(str(path))
    assert facts["sha256"] == hashlib.sha256(b"secret").hexdigest()
    assert (facts["exists"], facts["kind"], facts["mode"], facts["uid"]) == (True, "file", "0400", os.geteuid())
    assert "secret" not in str(facts)


def test_missing_file_directory_and_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "none")
    assert node_probe.file_facts(str(tmp_path / "none"))["exists"] is False
    assert node_probe.file_facts(str(tmp_path / "link"))["link"] is True
    directory = node_probe.file_facts(str(tmp_path))
    assert (directory["kind"], directory["sha256"]) == ("directory", None)


def test_pipe_is_described_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert node_probe.file_facts(str(tmp_path / "pipe"))["kind"] == "other"


def test_disk_of_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    free = node_probe.free_megabytes(str(tmp_path / "a" / "b"))
    assert free is not None
    assert free == pytest.approx(node_probe.free_megabytes(str(tmp_path)), abs=200)


def fake_process(root: Path, pid: int, comm: str, *argv: str) -> None:
    process = root / "proc" / str(pid)
    process.mkdir(parents=True)
    (process / "comm").write_text(comm + "\n")
    (process / "cmdline").write_bytes(b"".join(part.encode() + b"\0" for part in argv))


def test_slurmd_is_found_by_its_unit_or_among_all_processes(tmp_path: Path) -> None:
    root = f"{tmp_path}/"
    fake_process(tmp_path, 9, "slurmstepd", "slurmstepd: [1.batch]")
    fake_process(tmp_path, 12, "slurmd", "/usr/sbin/slurmd", "-Z", "--conf", "Feature=a b")
    expected = ["/usr/sbin/slurmd", "-Z", "--conf", "Feature=a b"]
    assert node_probe.slurmd_args(12, root) == expected
    assert node_probe.slurmd_args(None, root) == expected
    assert node_probe.slurmd_args(9, root) is None


# --- the module ---


def test_run_on_any_machine_returns_the_whole_contract(run_module: Runner, tmp_path: Path) -> None:
    node = run_module(
        slurm_node_probe, check=True, files=["/none"], disks=[str(tmp_path)], munge_key=str(tmp_path / "munge.key")
    )["node"]
    documented = yaml.safe_load(slurm_node_probe.RETURN)["node"]["contains"]
    assert set(node) == set(documented)
    assert set(node["files"]) == {"/none", str(tmp_path / "munge.key")}
    assert node["hardware"]["cpus"] >= 1
    assert node["munge_credential"] is None
    assert node["disks"][str(tmp_path)] > 0


def test_machine_without_any_of_the_tools_gives_nulls(run_module: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_commands, "run", lambda *_a, **_k: result(slurm_commands.NOT_FOUND))
    node = run_module(slurm_node_probe, credential=True)["node"]
    assert node["packages"] is None
    assert node["services"] == {"munge": None, "slurmd": None, "slurmctld": None}
    assert (node["slurm_version"], node["munge_credential"], node["problems"]) == (None, None, [])


def test_command_that_hangs_is_a_problem_and_no_error(run_module: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = result(slurm_commands.TIMED_OUT, stderr="gave no answer within 10 s")
    monkeypatch.setattr(slurm_commands, "run", lambda *_a, **_k: hanging)
    node = run_module(slurm_node_probe, credential=True)["node"]
    assert any(problem.startswith("munge -n: gave no answer") for problem in node["problems"])
