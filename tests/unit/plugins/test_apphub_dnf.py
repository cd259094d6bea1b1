"""apphub_dnf, which makes AppHub dnf's only source of Slurm."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_dnf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Runner = Callable[..., dict[str, Any]]

PATTERNS = ["slurm*", "munge*"]


@pytest.fixture
def dnf(run_module: Runner, tmp_path: Path) -> Runner:
    paths = {
        "conf": str(tmp_path / "dnf.conf"),
        "key_path": str(tmp_path / "keys" / "KEY"),
        "ca_path": str(tmp_path / "keys" / "CA"),
        "repository_path": str(tmp_path / "repos" / "apphub.repo"),
    }

    def run(**options: Any) -> dict[str, Any]:
        return run_module(apphub_dnf, **{"exclude": PATTERNS, "key": "K\n", "repository": "[a]\n", **paths, **options})

    return run


def test_one_run_writes_all_and_a_second_nothing(dnf: Runner, tmp_path: Path) -> None:
    assert [os.path.basename(path) for path, changed in dnf()["files"].items() if changed] == [  # noqa: PTH119
        "dnf.conf", "KEY", "apphub.repo"
    ]  # fmt: skip
    assert (tmp_path / "keys" / "KEY").read_text() == "K\n"
    second = dnf()
    assert second["changed"] is False
    assert second["diff"] == []


def test_repository_file_tells_by_a_checksum_that_the_excludes_are_there(dnf: Runner, tmp_path: Path) -> None:
    dnf()
    checksum = hashlib.sha256((tmp_path / "dnf.conf").read_bytes()).hexdigest()
    repository = (tmp_path / "repos" / "apphub.repo").read_text()
    assert repository == f"[a]\n# sha256 of {tmp_path}/dnf.conf: {checksum}\n"


def test_removed_exclude_comes_back(dnf: Runner, tmp_path: Path) -> None:
    dnf()
    (tmp_path / "dnf.conf").write_text("[main]\nbest=1\n")
    result = dnf()
    assert "+excludepkgs" not in result["diff"][0]["before"]
    assert (tmp_path / "dnf.conf").read_text() == "[main]\nexcludepkgs=slurm*,munge*\nbest=1\n"


def test_check_mode_writes_nothing(dnf: Runner, tmp_path: Path) -> None:
    assert dnf(check=True)["changed"] is True
    assert list(tmp_path.iterdir()) == []


def test_what_was_set_up_is_taken_back_without_a_trace(dnf: Runner, tmp_path: Path) -> None:
    conf = tmp_path / "dnf.conf"
    conf.write_text("[main]\nbest=True\n")
    dnf()
    assert dnf(state="absent", key=None, repository=None)["changed"]
    assert conf.read_text() == "[main]\nbest=True\n"
    assert not (tmp_path / "repos" / "apphub.repo").exists()
    assert not (tmp_path / "keys" / "KEY").exists()
    assert not dnf(state="absent", key=None, repository=None)["changed"]


LOGIN = base64.b64encode(b"node:p@ss w%rd").decode()


def test_a_password_can_be_read_by_root_only_and_is_not_shown(dnf: Runner, tmp_path: Path) -> None:
    dnf()
    result = dnf(login=LOGIN, ca="CA\n")
    repository = tmp_path / "repos" / "apphub.repo"
    assert "username=node\npassword=p@ss w%rd\n" in repository.read_text()
    assert repository.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys" / "CA").read_text() == "CA\n"
    assert "p@ss" not in str(result)
    assert LOGIN not in str(result)
    assert dnf(login=LOGIN, ca="CA\n")["changed"] is False


def test_a_password_and_an_authority_that_are_no_more_needed_go(dnf: Runner, tmp_path: Path) -> None:
    dnf(login=LOGIN, ca="CA\n")
    result = dnf()
    assert "p@ss" not in (tmp_path / "repos" / "apphub.repo").read_text()
    assert (tmp_path / "repos" / "apphub.repo").stat().st_mode & 0o777 == 0o644
    assert not (tmp_path / "keys" / "CA").exists()
    assert result["changed"]
    assert "p@ss" not in str(result), "what was there is not shown either"
