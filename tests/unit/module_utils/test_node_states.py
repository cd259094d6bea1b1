"""States of nodes are ranked, to compare a node before and after a change."""

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import node_states


@pytest.mark.parametrize(
    ("states", "available", "badness"),
    [
        (["IDLE"], True, 0),
        (["MIXED", "PLANNED"], True, 0),
        (["IDLE", "DRAIN"], False, 1),
        (["UNKNOWN"], False, 2),
        (["IDLE", "NOT_RESPONDING"], False, 3),
        (["DOWN"], False, 3),
        (["IDLE", "INVALID_REG"], False, 3),
    ],
)
def test_states_rank_by_how_bad_they_are(states: list, available: bool, badness: int) -> None:  # noqa: FBT001 - parametrized
    assert node_states.is_available(states) is available
    assert node_states.severity(states) == badness
