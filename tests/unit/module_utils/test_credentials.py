"""Credentials of nodes, as unmunge on the controller answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.munge import credentials
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    def decode(credential: str | None, rc: int, stdout: str, stderr: str = "") -> dict[str, Any]:
        answer = commands.CommandResult(("unmunge",), rc, stdout, stderr, 0.0)
        monkeypatch.setattr(commands, "run", lambda *_args, **_options: answer)
        return credentials.decode(credential)

    return decode


@pytest.mark.parametrize(
    ("rc", "status"), [(0, "Success (0)"), (17, "Replayed credential (17)"), (17, "Credential replayed (17)")]
)
def test_a_credential_that_is_decoded_again_is_no_failure(decoded: Callable[..., Any], rc: int, status: str) -> None:
    assert decoded("MUNGE:x:", rc, f"STATUS: {status}\nUID: root") == {"ok": True, "message": status, "failure": None}


@pytest.mark.parametrize(
    ("credential", "stdout", "stderr", "message"),
    [
        ("MUNGE:x:", "STATUS:   Invalid credential (8)\n", "", "Invalid credential (8)"),
        ("MUNGE:x:", "", "unmunge: Error: Munged communication error", "unmunge: Error: Munged communication error"),
        (None, "", "", "munge made no credential there"),
    ],
)
def test_one_that_is_refused_has_a_code_and_a_remedy(
    decoded: Callable[..., Any], credential: str | None, stdout: str, stderr: str, message: str
) -> None:
    found = decoded(credential, 8, stdout, stderr)
    assert (found["ok"], found["message"]) == (False, message)
    assert found["failure"]["code"] == "munge-credential-refused"
    assert found["failure"]["reason"] == f"The controller can't decode a credential made on this node: {message}"
    assert "date" in found["failure"]["remedy"]
