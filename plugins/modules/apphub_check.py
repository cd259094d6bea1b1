#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module apphub_check."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_check
short_description: Check an AppHub and report what is wrong with it
version_added: "0.1.0"
description:
  - With O(url), checks an AppHub as its clients see it, from any machine. Does the server answer, is the key there and
    valid, has it signed every index, is every file that an index names there and has its checksum, are the packages
    there that compute nodes need, with what they depend on, and are the client bundles whole.
  - Every published file is downloaded once for that, and nothing is kept.
  - With O(root), checks on the AppHub itself whether there is room to publish.
  - Nothing is changed. That something is wrong is no failure of the module; see RV(findings).
requirements:
  - C(gpg), with O(url).
options:
  url:
    description: Address of the AppHub.
    type: str
  timeout:
    description: Seconds to wait for an answer of a server.
    type: int
    default: 10
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
    description: Whether client bundles must be there. Those that are there are checked in any case.
    type: bool
    default: false
  root:
    description: Where an AppHub on this machine keeps the published trees.
    type: path
  min_free_mb:
    description: How many MB must be free there.
    type: int
    default: 1024
extends_documentation_fragment: [ai_infra.slurm.apphub, ai_infra.slurm.apphub_key, ai_infra.slurm.read_only]
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Check an AppHub as its clients see it
  ai_infra.slurm.apphub_check:
    url: http://apphub:8081
    repositories: [deb/ubuntu/noble, rpm/el9]
    needed:
      deb: [munge, slurmd, slurm-client]
      rpm: [munge, slurm, slurm-slurmd]
  delegate_to: localhost
  register: apphub

- name: Require that nothing is wrong
  ai_infra.slurm.require:
    findings: "{{ apphub.findings | rejectattr('ok') }}"
"""

RETURN = r"""
findings:
  description:
    - Everything that was checked, each with where (the address or the machine), check (server, key, catalog,
      repository, signature, files, packages, bundle or space), subject, ok, code, reason (what was found) and remedy.
      Code and remedy are empty where nothing is wrong.
  returned: success
  type: list
  elements: dict
  sample:
    - where: http://apphub:8081
      check: files
      subject: deb/ubuntu/pool/noble/1a2b3c4d/munge_0.5.16-1_amd64.deb
      ok: false
      code: apphub-file-missing
      reason: HTTP 404 Not Found.
      remedy: Publish again with playbooks/publish_apphub.yml, which puts lost files back.
"""

import os
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client, inspection, key_trust
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.file_checks import Finding, failed, passed
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError

ARGUMENTS = dict(
    http_client.ARGUMENTS,
    **key_trust.ARGUMENTS,
    repositories={"type": "list", "elements": "str", "default": []},
    needed={"type": "dict", "default": {}},
    version={"type": "str", "default": ""},
    bundles={"type": "bool", "default": False},
    root={"type": "path"},
    min_free_mb={"type": "int", "default": 1024},
)


def check_space(root: str, needed_mb: int) -> Finding:
    """Check whether there is room below the root folder."""
    if not os.path.isdir(os.path.join(root, "current", "pkgs")):
        remedy = "Publish with playbooks/publish_apphub.yml, or correct apphub_root."
        return failed("space", root, Failure(Code.APPHUB_NOT_PUBLISHED, "Nothing is published there.", remedy))
    found = os.statvfs(root)
    free_mb = found.f_bavail * found.f_frsize >> 20
    # Some file systems have no limit of files, and say 0 of 0.
    if found.f_files > 0 and found.f_favail == 0:
        reason = f"{free_mb} MB are free, but no further file can be made."
    elif free_mb < needed_mb:
        reason = f"{free_mb} MB are free, less than {needed_mb} MB."
    else:
        return passed("space", root, f"{free_mb} MB are free.")
    remedy = (
        f"Make room: enlarge the file system of {root}, remove old versions from apphub_sources and publish, "
        "or lower apphub_keep."
    )
    return failed("space", root, Failure(Code.APPHUB_DISK_FULL, reason, remedy))


def check(module: AnsibleModule) -> List[Finding]:
    """Return what is found of the server, the machine, or both."""
    params: Dict[str, Any] = module.params
    findings: List[Finding] = []
    if params["url"]:
        try:
            server = http_client.Server(params)
        except FailureError as error:
            found = [failed("server", params["url"], error.failure)]
        else:
            found = inspection.inspect(server, params, os.path.join(module.tmpdir, "gnupg"))
        findings += [dict(finding, where=params["url"]) for finding in found]
    if params["root"]:
        findings.append(dict(check_space(params["root"], params["min_free_mb"]), where=os.uname().nodename))
    return findings


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True, required_one_of=[("url", "root")])
    module.exit_json(changed=False, findings=check(module))


if __name__ == "__main__":
    main()
