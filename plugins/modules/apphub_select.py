#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module apphub_select."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_select
short_description: Choose the first AppHub that can be used
version_added: "0.1.0"
description:
  - Asks the addresses one after the other for their health, catalog and key. The first one that answers all of it, with
    the right key, is chosen.
  - Meant for the control machine, once for all hosts of a run. Changes nothing.
options:
  urls:
    description: Addresses of AppHubs, the preferred one first.
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds to wait for an answer of an address.
    type: int
    default: 10
extends_documentation_fragment: [ai_infra.slurm.apphub, ai_infra.slurm.apphub_key, ai_infra.slurm.read_only]
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Choose the AppHub
  ai_infra.slurm.apphub_select:
    urls: [http://apphub:8081, http://apphub2:8081]
    key_sha256: 8a1c4dd6b1cbbcd6e1a1a79f2f0d5bd1bd5e1f3c0a1e5d0b1e7a4d9cc0b1f2aa
  delegate_to: localhost
  run_once: true
  register: apphub
"""

RETURN = r"""
url:
  description: The address that was chosen; empty when none can be used.
  returned: success
  type: str
  sample: http://apphub:8081
catalog:
  description: Its C(/pkgs/catalog.json).
  returned: success
  type: dict
key:
  description: Its C(/pkgs/apphub.asc).
  returned: success
  type: str
tried:
  description:
    - For each address that was asked its url and its answer, V(ok) or what is wrong; in the latter case also the code,
      the reason and the remedy.
  returned: success
  type: list
  elements: dict
  sample:
    - url: http://apphub:8081
      answer: "/healthz: Connection refused."
      code: apphub-unreachable
      reason: "/healthz: Connection refused."
      remedy: "Start it on the AppHub: systemctl start nginx; journalctl -u nginx says why it stopped."
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import catalog, http_client, key_trust
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import FailureError

ARGUMENTS = dict(
    http_client.ARGUMENTS, urls={"type": "list", "elements": "str", "required": True}, **key_trust.ARGUMENTS
)
del ARGUMENTS["url"]
# Bytes of what is no index.
_SMALL = 1 << 20


def ask(params: Dict[str, Any], url: str) -> Dict[str, Any]:
    """Return what a server has.

    Args:
        params: The module's options.
        url: The address.

    Returns:
        catalog and key.

    Raises:
        FailureError: It can't be used as AppHub.
    """
    server = http_client.Server(dict(params, url=url))
    key_trust.refuse_unknown_key(server.url, params)
    answers = []
    for path, limit in (
        ("healthz", _SMALL),
        ("pkgs/catalog.json", http_client.MAX_INDEX),
        ("pkgs/apphub.asc", _SMALL),
    ):
        try:
            answers.append(server.get(path, limit))
        except FailureError as error:
            code, reason, remedy = error.failure
            raise FailureError(code, f"/{path}: {reason}", remedy) from None
    _health, content, key = answers
    found = catalog.parse(content)
    key_trust.refuse_other_key(key, params)
    return {"catalog": found, "key": key.decode("utf-8", "replace")}


def choose(params: Dict[str, Any]) -> Dict[str, Any]:
    """Return the module's result: the first server that can be used, and what was tried."""
    tried = []
    for url in dict.fromkeys(url.rstrip("/") for url in params["urls"]):
        try:
            answer = ask(params, url)
        except FailureError as error:
            tried.append(dict(error.failure.as_dict(), url=url, answer=error.failure.reason))
        else:
            tried.append({"url": url, "answer": "ok"})
            return dict(answer, url=url, tried=tried)
    return {"url": "", "catalog": {}, "key": "", "tried": tried}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    module.exit_json(changed=False, **choose(module.params))


if __name__ == "__main__":
    main()
