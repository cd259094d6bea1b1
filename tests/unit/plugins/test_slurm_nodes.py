"""The modules for the controller report each failure as code, reason and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import config_files
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_conf_files, slurm_nodes

if TYPE_CHECKING:
    from fakes.slurmctld import FakeSlurmctld


@pytest.mark.parametrize(
    ("node", "code"),
    [
        ({"name": "n2", "params": {"Unparsable": "1"}}, "configuration-refused"),
        ({"name": "n2", "params": {"Deadly": "1"}}, "configuration-rolled-back"),
        ({"name": "n[2-3]"}, "node-request-invalid"),
        ({"name": "n2", "params": {"NodeAddr": "n1"}}, "node-address-shared"),
    ],
)
def test_a_failure_has_a_code_a_reason_and_what_changed(
    slurm: FakeSlurmctld, run_module, node: dict, code: str
) -> None:
    before = slurm.files()
    result = run_module(slurm_nodes, conf=str(slurm.conf), nodes=[node], timeout=5)
    assert result["failed"]
    assert result["failure"]["code"] == code
    assert result["msg"].startswith(result["failure"]["reason"])
    assert result["msg"].endswith(result["failure"]["remedy"])
    assert result.get("restored", False) == (code == "configuration-rolled-back")
    assert slurm.files() == before


def test_a_busy_node_and_a_silent_controller_are_told_by_codes(slurm: FakeSlurmctld, run_module) -> None:
    options = {"conf": str(slurm.conf), "nodes": [{"name": "n2"}], "timeout": 5}
    assert run_module(slurm_nodes, **options)["changed"]
    slurm.job("7", "RUNNING", "n2")
    assert run_module(slurm_nodes, **options, state="absent")["failure"]["code"] == "node-runs-jobs"
    slurm.up = False
    assert run_module(slurm_nodes, **options, state="absent")["failure"]["code"] == "controller-not-answering"


def test_a_file_that_cannot_be_written_is_told_with_its_directory(
    slurm: FakeSlurmctld, run_module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device", "/etc/slurm/x")

    monkeypatch.setattr(config_files.tempfile, "mkdtemp", refuse)
    failure = run_module(slurm_nodes, conf=str(slurm.conf), nodes=[{"name": "n2"}])["failure"]
    assert failure["code"] == "configuration-not-written"
    assert failure["remedy"] == f"Free some space: df -h {slurm.conf.parent}; df -i {slurm.conf.parent}"


def test_files_for_the_nodes_that_slurm_cannot_tell_fail_with_a_code(slurm: FakeSlurmctld, run_module) -> None:
    conf = str(slurm.conf)
    slurm.up = False
    assert run_module(slurm_conf_files, conf=conf)["failure"]["code"] == "slurm-command-failed"
    slurm.conf.unlink()
    assert run_module(slurm_conf_files, conf=conf)["failure"]["code"] == "configuration-unreadable"
