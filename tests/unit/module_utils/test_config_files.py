"""Files are replaced as one set that can be put back exactly as it was."""

import contextlib
import errno
import os
import pathlib
import stat
import subprocess
from collections.abc import Iterator

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import config_files
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_files import FileSet
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.lock import BusyError, lock


@pytest.fixture
def etc(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "etc"
    path.mkdir()
    (path / "slurm.conf").write_bytes(b"# M\xfcller\nInclude old.conf\n")
    (path / "slurm.conf").chmod(0o640)
    (path / "old.conf").write_text("A=1\n")
    (path / "gres.conf").write_text("Name=gpu\n")
    (path / "slurmdbd.conf").write_text("StoragePass=secret\n")
    return path


def snapshot(etc: pathlib.Path) -> dict:
    return {
        path.name: (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in etc.iterdir()
        if path.is_file() and path.name != "in-progress.json"
    }


def changes_of(etc: pathlib.Path) -> dict:
    before = (etc / "slurm.conf").read_bytes().decode("utf-8", "surrogateescape")
    return {
        str(etc / "slurm.conf"): (before, before + "Include new.conf\n"),
        str(etc / "new.conf"): (None, "B=2\n"),
        str(etc / "gres.conf"): ("Name=gpu\n", None),
    }


def test_all_files_are_replaced_with_the_mode_of_before(etc: pathlib.Path) -> None:
    files = FileSet(str(etc / "slurm.conf"))
    files.replace(changes_of(etc))
    assert (etc / "slurm.conf").read_bytes() == b"# M\xfcller\nInclude old.conf\nInclude new.conf\n"
    assert stat.S_IMODE((etc / "slurm.conf").stat().st_mode) == 0o640
    assert stat.S_IMODE((etc / "new.conf").stat().st_mode) == 0o640
    assert not (etc / "gres.conf").exists()


def test_slurm_conf_comes_after_what_it_includes(etc: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr(config_files, "write_atomically", lambda path, _text, like: written.append((path, like)))
    monkeypatch.setattr(os, "unlink", lambda path: written.append((path, "unlink")))
    FileSet(str(etc / "slurm.conf")).replace(changes_of(etc))
    names = [pathlib.Path(path).name for path, _like in written]
    assert names == ["new.conf", "slurm.conf", "gres.conf"]


def test_a_restored_backup_is_exactly_what_was_there(etc: pathlib.Path) -> None:
    before = snapshot(etc)
    files = FileSet(str(etc / "slurm.conf"))
    backup = files.back_up(changes_of(etc))
    files.replace(changes_of(etc))
    assert snapshot(etc) != before
    files.restore(backup)
    assert snapshot(etc) == before


def test_a_restore_after_half_a_replacement_works_too(etc: pathlib.Path) -> None:
    before = snapshot(etc)
    files = FileSet(str(etc / "slurm.conf"))
    backup = files.back_up(changes_of(etc))
    (etc / "new.conf").write_text("B=2\n")
    files.restore(backup)
    files.restore(backup)
    assert snapshot(etc) == before


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of its own with 32 pages, each file taking at least one."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def fill(disk: pathlib.Path) -> None:
    """Leave no page free."""
    with (disk / "fill").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"x" * 4096)


def test_a_disk_that_got_full_hinders_no_restore(small_disk: pathlib.Path) -> None:
    """The new configuration is in place, and then something else, such as a log, takes all the room."""
    conf, nodes = small_disk / "slurm.conf", small_disk / "slurmscale-nodes.conf"
    conf.write_text("ClusterName=old\n" + "# a comment\n" * 2000)
    nodes.write_text("NodeName=n1\n")
    conf.chmod(0o640)
    os.chown(conf, 12345, 23456)
    before = {path.name: (path.read_bytes(), path.stat()[:6]) for path in (conf, nodes)}
    changes = {str(conf): (conf.read_text(), "ClusterName=new\n"), str(nodes): (nodes.read_text(), None)}
    files = FileSet(str(conf))
    backup = files.back_up(changes)
    files.replace(changes)
    assert conf.read_text() == "ClusterName=new\n"
    fill(small_disk)
    files.restore(backup)
    assert {path.name: (path.read_bytes(), path.stat()[:3]) for path in (conf, nodes)} == {
        name: (text, status[:3]) for name, (text, status) in before.items()
    }
    status = conf.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 12345, 23456)


def test_a_disk_that_is_full_from_the_start_changes_nothing(small_disk: pathlib.Path) -> None:
    conf = small_disk / "slurm.conf"
    conf.write_text("ClusterName=old\n")
    files = FileSet(str(conf))
    fill(small_disk)
    changes = {str(conf): ("ClusterName=old\n", "ClusterName=new\n")}
    with pytest.raises(OSError, match="No space left on device: '"):
        files.back_up(changes)
    assert conf.read_text() == "ClusterName=old\n"
    assert files.interrupted() is None


def test_a_backup_is_on_the_disk_before_it_is_relied_on(etc: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = set()
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    backup = pathlib.Path(FileSet(str(etc / "slurm.conf")).back_up(changes_of(etc)))
    assert {path.stat().st_ino for path in backup.iterdir()} <= synced
    assert {backup.stat().st_ino, backup.parent.stat().st_ino} <= synced


def test_files_that_cannot_be_linked_are_copied_with_owner_and_mode(
    etc: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another file system."""

    def refuse(*_args: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    before = snapshot(etc)
    files = FileSet(str(etc / "slurm.conf"))
    backup = files.back_up(changes_of(etc))
    files.replace(changes_of(etc))
    files.restore(backup)
    assert snapshot(etc) == before


def test_a_discarded_backup_does_not_follow_later_edits(etc: pathlib.Path) -> None:
    files = FileSet(str(etc / "slurm.conf"))
    backup = files.back_up(changes_of(etc))
    files.replace(changes_of(etc))
    files.restore(backup)
    files.discard(backup)
    assert not pathlib.Path(backup).exists()
    assert (etc / "slurm.conf").stat().st_nlink == 1


def test_a_link_is_followed_and_stays_a_link(tmp_path: pathlib.Path) -> None:
    (tmp_path / "shared.conf").write_text("A=1\n")
    link = tmp_path / "slurm.conf"
    link.symlink_to("shared.conf")
    config_files.write_atomically(str(link), "A=2\n", like=str(link))
    assert link.is_symlink()
    assert (tmp_path / "shared.conf").read_text() == "A=2\n"


def test_nothing_is_left_when_a_file_cannot_be_written(etc: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_old: str, _new: str) -> None:
        raise OSError(28, "No space left on device")

    before = snapshot(etc)
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match=r"No space left on device: '.*/slurm\.conf'"):
        config_files.write_atomically(str(etc / "slurm.conf"), "A=2\n", like=str(etc / "slurm.conf"))
    assert snapshot(etc) == before


def test_the_last_five_backups_are_kept_for_root_only(etc: pathlib.Path) -> None:
    files = FileSet(str(etc / "slurm.conf"))
    kept = [files.back_up(changes_of(etc)) for _ in range(7)]
    backups = pathlib.Path(files.backups)
    left = [str(path) for path in backups.iterdir() if path.is_dir()]
    assert len(left) == 5
    assert kept[-1] in left
    assert stat.S_IMODE(backups.stat().st_mode) == 0o700


def test_a_mark_outlives_the_run_until_it_is_taken_away(etc: pathlib.Path) -> None:
    files = FileSet(str(etc / "slurm.conf"))
    assert files.interrupted() is None
    backup = files.back_up(changes_of(etc))
    files.begin(backup, {"added": ["n2"]})
    assert FileSet(str(etc / "slurm.conf")).interrupted() == {"added": ["n2"], "backup": backup}
    files.finish()
    assert files.interrupted() is None


def test_the_candidate_holds_the_changes_and_leaves_the_rest_alone(etc: pathlib.Path) -> None:
    elsewhere = etc.parent / "other" / "parts.conf"
    elsewhere.parent.mkdir()
    elsewhere.write_text("PartitionName=p\n")
    (etc / "slurm.conf").write_text(f"Include old.conf\nInclude {elsewhere}\n")
    before = snapshot(etc)
    files = FileSet(str(etc / "slurm.conf"))
    changes = {str(elsewhere): ("PartitionName=p\n", "PartitionName=q\n"), str(etc / "new.conf"): (None, "B=2\n")}
    read = [str(etc / "slurm.conf"), str(etc / "old.conf"), str(elsewhere)]
    with files.candidate(changes, read) as candidate:
        folder = pathlib.Path(candidate).parent
        assert folder.parent == etc
        assert (folder / "new.conf").read_text() == "B=2\n"
        assert (folder / "old.conf").read_text() == "A=1\n"
        assert (folder / "gres.conf").exists()
        assert not (folder / "slurmdbd.conf").exists()
        include = pathlib.Path(candidate).read_text().split()[-1]
        assert pathlib.Path(include).is_relative_to(folder)
        assert pathlib.Path(include).read_text() == "PartitionName=q\n"
    assert snapshot(etc) == before
    assert not folder.exists()


def test_a_candidate_left_by_a_killed_run_is_cleared(etc: pathlib.Path) -> None:
    (etc / ".slurmscale-candidate-x").mkdir()
    with FileSet(str(etc / "slurm.conf")).candidate({}, [str(etc / "slurm.conf")]):
        pass
    assert not (etc / ".slurmscale-candidate-x").exists()


def test_the_second_run_waits_and_then_names_the_first(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "lock")
    with (
        lock(path, "present n2", 1),
        pytest.raises(BusyError, match=rf"process {os.getpid()}, host .*, started .*, present n2.*run again"),
        lock(path, "present n3", 0.3),
    ):
        pytest.fail("two runs hold one lock")
    with lock(path, "present n3", 0.3):
        assert "present n3" in pathlib.Path(path).read_text()
