# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the options of modules that talk to an AppHub; ARGUMENTS in module_utils defines them."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that modules share."""

    DOCUMENTATION = r"""
options:
  ca:
    description: Certificates of the authorities to trust instead of the system's, as PEM.
    type: str
    default: ""
  login:
    description: NAME:PASSWORD in base64, for a server that asks for them.
    type: str
    default: ""
  proxy:
    description: Address of a proxy on the way. When empty, none is used, whatever the environment says.
    type: str
    default: ""
"""
