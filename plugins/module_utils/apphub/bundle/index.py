# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The files index.json of an AppHub, which say which client bundles there are."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

FORMAT = 1
#: Folders below /pkgs by the C library of the machines that their bundles are for.
FOLDERS = {"glibc": "slurm-client", "musl": "slurm-apk"}
#: Bytes of the largest bundle; one of Slurm 24.11 has 20 million.
MAX_BUNDLE = 512 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*")
_TEXTS = ("version", "arch", "libc", "glibc", "sha256", "sums")


def numbers(version: str) -> Tuple[int, ...]:
    """Return the numbers of a version, to compare it: (24, 11, 5) of 24.11.5."""
    return tuple(map(int, re.findall("[0-9]+", version)))


def parse(data: bytes) -> Dict[str, Any]:
    """Read an index, and make sure that it has the form that clients rely on.

    Args:
        data: The file.

    Raises:
        FailureError: It has not.
    """
    try:
        index = json.loads(data.decode("utf-8"))
        valid = index["format"] == FORMAT
        valid &= all(_is_bundle(name, info) for name, info in index["bundles"].items())
        valid &= all(_NAME.fullmatch(link) and name in index["bundles"] for link, name in index["latest"].items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        valid = False
    if not valid:
        raise FailureError(
            Code.CLIENT_BUNDLE_DAMAGED,
            "It is no index of client bundles, or it is damaged.",
            "Publish again with playbooks/publish_apphub.yml.",
        )
    return {"format": FORMAT, "bundles": index["bundles"], "latest": index["latest"]}


def _is_bundle(name: str, info: Dict[str, Any]) -> bool:
    texts = all(isinstance(info[key], str) for key in _TEXTS)
    return bool(_NAME.fullmatch(name)) and texts and 0 < info["size"] <= MAX_BUNDLE
