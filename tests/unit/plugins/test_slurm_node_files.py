"""slurm_node_files, run for real on a temporary directory."""

from __future__ import annotations

import base64
import errno
import getpass
import grp
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.files import writer as node_files
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_node_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Runner = Callable[..., dict[str, Any]]

KEY = b"\x00\xff not a text, and not for anybody's eyes"
KEY_BASE64 = base64.b64encode(KEY).decode()
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def files(run_module: Runner) -> Runner:
    def run(**options: Any) -> dict[str, Any]:
        return run_module(slurm_node_files, **options)

    return run


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def names_in(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_one_run_makes_directories_then_files_then_removals(files: Runner, tmp_path: Path) -> None:
    old = tmp_path / "old.conf"
    old.write_text("x")
    etc = tmp_path / "a" / "etc"
    result = files(
        directories=[{"path": str(etc), "mode": "0700"}],
        files=[
            {"path": str(etc / "key"), "content_base64": KEY_BASE64, "mode": "0400", "secret": True},
            {"path": str(etc / "options"), "content": "A=ü\n"},
        ],
        absent=[str(old)],
    )
    assert result["changed"] is True
    assert mode_of(etc) == 0o700
    assert mode_of(tmp_path / "a") == 0o755
    assert (etc / "key").read_bytes() == KEY
    assert mode_of(etc / "key") == 0o400
    assert (etc / "options").read_text(encoding="utf-8") == "A=ü\n"
    assert mode_of(etc / "options") == 0o644
    assert not old.exists()
    assert result["files"] == {str(etc / "key"): {"changed": True}, str(etc / "options"): {"changed": True}}
    assert result["directories"] == {str(etc): {"changed": True}}
    assert result["absent"] == {str(old): {"changed": True}}
    assert names_in(etc) == ["key", "options"]


def test_second_run_changes_nothing_and_leaves_the_inode(files: Runner, tmp_path: Path) -> None:
    options = {
        "directories": [{"path": str(tmp_path / "d")}],
        "files": [{"path": str(tmp_path / "d" / "f"), "content": "x\n"}],
        "absent": [str(tmp_path / "gone")],
    }
    files(**options)
    inode = (tmp_path / "d" / "f").stat().st_ino
    result = files(**options)
    assert result["changed"] is False
    assert result["diff"] == []
    assert result["files"] == {str(tmp_path / "d" / "f"): {"changed": False}}
    assert (tmp_path / "d" / "f").stat().st_ino == inode


def test_only_the_differing_file_is_reported(files: Runner, tmp_path: Path) -> None:
    (tmp_path / "same").write_text("same\n")
    (tmp_path / "other").write_text("old\n")
    result = files(
        files=[
            {"path": str(tmp_path / "same"), "content": "same\n"},
            {"path": str(tmp_path / "other"), "content": "new\n"},
        ]
    )
    assert result["files"] == {
        str(tmp_path / "same"): {"changed": False},
        str(tmp_path / "other"): {"changed": True},
    }
    other = str(tmp_path / "other")
    assert result["diff"] == [{"before_header": other, "after_header": other, "before": "old\n", "after": "new\n"}]


def test_wrong_mode_alone_is_mended_and_shown(files: Runner, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("x")
    path.chmod(0o666)
    result = files(files=[{"path": str(path), "content": "x", "mode": "0640"}])
    assert mode_of(path) == 0o640
    assert [(diff["before"], diff["after"]) for diff in result["diff"]] == [({"mode": "0666"}, {"mode": "0640"})]


@needs_root
def test_owner_and_group_are_compared_and_set(files: Runner, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("x")
    result = files(files=[{"path": str(path), "content": "x", "owner": "4711", "group": "4712"}])
    assert (path.stat().st_uid, path.stat().st_gid) == (4711, 4712)
    assert result["changed"] is True
    again = files(files=[{"path": str(path), "content": "x", "owner": "4711", "group": "4712"}])
    assert again["changed"] is False


def test_check_mode_predicts_the_run_and_touches_nothing(files: Runner, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old\n")
    (tmp_path / "gone").write_text("x")
    options: dict[str, Any] = {
        "directories": [{"path": str(tmp_path / "new" / "dir")}],
        "files": [
            {"path": str(tmp_path / "f"), "content": "new\n"},
            {"path": str(tmp_path / "new" / "dir" / "f"), "content": "x"},
        ],
        "absent": [str(tmp_path / "gone")],
    }
    predicted = files(check=True, **options)
    assert names_in(tmp_path) == ["f", "gone"]
    assert (tmp_path / "f").read_text() == "old\n"
    predicted.pop("invocation", None)
    done = files(**options)
    done.pop("invocation", None)
    assert predicted == done


def test_check_mode_tolerates_what_earlier_tasks_would_have_made(files: Runner, tmp_path: Path) -> None:
    item = {"path": str(tmp_path / "none" / "f"), "content": "x", "owner": "nobody-has-this-name", "group": "nor-this"}
    result = files(check=True, files=[item])
    assert result["files"] == {str(tmp_path / "none" / "f"): {"changed": True}}


def test_secret_never_shows(files: Runner, tmp_path: Path) -> None:
    path = tmp_path / "munge.key"
    item = {"path": str(path), "content_base64": KEY_BASE64, "secret": True}
    path.write_bytes(b"the old secret")
    printed = json.dumps(files(files=[item]))
    assert mode_of(path) == 0o600
    assert KEY_BASE64 not in printed
    assert "anybody" not in printed
    assert "the old secret" not in printed
    assert "secret content, not shown, changed" in printed


def test_binary_content_is_not_dumped_into_the_diff(files: Runner, tmp_path: Path) -> None:
    result = files(files=[{"path": str(tmp_path / "f"), "content_base64": KEY_BASE64}])
    assert result["diff"][0]["after"] == f"(binary content, {len(KEY)} bytes)\n"


def test_link_is_replaced_and_its_target_left_alone(files: Runner, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "f").symlink_to(tmp_path / "target")
    result = files(files=[{"path": str(tmp_path / "f"), "content": "theirs"}])
    assert result["changed"] is True
    assert not (tmp_path / "f").is_symlink()
    assert (tmp_path / "target").read_text() == "theirs"


def test_empty_directory_is_removed_and_a_full_one_refused(files: Runner, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert files(absent=[str(tmp_path / "empty")])["changed"] is True
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "f").write_text("x")
    result = files(absent=[str(tmp_path / "full")])
    assert "not empty" in result["msg"]
    assert (tmp_path / "full" / "f").exists()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"content": "x", "owner": "nobody-has-this-name"}, "user 'nobody-has-this-name', which does not exist"),
        ({"content": "x", "group": "nobody-has-this-name"}, "group 'nobody-has-this-name', which does not exist"),
        ({"content": "x", "mode": 256}, "must be a quoted octal number such as '0644', but is 256"),
        ({"content": "x", "mode": "rw"}, "must be a quoted octal number"),
        ({"content": "x", "secret": True}, "give it as content_base64"),
        ({"content_base64": "%%%"}, "not valid base64"),
        ({}, "one of the following is required: content, content_base64"),
        ({"content": "x", "content_base64": "eA=="}, "mutually exclusive"),
    ],
)
def test_bad_statement_fails_before_anything_is_changed(
    files: Runner, tmp_path: Path, item: dict[str, Any], message: str
) -> None:
    first = {"path": str(tmp_path / "first"), "content": "x"}
    result = files(directories=[{"path": str(tmp_path / "d")}], files=[first, {"path": str(tmp_path / "f"), **item}])
    assert result["failed"] is True
    assert message in result["msg"]
    assert names_in(tmp_path) == []


def test_missing_parent_names_the_remedy(files: Runner, tmp_path: Path) -> None:
    result = files(files=[{"path": str(tmp_path / "none" / "f"), "content": "x"}])
    assert result["msg"].endswith(f"does not exist: add {tmp_path}/none to directories")


def test_path_named_twice_is_refused(files: Runner, tmp_path: Path) -> None:
    result = files(files=[{"path": str(tmp_path / "f"), "content": "x"}], absent=[f"{tmp_path}//f"])
    assert "named more than once" in result["msg"]
    assert not (tmp_path / "f").exists()


def test_relative_path_is_refused(files: Runner) -> None:
    assert "absolute" in files(files=[{"path": "etc/f", "content": "x"}])["msg"]


def test_directory_in_the_place_of_a_file_is_refused(files: Runner, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    assert "must be a file" in files(files=[{"path": str(tmp_path / "f"), "content": "x"}])["msg"]


def test_file_in_the_place_of_a_directory_is_refused(files: Runner, tmp_path: Path) -> None:
    (tmp_path / "d").write_text("x")
    assert "must be a directory" in files(directories=[{"path": str(tmp_path / "d")}])["msg"]


def test_failed_write_leaves_the_old_file_and_no_leftover(
    files: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "f").write_text("old")
    monkeypatch.setattr(node_files.os, "fsync", full)
    result = files(files=[{"path": str(tmp_path / "f"), "content": "new"}])
    assert result["msg"] == f"can't change {tmp_path}/f: No space left on device"
    assert result["changed"] is False
    assert names_in(tmp_path) == ["f"]
    assert (tmp_path / "f").read_text() == "old"


def test_own_names_resolve(files: Runner, tmp_path: Path) -> None:
    item = {
        "path": str(tmp_path / "f"),
        "content": "x",
        "owner": getpass.getuser(),
        "group": grp.getgrgid(os.getegid()).gr_name,
    }
    assert files(files=[item])["changed"] is True
    assert files(files=[item])["changed"] is False


def test_accounts_that_are_there_are_left_alone(files: Runner) -> None:
    result = files(sysusers=["g root 4711", "u root 4711:4711"])
    assert (result["changed"], result["accounts"]) == (False, [])


def test_missing_accounts_are_made_before_the_files_that_belong_to_them(
    files: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for systemd-sysusers: the real one would make accounts on the machine that runs the tests."""
    called = []
    monkeypatch.setattr(AnsibleModule, "run_command", lambda _self, command: called.append(command) or (0, "", ""))
    lines = ["g slurmscale-test 4711", "u slurmscale-test 4711:4711"]
    planned = files(sysusers=lines, check=True)
    assert (planned["changed"], planned["accounts"], called) == (True, ["slurmscale-test"], [])
    result = files(sysusers=["u root 0:0", *lines], files=[{"path": str(tmp_path / "f"), "content": "x"}])
    assert result["accounts"] == ["slurmscale-test"]
    assert called == [["systemd-sysusers", "--inline", *lines]]


def test_what_systemd_sysusers_refuses_stops_before_any_file(
    files: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnsibleModule, "run_command", lambda _self, _command: (1, "", "Conflict: no"))
    result = files(sysusers=["u slurmscale-test 1"], files=[{"path": str(tmp_path / "f"), "content": "x"}])
    assert "Conflict: no" in result["msg"]
    assert not (tmp_path / "f").exists()
    assert "'munge'" in files(sysusers=["munge"])["msg"]
