"""install.sh and uninstall.sh of the client bundle, run by busybox with nothing but its own tools, and by dash."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import archive
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle.contents import COMMANDS, Contents

SCRIPTS = Path(__file__).parents[2] / "roles/apphub/files/client-bundle"
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
PLUGINS = "/usr/lib/some-linux-gnu/slurm-wlm"
# The command of a bundle that was made for the test: it knows its version, and the library it is given.
COMMAND = """#!/bin/sh
echo "slurm {version}"
"""
# A dynamic loader that was made for the test: it runs what it is told, if the libraries are where it is told.
LOADER = """#!/bin/sh
[ "$1" = --library-path ] && [ -f "${2%%:*}/libmunge.so.2" ] && [ -d "${2#*:}" ] || exit 127
shift 2
exec "$@"
"""


class Machine:
    """A directory that the bundle is installed into, and the shell that does it."""

    def __init__(self, base: Path, shell: list[str], path: str) -> None:
        self.base = base
        self.root = base / "root"
        self.tools = base / "tools"
        self.shell = shell
        self.path = path
        self.tools.mkdir()
        (self.root / "etc").mkdir(parents=True)
        (self.root / "usr/bin").mkdir(parents=True)
        (self.root / "usr/bin/ls").write_text("ls")

    def tool(self, name: str, text: str) -> Path:
        """Put a program before those of the same name."""
        path = self.tools / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    def bundle(
        self, version: str = "24.11.5", *, arch: str = ARCH, loader: str = "", libc: str = "musl", glibc: str = "0.0"
    ) -> Path:
        """Unpack a bundle as a user would; return where."""
        contents = Contents(
            commands={name: COMMAND.format(version=version).encode() for name in COMMANDS},
            plugins={"auth_munge.so": version.encode(), f"only_in_{version}.so": b"plugin"},
            libraries={"libmunge.so.2": b"library"},
            plugin_folder=PLUGINS,
            arch=arch,
            libc=libc,
            loader=loader,
            glibc=tuple(map(int, glibc.split("."))),
        )
        scripts = {name: (SCRIPTS / name).read_text() for name in archive.SCRIPTS}
        packed = archive.pack(archive.layout(contents, version, libc, scripts))
        target = self.base / f"unpacked-{version}-{arch}-{libc}"
        shutil.rmtree(target, ignore_errors=True)
        with tarfile.open(fileobj=BytesIO(packed)) as tar:
            tar.extractall(target, filter="tar")
        return target

    def run(self, script: Path, *arguments: str, ok: bool = True, in_root: bool = True) -> str:
        """Run a script; what it said, its output when it must succeed and its complaint when it must fail."""
        where = ["--root", str(self.root)] if in_root else []
        done = subprocess.run(
            [*self.shell, str(script), *where, *arguments],
            env={"PATH": f"{self.tools}:{self.path}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        # A script that stumbles over a tool says so there.
        assert not ok or not done.stderr, done.stderr
        return done.stdout if ok else done.stderr

    def install(self, bundle: Path, *arguments: str) -> str:
        return self.run(bundle / "install.sh", *arguments)

    def refuse(self, bundle: Path, *arguments: str) -> str:
        """Run an installation that must fail and leave everything as it was."""
        before = self.files()
        said = self.run(bundle / "install.sh", *arguments, ok=False)
        assert self.files() == before
        return said

    def files(self) -> dict[str, str]:
        """Return everything below the root: its kind and content."""
        result = {}
        for path in sorted(self.root.rglob("*")):
            kind = "->" + str(path.readlink()) if path.is_symlink() else "" if path.is_dir() else path.read_text()
            result[str(path.relative_to(self.root))] = f"{path.lstat().st_mode:o} {kind}"
        return result


@pytest.fixture(params=["busybox", "dash"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"needs {request.param} (Debian's package {request.param})")
    if request.param == "dash":
        return Machine(tmp_path, [program], os.environ["PATH"])
    applets = tmp_path / "applets"
    applets.mkdir()
    for name in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
        (applets / name).symlink_to(program)
    return Machine(tmp_path, [program, "sh"], str(applets))


@pytest.mark.parametrize("script", ["install.sh", "uninstall.sh", "command.sh"])
def test_shellcheck_finds_nothing(script: str) -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("needs shellcheck (in the test dependencies)")
    done = subprocess.run([program, str(SCRIPTS / script)], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_install_puts_commands_links_plugins_and_profile_in_place(machine: Machine) -> None:
    said = machine.install(machine.bundle())
    assert said == f"Installed slurm-client 24.11.5 in {machine.root}/usr/local/slurm (slurm 24.11.5).\n"
    top = machine.root / "usr/local/slurm"
    assert (top / "VERSION").read_text() == "24.11.5\n"
    for name in COMMANDS:
        link = machine.root / "usr/bin" / name
        assert str(link.readlink()) == f"/usr/local/slurm/bin/{name}"
        assert os.access(top / "bin" / name, os.X_OK)
    assert str((machine.root / PLUGINS[1:]).readlink()) == "/usr/local/slurm/lib/slurm"
    assert "/usr/local/slurm/bin" in (machine.root / "etc/profile.d/slurm-client.sh").read_text()
    assert not (machine.root / "etc/slurm/slurm.conf").exists()
    assert not list(machine.root.rglob("*.new*"))


def test_a_second_run_has_nothing_to_do(machine: Machine) -> None:
    bundle = machine.bundle()
    machine.install(bundle)
    before = {path: path.lstat().st_mtime_ns for path in machine.root.rglob("*")}
    assert machine.install(bundle).startswith("Nothing to do: slurm-client 24.11.5 is installed")
    assert {path: path.lstat().st_mtime_ns for path in machine.root.rglob("*")} == before


def test_another_version_replaces_the_first_in_both_directions(machine: Machine) -> None:
    old, new = machine.bundle("22.05.8"), machine.bundle("24.11.5")
    machine.install(old)
    fresh = machine.files()
    assert "in place of 22.05.8 (slurm 24.11.5)" in machine.install(new)
    lib = machine.root / "usr/local/slurm/lib/slurm"
    assert sorted(path.name for path in lib.iterdir()) == ["auth_munge.so", "only_in_24.11.5.so"]
    assert "in place of 24.11.5 (slurm 22.05.8)" in machine.install(old)
    assert machine.files() == fresh


def test_uninstall_leaves_what_was_there_before_and_nothing_else(machine: Machine) -> None:
    before = machine.files()
    machine.install(machine.bundle("22.05.8"), "--controller", "ctl1:7000")
    machine.install(machine.bundle("24.11.5"))
    said = machine.run(machine.root / "usr/local/slurm/uninstall.sh")
    assert said == f"Removed slurm-client 24.11.5 from {machine.root}/usr/local/slurm.\n"
    assert machine.files() == before
    assert machine.run(machine.bundle() / "uninstall.sh").startswith("Nothing to do: there is no slurm-client")


def test_uninstall_leaves_what_others_put_there_and_says_so(machine: Machine) -> None:
    machine.install(machine.bundle(), "--controller=ctl1")
    (machine.root / "etc/slurm/slurm.conf").write_text("ClusterName=mine\n")
    (machine.root / "usr/local/slurm/notes").write_text("mine\n")
    (machine.root / "usr/bin/srun").unlink()
    (machine.root / "usr/bin/srun").write_text("mine\n")
    said = machine.run(machine.root / "usr/local/slurm/uninstall.sh")
    for kept in ("etc/slurm/slurm.conf, which was changed", "usr/local/slurm, which holds", "etc/slurm, which holds"):
        assert f"Left {machine.root}/{kept}" in said
    left = {path for path in machine.files() if not (machine.root / path).is_dir()}
    assert left == {"usr/bin/ls", "usr/bin/srun", "etc/slurm/slurm.conf", "usr/local/slurm/notes"}


def test_an_existing_slurm_conf_is_left_alone(machine: Machine) -> None:
    conf = machine.root / "etc/slurm/slurm.conf"
    conf.parent.mkdir()
    conf.write_text("ClusterName=mine\n")
    machine.install(machine.bundle(), "--controller", "ctl1")
    assert conf.read_text() == "ClusterName=mine\n"
    machine.run(machine.root / "usr/local/slurm/uninstall.sh")
    assert conf.read_text() == "ClusterName=mine\n"


@pytest.mark.parametrize(
    ("controller", "host", "port"), [("ctl1", "ctl1", "6817"), ("10.0.0.1:7000", "10.0.0.1", "7000")]
)
def test_a_controller_gives_a_small_slurm_conf(machine: Machine, controller: str, host: str, port: str) -> None:
    bundle = machine.bundle()
    machine.install(bundle)
    assert machine.install(bundle, "--controller", controller).startswith("Installed")
    lines = (machine.root / "etc/slurm/slurm.conf").read_text().splitlines()
    assert f"SlurmctldHost={host}" in lines
    assert f"SlurmctldPort={port}" in lines
    assert machine.install(bundle, "--controller", controller).startswith("Nothing to do")


def test_another_prefix_is_used_throughout(machine: Machine) -> None:
    before = machine.files()
    bundle = machine.bundle()
    machine.install(bundle, "--prefix", "/opt/site/slurm")
    assert "prefix=/opt/site/slurm\n" in (machine.root / "opt/site/slurm/bin/sinfo").read_text()
    assert "PluginDir=/opt/site/slurm/lib/slurm\n" in (machine.root / "opt/site/slurm/lib/version.conf").read_text()
    assert not (machine.root / "usr/local").exists()
    # Two of them would fight over the links.
    assert "run the uninstall.sh of the" in machine.refuse(bundle)
    assert machine.install(bundle, "--prefix=/opt/site/slurm/").startswith("Nothing to do")
    machine.run(machine.root / "opt/site/slurm/uninstall.sh")
    assert machine.files() == before


@pytest.mark.parametrize(
    "broken", ["usr/local/slurm/lib/libmunge.so.2", "usr/bin/squeue", "etc/profile.d/slurm-client.sh"]
)
def test_what_is_damaged_is_mended_by_another_run(machine: Machine, broken: str) -> None:
    bundle = machine.bundle()
    machine.install(bundle)
    whole = machine.files()
    (machine.root / broken).unlink()
    assert machine.install(bundle).startswith("Installed")
    assert machine.files() == whole


def test_a_broken_download_is_refused(machine: Machine) -> None:
    bundle = machine.bundle()
    library = bundle / "usr/local/slurm/lib/libmunge.so.2"
    library.write_bytes(b"librarx")
    assert "the bundle is damaged: download and unpack it again" in machine.refuse(bundle)
    assert "libmunge.so.2: FAILED" in machine.refuse(bundle)
    library.unlink()
    assert "libmunge.so.2" in machine.refuse(bundle)
    (bundle / "BUNDLE").unlink()
    assert "the bundle is incomplete, BUNDLE is missing" in machine.refuse(bundle)


def test_another_architecture_is_refused(machine: Machine) -> None:
    machine.tool("uname", "echo riscv64")
    said = machine.refuse(machine.bundle())
    assert f"this bundle is for {ARCH}, but this machine is riscv64" in said


def test_another_c_library_is_refused(machine: Machine) -> None:
    said = machine.refuse(machine.bundle(loader="/lib/ld-none.so.1"))
    assert "this bundle is for the C library musl, but this machine has" in said
    assert "/lib/ld-none.so.1 is missing" in said
    assert "slurm-client-VERSION-alpine.tar.gz on Alpine" in said


@pytest.mark.parametrize(
    ("found", "ok"), [("2.36", False), ("2.4", False), ("1.99", False), ("2.38", True), ("3.0", True)]
)
def test_an_older_glibc_is_refused(machine: Machine, found: str, ok: bool) -> None:  # noqa: FBT001 - a parameter
    loader = machine.tool("loader", LOADER.partition("\n")[2])
    machine.tool("getconf", f"echo glibc {found}")
    bundle = machine.bundle(libc="glibc", glibc="2.38", loader=str(loader))
    if ok:
        assert machine.install(bundle).startswith("Installed")
    else:
        assert f"needs glibc 2.38 or newer, but this machine has {found}" in machine.refuse(bundle)


def test_the_loader_is_given_the_bundles_libraries(machine: Machine) -> None:
    loader = machine.tool("loader", LOADER.partition("\n")[2])
    prefix = machine.base / "real"
    machine.install(machine.bundle(loader=str(loader)), "--prefix", str(prefix))
    # What lies in the root is run as it would be on the machine itself.
    shutil.copytree(machine.root / str(prefix)[1:], prefix)
    done = subprocess.run(
        [*machine.shell, str(prefix / "bin/sinfo"), "--version"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": machine.path},
    )
    assert done.stdout == "slurm 24.11.5\n"


def test_a_command_that_does_not_run_is_refused_with_what_it_said(machine: Machine) -> None:
    loader = machine.tool("loader", "echo 'libreadline.so.8: cannot open shared object file' >&2; exit 127")
    said = machine.refuse(machine.bundle(loader=str(loader)))
    assert "sacct does not run on this machine; nothing was changed" in said
    assert "libreadline.so.8: cannot open" in said


def test_an_upgrade_that_does_not_run_leaves_the_version_that_did(machine: Machine) -> None:
    machine.install(machine.bundle("22.05.8"))
    loader = machine.tool("loader", "exit 1")
    machine.refuse(machine.bundle("24.11.5", loader=str(loader)))
    assert (machine.root / "usr/local/slurm/VERSION").read_text() == "22.05.8\n"


@pytest.mark.parametrize("path", ["usr/bin/sinfo", PLUGINS[1:] + "/auth_munge.so", "usr/local/slurm/bin/sinfo"])
def test_what_somebody_else_installed_is_not_overwritten(machine: Machine, path: str) -> None:
    (machine.root / path).parent.mkdir(parents=True, exist_ok=True)
    (machine.root / path).write_text("theirs")
    said = machine.refuse(machine.bundle())
    assert "there already" in said
    assert "/" + path.removesuffix("/auth_munge.so").removesuffix("/bin/sinfo") in said


def test_a_strangers_file_in_the_prefix_stops_an_upgrade(machine: Machine) -> None:
    machine.install(machine.bundle("22.05.8"))
    (machine.root / "usr/local/slurm/notes").write_text("mine")
    assert "not from a bundle, move them away: ./notes" in machine.refuse(machine.bundle("24.11.5"))


def test_an_upgrade_interrupted_in_the_exchange_is_continued(machine: Machine) -> None:
    machine.install(machine.bundle("22.05.8"))
    top = machine.root / "usr/local/slurm"
    top.rename(top.with_name("slurm.old"))
    machine.install(machine.bundle("24.11.5"))
    assert (top / "VERSION").read_text() == "24.11.5\n"
    assert not top.with_name("slurm.old").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prefix"], "--prefix needs a value"),
        (["--prefix", "slurm"], "must be an absolute path"),
        (["--prefix", "/a b"], "plain path"),
        (["--prefix", "/a/../b"], "plain path"),
        (["--root", "/does/not/exist"], "is not a directory"),
        (["--controller", "a b"], "must be a name or address"),
        (["--force"], "'--force' is unknown"),
    ],
)
def test_nonsense_is_refused(machine: Machine, arguments: list[str], message: str) -> None:
    assert message in machine.refuse(machine.bundle(), *arguments)


def test_without_root_rights_it_says_what_is_needed(machine: Machine) -> None:
    machine.tool("id", "echo 1000")
    said = machine.run(machine.bundle() / "install.sh", "--prefix", str(machine.base / "p"), ok=False, in_root=False)
    assert "root is needed" in said


def test_help_tells_every_option(machine: Machine) -> None:
    bundle = machine.bundle()
    said = machine.run(bundle / "install.sh", "--help")
    assert all(option in said for option in ("--prefix DIR", "--root DIR", "--controller HOST"))
    assert "--prefix DIR" in machine.run(bundle / "uninstall.sh", "--help")
