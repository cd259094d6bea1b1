"""The rules about Slurm's versions."""

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import versions


def test_versions_compare_as_numbers() -> None:
    assert versions.version_tuple("slurm 24.11.5") == (24, 11, 5)
    assert versions.version_tuple("24.11.5-4") > versions.version_tuple("23.02.10")
    assert versions.version_tuple("slurm-wlm 22.05.8") == (22, 5, 8)
    assert versions.version_tuple("none") == ()


def test_a_version_is_written_as_slurm_writes_it() -> None:
    assert versions.version_text((22, 5, 8)) == "22.05.8"
    assert versions.version_text(()) == ""


@pytest.mark.parametrize(
    ("slurmd", "slurmctld", "newer", "too_old"),
    [
        ("24.11.5", "24.11.5", False, False),
        ("24.11.6", "24.11.5", True, False),
        ("24.11", "24.11.5", False, False),
        ("25.05", "24.11.5", True, False),
        ("23.02.1", "24.11.5", False, False),
        ("22.05.8", "24.11.5", False, True),
        ("23.02.1", "24.05.1", False, False),
        ("22.05.8", "24.05.1", False, True),
        ("24.11.5-4", "24.11.5", False, False),
        ("18.08.1", "24.11.5", False, True),
        ("24.11.5", "99.05.1", False, False),
    ],
)
def test_slurmd_is_neither_newer_nor_older_than_slurmctld_works_with(
    slurmd: str,
    slurmctld: str,
    newer: bool,  # noqa: FBT001 - parametrized
    too_old: bool,  # noqa: FBT001 - parametrized
) -> None:
    assert versions.is_newer(slurmd, slurmctld) is newer
    assert versions.is_too_old(slurmd, slurmctld) is too_old


def test_the_oldest_release_of_slurmd_is_inside_the_window() -> None:
    assert [versions.oldest_slurmd(one) for one in ("24.05.1", "24.11.5", "19.05.3", "99.05")] == [
        "23.02",
        "23.02",
        "19.05",
        "",
    ]
