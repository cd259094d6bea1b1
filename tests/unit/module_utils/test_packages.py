"""Folders of packages: what is found in them, also with links that lead around in a circle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import packages
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

if TYPE_CHECKING:
    from pathlib import Path

NOBLE = "deb/ubuntu/noble"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / NOBLE / "more").mkdir(parents=True)
    for name in ("munge_1_amd64.deb", "more/slurmd_1_amd64.deb", "more/notes.txt"):
        (tmp_path / NOBLE / name).write_text(name)
    return tmp_path


def names(source: Path) -> list[str]:
    return [file.name for file in packages.scan([str(source)])]


def test_links_to_the_folder_itself_and_to_those_above_are_not_followed(source: Path) -> None:
    """Two of them lead to 2^40 paths, one for each way around until the system refuses the path."""
    for name, target in (("around", "."), ("again", "."), ("up", ".."), ("self", "self")):
        (source / NOBLE / "more" / name).symlink_to(target)
    assert names(source) == ["munge_1_amd64.deb", "slurmd_1_amd64.deb"]


def test_a_link_to_another_folder_is_followed(source: Path) -> None:
    (source / "deb/ubuntu/jammy").symlink_to("noble")
    assert len(names(source)) == 4


def test_too_many_files_are_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MAX_FILES", 4)
    with pytest.raises(FailureError, match="has more than 4 files") as raised:
        names(source)
    assert raised.value.failure.code is Code.APPHUB_LIMIT_EXCEEDED


def test_a_package_that_is_a_link_to_nothing_is_refused(source: Path) -> None:
    (source / NOBLE / "gone_1_amd64.deb").symlink_to("nowhere")
    with pytest.raises(FailureError, match=r"gone_1_amd64.deb is not a file") as raised:
        names(source)
    assert raised.value.failure.code is Code.APPHUB_PACKAGE_INVALID
