#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module apphub_bundle."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_bundle
short_description: Publish Slurm's commands as portable archives
version_added: "0.1.0"
description:
  - Makes C(slurm-client-VERSION-linux-ARCH.tar.gz) of each release of Slurm among the DEBs of source folders, and
    C(slurm-client-VERSION-alpine.tar.gz) of install trees of a Slurm that was built on Alpine.
  - A bundle holds Slurm's commands with their plugins and the libraries that they need. Which ones is read from the
    programs themselves; they are taken from the packages that the client's package depends on, as far as the folders
    have them. The C library is never taken along.
  - Bundles whose packages did not change are not made again. The same content gives the same bytes. The new tree is
    built beside the old one and takes its place by one switched link.
  - A release that is in no folder any more is no longer published. Files that are missing or damaged are made again.
  - When two repositories have one version of Slurm, the bundle is made of the one that runs on older systems.
requirements:
  - On the host C(dpkg), C(readelf) (binutils) and, for a signature, C(gpg).
options:
  sources:
    description: Folders of packages, as M(ai_infra.slurm.apphub_publish) takes them.
    type: list
    elements: path
    default: []
  trees:
    description:
      - Install trees of Slurm, built on Alpine with C(--sysconfdir=/etc/slurm) and installed with C(DESTDIR), with the
        libraries that it needs beside it.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the tree is.
        type: path
        required: true
      version:
        description: Its version of Slurm.
        type: str
        required: true
  scripts:
    description:
      - What goes into each bundle beside Slurm, by name, C(install.sh), C(uninstall.sh), C(README.md), C(command.sh),
        C(slurm.conf.example) and C(version.conf). Role apphub has them.
    type: dict
    required: true
  absent_versions:
    description: Versions of Slurm, as M(ai_infra.slurm.apphub_publish) takes them, of which there is to be no bundle.
    type: list
    elements: str
    default: []
  root:
    description: Where to publish. A web server serves C(current/pkgs/slurm-client) and C(current/pkgs/slurm-apk) of it.
    type: path
    default: /srv/apphub/bundles
  gnupg_home:
    description: GnuPG home of the key that signs the checksums. They are not signed as long as it has none.
    type: path
    default: /var/lib/apphub/gnupg
  keep:
    description: How many of the trees that were served before are kept.
    type: int
    default: 2
attributes:
  check_mode:
    description: Makes the bundles in memory, tells what would change and changes nothing.
    support: full
  diff_mode:
    description: Shows the bundles published before and after, with their checksums.
    support: full
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Publish bundles of all releases in a folder of packages
  ai_infra.slurm.apphub_bundle:
    sources: [/srv/packages]
    trees:
      - {path: /srv/slurm-on-alpine, version: 24.11.5}
    scripts: "{{ apphub_bundle_scripts }}"
"""

RETURN = r"""
bundles:
  description:
    - What is published, by the path below C(/pkgs), with its C(state) (V(new), V(rebuilt), V(unchanged)), C(version),
      C(arch), C(libc), the oldest C(glibc) that runs it, the C(libraries) in it, those that the machine must have
      (C(from_host)), C(sha256) and C(size).
  returned: success
  type: dict
removed:
  description: Bundles that are no longer published.
  returned: success
  type: list
tree:
  description: The tree that is served now.
  returned: when something was published
  type: str
  sample: /srv/apphub/bundles/generations/3
"""

from typing import TYPE_CHECKING, Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import archive, sources, store
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.generations import run_publisher
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.gpg import Signer

ARGUMENTS = {
    "sources": {"type": "list", "elements": "path", "default": []},
    "trees": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"path": {"type": "path", "required": True}, "version": {"type": "str", "required": True}},
    },
    "scripts": {"type": "dict", "required": True},
    "absent_versions": {"type": "list", "elements": "str", "default": []},
    "root": {"type": "path", "default": "/srv/apphub/bundles"},
    "gnupg_home": {"type": "path", "default": "/var/lib/apphub/gnupg"},
    "keep": {"type": "int", "default": 2},
}


def publish(params: Dict[str, Any], signer: Signer, *, check_mode: bool) -> Dict[str, Any]:
    """Publish what is not published yet.

    Args:
        params: The module's options.
        signer: Signs the checksums.
        check_mode: Change nothing.

    Returns:
        The module's result.

    Raises:
        FailureError: A bundle can't be made.
    """
    missing = sorted(set(archive.SCRIPTS) - set(params["scripts"]))
    if missing:
        raise FailureError(Code.CLIENT_BUNDLE_INPUT_INVALID, f"The option scripts lacks {', '.join(missing)}.")
    origins = sources.from_trees(params["trees"])
    if params["sources"]:
        origins += sources.from_packages(params["sources"], params["absent_versions"])
    bundles = store.Store(params["root"], params["scripts"], signer.fingerprint())
    bundles.collect(origins)
    states = bundles.states()
    result: Dict[str, Any] = {
        "changed": bundles.changed,
        "bundles": {path: dict(info, state=states[path]) for path, info in sorted(bundles.wanted.items())},
        "removed": [path for path, state in states.items() if state == "removed"],
        "diff": {
            "before_header": bundles.pkgs,
            "after_header": bundles.pkgs,
            "before": store.listing(bundles.served),
            "after": store.listing(bundles.wanted),
        },
    }
    if check_mode:
        return result
    if bundles.changed:
        result["tree"] = bundles.publish(signer, params["keep"])
    else:
        bundles.remember()
    return result


def main() -> None:
    """Run the module."""
    run_publisher(AnsibleModule(ARGUMENTS, supports_check_mode=True), publish)


if __name__ == "__main__":
    main()
