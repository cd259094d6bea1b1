"""Lay out Debian packages as the lab's package folder, and the same once more as RPMs.

The RPMs carry Rocky's names, paths and units, made by one rpmbuild run over the files of the
Debian packages. They run on a Debian that poses as Rocky, which is what the lab has, and on nothing else.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

# What each Debian release stands for: Ubuntu's codename and EL's major version.
STANDS_FOR = {"bookworm": ("jammy", "el9"), "trixie": ("noble", "el10")}

# Debian's package -> the package of Rocky (with EPEL) that has its files.
RPM_NAMES = {
    "munge": "munge",
    "libmunge2": "munge-libs",
    "slurm-client": "slurm",
    "slurm-wlm-basic-plugins": "slurm",
    "slurmd": "slurm-slurmd",
    "slurmctld": "slurm-slurmctld",
}

# Not in an RPM: papers, System V scripts, and Debian's recipe for the user slurm, which no RPM of Slurm makes.
LEFT_OUT = (
    "usr/share/doc",
    "usr/share/lintian",
    "usr/share/man",
    "usr/share/bug",
    "etc/init.d",
    "usr/lib/sysusers.d",
)

# Debian's alternatives system gives the daemons their names; RPMs have them as files.
RENAMED = {
    "usr/sbin/slurmd-wlm": "usr/sbin/slurmd",
    "usr/sbin/slurmstepd-wlm": "usr/sbin/slurmstepd",
    "usr/sbin/slurmctld-wlm": "usr/sbin/slurmctld",
}

EXTRA_FILES = {
    "munge": [
        "%dir %attr(0700,munge,munge) /etc/munge",
        "%dir %attr(0711,munge,munge) /var/lib/munge",
        "%dir %attr(0700,munge,munge) /var/log/munge",
    ],
    "slurm": ["%dir /etc/slurm"],
}

# In Lua: a shell would be a dependency that no RPM of the lab provides.
MUNGE_USER = """
%pre -n munge -p <lua>
if not posix.getgroup("munge") then rpm.execute("groupadd", "--system", "munge") end
if not posix.getpasswd("munge") then
  rpm.execute("useradd", "--system", "--gid", "munge", "--home-dir", "/run/munge", "--no-create-home",
              "--shell", "/sbin/nologin", "munge")
end
"""

HEADER = """
%global debug_package %{nil}
%global __os_install_post %{nil}
%global _build_id_links none
%global _binary_payload w1.gzdio
%global _source_payload w1.gzdio
Name: lab-packages
Version: 1
Release: 1
Summary: Packages of the lab
License: see Debian
AutoReqProv: no
%description
Debian's packages in Rocky's names and layout.
%install
cp -al STAGE/. %{buildroot}/
"""


@dataclass
class Rpm:
    """One RPM to be: its version, what it needs and its files below the stage."""

    name: str
    version: str
    release: str
    requires: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    def spec(self) -> str:
        """Return the package's part of the spec file."""
        lines = [
            f"%package -n {self.name}",
            f"Version: {self.version}",
            f"Release: {self.release}",
            f"Summary: {self.name} for the lab",
            "AutoReqProv: no",
        ]
        lines += [f"Requires: {need}" for need in sorted(self.requires)]
        if self.name == "munge":
            # rpm asks for these on behalf of the owners below; the user is made in %pre.
            lines += ["Provides: user(munge)", "Provides: group(munge)"]
        lines += [f"%description -n {self.name}", f"{self.name} for the lab.", f"%files -n {self.name}"]
        lines += ["%defattr(-,root,root,-)", *EXTRA_FILES.get(self.name, [])]
        for path in sorted(self.files):
            config = "%config(noreplace) " if path.startswith("etc/") else ""
            lines.append(f'{config}"/{path}"')
        return "\n".join(lines) + "\n"


def run(*command: str | Path) -> str:
    """Run a program; its output, or the end of this program with its complaint."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def rpm_version(debian: str, dist: str) -> tuple[str, str]:
    """Return RPM's version and release for a version of Debian; its epoch means nothing here."""
    upstream, _, revision = debian.rpartition(":")[2].rpartition("-")
    if not upstream:
        upstream, revision = revision, "1"
    return upstream.replace("-", "_"), f"{revision}.{dist}"


def rocky_path(path: str) -> str | None:
    """Return where Rocky has a file of a Debian package, None when it has none."""
    if path.startswith(LEFT_OUT):
        return None
    path = re.sub(r"^(lib|lib64|bin|sbin)/", r"usr/\1/", path)
    path = re.sub(r"^etc/default/", "etc/sysconfig/", path)
    return RENAMED.get(path, path)


def stage(deb: Path, package: Rpm, root: Path) -> None:
    """Unpack a Debian package below the root, each file where Rocky has it."""
    raw = root.parent / "raw" / deb.stem
    raw.mkdir(parents=True)
    run("dpkg-deb", "--extract", deb, raw)
    for source in sorted(raw.rglob("*")):
        path = rocky_path(str(source.relative_to(raw)))
        if path is None or (source.is_dir() and not source.is_symlink()):
            continue
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        package.files.add(path)
        if target.suffix == ".service":
            unit = target.read_text().replace("=-/etc/default/", "=-/etc/sysconfig/")
            # SchedMD's and EPEL's units start without a slurm.conf: a configless slurmd has none.
            target.write_text(re.sub(r"(?m)^(ConditionPathExists=)", r"#\1", unit))
        elif path.startswith("etc/logrotate.d/"):
            target.write_text(target.read_text().replace("/etc/default/", "/etc/sysconfig/"))


def read(debs: list[Path], dist: str, root: Path) -> dict[str, Rpm]:
    """Unpack all Debian packages; the RPMs to build by name."""
    rpms: dict[str, Rpm] = {}
    depends: dict[str, str] = {}
    names: dict[str, str] = {}
    for deb in debs:
        fields = run("dpkg-deb", "--show", "--showformat=${Package}\t${Version}\t${Pre-Depends}, ${Depends}", deb)
        debian, version, needs = fields.split("\t")
        name = names[debian] = RPM_NAMES.get(debian, debian)
        package = rpms.setdefault(name, Rpm(name, *rpm_version(version, dist)))
        depends[debian] = needs
        stage(deb, package, root)
    for debian, needs in depends.items():
        package = rpms[names[debian]]
        for need in re.findall(r"[a-z0-9][a-z0-9+.-]+", re.sub(r"\([^)]*\)", "", needs)):
            wanted = rpms.get(names.get(need, ""))
            if wanted is None or wanted is package:
                continue
            # Parts of one source stay together; the rest takes any version.
            same = wanted.version == package.version and wanted.release == package.release
            package.requires.add(f"{wanted.name} = {wanted.version}-{wanted.release}" if same else wanted.name)
    return rpms


def main() -> None:
    """Fill the folder given second from the Debian packages in the folder given first."""
    source, target = (Path(argument) for argument in sys.argv[1:])
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    codename = release["VERSION_CODENAME"].strip('"')
    if codename not in STANDS_FOR:
        sys.exit(f"BASE is Debian {codename}, but the lab knows only {', '.join(STANDS_FOR)}.")
    ubuntu, dist = STANDS_FOR[codename]
    work = Path("/var/tmp/repackage")  # noqa: S108 - inside the build's own container
    root = work / "stage"
    for directory in ("etc/munge", "var/lib/munge", "var/log/munge", "etc/slurm"):
        (root / directory).mkdir(parents=True)
    debs = sorted(source.glob("*.deb"))
    rpms = read(debs, dist, root)
    spec = work / "lab.spec"
    spec.write_text(HEADER.replace("STAGE", str(root)) + "".join(rpm.spec() for rpm in rpms.values()) + MUNGE_USER)
    run("rpmbuild", "-bb", "--define", f"_topdir {work}", spec)
    (target / "rpm" / dist).mkdir(parents=True)
    for built in sorted((work / "RPMS").rglob("*.rpm")):
        shutil.move(built, target / "rpm" / dist / built.name)
    shutil.copytree(source, target / "deb" / "ubuntu" / ubuntu)


if __name__ == "__main__":
    main()
