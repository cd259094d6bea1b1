"""The guide for troubles knows every code that a playbook can end with."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code

ROOT = Path(__file__).resolve().parents[2]
CODES = list(Code)


def between(first: Code, last: Code) -> set[Code]:
    return set(CODES[CODES.index(first) : CODES.index(last) + 1])


# The command, the service and jobs of users say what to do where they say what is wrong.
ELSEWHERE = between(Code.NODES_IN_USE, Code.PLAN_DIFFERS) | between(Code.JOB_USER_UNSUITABLE, Code.JOB_OUTPUT_MISSING)


def test_the_guide_has_each_code_once_and_none_that_is_not() -> None:
    text = (ROOT / "docs/how-to/troubleshooting.md").read_text(encoding="utf-8")
    first_cells = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    named = [code for cell in first_cells for code in re.findall(r"`([a-z-]+)`", cell)]
    assert sorted(named) == sorted(code.value for code in set(CODES) - ELSEWHERE)
