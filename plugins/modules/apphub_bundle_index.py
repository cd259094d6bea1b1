#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module apphub_bundle_index."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_bundle_index
short_description: Read which client bundles an AppHub has
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
        one; a key that the same server has just told proves nothing. When empty, signatures are not checked.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for an answer of the server.
    type: int
    default: 10
extends_documentation_fragment: [ai_infra.slurm.apphub, ai_infra.slurm.read_only]
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Read the indexes of client bundles
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

import os
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import gpg, http_client
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import index as bundle_index
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError, fail

ARGUMENTS = dict(
    http_client.ARGUMENTS,
    url={"type": "str", "required": True},
    key={"type": "str", "default": "", "no_log": False},
)


def read_index(module: AnsibleModule, path: str) -> Dict[str, Any]:
    """Return an index.

    Raises:
        FailureError: It can't be used.
    """
    server = http_client.Server(module.params)
    data = server.get("pkgs/" + path)
    if module.params["key"]:
        keyring = gpg.Keyring(os.path.join(module.tmpdir, "gnupg"), module.params["key"].encode("utf-8"))
        signature = keyring.verify(data, server.get(f"pkgs/{path}.asc"))
        if signature.failure:
            raise FailureError(
                Code.APPHUB_SIGNATURE_INVALID,
                "The AppHub key that was given did not sign it, so that nothing of it is used: "
                + signature.failure.reason,
                "If the AppHub has a new key, set apphub_client_key_sha256 to its checksum.",
            )
    return bundle_index.parse(data)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    indexes = {}
    for folder in bundle_index.FOLDERS.values():
        path = f"{folder}/index.json"
        try:
            indexes[folder] = read_index(module, path)
        except FailureError as error:
            code, reason, remedy = error.failure
            if code is Code.APPHUB_FILE_MISSING:
                code = Code.CLIENT_BUNDLE_MISSING
                remedy = "Publish client bundles with playbooks/publish_apphub.yml and apphub_bundles."
            url = module.params["url"].rstrip("/")
            fail(module, FailureError(code, f"{url}/pkgs/{path}: {reason}", remedy).failure)
    module.exit_json(changed=False, indexes=indexes)


if __name__ == "__main__":
    main()
