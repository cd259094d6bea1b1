"""What an AppHub lacks for a machine, by its catalog."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.apphub_gaps import apphub_gaps


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
        (("rpm/el9", "x86_64", ["slurm-slurmd"]), "rpm/el9 of AppHub has no package slurm-slurmd."),
        (("rpm/el9", "aarch64", ["slurm"]), "rpm/el9 of AppHub has slurm not for aarch64, only for x86_64."),
        (("deb/ubuntu/noble", "x86_64", ["slurmd"], "24.1"), "no slurmd 24.1; there are 24.11.5-4, 25.05.1-1."),
        (("deb/ubuntu/noble", "aarch64", ["slurmd"], "24.11"), "no slurmd 24.11; there are 25.05.1-1."),
    ],
)
def test_what_is_missing_is_named_with_what_is_there(asked: tuple[Any, ...], gap: str) -> None:
    (found,) = apphub_gaps(CATALOG, *asked)
    assert gap in found["reason"]
    assert found["code"] == ("apphub-repository-missing" if "jammy" in gap else "apphub-package-missing")
    assert "playbooks/publish_apphub.yml" in found["remedy"]
