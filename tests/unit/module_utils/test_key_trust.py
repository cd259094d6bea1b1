"""When the key that a server offers is taken for AppHub's."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import key_trust
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

KEY = b"a key"
SUM = hashlib.sha256(KEY).hexdigest()


def params(**options: Any) -> dict[str, Any]:
    return {"key_sha256": "", "insecure": False, **options}


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("https://hub", {}),
        ("http://hub", {"key_sha256": SUM}),
        ("http://hub", {"insecure": True}),
    ],
)
def test_a_certificate_a_checksum_or_the_users_word_is_enough(url: str, options: dict[str, Any]) -> None:
    key_trust.refuse_unknown_key(url, params(**options))


def test_http_without_a_checksum_is_refused_with_the_remedy() -> None:
    with pytest.raises(FailureError) as raised:
        key_trust.refuse_unknown_key("http://hub", params())
    assert raised.value.failure.code is Code.APPHUB_KEY_UNKNOWN
    for word in ("apphub_client_key_sha256", "https", "apphub_insecure=true"):
        assert word in raised.value.failure.remedy


def test_another_key_is_refused_also_by_https() -> None:
    key_trust.refuse_other_key(KEY, params(key_sha256=SUM.upper()))
    with pytest.raises(FailureError, match=SUM) as raised:
        key_trust.refuse_other_key(KEY, params(key_sha256="0" * 64, insecure=True))
    assert raised.value.failure.code is Code.APPHUB_KEY_DIFFERS
