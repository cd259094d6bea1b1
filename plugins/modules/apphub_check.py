#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module apphub_check."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_check
short_description: Says what is wrong with an AppHub
version_added: "0.1.0"
description:
  - With O(url), looks at an AppHub as its clients do, from any machine. Does the server answer, is the key there and
    valid, has it signed every index, is every file that an index names there and has its checksum, are the packages
    there that compute nodes need, with what they depend on, and are the client bundles whole.
  - Every published file is downloaded once for that, and nothing is kept.
  - With O(root), looks on the AppHub itself whether there is room to publish.
  - Nothing is changed. That something is wrong is no failure of the module; see RV(findings).
requirements:
  - C(gpg), with O(url).
options:
  url:
    description: Address of the AppHub.
    type: str
  timeout:
    description: Seconds after which a server that does not answer is given up.
    type: int
    default: 10
  key_sha256:
    description: SHA-256 checksum that C(/pkgs/apphub.asc) must have; empty when any key will do.
    type: str
    default: ""
  repositories:
    description: Repositories that must be there, such as V(deb/ubuntu/noble), beside those that are.
    type: list
    elements: str
    default: []
  needed:
    description: Names of the packages that a repository must have, by its kind, C(deb) or C(rpm).
    type: dict
    default: {}
  version:
    description:
      - Version of Slurm that must be there, whole or its beginning. When empty, each version of which a part is there
        must be there whole.
    type: str
    default: ""
  bundles:
    description: Whether client bundles must be there. Those that are there are looked at in any case.
    type: bool
    default: false
  root:
    description: Where an AppHub on this machine keeps the published trees.
    type: path
  min_free_mb:
    description: How many MB must be free there.
    type: int
    default: 1024
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
- name: Look at an AppHub as its clients do
  ai_infra.slurm.apphub_check:
    url: http://apphub:8081
    repositories: [deb/ubuntu/noble, rpm/el9]
    needed:
      deb: [munge, slurmd, slurm-client]
      rpm: [munge, slurm, slurm-slurmd]
  delegate_to: localhost
  register: apphub

- name: Nothing is wrong
  ansible.builtin.assert:
    that: apphub.findings | rejectattr('ok') | length == 0
"""

RETURN = r"""
findings:
  description:
    - Everything that was looked at, each with where (the address or the machine), check (server, key, catalog,
      repository, signature, files, packages, bundle or space), subject, ok, found, and remedy, which is empty for what
      is well.
  returned: success
  type: list
  elements: dict
  sample:
    - where: http://apphub:8081
      check: files
      subject: deb/ubuntu/pool/noble/1a2b3c4d/munge_0.5.16-1_amd64.deb
      ok: false
      found: HTTP 404 Not Found
      remedy: Publish again with playbooks/publish_apphub.yml, which puts lost files back.
"""

import os
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import evidence as apphub_evidence
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client as apphub_web
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import inspection as apphub_inspection

ARGUMENTS = dict(
    apphub_web.ARGUMENTS,
    key_sha256={"type": "str", "default": "", "no_log": False},
    repositories={"type": "list", "elements": "str", "default": []},
    needed={"type": "dict", "default": {}},
    version={"type": "str", "default": ""},
    bundles={"type": "bool", "default": False},
    root={"type": "path"},
    min_free_mb={"type": "int", "default": 1024},
)


def space(root: str, needed_mb: int) -> List[apphub_evidence.Finding]:
    """Look whether there is room below the root folder."""
    if not os.path.isdir(os.path.join(root, "current", "pkgs")):
        remedy = "Publish with playbooks/publish_apphub.yml, or correct apphub_root."
        return [apphub_evidence.finding("space", root, "nothing is published there", remedy)]
    found = os.statvfs(root)
    free_mb = found.f_bavail * found.f_frsize >> 20
    text = "{0} MB free".format(free_mb)
    # Some file systems have no limit of files, and say 0 of 0.
    full = found.f_files > 0 and found.f_favail == 0
    if full:
        text += ", but no file more can be made"
    remedy = ""
    if full or free_mb < needed_mb:
        text += "" if full else ", less than {0} MB".format(needed_mb)
        remedy = (
            "Make room: enlarge the file system of {0}, take old versions out of apphub_sources and publish".format(
                root
            )
        )
        remedy += ", or lower apphub_keep."
    return [apphub_evidence.finding("space", root, text, remedy)]


def look(module: AnsibleModule) -> List[apphub_evidence.Finding]:
    """Return what is found of the server, the machine, or both."""
    params: Dict[str, Any] = module.params
    seen: List[apphub_evidence.Finding] = []
    local: List[apphub_evidence.Finding] = []
    if params["url"]:
        try:
            server = apphub_web.Server(params)
        except apphub_web.WebError as error:
            module.fail_json(msg=str(error))
        seen = apphub_inspection.inspect(server, params, os.path.join(module.tmpdir, "gnupg"))
    if params["root"]:
        local = space(params["root"], params["min_free_mb"])
    return [dict(one, where=params["url"]) for one in seen] + [dict(one, where=os.uname().nodename) for one in local]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True, required_one_of=[("url", "root")])
    module.exit_json(changed=False, findings=look(module))


if __name__ == "__main__":
    main()
