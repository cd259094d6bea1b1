"""slurm_node_probe, run on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_node_probe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    Runner = Callable[..., dict[str, Any]]


def result(rc: int, stdout: str = "", stderr: str = "") -> commands.CommandResult:
    return commands.CommandResult(("slurmd", "-C"), rc, stdout, stderr, 0.1)


def test_run_on_any_machine_returns_the_whole_contract(run_module: Runner, tmp_path: Path) -> None:
    node = run_module(
        slurm_node_probe, check=True, files=["/none"], disks=[str(tmp_path)], munge_key=str(tmp_path / "munge.key")
    )
    assert set(node) - {"changed", "invocation"} == set(yaml.safe_load(slurm_node_probe.RETURN))
    assert set(node["files"]) == {"/none", str(tmp_path / "munge.key")}
    assert node["hardware"]["cpus"] >= 1
    assert node["munge_credential"] is None
    assert node["disks"][str(tmp_path)] > 0


def test_of_a_configuration_file_only_the_words_of_an_option_are_told(run_module: Runner, tmp_path: Path) -> None:
    conf = tmp_path / "dnf.conf"
    conf.write_text("[main]\nexclude=slurm*,\n  munge*\nproxy_password=s3cret\n")
    asked = {"section": "main", "options": ["excludepkgs", "exclude"]}
    words = [{"path": str(conf), **asked}, {"path": str(tmp_path / "none"), **asked}]
    result = run_module(slurm_node_probe, words=words)
    assert result["words"] == {str(conf): ["slurm*", "munge*"], str(tmp_path / "none"): []}
    assert "s3cret" not in str(result)


def test_machine_without_any_of_the_tools_gives_nulls(run_module: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "run", lambda *_a, **_k: result(commands.NOT_FOUND))
    node = run_module(slurm_node_probe, credential=True)
    assert node["packages"] is None
    assert node["services"] == {"munge": None, "slurmd": None, "slurmctld": None}
    assert (node["slurm_version"], node["munge_credential"], node["problems"]) == (None, None, [])


def test_command_that_hangs_is_a_problem_and_no_error(run_module: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = result(commands.TIMED_OUT, stderr="gave no answer within 10 s")
    monkeypatch.setattr(commands, "run", lambda *_a, **_k: hanging)
    node = run_module(slurm_node_probe, credential=True)
    assert any(problem.startswith("munge -n: gave no answer") for problem in node["problems"])
