#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action apphub_select: which of several servers a run uses."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_select
short_description: Choose the first AppHub that can be used
version_added: "0.1.0"
description:
  - Asks the addresses one after the other for their health, catalog and key. The first one that answers all of it, with
    the right key, is chosen.
  - Fails when none can be used, and says what is wrong with each of them.
  - For all hosts of a run at once. Changes nothing.
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
extends_documentation_fragment: [ai_infra.slurm.apphub, ai_infra.slurm.apphub_key, ai_infra.slurm.local_action]
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Choose the AppHub
  ai_infra.slurm.apphub_select:
    urls: [http://apphub:8081, http://apphub2:8081]
    key_sha256: 8a1c4dd6b1cbbcd6e1a1a79f2f0d5bd1bd5e1f3c0a1e5d0b1e7a4d9cc0b1f2aa
  run_once: true
  register: apphub
"""

RETURN = r"""
url:
  description: The address that was chosen.
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
  returned: always
  type: list
  elements: dict
  sample:
    - url: http://apphub:8081
      answer: "/healthz: Connection refused."
      code: apphub-unreachable
      reason: "/healthz: Connection refused."
      remedy: "Start it on the AppHub: systemctl start nginx; journalctl -u nginx says why it stopped."
failure:
  description: Why none can be used, with the keys code, reason and remedy.
  returned: failure
  type: dict
"""
