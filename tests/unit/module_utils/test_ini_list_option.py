"""Words in a configuration file, merged in and taken out again: excludes in dnf.conf."""

from __future__ import annotations

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.ini_list_option import WordList

PATTERNS = ["slurm*", "munge*"]
EXCLUDES = WordList("main", ("excludepkgs", "exclude"))


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
    assert EXCLUDES.add(before, PATTERNS) == after
    assert EXCLUDES.add(after, PATTERNS) == after
    assert set(PATTERNS) <= set(EXCLUDES.words(after))


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
    assert EXCLUDES.remove(before, PATTERNS) == after
