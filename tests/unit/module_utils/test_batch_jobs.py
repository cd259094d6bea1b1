"""What squeue says of batch jobs."""

from __future__ import annotations

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.batch_jobs import parse_queue


@pytest.mark.parametrize(
    ("shown", "file"),
    [
        ("/data/slurm-42.out", "/data/slurm-42.out"),
        ("/data/slurm-%j.out", "/data/slurm-42.out"),
        ("/data/%x/%u-%6A-%N.%%", "/data/sim/alice-000042-n1.%"),
        ("/data/%q", "/data/%q"),
        ("(null)", ""),
    ],
)
def test_patterns_in_the_name_of_the_output_are_expanded(shown: str, file: str) -> None:
    line = f"42|RUNNING|None|0|n1|alice|main|n1|sim|{shown}|"
    assert parse_queue(line)["42"].output == file
