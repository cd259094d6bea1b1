"""How programs of the AppHub are run."""

from __future__ import annotations

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError


def test_missing_program_is_named_with_the_remedy() -> None:
    for start in (commands.run, lambda command: commands.output_of(command).__enter__()):
        with pytest.raises(FailureError, match=r"no-such-program is needed.*role apphub installs it") as raised:
            start(["no-such-program"])
        assert raised.value.failure.code is Code.APPHUB_TOOL_MISSING


def test_a_program_that_fails_is_told_in_its_words() -> None:
    with pytest.raises(FailureError, match="sh failed: one\ntwo") as raised:
        commands.run(["sh", "-c", "echo two; echo one >&2; exit 3"])
    assert raised.value.failure.code is Code.APPHUB_TOOL_FAILED
    with pytest.raises(FailureError, match="sh failed: one"), commands.output_of(["sh", "-c", "echo one >&2; exit 3"]):
        pass


def test_a_reader_can_stop_before_a_program_ends() -> None:
    def read_a_little() -> None:
        with commands.output_of(["yes"]) as output:
            assert output.read(4) == b"y\ny\n"
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        read_a_little()
