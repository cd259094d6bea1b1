"""Where client bundles come from: versions, and the limits of what is unpacked."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import sources
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("24.11.5-4+deb13u1", "24.11.5"),
        ("1:22.05.8-1", "22.05.8"),
        ("23.11.4-1.2ubuntu5", "23.11.4"),
        ("25.05.0~rc1-1", "25.05.0"),
    ],
)
def test_slurms_own_version_is_cut_out_of_the_packages(version: str, upstream: str) -> None:
    assert sources.upstream(version) == upstream


def read(origin: sources.Origin) -> None:
    """Look for a command, which reads everything."""
    for source in origin.read():
        source.files.command("no-such-command")


def test_a_package_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 MB of zeros take 40 kB in the package; the limit is lowered to spare the test gigabytes."""
    folder, stage = tmp_path / "packages/deb/ubuntu/noble", tmp_path / "stage"
    folder.mkdir(parents=True)
    (stage / "DEBIAN").mkdir(parents=True)
    (stage / "DEBIAN/control").write_text(
        "Package: slurm-client\nVersion: 24.11.5-4\nArchitecture: amd64\nMaintainer: t\nDescription: t\n"
    )
    with (stage / "zeros").open("wb") as stream:
        stream.truncate(32 << 20)
    package = folder / "slurm-client_24.11.5-4_amd64.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", stage, package], check=True, capture_output=True)
    assert package.stat().st_size < 1 << 20
    (origin,) = sources.from_packages([str(tmp_path / "packages")])
    read(origin)
    monkeypatch.setattr(sources, "MAX_CONTENT", 16 << 20)
    with pytest.raises(FailureError, match=r"more than .* files or 16 MB") as raised:
        read(origin)
    assert raised.value.failure.code is Code.APPHUB_LIMIT_EXCEEDED


def test_an_install_tree_with_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (tmp_path / str(number)).touch()
    (tmp_path / "around").symlink_to(".")
    (origin,) = sources.from_trees([{"path": str(tmp_path), "version": "24.11.5"}])
    read(origin)
    monkeypatch.setattr(sources, "MAX_FILES", 3)
    with pytest.raises(FailureError, match="more than 3 files"):
        read(origin)
