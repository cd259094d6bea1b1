"""What apphub_apt installs, and what it does about an installation that was cut off.

The real apt is in test_apphub_publish.py.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import apt_locks, dpkg_state, facts
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands as slurm_commands
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_apt

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "http://hub:8081"
INST = "Inst munge [1] (2 hub [amd64])\nInst slurmd (24.11.5-4 hub [amd64])\nConf munge (2 hub [amd64])\n"
# What apt calls its sources, of which one has no suites.
DEBIAN, OTHER = "http://deb.example.org/debian/dists/trixie", "file:/opt/other"


def unmet(package: str, needs: list[str]) -> str:
    """What apt prints of a package and what it needs."""
    said = "".join(
        f"{f' {package} :' if number == 0 else ' ' * (len(package) + 3)} Depends: {need}\n"
        for number, need in enumerate(needs)
    )
    return f"The following packages have unmet dependencies:\n{said}"


class FakeDpkg:
    """Stands in for dpkg and apt-get, as a test must not leave half a package on the machine that runs it."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.flags = ""
        self.audit = ""
        self.broken = False
        self.installed = ""
        self.planned = INST
        self.refusal = ""
        # What AppHub lacks, by the package that needs it, and whether the lists of other sources bring it.
        self.unmet: dict[str, list[str]] = {}
        self.elsewhere = False
        self.configures = True
        self.policies: list[str] = []
        self.temporary = ""

    def run(self, argv: list[str], **_options: object) -> slurm_commands.CommandResult:
        self.calls.append(list(argv))
        self.temporary = os.environ.get("TMPDIR", "")
        if argv[-1] == "--print-uris":
            sources = (DEBIAN, f"{OTHER}/.", f"{URL}/pkgs/deb/dists/noble")
            told = "".join(f"'{source}/InRelease' list 0 \n" for source in sources)
            return slurm_commands.CommandResult(tuple(argv), 0, told, "", 0.0)
        if list(argv) == list(apphub_apt.UPDATE_ALL) and self.elsewhere:
            self.unmet = {}
        if argv[:2] == ["apt-get", "install"] and self.unmet:
            words = {word.partition("=")[0] for word in argv if not word.startswith("--")}
            text = "".join(unmet(name, needs) for name, needs in self.unmet.items() if name in words)
            return slurm_commands.CommandResult(tuple(argv), 100, text, "E: held broken packages", 0.0)
        if argv[:2] == ["dpkg", "--configure"] and self.configures:
            self.audit = ""
        if argv[:2] == ["apt-get", "install"]:
            if "--simulate" not in argv:
                self.policies.append(Path(dpkg_state.POLICY).read_text())
            return slurm_commands.CommandResult(tuple(argv), int(bool(self.refusal)), self.planned, self.refusal, 0.0)
        if self.installed and argv[0] == "dpkg-query" and "Eflag" not in argv[3]:
            return slurm_commands.CommandResult(tuple(argv), 0, self.installed, "", 0.0)
        answers = {"dpkg-query": self.flags, "--audit": self.audit}
        text = answers.get(argv[0], answers.get(argv[1], ""))
        rc = int(self.broken and argv[:2] == ["apt-get", "check"])
        return slurm_commands.CommandResult(tuple(argv), rc, text, "", 0.0)


@pytest.fixture
def dpkg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeDpkg:
    fake = FakeDpkg()
    monkeypatch.setattr(slurm_commands, "run", fake.run)
    monkeypatch.setattr(dpkg_state, "POLICY", str(tmp_path / "policy-rc.d"))
    monkeypatch.setattr(dpkg_state, "JOURNAL", str(tmp_path / "updates/[0-9]*"))
    return fake


def test_apt_makes_its_temporary_files_in_a_directory_of_the_module(
    dpkg: FakeDpkg, run_module: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    before = dict(os.environ)
    dpkg.installed = "not-installed munge\n"
    result = run_module(
        apphub_apt,
        url=URL,
        exclusive=["munge*"],
        packages=["munge"],
        preferences=str(tmp_path / "version.pref"),
        lock_timeout=5,
    )
    assert result["installed"] == ["munge", "slurmd"]
    assert re.fullmatch(r"ansible-moduletmp-[\d.]+-\w{8}", Path(dpkg.temporary).name)
    assert dict(os.environ) == before, "the module runs in this process, whose environment is that of other tests, too"


def test_nothing_is_done_where_nothing_was_cut_off(dpkg: FakeDpkg) -> None:
    dpkg.flags = "munge ok install installed\nslurmd ok deinstall installed\n"
    assert apphub_apt.finish_interrupted(["slurm*"]) == []
    assert apphub_apt.restore_dependencies() == []
    assert [call[1] for call in dpkg.calls] == ["--show", "--audit", "check"]


def test_half_unpacked_packages_are_taken_away_and_the_others_configured(dpkg: FakeDpkg) -> None:
    dpkg.flags = (
        "libmunge2 reinstreq install half-installed\nmunge ok install installed\n"
        "slurmd reinstreq install half-installed\nforeign reinstreq install half-installed\n"
    )
    dpkg.audit = "The following packages are only half configured"
    assert apphub_apt.finish_interrupted(["slurm*", "*munge*"]) == [
        "dpkg --remove --force-remove-reinstreq --force-depends libmunge2 slurmd",
        "dpkg --configure --pending --force-confold",
    ]
    assert [" ".join(call) for call in dpkg.calls if call[0] == "dpkg"][-2:] == [
        "dpkg --remove --force-remove-reinstreq --force-depends libmunge2 slurmd",
        "dpkg --configure --pending --force-confold",
    ]


def test_a_removal_that_was_cut_off_is_finished_with_all_that_was_to_go(dpkg: FakeDpkg) -> None:
    dpkg.flags = (
        "slurmd ok deinstall half-installed\nmunge ok purge installed\nlibpmix2t64 ok purge installed\n"
        "slurm-client ok deinstall config-files\nforeign ok install half-configured\nother ok install installed\n"
    )
    assert apphub_apt.finish_interrupted(["slurm*", "*munge*"]) == [
        "dpkg --remove --force-remove-reinstreq --force-depends slurmd",
        "dpkg --purge munge libpmix2t64",
    ]


def test_what_was_to_be_purged_leaves_no_configuration_files(dpkg: FakeDpkg) -> None:
    dpkg.flags = (
        "slurmd ok purge half-installed\nslurm-client ok purge config-files\nmunge ok purge installed\n"
        "slurm-smd ok deinstall config-files\nlibpmix2t64 ok purge config-files\nlibmunge2 ok purge not-installed\n"
    )
    assert apphub_apt.finish_interrupted(["slurm*", "*munge*"]) == [
        "dpkg --purge --force-remove-reinstreq --force-depends slurmd",
        "dpkg --purge slurm-client munge libpmix2t64",
    ]


def test_a_purge_that_was_cut_off_between_two_packages_is_finished(dpkg: FakeDpkg) -> None:
    dpkg.flags = "slurmd ok purge config-files\nlibpmix2t64 ok purge installed\nmunge ok install installed\n"
    assert apphub_apt.finish_interrupted(["slurm*", "*munge*"]) == ["dpkg --purge slurmd libpmix2t64"]
    dpkg.flags = "foreign ok purge config-files\nmunge ok install installed\n"
    assert apphub_apt.finish_interrupted(["slurm*", "*munge*"]) == []


def test_what_somebody_has_only_marked_for_removal_stays(dpkg: FakeDpkg) -> None:
    dpkg.flags = "slurmd ok install installed\nmunge ok deinstall installed\n"
    assert apphub_apt.finish_interrupted(["slurm*", "*munge*"]) == []
    dpkg.flags = "slurmd reinstreq install half-installed\nfax ok deinstall installed\n"
    assert apphub_apt.finish_interrupted(["slurm*", "*munge*"]) == [
        "dpkg --remove --force-remove-reinstreq --force-depends slurmd"
    ]


def test_what_dpkg_has_only_noted_is_finished(dpkg: FakeDpkg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dpkg_state, "JOURNAL", str(tmp_path / "[0-9]*"))
    (tmp_path / "tmp.i").touch()
    assert apphub_apt.finish_interrupted(["slurm*"]) == []
    (tmp_path / "0003").touch()
    assert apphub_apt.finish_interrupted(["slurm*"]) == ["dpkg --configure --pending --force-confold"]
    assert dpkg.calls[-1][:2] == ["dpkg", "--configure"]
    dpkg.flags = "munge ok purge installed\nlibpmix2t64 ok purge installed\n"
    assert apphub_apt.finish_interrupted(["munge*"])[0] == "dpkg --purge munge libpmix2t64"


def test_without_an_apphub_only_what_was_cut_off_is_finished(
    dpkg: FakeDpkg, run_module: Callable[..., dict[str, Any]]
) -> None:
    dpkg.flags = "slurmd ok deinstall half-installed\n"
    result = run_module(apphub_apt, exclusive=["slurm*"], lock_timeout=5)
    assert result["changed"]
    assert result["repaired"] == ["dpkg --remove --force-remove-reinstreq --force-depends slurmd"]
    assert not any(call[0] == "apt-get" for call in dpkg.calls)


def test_what_depends_on_a_package_that_was_taken_away_gets_it_back_and_nothing_is_removed(dpkg: FakeDpkg) -> None:
    dpkg.broken = True
    (command,) = apphub_apt.restore_dependencies()
    assert "--fix-broken --no-remove" in command
    assert "exit 101" in dpkg.policies[0], "services start when they are configured"
    assert dpkg.calls[-1] == command.split()


def installs(dpkg: FakeDpkg) -> list[str]:
    """What apt-get was asked to install, without trying."""
    calls = [call for call in dpkg.calls if call[:2] == ["apt-get", "install"] and "--simulate" not in call]
    return [word for call in calls for word in call[2:] if not word.startswith("--")]


def test_packages_are_installed_in_one_transaction_and_start_no_service(dpkg: FakeDpkg) -> None:
    assert apphub_apt.install(URL, ["munge", "slurmd"], "24.11.5-4", check_mode=False) == ["munge", "slurmd"]
    assert installs(dpkg) == ["munge", "slurmd=24.11.5-4"]
    assert [policy.splitlines()[-1] for policy in dpkg.policies] == ["exit 101"]
    assert not Path(dpkg_state.POLICY).exists()


def test_check_mode_only_tries(dpkg: FakeDpkg) -> None:
    assert apphub_apt.install(URL, ["munge", "slurmd"], "", check_mode=True) == ["munge", "slurmd"]
    assert installs(dpkg) == []


def test_a_package_that_is_there_stays_as_it_is_unless_its_version_is_stated(dpkg: FakeDpkg) -> None:
    dpkg.installed = "installed munge\nconfig-files slurm-client\ninstalled slurmd\n"
    apphub_apt.install(URL, ["munge", "slurmd", "slurm-client"], "", check_mode=False)
    assert installs(dpkg) == ["slurm-client"]
    dpkg.calls.clear()
    apphub_apt.install(URL, ["munge", "slurmd"], "25.05", check_mode=False)
    assert installs(dpkg) == ["slurmd=25.05"]
    dpkg.calls.clear()
    assert apphub_apt.install(URL, ["munge", "slurmd"], "", check_mode=False) == []
    assert [call[0] for call in dpkg.calls] == ["dpkg-query"]


def test_where_nothing_would_change_nothing_is_done(dpkg: FakeDpkg) -> None:
    dpkg.planned = "slurmd is already the newest version\n"
    assert apphub_apt.install(URL, ["slurmd"], "24.11", check_mode=False) == []
    assert installs(dpkg) == []


def test_what_apt_refuses_has_the_reason_of_apt(dpkg: FakeDpkg) -> None:
    dpkg.refusal = "E: Unable to correct problems, you have held broken packages."
    with pytest.raises(FailureError) as refused:
        apphub_apt.install(URL, ["munge", "slurmd"], "", check_mode=False)
    failure = refused.value.failure
    assert failure.code is Code.PACKAGE_INSTALLATION_FAILED
    assert failure.reason == f"munge, slurmd cannot be installed from {URL}: {dpkg.refusal}"
    assert "healthz" in failure.remedy


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "policy-rc.d"
    monkeypatch.setattr(dpkg_state, "POLICY", str(path))
    return path


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_the_administrators_policy_comes_back_also_after_a_failure(policy: Path, error: type[Exception] | None) -> None:
    policy.write_text("#!/bin/sh\nexit 0\n")
    policy.chmod(0o700)
    expected = pytest.raises(error) if error else contextlib.nullcontext()
    with expected, apphub_apt.no_service_starts():
        assert "exit 101" in policy.read_text()
        assert policy.stat().st_mode & 0o777 == 0o755
        if error:
            raise error
    assert (policy.read_text(), policy.stat().st_mode & 0o777) == ("#!/bin/sh\nexit 0\n", 0o700)
    assert [path.name for path in policy.parent.iterdir()] == ["policy-rc.d"]


@pytest.mark.parametrize("administrators", ["", "#!/bin/sh\nexit 0\n"])
def test_an_installation_that_ends_meanwhile_takes_no_policy_along(policy: Path, administrators: str) -> None:
    if administrators:
        policy.write_text(administrators)
    with apphub_apt.no_service_starts(), apphub_apt.no_service_starts():
        pass
    assert (policy.read_text() if policy.exists() else "") == administrators


@pytest.mark.parametrize("kept", ["", "#!/bin/sh\nexit 0\n"])
def test_a_policy_that_a_run_left_which_was_cut_off_goes(policy: Path, tmp_path: Path, kept: str) -> None:
    with apphub_apt.no_service_starts():
        ours = policy.read_bytes()
    policy.write_bytes(ours)
    if kept:
        (tmp_path / "policy-rc.d.slurmscale").write_text(kept)
    with apphub_apt.no_service_starts():
        assert policy.read_bytes() == ours
    assert (policy.read_text() if policy.exists() else "") == kept
    assert not (tmp_path / "policy-rc.d.slurmscale").exists()


@pytest.mark.parametrize("kept", ["", "#!/bin/sh\nexit 0\n"])
def test_a_policy_that_alone_was_left_is_found_and_goes(dpkg: FakeDpkg, tmp_path: Path, kept: str) -> None:
    policy = Path(dpkg_state.POLICY)
    assert not dpkg_state.was_cut_off()
    policy.write_bytes(dpkg_state.NO_STARTS)
    if kept:
        (tmp_path / "policy-rc.d.slurmscale").write_text(kept)
    assert dpkg_state.was_cut_off()
    assert apphub_apt.finish_interrupted(["slurm*"]) == [f"rm {policy}"]
    assert (policy.read_text() if policy.exists() else "") == kept
    assert not dpkg_state.was_cut_off()
    assert apphub_apt.finish_interrupted(["slurm*"]) == []
    assert all(call[0] in ("dpkg-query", "dpkg") for call in dpkg.calls)


def test_packages_that_are_all_there_are_half_done_while_dpkg_has_a_journal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dpkg_state, "POLICY", str(tmp_path / "policy-rc.d"))
    monkeypatch.setattr(dpkg_state, "JOURNAL", str(tmp_path / "[0-9]*"))
    assert facts.probe([], [], [], "/etc/munge/munge.key", credential=False, timeout=5)["half_done"] == []
    (tmp_path / "0003").touch()
    assert facts.probe([], [], [], "/etc/munge/munge.key", credential=False, timeout=5)["half_done"] == ["dpkg"]
    monkeypatch.setattr(apt_locks, "holder", lambda: ("apt-get (7)", "/var/lib/dpkg/lock"))
    assert facts.probe([], [], [], "/etc/munge/munge.key", credential=False, timeout=5)["half_done"] == []


NOWHERE = "but it is not installable"


def test_what_no_source_has_is_told_for_each_package_with_where_it_was_looked_for(dpkg: FakeDpkg) -> None:
    dpkg.unmet = {
        "slurmd": [f"libhwloc15 (>= 2.9) {NOWHERE}", "slurm-plugins (= 1) but it is not going to be installed"],
        "slurm-plugins": [f"libhwloc15 (>= 2.9) {NOWHERE}", "libc6 (>= 9) but 2 is to be installed"],
    }
    with pytest.raises(FailureError) as refused:
        apphub_apt.install(URL, ["munge", "slurmd"], "", check_mode=False)
    failure = refused.value.failure
    assert failure.code is Code.PACKAGE_DEPENDENCY_MISSING
    assert "slurm-plugins needs libhwloc15 (>= 2.9), libc6 (>= 9); slurmd needs libhwloc15 (>= 2.9)." in failure.reason
    assert f"Looked for in {OTHER}, {DEBIAN}, {URL}/pkgs/deb/dists/noble." in failure.reason
    assert installs(dpkg) == []


def test_lists_of_the_distribution_are_read_when_a_dependency_is_missing(dpkg: FakeDpkg) -> None:
    dpkg.unmet, dpkg.elsewhere = {"slurmd": [f"libhwloc15 {NOWHERE}"]}, True
    assert apphub_apt.install(URL, ["munge", "slurmd"], "", check_mode=False) == ["munge", "slurmd"]
    assert dpkg.calls.count(list(apphub_apt.UPDATE_ALL)) == 1


def test_lists_of_the_distribution_are_not_read_where_apphub_has_everything(dpkg: FakeDpkg) -> None:
    apphub_apt.install(URL, ["munge", "slurmd"], "", check_mode=False)
    assert list(apphub_apt.UPDATE_ALL) not in dpkg.calls


def test_a_package_of_somebody_else_that_can_not_be_finished_is_no_change(dpkg: FakeDpkg) -> None:
    dpkg.audit, dpkg.configures = "foreign is half configured", False
    assert apphub_apt.finish_interrupted(["slurm*"]) == []
    assert any(call[:2] == ["dpkg", "--configure"] for call in dpkg.calls)
