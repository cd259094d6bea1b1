#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module apphub_dnf."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_dnf
short_description: Makes AppHub the only source of some packages on a machine with dnf
version_added: "0.1.0"
description:
  - Excludes packages in dnf's main configuration, and writes a repository file and its key, all in one module run.
  - The excludes are added to those that are there; nothing else in the configuration is touched.
  - dnf knows excludes for everything or for one repository, but none for all repositories but one. So the packages are
    excluded everywhere, and whoever installs them says so, with C(--disableexcludes=main) or, in Ansible,
    O(ansible.builtin.dnf#module:disable_excludes=main). An upgrade of the system does therefore not move them either.
  - The repository file ends with a comment that holds the checksum of the configuration as it was left. Whoever knows
    the checksums of both files can thus tell, without running this module, whether there is anything to do.
options:
  state:
    description:
      - V(present) sets AppHub up. V(absent) removes the repository file and the key, and takes the patterns out of
        dnf's configuration.
    type: str
    choices: [present, absent]
    default: present
  exclude:
    description: Patterns of package names to exclude.
    type: list
    elements: str
    required: true
  repository:
    description: Content of the repository file, without the comment. Needed for V(state=present).
    type: str
  repository_path:
    description: The repository file.
    type: path
    default: /etc/yum.repos.d/apphub.repo
  key:
    description: The repository's public key, armored. Needed for V(state=present).
    type: str
  key_path:
    description: Where to put it.
    type: path
    default: /etc/pki/rpm-gpg/RPM-GPG-KEY-apphub
  ca:
    description: Certificates of the authorities that the repository's server is trusted by, as PEM; none when empty.
    type: str
    default: ""
  ca_path:
    description: Where to put them. O(repository) has to name it as C(sslcacert).
    type: path
    default: /etc/pki/tls/certs/apphub-ca.pem
  login:
    description:
      - NAME:PASSWORD in base64, for a server that asks for them. The repository file then has them, can be read by root
        only, and is not shown in a diff.
    type: str
    default: ""
  conf:
    description: dnf's main configuration.
    type: path
    default: /etc/dnf/dnf.conf
attributes:
  check_mode:
    description: Tells what would change and changes nothing.
    support: full
  diff_mode:
    description: Shows each file before and after.
    support: full
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Take Slurm from AppHub only
  ai_infra.slurm.apphub_dnf:
    exclude: ["slurm*", "munge*"]
    key: "{{ lookup('ansible.builtin.url', 'http://apphub:8081/pkgs/apphub.asc', split_lines=false) }}"
    repository: |
      [apphub]
      name=AppHub
      baseurl=http://apphub:8081/pkgs/rpm/el9/$basearch/
      gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-apphub
      repo_gpgcheck=1

- name: Go back to how it was
  ai_infra.slurm.apphub_dnf:
    state: absent
    exclude: ["slurm*", "munge*"]

- name: Install from it
  ansible.builtin.dnf:
    name: slurm-slurmd
    disable_excludes: main
"""

RETURN = r"""
files:
  description: For each file whether it was changed.
  returned: success
  type: dict
  sample: {"/etc/dnf/dnf.conf": true, "/etc/yum.repos.d/apphub.repo": true}
"""

import base64
import hashlib
import os
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import dnf_conf
from ansible_collections.ai_infra.slurm.plugins.module_utils.files import options as file_options
from ansible_collections.ai_infra.slurm.plugins.module_utils.files import writer as node_files
from ansible_collections.ai_infra.slurm.plugins.module_utils.reasons import Code, Failure, fail

ARGUMENTS = {
    "exclude": {"type": "list", "elements": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "repository": {"type": "str"},
    "repository_path": {"type": "path", "default": "/etc/yum.repos.d/apphub.repo"},
    "key": {"type": "str", "no_log": False},
    "key_path": {"type": "path", "default": "/etc/pki/rpm-gpg/RPM-GPG-KEY-apphub", "no_log": False},
    "ca": {"type": "str", "default": ""},
    "ca_path": {"type": "path", "default": "/etc/pki/tls/certs/apphub-ca.pem"},
    "login": {"type": "str", "default": "", "no_log": True},
    "conf": {"type": "path", "default": "/etc/dnf/dnf.conf"},
}
_UNCHANGED = {"mode": None, "owner": None, "group": None, "uid": None, "gid": None}


def content_of(path: str) -> str:
    """Return the content of a file; nothing when there is none."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        return stream.read()


def wanted(params: Dict[str, Any]) -> List[file_options.WantedFile]:
    """Return the files as they must be, the configuration first."""
    conf = params["conf"]
    text = content_of(conf)
    attributes = file_options.Attributes(**dict(_UNCHANGED, mode=0o644))
    if params["state"] == "absent":
        content = dnf_conf.include(text, params["exclude"]).encode("utf-8", "surrogateescape")
        return [file_options.WantedFile(conf, content, attributes, secret=False)] if text else []
    content = dnf_conf.exclude(text, params["exclude"]).encode("utf-8", "surrogateescape")
    stamp = f"# sha256 of {conf}: {hashlib.sha256(content).hexdigest()}\n"
    secret = bool(params["login"])
    name, _, password = base64.b64decode(params["login"]).decode("utf-8").partition(":")
    login = f"username={name}\npassword={password}\n" if secret else ""
    authority = file_options.WantedFile(params["ca_path"], params["ca"].encode("utf-8"), attributes, secret=False)
    return [
        file_options.WantedFile(conf, content, attributes, secret=False),
        file_options.WantedFile(params["key_path"], params["key"].encode("utf-8"), attributes, secret=False),
        *([authority] if params["ca"] else []),
        file_options.WantedFile(
            params["repository_path"],
            (params["repository"] + login + stamp).encode("utf-8"),
            file_options.Attributes(**dict(_UNCHANGED, mode=0o600)) if secret else attributes,
            # One that was there before is not shown either.
            secret=secret or "\npassword=" in content_of(params["repository_path"]),
        ),
    ]


def unwanted(params: Dict[str, Any]) -> List[str]:
    """Return the files that must not be there."""
    if params["state"] == "absent":
        return [params["repository_path"], params["key_path"], params["ca_path"]]
    return [] if params["ca"] else [params["ca_path"]]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ("repository", "key"))]
    )
    result: Dict[str, Any] = {"changed": False, "diff": [], "files": {}}

    def label(temporary: str, path: str) -> None:
        if module.selinux_enabled():
            module.set_context_if_different(temporary, module.selinux_default_context(path), changed=False)

    parent = file_options.Attributes(**_UNCHANGED)
    try:
        for item in wanted(module.params):
            node_files.put_directory(os.path.dirname(item.path), parent, check_mode=module.check_mode)
            change = node_files.put_file(item, label, check_mode=module.check_mode)
            result["files"][item.path] = change.changed
            result["changed"] = result["changed"] or change.changed
            result["diff"].extend(change.diffs)
        for path in unwanted(module.params):
            change = node_files.remove(path, check_mode=module.check_mode)
            result["files"][path] = change.changed
            result["changed"] = result["changed"] or change.changed
            result["diff"].extend(change.diffs)
    except (file_options.FileError, OSError) as error:
        fail(module, Failure(Code.PACKAGE_INSTALLATION_FAILED, f"{error}", "Correct it, then run again."), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
