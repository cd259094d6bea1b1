"""What makes AppHub a node's only source of Slurm: dnf's configuration, and the look into the catalog."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.apphub_gaps import apphub_gaps
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import dnf_conf as apphub_dnf_conf
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_dnf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Runner = Callable[..., dict[str, Any]]

PATTERNS = ["slurm*", "munge*"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[main]\nexcludepkgs=slurm*,munge*\n"),
        ("[main]\n", "[main]\nexcludepkgs=slurm*,munge*\n"),
        ("[main]\nbest=True\n", "[main]\nexcludepkgs=slurm*,munge*\nbest=True\n"),
        ("[main]\nexclude = kernel* foo\n", "[main]\nexclude = slurm*,munge*,kernel* foo\n"),
        ("[main]\nexcludepkgs=\nbest=1\n", "[main]\nexcludepkgs=slurm*,munge*\nbest=1\n"),
        ("[main]\nexcludepkgs=a,\n  munge*\n", "[main]\nexcludepkgs=slurm*,a,\n  munge*\n"),
        ("[main]\nexcludepkgs=slurm*\nexclude=munge*\n", "[main]\nexcludepkgs=slurm*\nexclude=munge*\n"),
        ("[epel]\nexclude=slurm*\n[main]\n", "[epel]\nexclude=slurm*\n[main]\nexcludepkgs=slurm*,munge*\n"),
        ("[main]\n#exclude=slurm*\n", "[main]\nexcludepkgs=slurm*,munge*\n#exclude=slurm*\n"),
    ],
)
def test_excludes_are_merged_and_everything_else_is_kept(before: str, after: str) -> None:
    assert apphub_dnf_conf.exclude(before, PATTERNS) == after
    assert apphub_dnf_conf.exclude(after, PATTERNS) == after
    assert set(PATTERNS) <= set(apphub_dnf_conf.excluded(after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[main]\nexcludepkgs=slurm*,munge*\nbest=True\n", "[main]\nbest=True\n"),
        ("[main]\nexclude = slurm*,munge*,kernel* foo\n", "[main]\nexclude =kernel*,foo\n"),
        ("[main]\nexcludepkgs=slurm*,a,\n  b\n", "[main]\nexcludepkgs=a\n  b\n"),
        ("[main]\nexcludepkgs=kernel*\n", "[main]\nexcludepkgs=kernel*\n"),
        ("[epel]\nexclude=slurm*\n", "[epel]\nexclude=slurm*\n"),
        ("", ""),
    ],
)
def test_our_excludes_are_taken_out_and_everything_else_is_kept(before: str, after: str) -> None:
    assert apphub_dnf_conf.include(before, PATTERNS) == after


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


def entry(arch: str, *others: str) -> dict[str, Any]:
    return {"arch": arch, "file": "f", "sha256": "s", "others": [{"arch": other} for other in others]}


CATALOG = {
    "repositories": {
        "deb/ubuntu/noble": {
            "packages": {
                "slurmd": {"24.11.5-4": entry("amd64"), "25.05.1-1": entry("amd64", "arm64")},
                "munge": {"0.5.16-1": entry("amd64")},
            }
        },
        "rpm/el9": {"packages": {"slurm": {"1:22.05.8-4.el9": entry("x86_64")}, "docs": {"1-1": entry("noarch")}}},
    }
}


@pytest.mark.parametrize("version", ["", "24.11", "24.11.5", "24.11.5-4", "25"])
def test_nothing_is_missing(version: str) -> None:
    assert apphub_gaps(CATALOG, "deb/ubuntu/noble", "x86_64", ["slurmd", "munge"], version) == []


def test_epoch_and_packages_for_every_architecture_fit() -> None:
    assert apphub_gaps(CATALOG, "rpm/el9", "x86_64", ["slurm", "docs"], "22.05") == []


@pytest.mark.parametrize(
    ("asked", "gap"),
    [
        (
            ("deb/ubuntu/jammy", "x86_64", ["slurmd"]),
            "no repository deb/ubuntu/jammy; there are deb/ubuntu/noble, rpm/el9.",
        ),
        (("rpm/el9", "x86_64", ["slurm-slurmd"]), "rpm/el9 has no package slurm-slurmd."),
        (("rpm/el9", "aarch64", ["slurm"]), "rpm/el9 has slurm not for aarch64, only for x86_64."),
        (("deb/ubuntu/noble", "x86_64", ["slurmd"], "24.1"), "no slurmd 24.1; there are 24.11.5-4, 25.05.1-1."),
        (("deb/ubuntu/noble", "aarch64", ["slurmd"], "24.11"), "no slurmd 24.11; there are 25.05.1-1."),
    ],
)
def test_what_is_missing_is_named_with_what_is_there(asked: tuple[Any, ...], gap: str) -> None:
    (found,) = apphub_gaps(CATALOG, *asked)
    assert gap in found


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
