"""What nodes that keep slurm.conf themselves get, and which of them the inventory knows."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.cluster_hosts import cluster_hosts
from ansible_collections.ai_infra.slurm.plugins.filter.conf_files_in import conf_files_in
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands as slurm_commands
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_conf_files

if TYPE_CHECKING:
    from pathlib import Path

    from unit.conftest import Runner


@pytest.fixture
def conf_dir(tmp_path: Path) -> Path:
    (tmp_path / "slurm.conf").write_text("ClusterName=c\nInclude nodes.conf\nInclude conf.d/more.conf\n")
    (tmp_path / "nodes.conf").write_text("NodeName=n1\n")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/more.conf").write_text("NodeName=n2\n")
    (tmp_path / "gres.conf").write_text("Include gres-n1.conf\n")
    (tmp_path / "gres-n1.conf").write_text("Name=gpu\n")
    (tmp_path / "cli_filter.lua").write_text("-- nothing\n")
    (tmp_path / "acct_gather.conf").write_text("ProfileInfluxDBPass=secret\n")
    (tmp_path / "acct_gather.conf").chmod(0o600)
    for private in ("slurmdbd.conf", "slurm.key", "jwt_hs256.key", "notes.txt", "slurm.conf.old"):
        (tmp_path / private).write_text("not for nodes\n")
    return tmp_path


def answers(monkeypatch: pytest.MonkeyPatch, hash_value: str = "Match") -> None:
    monkeypatch.setattr(slurm_commands, "show_nodes", lambda *_: {"n2": {}, "n1": {}})
    monkeypatch.setattr(slurm_commands, "show_config", lambda *_: {"HASH_VAL": hash_value})


def test_nodes_get_slurm_conf_what_it_includes_and_what_slurmd_reads_and_nothing_else(
    conf_dir: Path, run_module: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch)
    result = run_module(slurm_conf_files, conf=str(conf_dir / "slurm.conf"))
    assert {file["path"] for file in result["files"]} == {
        "slurm.conf",
        "nodes.conf",
        "conf.d/more.conf",
        "gres.conf",
        "gres-n1.conf",
        "cli_filter.lua",
        "acct_gather.conf",
    }
    assert result["nodes"] == ["n1", "n2"]
    assert result["edited"] == ""
    assert not result["changed"]


def test_a_file_that_not_everybody_may_read_stays_so_and_is_a_secret(
    conf_dir: Path, run_module: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch)
    files = {file["path"]: file for file in run_module(slurm_conf_files, conf=str(conf_dir / "slurm.conf"))["files"]}
    assert (files["acct_gather.conf"]["mode"], files["acct_gather.conf"]["secret"]) == ("0600", True)
    assert not files["slurm.conf"]["secret"]
    assert base64.b64decode(files["nodes.conf"]["content_base64"]) == b"NodeName=n1\n"


def test_an_included_file_elsewhere_keeps_its_place(
    conf_dir: Path, tmp_path_factory: pytest.TempPathFactory, run_module: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch)
    elsewhere = tmp_path_factory.mktemp("shared") / "partitions.conf"
    elsewhere.write_text("PartitionName=p Nodes=ALL\n")
    (conf_dir / "slurm.conf").write_text(f"Include {elsewhere}\n")
    result = run_module(slurm_conf_files, conf=str(conf_dir / "slurm.conf"))
    assert str(elsewhere) in {file["path"] for file in result["files"]}


def test_edits_that_are_not_active_are_told(
    conf_dir: Path, run_module: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "Different Ours=0x1 Slurmctld=0x2")
    assert run_module(slurm_conf_files, conf=str(conf_dir / "slurm.conf"))["edited"].startswith("Different")


def test_a_missing_included_file_is_named(conf_dir: Path, run_module: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch)
    (conf_dir / "nodes.conf").unlink()
    result = run_module(slurm_conf_files, conf=str(conf_dir / "slurm.conf"))
    assert result["failed"]
    assert "nodes.conf" in result["msg"]


def test_files_are_placed_where_the_nodes_packages_look() -> None:
    placed = conf_files_in(
        [{"path": "slurm.conf"}, {"path": "d/a.conf"}, {"path": "/shared/b.conf"}], "/etc/slurm-llnl"
    )
    assert [file["path"] for file in placed["files"]] == [
        "/etc/slurm-llnl/slurm.conf",
        "/etc/slurm-llnl/d/a.conf",
        "/shared/b.conf",
    ]
    assert all(file["follow"] for file in placed["files"])
    assert [one["path"] for one in placed["directories"]] == ["/etc/slurm-llnl", "/etc/slurm-llnl/d", "/shared"]


def test_nodes_are_found_in_the_inventory_by_their_name_in_slurm() -> None:
    hostvars: dict[str, Any] = {
        "n1.example.org": {"inventory_hostname_short": "n1"},
        "gpu": {"inventory_hostname_short": "gpu", "slurmd_node_name": "n2"},
        "bare": {"inventory_hostname_short": "bare"},
    }
    found = cluster_hosts(["n1", "n2", "n3"], ["n1.example.org", "gpu", "bare"], hostvars)
    assert found["hosts"] == ["n1.example.org", "gpu"]
    assert found["names"] == {"n1.example.org": "n1", "gpu": "n2"}
    assert found["strangers"] == ["n3"]
