"""How the values that a caller gives reach Ansible: secrets apart, and no text as a template."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from slurmscale.redaction import has_secret
from slurmscale.runner.secret_socket import SECRETS_VARIABLE


def split_secrets(
    extra_vars: Mapping[str, Any], private: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split extra variables into what may be written down and what must stay in memory.

    Args:
        extra_vars: The variables.
        private: Names of those that must stay in memory whatever they hold.
    """
    secret = {name: value for name, value in extra_vars.items() if name in private or has_secret(name, value)}
    return {name: value for name, value in extra_vars.items() if name not in secret}, secret


def references(secret_vars: Iterable[str]) -> dict[str, str]:
    """Return extra variables that point at the secrets in the dynamic inventory."""
    return {name: f"{{{{ {SECRETS_VARIABLE}['{name}'] }}}}" for name in secret_vars}


def unsafe(value: Any) -> Any:
    """Return a value of a caller in the form in which Ansible takes texts as they are, and no text for a template."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, Mapping):
        return {key: unsafe(item) for key, item in value.items()}
    return [unsafe(item) for item in value] if isinstance(value, list | tuple) else value
