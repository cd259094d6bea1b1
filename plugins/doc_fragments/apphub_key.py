# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the options of modules that read AppHub's key; key_trust.ARGUMENTS defines them."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that modules share."""

    DOCUMENTATION = r"""
options:
  key_sha256:
    description: SHA-256 checksum that C(/pkgs/apphub.asc) must have. Needed, unless the address begins with https.
    type: str
    default: ""
  insecure:
    description: Takes any key from an address with http, where anybody in between can offer his own. For trials only.
    type: bool
    default: false
"""
