"""A backup controller has the primary's files at every moment in which it could take over, or its old ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import backup_controller
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.backup_controller import BackupController
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_files import FileSet
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.planner import RefusedError
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import NOT_FOUND, CommandResult
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_backup_conf
from fakes.slurmctld import CONF

if TYPE_CHECKING:
    from fakes.slurmctld import FakeSlurmctld
    from unit.conftest import Runner


@pytest.fixture
def standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the slurm.conf of a backup controller, whose parser refuses what is Unparsable."""

    def parse(argv: list[str], conf: str | None = None, **_options: object) -> CommandResult:
        if conf is None:
            return CommandResult(tuple(argv), NOT_FOUND, "", "", 0.0)
        rc = int(any("Unparsable" in one.read_text() for one in Path(conf).parent.glob("*.conf")))
        return CommandResult(tuple(argv), rc, "", "unrecognized key" if rc else "", 0.0)

    monkeypatch.setattr(backup_controller.commands, "run", parse)
    conf = tmp_path / "standby" / "slurm.conf"
    conf.parent.mkdir()
    conf.write_text(CONF)
    return conf


def files(conf: Path, node: str = "NodeName=n2\n") -> list[dict[str, Any]]:
    added = conf.parent / "slurmscale-nodes.conf"
    return [
        {"path": str(conf), "before": CONF, "after": CONF + "Include slurmscale-nodes.conf\n"},
        {"path": str(added), "before": None, "after": node},
    ]


def after_the_change(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "before": one["after"]}


def texts(conf: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in conf.parent.iterdir() if path.is_file()}


def test_it_gets_the_files_before_the_primary_and_keeps_them(standby: Path) -> None:
    backup = BackupController(str(standby), files(standby))
    assert set(backup.stage(check_mode=True)) == {one["path"] for one in files(standby)}
    assert texts(standby) == {"slurm.conf": CONF}
    backup.stage(check_mode=False)
    assert texts(standby)["slurmscale-nodes.conf"] == "NodeName=n2\n"
    assert FileSet(str(standby)).interrupted()
    assert not backup.keep()
    assert not FileSet(str(standby)).interrupted()
    again = BackupController(str(standby), [after_the_change(one) for one in files(standby)])
    assert again.stage(check_mode=False) == {}


def test_it_gets_its_old_files_back_when_the_primary_does_not_take_them(standby: Path) -> None:
    backup = BackupController(str(standby), files(standby))
    backup.stage(check_mode=False)
    assert backup.restore()
    assert texts(standby) == {"slurm.conf": CONF}
    assert not backup.restore()


def test_files_that_are_not_the_primarys_are_refused_and_named(standby: Path) -> None:
    standby.write_text(CONF + "MessageTimeout=17\n")
    with pytest.raises(FailureError, match=rf"{standby} on the backup controller .* is not the primary's") as refused:
        BackupController(str(standby), files(standby)).stage(check_mode=False)
    assert refused.value.failure.code is Code.CONFIGURATION_DIFFERS
    assert texts(standby) == {"slurm.conf": CONF + "MessageTimeout=17\n"}


def test_what_its_own_slurm_cannot_parse_changes_nothing(standby: Path) -> None:
    with pytest.raises(FailureError, match="Slurm refuses") as refused:
        BackupController(str(standby), files(standby, "Unparsable\n")).stage(check_mode=False)
    assert refused.value.failure.code is Code.CONFIGURATION_REFUSED
    assert texts(standby) == {"slurm.conf": CONF}


def test_a_disk_that_is_full_leaves_the_old_files(standby: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = FileSet.replace

    def replace(self: FileSet, changes: dict) -> None:
        first = dict(list(changes.items())[-1:])
        real(self, first)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileSet, "replace", replace)
    with pytest.raises(OSError, match="No space left"):
        BackupController(str(standby), files(standby)).stage(check_mode=False)
    assert texts(standby) == {"slurm.conf": CONF}


@pytest.mark.parametrize("taken", [True, False])
def test_after_a_killed_run_it_has_what_the_primary_has(standby: Path, taken: bool) -> None:  # noqa: FBT001 - a case
    BackupController(str(standby), files(standby)).stage(check_mode=False)
    now = [after_the_change(one) if taken else {**one, "after": one["before"]} for one in files(standby)]
    BackupController(str(standby), now).stage(check_mode=False)
    assert texts(standby) == {one["path"].rpartition("/")[2]: one["after"] for one in now if one["after"] is not None}
    assert not FileSet(str(standby)).interrupted()


def test_what_a_later_run_wrote_is_not_put_back(standby: Path) -> None:
    first = BackupController(str(standby), files(standby))
    first.stage(check_mode=False)
    later = BackupController(str(standby), files(standby, "NodeName=n3\n"))
    later.stage(check_mode=False)
    assert not first.restore()
    assert texts(standby)["slurmscale-nodes.conf"] == "NodeName=n3\n"
    assert first.keep()
    assert texts(standby)["slurmscale-nodes.conf"] == "NodeName=n2\n"


def test_the_primary_tells_what_changes_and_does_nothing_else(slurm: FakeSlurmctld) -> None:
    assert slurm.register("n2", check_mode=True)["files"] == []
    slurm.standby = "ctl2"
    planned = slurm.register("n2", check_mode=True, backups=1)
    assert {Path(one["path"]).name: one["before"] for one in planned["files"]} == {
        "slurm.conf": CONF,
        "slurmscale-nodes.conf": None,
    }
    assert planned["warnings"] == []
    with pytest.raises(RefusedError, match="another run has changed") as refused:
        slurm.register("n2", "n3", digest=planned["digest"], backups=1)
    assert refused.value.failure.code is Code.CONTROLLER_BUSY
    assert slurm.loads == 0
    assert slurm.register("n2", digest=planned["digest"], backups=1)["added"] == ["n2"]
    assert slurm.register(check_mode=True, backups=1)["action"] == "none"


def test_one_that_the_inventory_does_not_have_is_told(slurm: FakeSlurmctld) -> None:
    slurm.standby = "ctl2"
    assert "there are 2 controllers" in slurm.register("n2")["warnings"][0]


def test_files_that_the_acting_controller_does_not_read_are_not_changed(
    slurm: FakeSlurmctld, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.standby = "ctl2"
    slurm.pid = 0
    monkeypatch.setattr(
        "ansible_collections.ai_infra.slurm.plugins.module_utils.controller.slurmctld_service.find_process",
        lambda _name: 0,
    )
    with pytest.raises(RefusedError, match="does not run on this host; ctl, ctl2 acts for it"):
        slurm.register("n2", backups=1)


def test_a_shared_directory_is_left_to_the_primary(slurm: FakeSlurmctld, run_module: Runner) -> None:
    marked = slurm.register(backups=1)
    assert (marked["action"], marked["changed"]) == ("none", False)
    assert marked["lock_note"]
    wanted = files(slurm.conf)
    options = {"conf": str(slurm.conf), "files": wanted}
    assert run_module(slurm_backup_conf, **options, lock_note=marked["lock_note"])["shared"]
    assert slurm.files() == {"slurm.conf": CONF}


def test_the_module_shows_the_change_and_fails_with_a_code(standby: Path, run_module: Runner) -> None:
    options = {"conf": str(standby), "files": files(standby), "lock_note": "another"}
    result = run_module(slurm_backup_conf, **options)
    assert (result["changed"], result["shared"], result["diff"][1]["after"]) == (True, False, "NodeName=n2\n")
    assert run_module(slurm_backup_conf, **options, state="kept")["changed"] is False
    standby.write_text("ClusterName=other\n")
    assert run_module(slurm_backup_conf, **options)["failure"]["code"] == "configuration-differs"


class Daemon:
    """systemd with the unit of slurmctld, which ends when the test says so."""

    def __init__(self, state: str = "active") -> None:
        self.state = state
        self.starts = True
        self.calls: list[list[str]] = []

    def run(self, argv: list[str], **_options: object) -> CommandResult:
        rc, text = 0, ""
        if argv[:2] == ["systemctl", "show"]:
            text = f"ActiveState={self.state}\n"
        elif argv[0] == "systemctl":
            self.calls.append(argv)
            if argv[1] == "start":
                rc = 0 if self.starts else 1
                self.state = "active" if self.starts else "failed"
        return CommandResult(tuple(argv), rc, text, "" if rc == 0 else "Job failed.", 0.0)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    made = Daemon()
    monkeypatch.setattr(backup_controller.commands, "run", made.run)
    return made


def test_a_slurmctld_that_ended_with_the_new_files_is_started_with_the_old_ones(standby: Path, daemon: Daemon) -> None:
    controller = BackupController(str(standby), files(standby))
    controller.stage(check_mode=False)
    daemon.state = "failed"
    assert controller.restore()
    assert daemon.calls == [["systemctl", "reset-failed", "slurmctld"], ["systemctl", "start", "slurmctld"]]
    assert texts(standby) == {"slurm.conf": CONF}


@pytest.mark.parametrize(("before", "then"), [("active", "active"), ("inactive", "inactive"), ("failed", "failed")])
def test_a_slurmctld_that_is_as_it_was_is_left_alone(standby: Path, daemon: Daemon, before: str, then: str) -> None:
    daemon.state = before
    controller = BackupController(str(standby), files(standby))
    controller.stage(check_mode=False)
    daemon.state = then
    assert controller.restore()
    assert daemon.calls == []


def test_a_slurmctld_that_does_not_start_with_the_old_files_is_told(standby: Path, daemon: Daemon) -> None:
    controller = BackupController(str(standby), files(standby))
    controller.stage(check_mode=False)
    daemon.state, daemon.starts = "failed", False
    with pytest.raises(FailureError) as problem:
        controller.restore()
    assert problem.value.failure.code is Code.SLURMCTLD_NOT_STARTED
    assert texts(standby) == {"slurm.conf": CONF}
