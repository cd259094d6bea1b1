"""Hardware as slurmd and the kernel tell it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.hardware import (
    add_devices,
    amd_devices,
    gpu_devices,
    gpu_types,
    kernel_hardware,
    measure,
    mig_instances,
    nvml_plugin_missing,
    parse_gres,
    parse_slurmd,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands

if TYPE_CHECKING:
    from fakes.machine import Machine

DATA = Path(__file__).parents[1] / "data"


def recorded(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("version", ["22.05", "24.11"])
def test_slurmd_c_is_read_on_both_versions(version: str) -> None:
    assert parse_slurmd(recorded(f"slurmd-C-{version}.txt")) == {
        "source": "slurmd",
        "cpus": 2,
        "boards": 1,
        "sockets": 1,
        "cores_per_socket": 2,
        "threads_per_core": 1,
        "real_memory": 24105,
        "gres": [],
        "autodetect": None,
    }


def test_slurmd_c_tells_gpus_and_both_sockets() -> None:
    hardware = parse_slurmd(recorded("slurmd-C-24.11-gpu.txt"))
    assert hardware is not None
    assert (hardware["sockets"], hardware["cpus"], hardware["real_memory"]) == (2, 128, 515000)
    assert hardware["gres"] == [{"name": "gpu", "type": "nvidia_a100-sxm4-80gb", "count": 4, "files": []}]
    assert hardware["autodetect"] == "nvidia"


@pytest.mark.parametrize("text", ["", "slurmd: error: no\n", "NodeName=n1 CPUs=4\n"])
def test_unusable_slurmd_c_is_none(text: str) -> None:
    assert parse_slurmd(text) is None


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
    assert [(item["name"], item["type"], item["count"]) for item in parse_gres(text)] == expected


def test_kernel_counts_sockets_cores_and_threads(machine: Machine) -> None:
    cpus = [("0", "0,4"), ("0", "1,5"), ("1", "2,6"), ("1", "3,7"), ("0", "0,4"), ("0", "1,5"), ("1", "2,6")]
    machine.hardware([*cpus, ("1", "3,7")])
    assert kernel_hardware(machine.root) == {
        "source": "kernel",
        "cpus": 8,
        "boards": 1,
        "sockets": 2,
        "cores_per_socket": 2,
        "threads_per_core": 2,
        "real_memory": 16000,
        "gres": [],
        "autodetect": None,
    }


def test_kernel_without_package_numbers_has_one_socket(machine: Machine) -> None:
    machine.hardware([("-1", "0"), ("-1", "1")])
    hardware = kernel_hardware(machine.root)
    assert hardware is not None
    assert (hardware["sockets"], hardware["cores_per_socket"], hardware["threads_per_core"]) == (1, 2, 1)


def test_kernel_without_topology_counts_processors(machine: Machine) -> None:
    machine.hardware([])
    machine.write("proc/cpuinfo", "processor\t: 0\nmodel: x\n\nprocessor\t: 1\n")
    hardware = kernel_hardware(machine.root)
    assert hardware is not None
    assert (hardware["cpus"], hardware["sockets"], hardware["cores_per_socket"]) == (2, 1, 2)


def test_kernel_agrees_with_slurmd_about_this_kind_of_machine(machine: Machine) -> None:
    told = parse_slurmd(recorded("slurmd-C-24.11.txt"))
    machine.hardware([("0", "0"), ("0", "1")], memory=24684084)
    seen = kernel_hardware(machine.root)
    assert told is not None
    assert seen is not None
    assert {**told, "source": "kernel"} == seen


def test_gpu_devices_are_in_order_and_without_control_devices(machine: Machine) -> None:
    machine.devices("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia0p")
    assert gpu_devices(machine.root) == ["/dev/nvidia2", "/dev/nvidia10"]


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
    gres = add_devices(parse_gres(told), ["/dev/nvidia0", "/dev/nvidia1"], {})
    assert [(item["name"], item["type"], item["count"], item["files"]) for item in gres] == files


INFORMATION = """Model: \t\t NVIDIA A100-SXM4-80GB
IRQ:   \t\t 312
GPU UUID: \t GPU-00000000-0000-0000-0000-000000000000
Bus Location: \t 0000:07:00.0
Device Minor: \t 0
"""


def test_the_driver_tells_the_type_in_slurms_words(machine: Machine) -> None:
    for bus, text in {
        "0000:07:00.0": INFORMATION,
        "0000:08:00.0": INFORMATION.replace("Minor: \t 0", "Minor: \t 1").replace("A100-SXM4-80GB", "GeForce RTX 3090"),
        "0000:09:00.0": INFORMATION.replace("Minor: \t 0", "Minor: \t 2").replace("A100-SXM4-80GB", "X,Y=1"),
        "0000:0a:00.0": "unreadable",
    }.items():
        path = Path(machine.root, "proc/driver/nvidia/gpus", bus, "information")
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert gpu_types(machine.root) == {
        "/dev/nvidia0": "nvidia_a100-sxm4-80gb",
        "/dev/nvidia1": "nvidia_geforce_rtx_3090",
    }


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("", [("a", ["/dev/nvidia0", "/dev/nvidia2"]), ("b", ["/dev/nvidia1"])]),
        ("gpu:a:2,gpu:b:1", [("a", ["/dev/nvidia0", "/dev/nvidia2"]), ("b", ["/dev/nvidia1"])]),
        ("gpu:a:1,gpu:b:1", [("a", []), ("b", [])]),
    ],
)
def test_gpus_of_several_types_get_their_own_files(told: str, expected: list[tuple[str | None, list[str]]]) -> None:
    types = {"/dev/nvidia0": "a", "/dev/nvidia1": "b", "/dev/nvidia2": "a"}
    gres = add_devices(parse_gres(told), [f"/dev/nvidia{number}" for number in range(3)], types)
    assert [(item["type"], item["files"]) for item in gres] == expected


def test_no_gpu_has_a_type_where_one_has_none() -> None:
    """Else slurmd ends: `Some gpu GRES in slurm.conf have a type while others do not`."""
    devices = [f"/dev/nvidia{number}" for number in range(3)]
    assert add_devices([], devices, {"/dev/nvidia0": "a", "/dev/nvidia2": "a"}) == [
        {"name": "gpu", "type": None, "count": 3, "files": devices}
    ]


def divide(machine: Machine, gpu: int, instance: int, minors: tuple[int, int]) -> None:
    """Show a MIG instance as NVIDIA's driver does."""
    below = f"proc/driver/nvidia/capabilities/gpu{gpu}/mig/gi{instance}"
    machine.write(f"{below}/access", f"DeviceFileMinor: {minors[0]}\nDeviceFileMode: 256\nDeviceFileModify: 1\n")
    machine.write(f"{below}/ci0/access", f"DeviceFileMinor: {minors[1]}\nDeviceFileMode: 256\n")


CAP = "/dev/nvidia-caps/nvidia-cap"
FIRST = ["/dev/nvidia0", f"{CAP}66", f"{CAP}67"]
SECOND = ["/dev/nvidia0", f"{CAP}102", f"{CAP}103"]


def test_the_driver_tells_the_instances_of_a_divided_gpu_with_their_device_files(machine: Machine) -> None:
    divide(machine, 0, 11, (102, 103))
    divide(machine, 0, 7, (66, 67))
    machine.write("proc/driver/nvidia/capabilities/gpu1/mig/gi1/ci0/access", "unreadable")
    assert mig_instances(machine.root) == {"/dev/nvidia0": [FIRST, SECOND]}
    assert mig_instances(machine.root + "/none") == {}


def test_a_divided_gpu_counts_by_its_instances_beside_a_whole_one() -> None:
    types = {"/dev/nvidia0": "a100", "/dev/nvidia1": "a100"}
    gres = add_devices([], ["/dev/nvidia0", "/dev/nvidia1"], types, {"/dev/nvidia0": [FIRST, SECOND]})
    assert [(item["type"], item["count"], item["instances"]) for item in gres] == [
        (None, 3, [["/dev/nvidia1"], FIRST, SECOND])
    ]


@pytest.mark.parametrize("told", ["gpu:a100_1g.5gb:2", "gpu:a:1,gpu:b:1", "gpu:a:7"])
def test_nvml_tells_instances_and_leaves_their_files_to_slurmd(told: str) -> None:
    gres = add_devices(parse_gres(told), ["/dev/nvidia0"], {}, {"/dev/nvidia0": [FIRST, SECOND]}, "nvml")
    assert gres == parse_gres(told)


def test_without_nvml_slurmd_counts_a_divided_gpu_as_a_whole_one() -> None:
    """It reads the same files of the driver, but not those of the instances."""
    told = parse_gres("gpu:nvidia_a100-sxm4-80gb:1,shard:8")
    gres = add_devices(told, ["/dev/nvidia0"], {"/dev/nvidia0": "a100"}, {"/dev/nvidia0": [FIRST, SECOND]}, "nvidia")
    assert [(item["name"], item["type"], item["count"], item.get("instances")) for item in gres] == [
        ("shard", None, 8, None),
        ("gpu", None, 2, [FIRST, SECOND]),
    ]


def test_gpus_of_amd_are_those_that_compute(machine: Machine) -> None:
    machine.devices("dri/renderD128", "dri/renderD129", "dri/card0")
    nodes = {0: (0, 0), 1: (440, 129), 2: (440, 128), 3: (440, 130)}
    for number, (simds, minor) in nodes.items():
        text = f"cpu_cores_count 0\nsimd_count {simds}\ndrm_render_minor {minor}\n"
        machine.write(f"sys/class/kfd/kfd/topology/nodes/{number}/properties", text)
    # The third one has no device file here, and the first one is a processor.
    assert amd_devices(machine.root) == ["/dev/dri/renderD128", "/dev/dri/renderD129"]


def result(rc: int, stdout: str = "", stderr: str = "") -> commands.CommandResult:
    return commands.CommandResult(("slurmd", "-C"), rc, stdout, stderr, 0.1)


def test_failing_slurmd_falls_back_to_the_kernel_and_says_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.hardware([("0", "0")])
    monkeypatch.setattr(commands, "run", lambda *_a, **_k: result(1, stderr="slurmd: fatal: broken"))
    hardware, problem = measure(root=machine.root)
    assert hardware is not None
    assert hardware["source"] == "kernel"
    assert problem == "slurmd -C: slurmd: fatal: broken"


@pytest.mark.parametrize(("by", "counted"), [("nvidia", [(None, 2)]), ("nvml", [("nvidia_a100-sxm4-80gb", 4)])])
def test_only_nvml_is_believed_about_a_divided_gpu(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, by: str, counted: list[tuple[str | None, int]]
) -> None:
    machine.devices("nvidia0")
    divide(machine, 0, 7, (66, 67))
    divide(machine, 0, 11, (102, 103))
    told = recorded("slurmd-C-24.11-gpu.txt").replace("=nvidia ", f"={by} ")
    monkeypatch.setattr(commands, "run", lambda *_a, **_k: result(0, told))
    hardware, _problem = measure(root=machine.root)
    assert hardware is not None
    assert [(item["type"], item["count"]) for item in hardware["gres"]] == counted


def test_absent_slurmd_is_no_problem(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.hardware([("0", "0")])
    monkeypatch.setattr(commands, "run", lambda *_a, **_k: result(commands.NOT_FOUND))
    hardware, problem = measure(root=machine.root)
    assert hardware is not None
    assert problem is None


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the plugins of a slurmd, as its libraries tell it."""
    (tmp_path / "bin").mkdir()
    slurmd, ldd = tmp_path / "bin/slurmd", tmp_path / "bin/ldd"
    slurmd.write_text("#!/bin/sh\n")
    ldd.write_text(
        f"#!/bin/sh\n[ $1 = {slurmd} ] || exit 1\n"
        f"printf '\\tlibc.so.6 => /lib/libc.so.6 (0x1)\\n\\tlibslurmfull.so => {tmp_path}/libslurmfull.so (0x2)\\n'\n"
    )
    for program in (slurmd, ldd):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "gpu_generic.so").touch()
    (tmp_path / "libslurmfull.so").write_bytes(b"ELF\0gpu/nvml\0libnvidia-ml.so\0libnvidia-ml.so.1\0%snvml\0")
    return tmp_path


def have_library(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let a program load NVIDIA's library by these names only."""

    def load(name: str) -> None:
        if name not in names:
            raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", load)


@pytest.mark.parametrize("name", ["libnvidia-ml.so", "libnvidia-ml.so.1"])
def test_nvidias_library_without_slurms_plugin_is_found(
    plugins: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    have_library(monkeypatch, name)
    assert nvml_plugin_missing()
    (plugins / "gpu_nvml.so").touch()
    assert not nvml_plugin_missing()


def test_without_nvidias_library_slurmd_does_not_ask_for_the_plugin(
    plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_library(monkeypatch)
    looked = plugins / "looked"
    (plugins / "bin/ldd").write_text(f"#!/bin/sh\ntouch {looked}\n")
    assert not nvml_plugin_missing()
    assert not looked.exists(), "a node without GPUs does not wait for it"


@pytest.mark.parametrize("built", [b"\0libslurm.so\0", b"\0libnvidia-ml.so\0"])
def test_a_slurmd_that_does_not_load_nvidias_library_needs_no_plugin(
    plugins: Path, monkeypatch: pytest.MonkeyPatch, built: bytes
) -> None:
    """One that was built without NVML, and an old one that looks for another name."""
    have_library(monkeypatch, "libnvidia-ml.so.1")
    (plugins / "libslurmfull.so").write_bytes(built)
    assert not nvml_plugin_missing()


@pytest.mark.parametrize("gone", ["gpu_generic.so", "bin/slurmd", "libslurmfull.so"])
def test_of_plugins_that_are_elsewhere_nothing_is_said(
    plugins: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    have_library(monkeypatch, "libnvidia-ml.so.1")
    (plugins / gone).unlink()
    assert not nvml_plugin_missing()
