#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module slurm_client_bundle."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: slurm_client_bundle
short_description: Install Slurm's commands from an AppHub's client bundle
version_added: "0.1.0"
description:
  - Installs, upgrades and removes Slurm's commands on a machine that needs nothing else of Slurm, without its package
    manager, in one module run. Of the bundles that an AppHub has, the newest is taken that runs on the machine.
  - Nothing is downloaded when the bundle is installed already and whole.
  - At the end C(sinfo --version) must answer.
options:
  url:
    description: Address of the AppHub. Needed unless O(state=absent).
    type: str
  indexes:
    description:
      - Content of C(/pkgs/slurm-client/index.json) and C(/pkgs/slurm-apk/index.json), by the name of the folder. They
        have the checksums, so that they must come from where one can trust. Needed unless O(state=absent).
    type: dict
  version:
    description: Version of Slurm, whole or its beginning, such as V(24.11). The newest when empty.
    type: str
    default: ""
  prefix:
    description: Where the commands go. Links to them go to C(/usr/bin).
    type: path
    default: /usr/local/slurm
  root:
    description: Installs into the image of another machine of the same kind, below this folder.
    type: path
    default: ""
  controller:
    description:
      - Host of the controller, with C(:PORT) if that is another than 6817. A small C(/etc/slurm/slurm.conf) is written
        for it when there is none. An existing one is left alone.
    type: str
    default: ""
  timeout:
    description: Seconds without data after which a download fails.
    type: int
    default: 30
  state:
    description: Whether the commands shall be there.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment: [ai_infra.slurm.apphub]
attributes:
  check_mode:
    description: Tells what would change and changes nothing.
    support: full
  diff_mode:
    description: Shows the version before and after.
    support: full
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Install Slurm's commands
  ai_infra.slurm.slurm_client_bundle:
    url: http://apphub:8081
    indexes: "{{ apphub_bundle_indexes }}"
    version: "24.11"
    controller: ctl1

- name: Remove them
  ai_infra.slurm.slurm_client_bundle:
    state: absent
"""

RETURN = r"""
version:
  description: Version of Slurm that is installed now, or would be; empty when none.
  returned: success
  type: str
  sample: 24.11.5
bundle:
  description: Path of the bundle below C(/pkgs).
  returned: when it shall be there
  type: str
  sample: slurm-client/slurm-client-24.11.5-linux-amd64.tar.gz
sinfo:
  description: What C(sinfo --version) says.
  returned: when the commands are there, on this machine
  type: str
  sample: slurm 24.11.5
message:
  description: What the script of the bundle said.
  returned: when it was run
  type: str
"""

import os
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import client
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError, fail

ARGUMENTS = {
    **http_client.ARGUMENTS,
    "indexes": {"type": "dict"},
    "version": {"type": "str", "default": ""},
    "prefix": {"type": "path", "default": "/usr/local/slurm"},
    "root": {"type": "path", "default": ""},
    "controller": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 30},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
CONFIG = "/etc/slurm/slurm.conf"


def download(module: AnsibleModule, bundle: Dict[str, Any]) -> bytes:
    """Return the archive of a bundle.

    Raises:
        FailureError: It can't be fetched.
    """
    path = "pkgs/" + bundle["path"]
    try:
        return http_client.Server(module.params).get(path, bundle["size"])
    except FailureError as error:
        code, reason, remedy = error.failure
        url = module.params["url"].rstrip("/")
        raise FailureError(code, f"{url}/{path} cannot be fetched: {reason}", remedy) from None


def script(module: AnsibleModule, path: str, *arguments: str) -> str:
    """Run a script of the bundle and return what it said.

    Raises:
        FailureError: It failed.
    """
    status, output, complaint = module.run_command(["/bin/sh", path, *arguments])
    if status:
        raise FailureError(Code.CLIENT_BUNDLE_FAILED, (complaint or output).strip())
    return str(output).strip()


def install(module: AnsibleModule, found: client.Installed) -> Dict[str, Any]:
    """Install what is not installed yet.

    Args:
        module: The running module.
        found: What is installed.

    Returns:
        The module's result.

    Raises:
        FailureError: It can't be installed.
    """
    params = module.params
    bundle = client.choose(params["indexes"], client.Machine.this(), params["version"])
    result: Dict[str, Any] = {"bundle": bundle["path"], "version": bundle["version"]}
    needs_config = bool(params["controller"]) and not os.path.lexists(params["root"] + CONFIG)
    result["changed"] = not found.whole or found.sums != bundle["sums"] or needs_config
    if result["changed"] and not module.check_mode:
        client.unpack(download(module, bundle), bundle["sha256"], module.tmpdir)
        options = ["--prefix", params["prefix"]]
        options += ["--controller", params["controller"]] if params["controller"] else []
        options += ["--root", params["root"]] if params["root"] else []
        result["message"] = script(module, os.path.join(module.tmpdir, "install.sh"), *options)
    if not params["root"] and not (result["changed"] and module.check_mode):
        result["sinfo"] = script(module, os.path.join(params["prefix"], "bin", "sinfo"), "--version")
    return result


def remove(module: AnsibleModule, found: client.Installed) -> Dict[str, Any]:
    """Remove what is installed; the arguments and the result are those of install()."""
    root, prefix = module.params["root"], module.params["prefix"]
    result: Dict[str, Any] = {"version": "", "changed": os.path.isfile(os.path.join(root + prefix, "MANIFEST"))}
    if result["changed"] and not module.check_mode:
        uninstaller = os.path.join(root + prefix, "uninstall.sh")
        if not os.path.isfile(uninstaller):
            raise FailureError(
                Code.CLIENT_BUNDLE_FAILED,
                f"{uninstaller} is missing, so that slurm-client {found.version} cannot be removed.",
                "Install it again first.",
            )
        result["message"] = script(module, uninstaller, "--prefix", prefix, *(["--root", root] if root else []))
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ("url", "indexes"))])
    found = client.installed(module.params["root"], module.params["prefix"])
    try:
        result = (install if module.params["state"] == "present" else remove)(module, found)
    except FailureError as error:
        fail(module, error.failure)
    except OSError as error:
        fail(module, Failure(Code.CLIENT_BUNDLE_FAILED, f"{error}.", "Correct it, then run again."))
    diff = {"before_header": module.params["prefix"], "after_header": module.params["prefix"]}
    diff["before"] = f"slurm-client {found.version}\n" if found.version else ""
    diff["after"] = f"slurm-client {result['version']}\n" if result["version"] else ""
    module.exit_json(diff=diff, **result)


if __name__ == "__main__":
    main()
