"""The catalog of an AppHub, whole, damaged, and made to harm."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import catalog
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

ENTRY = {"arch": "amd64", "file": "deb/ubuntu/pool/noble/1/munge.deb", "sha256": "abc"}


def data_of(repositories: Any, number: Any = 1) -> bytes:
    return json.dumps({"format": number, "repositories": repositories}).encode()


def one(entry: Any) -> dict[str, Any]:
    return {"deb/ubuntu/noble": {"packages": {"munge": {"0.5": entry}}}}


def test_a_catalog_is_read() -> None:
    entry = dict(ENTRY, others=[dict(ENTRY, arch="arm64")])
    assert catalog.parse(data_of(one(entry)))["repositories"] == one(entry)
    assert [found["arch"] for found in catalog.entries(entry)] == ["amd64", "arm64"]


@pytest.mark.parametrize(
    "data",
    [
        b"<html>",
        b"[]",
        b"\xff",
        b"[" * 1000000,
        data_of([]),
        data_of({"other/ubuntu": {"packages": {}}}),
        data_of(one({})),
        data_of(one(dict(ENTRY, file="../../etc/passwd"))),
        data_of(one(dict(ENTRY, file="/etc/passwd"))),
        data_of(one(dict(ENTRY, arch={}))),
        data_of(one(ENTRY), 2),
    ],
    ids=["html", "list", "bytes", "nested", "repositories", "kind", "empty", "above", "root", "arch", "format"],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(FailureError) as raised:
        catalog.parse(data)
    assert raised.value.failure.code is Code.APPHUB_CATALOG_INVALID


def test_too_many_packages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "MAX_PACKAGES", 1)
    with pytest.raises(FailureError, match="2 packages") as raised:
        catalog.parse(data_of(one(dict(ENTRY, others=[ENTRY]))))
    assert raised.value.failure.code is Code.APPHUB_LIMIT_EXCEEDED
