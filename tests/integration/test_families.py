"""What a further family of operating systems takes, shown with SUSE, which is not shipped.

A line in the list of supported systems, a file of variables and its name, and the tasks of a package manager that is
new.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import supported_systems
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.facts import package_query

ROOT = Path(__file__).resolve().parents[2]
LINE = supported_systems.System("Suse", "openSUSE Leap 15", ("opensuse-leap",), (15,), (15, 99))
RELEASE = 'ID="opensuse-leap"\nVERSION_ID="15.6"\nID_LIKE="suse opensuse"\nPRETTY_NAME="openSUSE Leap 15.6"\n'
SYSTEM = {
    "role": "slurmd",
    "package_manager": "zypper",
    "packages": ["munge", "slurm-node"],
    "options_file": "/etc/sysconfig/slurmd-suse",
    "conf_dir": "/etc/slurm-suse",
    "repository": "rpm/leap{{ preflight_node.os.major }}",
    "repository_files": [
        {"path": "/etc/pki/apphub-ca.pem", "content": "{{ apphub_client_source.authority }}"},
        {
            "path": "/etc/zypp/apphub.repo",
            "content": "{{ apphub_client_source.url }}/{{ apphub_client_source.repository }}",
        },
    ],
    "repository_words": [{"path": "/etc/zypp/zypp.conf", "section": "main", "options": ["locks"]}],
}
ADDED = {
    "operating-system/vars/main/Suse.yml": {"operating_system_suse": SYSTEM},
    "operating-system/vars/main/main.yml": {
        "operating_system": "{{ {'Suse': operating_system_suse}[preflight_node.os.family] }}"
    },
    "apphub-client/tasks/install_zypper.yml": [
        {"ansible.builtin.set_fact": {"apphub_client_installed": "{{ __apphub_client_wanted }}"}}
    ],
    # Only tells what the probe would be asked for.
    "preflight/tasks/told.yml": [
        {
            "ansible.builtin.set_fact": {
                "preflight_told": {"files": "{{ __preflight_files }}", "words": "{{ __preflight_words }}"}
            }
        }
    ],
}
CLUSTER = {
    "configless": True,
    "controllers": [{"host": "ctl1"}],
    "port": 6817,
    "config": {"SlurmdSpoolDir": "/var/spool/slurmd"},
    "version": "24.11.5",
}
TOLD = {
    "asked": "{{ preflight_told }}",
    "repository": "{{ apphub_client_node_files.files }}",
    "absent": "{{ apphub_client_node_files.absent }}",
    "words": "{{ apphub_client_node_files.words | map(attribute='path') | list }}",
    "steps": "{{ apphub_client_steps + slurmd_steps }}",
    "installed": "{{ apphub_client_installed }}",
    "outdated": "{{ slurmd_outdated }}",
    "conf_dir": "{{ slurmd_conf_dir }}",
    "role": "{{ operating_system.role }}",
}


@pytest.fixture
def suse(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the probe tells of such a machine, with the line in the list."""
    monkeypatch.setattr(supported_systems, "SYSTEMS_BY_VERSION", (*supported_systems.SYSTEMS_BY_VERSION, LINE))
    return supported_systems.os_facts(RELEASE, "x86_64")


@pytest.fixture
def told(tmp_path: Path, suse: dict[str, Any]) -> dict[str, Any]:
    """What roles decide for such a machine."""
    roles = tmp_path / "roles"
    shutil.copytree(ROOT / "roles", roles)
    for name, content in ADDED.items():
        (roles / name).parent.mkdir(parents=True, exist_ok=True)
        (roles / name).write_text(json.dumps(content))
    tasks = [
        {"ansible.builtin.import_role": {"name": "preflight", "tasks_from": "told"}},
        {"ansible.builtin.import_role": {"name": "slurmd", "tasks_from": "install"}},
        {"ansible.builtin.import_role": {"name": "slurmd", "tasks_from": "compare"}},
        {
            "ansible.builtin.copy": {
                "content": "{{ told | to_json }}",
                "dest": str(tmp_path / "told.json"),
                "mode": "0644",
            },
            "vars": {"told": TOLD},
        },
    ]
    run = run_tasks(tmp_path, roles, suse, tasks)
    assert run.returncode == 0, run.stdout + run.stderr
    found: dict[str, Any] = json.loads((tmp_path / "told.json").read_text())
    return found


def run_tasks(
    folder: Path, roles: Path, system: dict[str, Any], tasks: list[dict[str, Any]]
) -> subprocess.CompletedProcess[str]:
    """Run tasks as on a machine with a system, without working on one."""
    node = {"os": system, "hostname": "n1", "files": {}, "packages": {}, "services": {}, "slurmd_args": None}
    facts = {"preflight_cluster": CLUSTER, "apphub_client_url": "http://hub:8081", "apphub_client_key": "KEY"}
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "preflight_node": node,
            "slurmd_controller": "localhost",
        },
        "tasks": [{"ansible.builtin.set_fact": facts}, *tasks],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_ROLES_PATH": str(roles),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
    }
    return subprocess.run(
        ["ansible-playbook", "-i", "localhost,", str(folder / "play.yml")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_line_makes_the_probe_know_the_system(suse: dict[str, Any]) -> None:
    assert (suse["supported"], suse["family"], suse["major"]) == (True, "Suse", 15)
    assert package_query(suse["family"])[0] == "rpm"


def test_a_file_of_variables_says_all_that_differs(told: dict[str, Any]) -> None:
    assert told["role"] == "slurmd"
    assert told["conf_dir"] == "/etc/slurm-suse"
    assert told["outdated"] == ["/etc/sysconfig/slurmd-suse", "/etc/systemd/system/slurmd.service.d/slurmscale.conf"]
    assert told["repository"] == [{"path": "/etc/zypp/apphub.repo", "content": "http://hub:8081/rpm/leap15"}]
    assert (told["absent"], told["words"]) == (["/etc/pki/apphub-ca.pem"], ["/etc/zypp/zypp.conf"])
    assert told["steps"] == ["repository", "packages", "configuration", "slurmd"]
    assert told["installed"] == ["munge", "slurm-node"]


def test_the_probe_asks_every_machine_for_the_files_of_all_families(told: dict[str, Any]) -> None:
    files = told["asked"]["files"]
    assert {
        "/etc/zypp/apphub.repo",
        "/etc/sysconfig/slurmd-suse",
        "/etc/default/slurmd",
        "/etc/sysconfig/slurmd",
    } < set(files)
    assert {"/etc/yum.repos.d/apphub.repo", "/etc/apt/auth.conf.d/apphub.conf"} < set(files)
    assert [item["path"] for item in told["asked"]["words"]] == ["/etc/dnf/dnf.conf", "/etc/zypp/zypp.conf"]


@pytest.mark.parametrize(
    ("role", "release", "told"),
    [
        ("slurmd", "ID=alpine\nVERSION_ID=3.20\n", "alpine 3.20 is not supported"),
        ("slurmd-rocky", "ID=debian\nVERSION_ID=12\n", "Use the role slurmd-ubuntu."),
        ("slurmd-ubuntu", "ID=rocky\nVERSION_ID=9.4\n", "Use the role slurmd-rocky."),
        ("slurmd-ubuntu", "ID=alpine\nVERSION_ID=3.20\n", "There is no role for it."),
    ],
)
def test_a_role_refuses_a_system_that_is_not_its_own(tmp_path: Path, role: str, release: str, told: str) -> None:
    system = supported_systems.os_facts(release, "x86_64")
    run = run_tasks(tmp_path, ROOT / "roles", system, [{"ansible.builtin.import_role": {"name": role}}])
    said = " ".join(run.stdout.split())
    assert run.returncode != 0
    assert "code: system-unsupported" in said
    assert told in said
