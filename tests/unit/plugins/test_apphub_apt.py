"""What apphub_apt does about an installation that was cut off; test_apphub_publish.py has the real apt."""

from __future__ import annotations

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands as slurm_commands
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_apt


class FakeDpkg:
    """Stands in for dpkg and apt-get, as a test must not leave half a package on the machine that runs it."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.flags = ""
        self.audit = ""
        self.broken = False

    def run(self, argv: list[str], **_options: object) -> slurm_commands.CommandResult:
        self.calls.append(list(argv))
        answers = {"dpkg-query": self.flags, "--audit": self.audit}
        text = answers.get(argv[0], answers.get(argv[1], ""))
        rc = int(self.broken and argv[:2] == ["apt-get", "check"])
        return slurm_commands.CommandResult(tuple(argv), rc, text, "", 0.0)


@pytest.fixture
def dpkg(monkeypatch: pytest.MonkeyPatch) -> FakeDpkg:
    fake = FakeDpkg()
    monkeypatch.setattr(slurm_commands, "run", fake.run)
    return fake


def test_nothing_is_done_where_nothing_was_cut_off(dpkg: FakeDpkg) -> None:
    dpkg.flags = "ok munge\nok slurmd\n"
    assert apphub_apt.finish_interrupted(["slurm*"]) == []
    assert apphub_apt.restore_dependencies() == []
    assert [call[1] for call in dpkg.calls] == ["--show", "--audit", "check"]


def test_half_unpacked_packages_are_taken_away_and_the_others_configured(dpkg: FakeDpkg) -> None:
    dpkg.flags = "reinstreq libmunge2\nok munge\nreinstreq slurmd\n"
    dpkg.audit = "The following packages are only half configured"
    assert apphub_apt.finish_interrupted(["slurm*", "*munge*"]) == [
        "dpkg --remove --force-remove-reinstreq --force-depends libmunge2 slurmd",
        "dpkg --configure --pending --force-confold",
    ]
    assert [" ".join(call) for call in dpkg.calls if call[0] == "dpkg"][-2:] == [
        "dpkg --remove --force-remove-reinstreq --force-depends libmunge2 slurmd",
        "dpkg --configure --pending --force-confold",
    ]


def test_what_depends_on_a_package_that_was_taken_away_gets_it_back_and_nothing_is_removed(dpkg: FakeDpkg) -> None:
    dpkg.broken = True
    (command,) = apphub_apt.restore_dependencies()
    assert "--fix-broken --no-remove" in command
    assert dpkg.calls[-1] == command.split()
