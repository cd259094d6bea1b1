#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module apphub_bundle_index."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_bundle_index
short_description: Reads which client bundles an AppHub has
version_added: "0.1.0"
description:
  - Fetches the indexes of the client bundles of an AppHub, with the checksums that each download is checked by, and
    makes sure that AppHub's key signed them. Meant for the control machine, once for all hosts. Changes nothing.
requirements:
  - C(gpg), when O(key) is given.
options:
  url:
    description: Address of the AppHub.
    type: str
    required: true
  key:
    description:
      - AppHub's public key, armored, that must have signed the indexes. Give it only if it is known to be the right
        one; a key that the same server has just told proves nothing. When empty, signatures are not looked at.
    type: str
    default: ""
  timeout:
    description: Seconds after which the server is given up.
    type: int
    default: 10
extends_documentation_fragment: [ai_infra.slurm.apphub]
attributes:
  check_mode:
    description: Changes nothing in any case.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Look which client bundles there are
  ai_infra.slurm.apphub_bundle_index:
    url: http://apphub:8081
    key: "{{ lookup('ansible.builtin.file', 'apphub.asc') }}"
  delegate_to: localhost
  run_once: true
  register: apphub_bundle_index
"""

RETURN = r"""
indexes:
  description: What M(ai_infra.slurm.slurm_client_bundle) takes as C(indexes).
  returned: success
  type: dict
"""

import json
import os
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import gpg as apphub_signature
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client as apphub_web

ARGUMENTS = dict(
    apphub_web.ARGUMENTS,
    url={"type": "str", "required": True},
    key={"type": "str", "default": "", "no_log": False},
)
FOLDERS = ("slurm-client", "slurm-apk")


class UnusableIndexError(Exception):
    """An index can't be used; the message says why and what to do."""


def fetch(module: AnsibleModule, path: str) -> bytes:
    """Return a file of the AppHub.

    Raises:
        UnusableIndexError: It can't be fetched.
    """
    try:
        return apphub_web.Server(module.params).get("pkgs/" + path)
    except apphub_web.WebError as error:
        raise UnusableIndexError(
            "{0}/pkgs/{1} can't be fetched: {2}. Publish client bundles with playbooks/publish_apphub.yml and "
            "apphub_bundles".format(module.params["url"].rstrip("/"), path, error)
        ) from None


def verify(module: AnsibleModule, path: str, data: bytes) -> None:
    """Make sure that the key signed a file.

    Raises:
        UnusableIndexError: It did not.
    """
    try:
        keyring = apphub_signature.Keyring(os.path.join(module.tmpdir, "gnupg"), module.params["key"].encode("utf-8"))
    except (apphub_signature.NoGpgError, apphub_signature.NoKeyError) as error:
        raise UnusableIndexError(str(error)) from None
    verdict = keyring.verify(data, fetch(module, path + ".asc"))
    if verdict.problem:
        raise UnusableIndexError(
            "the signature of {0}/pkgs/{1} is not by the AppHub key that was given, so that nothing of it is used: "
            "{2}. If the server has a new key, tell it to the clients".format(module.params["url"], path, verdict.found)
        )


def read(module: AnsibleModule) -> Dict[str, Any]:
    """Return the indexes.

    Raises:
        UnusableIndexError: One of them can't be used.
    """
    result = {}
    for folder in FOLDERS:
        path = folder + "/index.json"
        data = fetch(module, path)
        if module.params["key"]:
            verify(module, path, data)
        try:
            result[folder] = json.loads(data.decode("utf-8"))
        except ValueError:
            raise UnusableIndexError(
                "{0}/pkgs/{1} is damaged: publish again".format(module.params["url"], path)
            ) from None
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    try:
        indexes = read(module)
    except (UnusableIndexError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, indexes=indexes)


if __name__ == "__main__":
    main()
