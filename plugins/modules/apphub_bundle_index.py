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
    default: 5
  use_proxy:
    description: Whether to use the proxy that the environment names.
    type: bool
    default: false
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
import shutil
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url

ARGUMENTS = {
    "url": {"type": "str", "required": True},
    "key": {"type": "str", "default": "", "no_log": False},
    "timeout": {"type": "int", "default": 5},
    "use_proxy": {"type": "bool", "default": False},
}
FOLDERS = ("slurm-client", "slurm-apk")
OK = 200


class UnusableIndexError(Exception):
    """An index can't be used; the message says why and what to do."""


def fetch(module: AnsibleModule, path: str) -> bytes:
    """Return a file of the AppHub.

    Raises:
        UnusableIndexError: It can't be fetched.
    """
    url = "{0}/pkgs/{1}".format(module.params["url"].rstrip("/"), path)
    response, info = fetch_url(module, url, timeout=module.params["timeout"], use_proxy=module.params["use_proxy"])
    if response is None or info["status"] != OK:
        raise UnusableIndexError(
            "{0} can't be fetched: {1}. Publish client bundles with playbooks/publish_apphub.yml and "
            "apphub_bundles".format(url, info["msg"])
        )
    return bytes(response.read())


def verify(module: AnsibleModule, path: str, data: bytes) -> None:
    """Make sure that the key signed a file.

    Raises:
        UnusableIndexError: It did not.
    """
    gpg = shutil.which("gpg")
    if gpg is None:
        raise UnusableIndexError(
            "gpg is needed to check AppHub's signature, but it is not on this machine: install gnupg"
        )
    home = os.path.join(module.tmpdir, "gnupg")
    os.makedirs(home, mode=0o700, exist_ok=True)
    signature, signed = os.path.join(home, "signature"), os.path.join(home, "signed")
    for name, content in ((signature, fetch(module, path + ".asc")), (signed, data)):
        with open(name, "wb") as stream:
            stream.write(content)
    command = [gpg, "--homedir", home, "--batch", "--no-autostart", "--status-fd", "1"]
    module.run_command([*command, "--import"], data=module.params["key"], check_rc=True)
    status, said, complaint = module.run_command([*command, "--verify", signature, signed])
    if status or "[GNUPG:] VALIDSIG " not in said:
        raise UnusableIndexError(
            "the signature of {0}/pkgs/{1} is not by the AppHub key that was given, so that nothing of it is used: "
            "{2}. If the server has a new key, tell it to the clients".format(
                module.params["url"], path, complaint.strip()
            )
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
