"""Make packages of a version that never was: the same files as Debian's, with another revision, as DEB and RPM.

Run on the lab's AppHub: make_version.py PACKAGES SUFFIX TARGET, e.g. /srv/packages new1 /srv/new1 turns
24.11.5-4+deb13u1 into 24.11.5-4+new1. The lab has one version of Slurm for each system, and an upgrade needs two.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

WORK = Path("/var/tmp/make-version")  # noqa: S108 - inside the lab's own container
# Its own folder is the file's name without the end.
REPACKAGE = Path("/var/tmp/repackage.py")  # noqa: S108 - the same


def rebuild(deb: Path, suffix: str, target: Path) -> None:
    """Write a package of Slurm with the other revision; the packages of its source ask for each other in it."""
    version = subprocess.check_output(["dpkg-deb", "--field", deb, "Version"], text=True).strip()
    new = re.sub(r"\+\w+$", "", version) + "+" + suffix
    tree = WORK / deb.stem
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(version, new))
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "--build", tree, target / deb.name.replace(version, new)], check=True)


def main() -> None:
    """Build the DEBs, then all RPMs from them by the lab's own way, and keep those of Slurm."""
    source, suffix, target = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    if target.exists():
        return
    shutil.rmtree(WORK, ignore_errors=True)
    debs = WORK / "debs"
    debs.mkdir(parents=True)
    for deb in sorted(source.glob("deb/ubuntu/*/*.deb")):
        if deb.name.startswith("slurm"):
            rebuild(deb, suffix, debs)
        else:
            # an RPM asks only for what is made beside it
            shutil.copy(deb, debs)
    shutil.rmtree(REPACKAGE.with_suffix(""), ignore_errors=True)
    subprocess.run([sys.executable, REPACKAGE, debs, WORK / "out"], check=True)
    for path in (WORK / "out").rglob("*.*"):
        if path.suffix in (".deb", ".rpm") and not path.name.startswith("slurm"):
            path.unlink()
    shutil.move(WORK / "out", target)


if __name__ == "__main__":
    main()
