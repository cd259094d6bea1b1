"""Opens values that Ansible Vault sealed in an inventory, in memory, only so that they can be masked in texts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SEALED = "__ansible_vault"


def password(given: str | None, path: str | None) -> str | None:
    """Return the vault's password, from a text, a file, or a program."""
    if given or not path:
        return given
    source = Path(path).expanduser()
    try:
        if os.access(source, os.X_OK):
            return subprocess.run([source.absolute()], capture_output=True, text=True, check=True).stdout.strip()
        return source.read_text(encoding="utf-8").strip()
    except (OSError, subprocess.CalledProcessError):
        # Ansible itself will say so, better
        return None


def unseal(value: Any, secret: str | None) -> Any:
    """Return a value with all sealed values in it opened, as far as the password fits.

    Args:
        value: Variables as ansible-inventory lists them.
        secret: The vault's password.
    """
    if secret is None:
        return value
    if isinstance(value, Mapping):
        if _SEALED in value:
            return _open(str(value[_SEALED]), secret)
        return {key: unseal(item, secret) for key, item in value.items()}
    return [unseal(item, secret) for item in value] if isinstance(value, list) else value


def _open(sealed: str, secret: str) -> str | None:
    # slow to load, and most inventories have nothing sealed
    from ansible.errors import AnsibleError  # noqa: PLC0415 - slow, and seldom needed
    from ansible.parsing.vault import VaultLib, VaultSecret  # noqa: PLC0415 - likewise

    try:
        opened = VaultLib([("default", VaultSecret(secret.encode()))]).decrypt(sealed)
    except AnsibleError:
        return None
    return bytes(opened).decode(errors="replace")
