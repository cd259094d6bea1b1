"""Which systems are supported."""

from __future__ import annotations

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.supported_systems import SUPPORTED, os_facts


def release(**fields: str) -> str:
    return "".join(f'{key}="{value}"\n' for key, value in fields.items())


@pytest.mark.parametrize(
    ("fields", "family", "major"),
    [
        ({"ID": "rocky", "VERSION_ID": "8.10", "ID_LIKE": "rhel centos fedora"}, "RedHat", 8),
        ({"ID": "rocky", "VERSION_ID": "10.0"}, "RedHat", 10),
        ({"ID": "almalinux", "VERSION_ID": "9.4"}, "RedHat", 9),
        ({"ID": "rhel", "VERSION_ID": "9.4"}, "RedHat", 9),
        ({"ID": "centos", "VERSION_ID": "9", "NAME": "CentOS Stream"}, "RedHat", 9),
        ({"ID": "ubuntu", "VERSION_ID": "20.04"}, "Debian", 20),
        ({"ID": "ubuntu", "VERSION_ID": "26.04", "VERSION_CODENAME": "resolute"}, "Debian", 26),
        ({"ID": "debian", "VERSION_ID": "11"}, "Debian", 11),
        ({"ID": "debian", "VERSION_ID": "13"}, "Debian", 13),
    ],
)
def test_supported_systems(fields: dict[str, str], family: str, major: int) -> None:
    facts = os_facts(release(**fields), "x86_64")
    assert (facts["supported"], facts["problem"]) == (True, None)
    assert (facts["family"], facts["major"]) == (family, major)


@pytest.mark.parametrize(
    ("fields", "family"),
    [
        ({"ID": "rocky", "VERSION_ID": "7.9"}, "RedHat"),
        ({"ID": "rocky", "VERSION_ID": "11.0"}, "RedHat"),
        ({"ID": "centos", "VERSION_ID": "8", "NAME": "CentOS Linux"}, "RedHat"),
        ({"ID": "fedora", "VERSION_ID": "41"}, "RedHat"),
        ({"ID": "ubuntu", "VERSION_ID": "18.04"}, "Debian"),
        ({"ID": "ubuntu", "VERSION_ID": "26.10"}, "Debian"),
        ({"ID": "debian", "VERSION_ID": "10"}, "Debian"),
        ({"ID": "debian"}, "Debian"),
        ({"ID": "linuxmint", "VERSION_ID": "22", "ID_LIKE": "ubuntu debian"}, "Debian"),
        ({"ID": "alpine", "VERSION_ID": "3.20"}, None),
        ({}, None),
    ],
)
def test_other_systems_are_refused_with_the_list_of_supported_ones(fields: dict[str, str], family: str | None) -> None:
    facts = os_facts(release(**fields), "x86_64")
    assert facts["supported"] is False
    assert facts["family"] == family
    assert facts["problem"].endswith("is not supported; supported are " + SUPPORTED)


def test_quotes_in_os_release_are_read_as_a_shell_would() -> None:
    text = 'ID=\'debian\'\nVERSION_ID=12\n# comment\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nBROKEN="\n'
    facts = os_facts(text, "aarch64")
    assert (facts["id"], facts["pretty"], facts["arch"]) == ("debian", "Debian GNU/Linux 12 (bookworm)", "aarch64")
