#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module apphub_select."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_select
short_description: Chooses the first AppHub that can be used
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
    description: Seconds after which an address that does not answer is given up.
    type: int
    default: 10
  key_sha256:
    description: SHA-256 checksum that C(/pkgs/apphub.asc) must have; empty when any key will do.
    type: str
    default: ""
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
- name: Choose the AppHub
  ai_infra.slurm.apphub_select:
    urls: [http://apphub:8081, http://apphub2:8081]
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
  description: For each address that was asked its url and its answer, V(ok) or what is wrong.
  returned: success
  type: list
  elements: dict
  sample: [{"url": "http://apphub:8081", "answer": "/healthz: connection refused"}]
"""

import hashlib
import json
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client as apphub_web

ARGUMENTS = dict(
    apphub_web.ARGUMENTS,
    urls={"type": "list", "elements": "str", "required": True},
    key_sha256={"type": "str", "default": "", "no_log": False},
)
del ARGUMENTS["url"]
FORMAT = 1


class UnusableError(Exception):
    """A server can't be used as AppHub; the message says why."""


def ask(params: Dict[str, Any], url: str) -> Dict[str, Any]:
    """Return what a server says.

    Args:
        params: The module's options.
        url: The address.

    Returns:
        catalog and key.

    Raises:
        UnusableError: It can't be used.
    """
    answers = []
    try:
        server = apphub_web.Server(dict(params, url=url))
    except apphub_web.WebError as error:
        raise UnusableError(str(error)) from None
    for path in ("healthz", "pkgs/catalog.json", "pkgs/apphub.asc"):
        try:
            answers.append(server.get(path))
        except apphub_web.WebError as error:
            raise UnusableError("/{0}: {1}".format(path, error)) from None
    _health, content, key = answers
    try:
        catalog = json.loads(content.decode("utf-8"))
        found = catalog["format"] if "repositories" in catalog else None
    except (ValueError, KeyError, TypeError):
        found = None
    if found is None:
        raise UnusableError("it serves no catalog of packages, so it is no AppHub")
    if found != FORMAT:
        raise UnusableError("its catalog has format {0}, but this version reads format {1}".format(found, FORMAT))
    checksum = hashlib.sha256(key).hexdigest()
    if params["key_sha256"].lower() not in ("", checksum):
        raise UnusableError(
            "its key has the checksum {0}, but apphub_client_key_sha256 is {1}".format(checksum, params["key_sha256"])
        )
    return {"catalog": catalog, "key": key.decode("utf-8", "replace")}


def choose(params: Dict[str, Any]) -> Dict[str, Any]:
    """Return the module's result: the first server that can be used, and what was tried."""
    tried = []
    for url in dict.fromkeys(url.rstrip("/") for url in params["urls"]):
        try:
            answer = ask(params, url)
        except UnusableError as error:
            tried.append({"url": url, "answer": str(error)})
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
