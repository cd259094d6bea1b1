"""The signing key of an AppHub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import commands, gpg
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

if TYPE_CHECKING:
    from pathlib import Path


def test_several_secret_keys_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    two = b"".join(b"sec:u:3072:1:X:1:::u:::sc:::::::\nfpr:::::::::%s:\n" % (c * 40) for c in (b"A", b"B"))
    monkeypatch.setattr(commands, "run", lambda *_args, **_options: two)
    with pytest.raises(FailureError, match="holds 2 secret keys") as raised:
        gpg.Signer(str(tmp_path)).fingerprint()
    assert raised.value.failure.code is Code.APPHUB_SIGNING_KEY_INVALID
