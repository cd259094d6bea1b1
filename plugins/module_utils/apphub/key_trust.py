# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""How AppHub's key is trusted: by a checksum stated beforehand, by the certificate of https, or not at all."""

from __future__ import annotations

import hashlib
from typing import Any, Dict

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

# The options that every module has which reads the key.
ARGUMENTS = {
    "key_sha256": {"type": "str", "default": "", "no_log": False},
    "insecure": {"type": "bool", "default": False},
}
_STATE = (
    "Set apphub_client_key_sha256 to the checksum that playbooks/publish_apphub.yml shows, which is that of "
    "/srv/apphub/current/pkgs/apphub.asc on the AppHub; or use https. For a trial only: -e apphub_insecure=true."
)


def refuse_unknown_key(url: str, params: Dict[str, Any]) -> None:
    """Refuse an address where anybody in between could offer a key of his own.

    Args:
        url: The address.
        params: The options in ARGUMENTS.

    Raises:
        FailureError: The key is not known, and nothing else says who answers.
    """
    if not (params["key_sha256"] or params["insecure"] or url.startswith("https:")):
        raise FailureError(
            Code.APPHUB_KEY_UNKNOWN,
            "The checksum of AppHub's key is not stated, and over http anybody could answer in its place.",
            _STATE,
        )


def refuse_other_key(key: bytes, params: Dict[str, Any]) -> None:
    """Refuse a key that is not the one that was stated.

    Args:
        key: The key that the server offers.
        params: The options in ARGUMENTS.

    Raises:
        FailureError: It has another checksum.
    """
    found, wanted = hashlib.sha256(key).hexdigest(), params["key_sha256"].lower()
    if wanted not in ("", found):
        raise FailureError(
            Code.APPHUB_KEY_DIFFERS,
            f"Its key has the checksum {found}, but apphub_client_key_sha256 is {wanted}.",
            "If a new key is meant, set apphub_client_key_sha256 to its checksum. Else don't use this server: bring "
            "the right key back into apphub_gnupg_home on the AppHub, and publish again.",
        )
