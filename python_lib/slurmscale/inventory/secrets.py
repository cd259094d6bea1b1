"""Which variables are secret, and how they are masked wherever they turn up in a text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from slurmscale.runner.secret_socket import SECRETS_VARIABLE

_SECRET_NAME = re.compile(
    r"(pass|passwd|password|passphrase|secret|token|credential|api_?key|private_key)s?$", re.IGNORECASE
)
_SHORTEST_SECRET = 4
_MASK = "********"


def is_secret(name: str) -> bool:
    """Say whether a variable holds a secret, by its name."""
    return bool(_SECRET_NAME.search(name))


def split_secrets(extra_vars: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part extra variables into what may be written down and what must stay in memory."""
    secret = {name: value for name, value in extra_vars.items() if is_secret(name)}
    return {name: value for name, value in extra_vars.items() if name not in secret}, secret


def references(secret_vars: Iterable[str]) -> dict[str, str]:
    """Return extra variables that point at the secrets in the dynamic inventory."""
    return {name: f"{{{{ {SECRETS_VARIABLE}['{name}'] }}}}" for name in secret_vars}


class Redactor:
    """Masks the secrets of a run wherever they turn up in a text."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def learn(self, value: Any, name: str = "") -> None:
        """Collect secrets.

        Args:
            value: A variable's value; mappings and lists are searched for variables with secret names.
            name: The variable's name.
        """
        if isinstance(value, Mapping):
            for key, item in value.items():
                self.learn(item, name if is_secret(name) else str(key))
        elif isinstance(value, list | tuple):
            for item in value:
                self.learn(item, name)
        elif isinstance(value, str | int) and not isinstance(value, bool) and is_secret(name):
            text = str(value)
            # a template is no secret, and masking very short texts would mask the alphabet
            if len(text) >= _SHORTEST_SECRET and "{{" not in text:
                self._secrets |= {text, json.dumps(text)[1:-1]}

    def __call__(self, text: str) -> str:
        """Return the text with all known secrets masked."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, _MASK)
        return text
