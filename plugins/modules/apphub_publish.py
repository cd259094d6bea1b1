#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module apphub_publish."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apphub_publish
short_description: Publish folders of packages as signed apt and yum repositories
version_added: "0.1.0"
description:
  - Makes one signed apt repository for each release of a Debian-like distribution, and one signed yum repository for
    each release and architecture with RPMs, of the packages found in folders; with the public key, checksums and a
    catalog.
  - What is published already is not read again, and only repositories whose packages changed are built. The new tree is
    built beside the old one, of hard links where nothing changed, and takes its place by one switched link, so that a
    client never sees an index without its packages.
  - A repository, a package or a version that is in no source folder any more is no longer published.
  - Files that went missing from the published tree are put back.
  - Clients in the middle of a download go on. Files of the trees served before stay, and no index names them any more.
  - A package that is broken, for an architecture that is not served, of another one than its name says, or that lies
    where no repository is, is refused by name, before anything is published.
requirements:
  - On the host C(apt-ftparchive) (apt-utils), C(createrepo_c), C(dpkg-deb), C(gpg), C(rpm) and C(rpmsign).
options:
  sources:
    description:
      - Folders of packages. Below each, C(deb/DISTRIBUTION/CODENAME/) holds DEBs, such as C(deb/ubuntu/noble/), and
        C(rpm/RELEASE/) holds RPMs, such as C(rpm/el9/). Further folders below those are searched.
    type: list
    elements: path
    required: true
  absent_versions:
    description:
      - Versions of Slurm, whole or their beginning such as V(23.11), that are not published although O(sources) have
        them. Refused when a repository would be left without any Slurm.
    type: list
    elements: str
    default: []
  root:
    description: Where to publish. A web server serves C(current/pkgs) below it.
    type: path
    default: /srv/apphub
  gnupg_home:
    description: GnuPG home of the signing key, the only secret key in it. Keep it, and keep it safe.
    type: path
    default: /var/lib/apphub/gnupg
  key_name:
    description:
      - User id of the signing key that is made when O(gnupg_home) has none.
      - To use a key of your own, import it into O(gnupg_home) before the first run.
    type: str
    default: AppHub
  origin:
    description: What apt clients see as the repositories' origin and label, by which they can pin them.
    type: str
    default: AppHub
  sign_rpms:
    description: Puts the key's signature into the published copies of RPMs, too, so that clients can set C(gpgcheck).
    type: bool
    default: true
  verify:
    description:
      - Compares the checksum of every published file, which reads all of them. Otherwise only lost files and files of
        another size are found and put back.
    type: bool
    default: false
  keep:
    description: How many of the trees that were served before are kept.
    type: int
    default: 2
attributes:
  check_mode:
    description: Reads and checks the packages, tells what would change and changes nothing.
    support: full
  diff_mode:
    description: Shows the packages published before and after.
    support: full
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Publish the packages of two folders
  ai_infra.slurm.apphub_publish:
    sources:
      - /srv/packages
      - /srv/packages-of-our-own
"""

RETURN = r"""
repositories:
  description:
    - What became of each repository (V(new), V(rebuilt), V(repaired), V(unchanged) or V(removed)), and how many
      packages it has.
  returned: success
  type: dict
  sample: {"deb/ubuntu/noble": {"state": "new", "packages": 31}}
fingerprint:
  description: Fingerprint of the signing key; empty in check mode as long as there is none.
  returned: success
  type: str
  sample: 3AA5C34371567BD2C5A8F2A5A4B1D3E7F6C9B8A7
key_sha256:
  description:
    - SHA-256 checksum of the public key C(/pkgs/apphub.asc), by which clients know it (C(apphub_client_key_sha256));
      empty in check mode as long as there is no key.
  returned: success
  type: str
  sample: 8a1c4dd6b1cbbcd6e1a1a79f2f0d5bd1bd5e1f3c0a1e5d0b1e7a4d9cc0b1f2aa
tree:
  description: The tree that is served now.
  returned: when something was published
  type: str
  sample: /srv/apphub/generations/3
"""

import hashlib
from typing import TYPE_CHECKING, Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import packages
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.generations import Tree, run_publisher

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.gpg import Signer

ARGUMENTS = {
    "sources": {"type": "list", "elements": "path", "required": True},
    "absent_versions": {"type": "list", "elements": "str", "default": []},
    "root": {"type": "path", "default": "/srv/apphub"},
    "gnupg_home": {"type": "path", "default": "/var/lib/apphub/gnupg"},
    "key_name": {"type": "str", "default": "AppHub", "no_log": False},
    "origin": {"type": "str", "default": "AppHub"},
    "sign_rpms": {"type": "bool", "default": True},
    "verify": {"type": "bool", "default": False},
    "keep": {"type": "int", "default": 2},
}


def states(want: packages.Repositories, tree: Tree) -> Dict[str, Any]:
    """Return whether each repository is new, rebuilt, repaired, unchanged or removed, as the module returns it."""
    changed = packages.changed_repositories(want, tree.repositories)
    result = {}
    for name in sorted(set(want) | set(tree.repositories)):
        state = "unchanged"
        if name not in want:
            state = "removed"
        elif name in tree.damaged:
            state = "repaired"
        elif name in changed:
            state = "rebuilt" if name in tree.repositories else "new"
        result[name] = {"state": state, "packages": len(want.get(name, []))}
    return result


def publish(params: Dict[str, Any], signer: Signer, *, check_mode: bool) -> Dict[str, Any]:
    """Publish what is not published yet.

    Args:
        params: The module's options.
        signer: Holds the signing key, or will.
        check_mode: Change nothing.

    Returns:
        The module's result.

    Raises:
        FailureError: Something is wrong with the packages, the key or the host.
    """
    fingerprint = signer.fingerprint()
    signature = {"fingerprint": fingerprint, "origin": params["origin"], "rpms": params["sign_rpms"]}
    tree = Tree(params["root"], signature, verify=params["verify"])
    # A key that was prolonged still has its fingerprint, but clients need it as it is now.
    if fingerprint and tree.key() != signer.public_key():
        tree.damaged.add("")
    found = packages.wanted(packages.scan(params["sources"]), tree.repositories)
    want = packages.without_versions(found, params["absent_versions"])
    repositories = states(want, tree)
    result = {
        "changed": bool(tree.damaged) or any(one["state"] != "unchanged" for one in repositories.values()),
        "repositories": repositories,
        "fingerprint": fingerprint,
        "diff": {
            "before_header": tree.served,
            "after_header": tree.served,
            "before": packages.listing(tree.repositories),
            "after": packages.listing(want),
        },
    }
    if result["changed"] and not check_mode:
        if not fingerprint:
            result["fingerprint"] = signature["fingerprint"] = signer.make(params["key_name"])
        signer.check()
        result["tree"] = tree.publish(want, signer, params["keep"])
    key = signer.public_key() if result["fingerprint"] else b""
    result["key_sha256"] = hashlib.sha256(key).hexdigest() if key else ""
    return result


def main() -> None:
    """Run the module."""
    run_publisher(AnsibleModule(ARGUMENTS, supports_check_mode=True), publish)


if __name__ == "__main__":
    main()
