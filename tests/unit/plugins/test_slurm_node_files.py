"""slurm_node_files, run for real on a temporary directory."""

from __future__ import annotations

import base64
import errno
import getpass
import grp
import json
import os
import stat
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.files import accounts, writer
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


def test_wrong_mode_alone_is_corrected_and_shown(files: Runner, tmp_path: Path) -> None:
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
        ({"content": "x", "secret": True}, "is not given as content_base64"),
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
    assert result["msg"].endswith(f"does not exist. Add {tmp_path}/none to directories.")


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


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space: df -h {0}; df -i {0}"),
        (errno.EROFS, "See why it is read-only: findmnt --target {0}; dmesg"),
        (errno.EPERM, "See what forbids it to root: lsattr -d {0}; findmnt --target {0}"),
        (errno.EIO, ""),
    ],
)
def test_failed_write_leaves_the_old_file_and_no_leftover(
    files: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "f").write_text("old")
    monkeypatch.setattr(writer.os, "fsync", refuse)
    result = files(files=[{"path": str(tmp_path / "f"), "content": "new"}])
    assert result["failure"]["reason"] == f"can't change {tmp_path}/f: {os.strerror(number)}"
    assert result["failure"]["remedy"] == remedy.format(tmp_path)
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


EXCLUDES = {"section": "main", "options": ["excludepkgs", "exclude"]}
PATTERNS = ["slurm*", "munge*"]


def test_words_are_listed_and_taken_out_again_without_a_trace(files: Runner, tmp_path: Path) -> None:
    conf = tmp_path / "dnf.conf"
    conf.write_text("[main]\nbest=True\nproxy_password=s3cret\n")
    conf.chmod(0o640)
    listed = {"path": str(conf), **EXCLUDES, "present": PATTERNS}
    planned = files(words=[listed], check=True)
    assert (planned["changed"], "exclude" in conf.read_text()) == (True, False)
    result = files(words=[listed])
    assert result["words"] == {str(conf): {"changed": True}}
    assert conf.read_text() == "[main]\nexcludepkgs=slurm*,munge*\nbest=True\nproxy_password=s3cret\n"
    assert mode_of(conf) == 0o640
    (diff,) = result["diff"]
    assert diff["before"] == {"excludepkgs of [main]": ""}
    assert diff["after"] == {"excludepkgs of [main]": "slurm* munge*"}
    assert "s3cret" not in str(result)
    assert files(words=[listed])["changed"] is False
    assert files(words=[{"path": str(conf), **EXCLUDES, "absent": PATTERNS}])["changed"] is True
    assert conf.read_text() == "[main]\nbest=True\nproxy_password=s3cret\n"


def test_words_of_a_missing_file(files: Runner, tmp_path: Path) -> None:
    conf = tmp_path / "etc" / "dnf.conf"
    assert files(words=[{"path": str(conf), **EXCLUDES, "absent": PATTERNS}])["changed"] is False
    listed = {"path": str(conf), **EXCLUDES, "present": PATTERNS}
    assert "Add" in files(words=[listed])["msg"]
    assert files(words=[listed], directories=[{"path": str(conf.parent)}])["changed"] is True
    assert conf.read_text() == "[main]\nexcludepkgs=slurm*,munge*\n"
    assert mode_of(conf) == 0o644


def test_words_behind_a_link_are_listed_in_the_file_itself(files: Runner, tmp_path: Path) -> None:
    (tmp_path / "real.conf").write_text("[main]\n")
    (tmp_path / "yum.conf").symlink_to(tmp_path / "real.conf")
    assert files(words=[{"path": str(tmp_path / "yum.conf"), **EXCLUDES, "present": PATTERNS}])["changed"] is True
    assert (tmp_path / "yum.conf").is_symlink()
    assert "excludepkgs=slurm*,munge*" in (tmp_path / "real.conf").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"present": ["a"], "absent": ["a"]}, "a is in present and in absent"),
        ({"options": []}, "options is empty"),
        ({"path": "dnf.conf"}, "absolute"),
    ],
)
def test_words_that_are_stated_wrongly_are_refused(
    files: Runner, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    assert message in files(words=[{"path": str(tmp_path / "f"), **EXCLUDES, **change}])["msg"]


def test_what_nobody_else_could_read_is_not_shown_when_it_goes(files: Runner, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("password=s3cret\n")
    (tmp_path / "f").chmod(0o600)
    result = files(files=[{"path": str(tmp_path / "f"), "content": "no password\n"}])
    assert "s3cret" not in str(result)
    assert any(diff["after"] == "no password\n" for diff in result["diff"])


class Host:
    """Users and groups of a machine, and a systemd-sysusers that makes them as the real one does.

    It takes another number when the one that is asked for belongs to somebody else, and returns 0.
    """

    def __init__(self) -> None:
        self.users = {"root": (0, 0), "chrony": (991, 991)}
        self.groups = {"root": 0, "chrony": 991}
        self.calls: list[list[str]] = []
        self.refusal = ""
        self.shift = 0

    def getpwnam(self, name: str) -> SimpleNamespace:
        uid, gid = self.users[name]
        return SimpleNamespace(pw_uid=uid, pw_gid=gid, pw_name=name)

    def getpwuid(self, number: int) -> SimpleNamespace:
        return self.getpwnam({uid: name for name, (uid, _) in self.users.items()}[number])

    def getgrnam(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(gr_gid=self.groups[name], gr_name=name)

    def getgrgid(self, number: int) -> SimpleNamespace:
        return self.getgrnam({gid: name for name, gid in self.groups.items()}[number])

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.calls.append(command)
        if self.refusal:
            return 1, "", self.refusal
        for line in command[2:]:
            kind, name, numbers = line.split()[:3]
            first, _, second = numbers.partition(":")
            if kind == "g":
                self.groups[name] = int(first) + self.shift
            else:
                self.users[name] = (int(first) + self.shift, int(second or first))
        return 0, "", ""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """The real systemd-sysusers would make accounts on the machine that runs the tests."""
    host = Host()
    monkeypatch.setattr(accounts, "pwd", host)
    monkeypatch.setattr(accounts, "grp", host)
    monkeypatch.setattr(AnsibleModule, "run_command", lambda _self, command: host.run_command(command))
    return host


MUNGE = ["g munge 4711", "u munge 4711:4711"]


def test_accounts_that_are_right_are_left_alone(files: Runner, host: Host) -> None:
    result = files(sysusers=["g root 0", "u root 0:0", "u chrony 991"])
    assert (result["changed"], result["accounts"], host.calls) == (False, [], [])


def test_missing_accounts_are_made_before_the_files_that_belong_to_them(
    files: Runner, tmp_path: Path, host: Host
) -> None:
    planned = files(sysusers=MUNGE, check=True)
    assert (planned["changed"], planned["accounts"], host.calls) == (True, ["munge"], [])
    result = files(sysusers=["u root 0:0", *MUNGE], files=[{"path": str(tmp_path / "f"), "content": "x"}])
    assert (result["changed"], result["accounts"]) == (True, ["munge"])
    assert host.calls == [["systemd-sysusers", "--inline", *MUNGE]]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["g munge 991"], "group munge needs gid 991, but the group chrony has it"),
        (["u munge 991:4711"], "user munge needs uid 991, but the user chrony has it"),
        (["u munge 4711:991"], "user munge needs gid 991, but the group chrony has it"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_number_of_somebody_else_is_refused_before_anything_is_changed(  # noqa: PLR0913 - fixtures and a case
    files: Runner, tmp_path: Path, host: Host, lines: list[str], words: str, *, check: bool
) -> None:
    result = files(sysusers=lines, check=check, files=[{"path": str(tmp_path / "f"), "content": "x"}])
    assert result["failure"]["code"] == "account-id-taken"
    assert words in result["failure"]["reason"]
    assert "chrony" in result["failure"]["remedy"]
    assert host.calls == []
    assert names_in(tmp_path) == []


def test_an_account_with_another_number_is_refused(files: Runner, host: Host) -> None:
    result = files(sysusers=["u chrony 992:991"])
    assert result["failure"]["code"] == "account-id-differs"
    assert "needs uid 992, but has 991" in result["msg"]
    assert host.calls == []


def test_a_group_of_another_name_that_is_asked_for_is_no_conflict(files: Runner, host: Host) -> None:
    host.groups["hpc"] = 4711
    assert files(sysusers=["g hpc 4711", "u munge 4711:4711"])["accounts"] == ["munge"]


def test_what_systemd_sysusers_made_otherwise_is_told(files: Runner, tmp_path: Path, host: Host) -> None:
    host.shift = 1
    result = files(sysusers=MUNGE, files=[{"path": str(tmp_path / "f"), "content": "x"}])
    assert result["failure"]["code"] == "account-not-made"
    assert "needs gid 4711, but has 4712" in result["msg"]
    assert result["changed"] is True
    assert names_in(tmp_path) == []


def test_what_systemd_sysusers_refuses_stops_before_any_file(files: Runner, tmp_path: Path, host: Host) -> None:
    host.refusal = "Conflict: no"
    result = files(sysusers=["u munge 4711"], files=[{"path": str(tmp_path / "f"), "content": "x"}])
    assert result["failure"]["code"] == "account-not-made"
    assert "Conflict: no" in result["msg"]
    assert names_in(tmp_path) == []


def test_a_read_only_file_system_is_named_where_accounts_can_not_be_made(files: Runner, host: Host) -> None:
    host.refusal = "Failed to take /etc/passwd lock: Read-only file system"
    result = files(sysusers=["u munge 4711"])
    assert result["failure"]["remedy"] == "See why it is read-only: findmnt --target /etc; dmesg"


def test_a_line_that_makes_no_account_is_refused(files: Runner) -> None:
    result = files(sysusers=["munge"])
    assert result["failure"]["code"] == "file-invalid"
    assert "'munge'" in result["msg"]


def test_files_and_all_directories_that_were_made_get_the_selinux_context_of_their_path(
    files: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled: dict[str, list[str]] = {}
    monkeypatch.setattr(AnsibleModule, "selinux_enabled", lambda _self: True)
    monkeypatch.setattr(AnsibleModule, "selinux_default_context", lambda _self, path: ["context of", path])

    def set_context(_self: AnsibleModule, path: str, context: list[str], *_args: Any, **_options: Any) -> bool:
        labelled[path] = context
        return False

    monkeypatch.setattr(AnsibleModule, "set_context_if_different", set_context)
    spool = tmp_path / "var" / "spool" / "slurmd"
    key = tmp_path / "key"
    files(directories=[{"path": str(spool)}], files=[{"path": str(key), "content": "k"}])
    assert [path for path in (spool, spool.parent, spool.parent.parent) if str(path) not in labelled] == []
    assert labelled[str(spool)] == ["context of", str(spool)]
    assert str(tmp_path) not in labelled
    assert ["context of", str(key)] in labelled.values()
