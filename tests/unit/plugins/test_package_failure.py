"""What is said when dnf can't install."""

from __future__ import annotations

from ansible_collections.ai_infra.slurm.plugins.filter.package_failure import package_failure

URL = "http://hub:8081"
# As ansible.builtin.dnf returned it in the lab.
DEPSOLVE = """Depsolve Error occurred:
 Problem 1: conflicting requests
  - nothing provides libhwloc15 needed by slurm-24.11.5-4.el10.x86_64 from apphub
 Problem 2: conflicting requests
  - nothing provides liblua5.1.so.5.1()(64bit) >= 5 needed by slurm-24.11.5-4.el10.x86_64 from apphub
  - nothing provides libnuma1 needed by slurm-slurmd-24.11.5-4.el10.x86_64 from apphub"""


def test_a_missing_dependency_is_told_for_each_package_with_where_it_was_looked_for() -> None:
    sources = {"apphub": True, "baseos": True, "crb": False, "epel": False}
    found = package_failure({"msg": DEPSOLVE}, URL, ["slurm-slurmd"], sources, ["crb"])
    assert found["code"] == "package-dependency-missing"
    assert "slurm needs libhwloc15, liblua5.1.so.5.1()(64bit) >= 5; slurm-slurmd needs libnuma1." in found["reason"]
    assert "Looked for in apphub, baseos, crb, and not in epel, which are not enabled." in found["reason"]
    assert "apphub_client_dependency_repositories" in found["remedy"]


def test_dnf_of_older_systems_does_not_name_the_repository() -> None:
    found = package_failure({"msg": DEPSOLVE.replace(" from apphub", "")}, URL, ["slurm-slurmd"])
    assert found["code"] == "package-dependency-missing"
    assert "slurm needs libhwloc15, liblua5.1.so.5.1()(64bit) >= 5; slurm-slurmd needs libnuma1." in found["reason"]


def test_anything_else_has_the_words_of_dnf() -> None:
    found = package_failure({"msg": "No space left on device\n"}, URL, ["munge", "slurm"])
    assert found["code"] == "package-installation-failed"
    assert found["reason"] == f"munge, slurm cannot be installed from {URL}: No space left on device"


def test_a_failure_with_a_code_stays_as_it_is() -> None:
    known = {"code": "package-manager-busy", "reason": "r", "remedy": "m"}
    assert package_failure({"msg": "x", "failure": known}, URL, []) == known
