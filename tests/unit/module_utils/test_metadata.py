"""Indexes of repositories that are made to harm: what unpacks to gigabytes, and entities that stand for gigabytes."""

from __future__ import annotations

import gzip

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import metadata
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE metadata [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="&b;"/></repomd>"""
PRIMARY = b"""<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
<package type="rpm"><name>slurm</name><arch>x86_64</arch><version epoch="1" ver="22.05.8" rel="4"/>
<checksum type="sha256">abc</checksum><location href="packages/slurm.rpm"/>
<format><rpm:requires><rpm:entry name="munge"/></rpm:requires></format></package></metadata>"""


def test_an_index_is_read() -> None:
    (entry,) = metadata.rpm(gzip.compress(PRIMARY))
    assert (entry.name, entry.version, entry.arch) == ("slurm", "1:22.05.8-4", "x86_64")
    assert (entry.path, entry.needs) == ("packages/slurm.rpm", [[("munge", "")]])


@pytest.mark.parametrize("coding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_they_are_expanded(coding: str) -> None:
    data = BOMB.decode().replace('version="1.0"', f'version="1.0" encoding="{coding}"').encode(coding)
    with pytest.raises(ValueError, match="document type"):
        metadata.repomd(data)
    with pytest.raises(ValueError, match="document type"):
        metadata.rpm(gzip.compress(data))


def test_what_unpacks_to_more_than_the_limit_is_refused() -> None:
    packed = gzip.compress(bytes(200 << 20))
    assert len(packed) < 1 << 20
    with pytest.raises(FailureError, match="larger than 64 MB") as raised:
        metadata.rpm(packed)
    assert raised.value.failure.code is Code.APPHUB_LIMIT_EXCEEDED


def test_what_is_within_the_limit_is_unpacked() -> None:
    assert metadata.decompress(gzip.compress(b"a" * 1000), 1000) == b"a" * 1000
    with pytest.raises(FailureError):
        metadata.decompress(gzip.compress(b"a" * 1001), 1000)


@pytest.mark.parametrize("data", [b"", b"plain", gzip.compress(PRIMARY)[:-5], gzip.compress(PRIMARY) * 2])
def test_what_is_damaged_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        metadata.rpm(data)
