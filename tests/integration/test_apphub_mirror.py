"""apphub_mirror with real apt, from a signed repository that was made for the test and is served over HTTP."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import FailureError
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_mirror

from .apphub import MISSING, NOBLE, Hub, deb, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


class Mirror:
    """A distribution, and the module's options to mirror it."""

    def __init__(self, distribution: Hub, base: Path) -> None:
        self.distribution = distribution
        self.folder = base / "mirror"
        self.key = base / "distribution.asc"
        self.age = 3600

    def publish(self) -> None:
        self.distribution.publish()
        # HTTP tells the time of a change in seconds, and two publications of a test may be in one.
        self.age -= 1
        for path in (self.distribution.root / "current/pkgs").rglob("InRelease"):
            os.utime(path, (time.time() - self.age,) * 2)
        self.key.write_bytes(self.distribution.get("apphub.asc"))

    def run(self, *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        line = f"deb [signed-by={self.key}] {self.distribution.url}/deb/ubuntu noble main"
        params = {"repository": NOBLE, "packages": ["slurmd"], "sources": [line], "architectures": ["amd64"], **options}
        return apphub_mirror.mirror({"folder": str(self.folder), **params}, check_mode=check_mode)

    def there(self) -> set[str]:
        return {path.name for path in (self.folder / "packages").rglob("*") if path.is_file()}


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    # A proxy of this machine is none for itself.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served(tmp_path) as hub:
        source = hub.source / NOBLE
        for arch in ("amd64", "arm64"):
            deb(source, "libc6", "2.39-1", arch)
            deb(source, "base-files", "1", arch, Essential="yes", Depends="libc6")
            deb(source, "apt", "2.7", arch, Depends="libc6")
            deb(source, "libslurm41", "24.11.5-4", arch, Depends="libc6, libhwloc15")
            deb(source, "libhwloc15", "1:2.10-1", arch)
            deb(source, "slurmd", "24.11.5-4", arch, Depends="libslurm41 (= 24.11.5-4), ucf", Recommends="slurm-doc")
        deb(source, "ucf", "3-1", "all")
        deb(source, "slurm-doc", "24.11.5-4", "all")
        found = Mirror(hub, tmp_path)
        found.publish()
        yield found


CLOSURE = {
    "libhwloc15_2.10-1_amd64.deb",
    "libslurm41_24.11.5-4_amd64.deb",
    "slurmd_24.11.5-4_amd64.deb",
    "ucf_3-1_all.deb",
}


def test_package_comes_with_what_it_needs_and_without_what_every_machine_has(mirror: Mirror) -> None:
    result = mirror.run()
    assert result["changed"]
    assert set(result["fetched"]) == mirror.there() == CLOSURE
    second = mirror.run()
    assert (second["changed"], set(second["packages"])) == (False, CLOSURE)


def test_what_was_fetched_can_be_published(mirror: Mirror, tmp_path: Path) -> None:
    mirror.run(architectures=["amd64", "arm64"])
    with served(tmp_path / "own") as hub:
        result = hub.publish(sources=[str(mirror.folder / "packages")])
        assert result["repositories"] == {NOBLE: {"state": "new", "packages": 7}}
        hub.apt("arm64", "apt-get", "update")
        hub.apt("arm64", "apt-get", "download", "slurmd", "libhwloc15", "ucf")


def test_check_mode_tells_the_same_and_fetches_nothing(mirror: Mirror) -> None:
    result = mirror.run(check_mode=True)
    assert result["changed"]
    assert set(result["fetched"]) == set(result["diff"]["after"].split()) == CLOSURE
    assert not mirror.folder.exists()


def test_newer_version_is_fetched_and_the_old_one_stays(mirror: Mirror) -> None:
    mirror.run()
    deb(mirror.distribution.source / NOBLE, "slurmd", "25.05.1-1", "amd64")
    mirror.publish()
    assert mirror.run()["fetched"] == ["slurmd_25.05.1-1_amd64.deb"]
    assert mirror.there() == CLOSURE | {"slurmd_25.05.1-1_amd64.deb"}
    assert mirror.run(packages=["slurmd=24.11*"])["changed"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"packages": ["slurmd", "slurmdbd"]}, "Unable to locate package slurmdbd"),
        ({"packages": ["slurmd=23.11*"]}, "Version '23.11\\*' for 'slurmd' was not found"),
        ({"repository": "rpm/el9"}, "only deb/DISTRIBUTION/CODENAME"),
        ({"repository": "deb/ubuntu/none", "sources": []}, "sources of this host, which are of deb/.*State sources"),
        ({"sources": ["deb [trusted=yes] http://127.0.0.1:9/ noble main"]}, "Connection refused"),
    ],
)
def test_what_a_source_lacks_is_named_and_nothing_is_fetched(
    mirror: Mirror, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(FailureError, match=words):
        mirror.run(**options)
    assert mirror.there() == set()


def test_package_that_lacks_what_it_needs_is_named(mirror: Mirror) -> None:
    deb(mirror.distribution.source / NOBLE, "slurmrestd", "24.11.5-4", "amd64", Depends="libjwt2")
    mirror.publish()
    with pytest.raises(FailureError, match="slurmrestd : Depends: libjwt2 but it is not installable"):
        mirror.run(packages=["slurmrestd"])
    assert mirror.there() == set()


def test_package_that_is_not_what_the_index_says_is_not_taken(mirror: Mirror) -> None:
    (published,) = (mirror.distribution.root / "current/pkgs").rglob("ucf_3-1_all.deb")
    content = published.read_bytes()
    published.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(FailureError, match=r"Hash Sum mismatch|unexpected size"):
        mirror.run()
    assert mirror.there() == set()


def test_source_that_another_key_signed_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    with served(tmp_path / "other") as other:
        deb(other.source / NOBLE, "slurmd", "24.11.5-4", "amd64")
        other.publish()
        mirror.key.write_bytes(other.get("apphub.asc"))
        with pytest.raises(FailureError, match=r"NO_PUBKEY|not signed"):
            mirror.run()
