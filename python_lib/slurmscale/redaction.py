"""Which variables are secret, and how secrets are masked wherever they turn up in a text."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from slurmscale.clean_text import clean

_SECRET_NAME = re.compile(
    r"(pass|passwd|password|passphrase|secret|token|credential|api_?key|private_key|munge_key)s?_?\d*$", re.IGNORECASE
)
_URL_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:([^/\s]+)@")
_URL_TOKEN = re.compile(r"https?://([^/\s:@]{16,})@", re.IGNORECASE)
"""A user without a password; a shorter one is a name, and to mask names would make logs useless."""
_URL_QUERY = re.compile(r"[?&;]([^=&;#\s]+)=([^&;#\s]+)")
_SHORTEST_SECRET = 4
_SHORTEST_PART = 8
"""What is masked though it is only a part of a secret: a line of a key, the middle of a base64 text."""
_MASK = "********"


def is_secret(name: str) -> bool:
    """Say whether a variable holds a secret, by its name."""
    return bool(_SECRET_NAME.search(name))


def has_secret(name: str, value: Any) -> bool:
    """Say whether a variable is secret, or holds something secret: a nested one, or a URL with a password or token."""
    if is_secret(name):
        return True
    if isinstance(value, Mapping):
        return any(has_secret(str(key), item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(has_secret("", item) for item in value)
    return isinstance(value, str) and bool(_in_urls(value))


def _in_urls(text: str) -> list[str]:
    """Return the secrets in the URLs of a text: passwords, tokens in the place of a user, and tokens in the query."""
    if "://" not in text:
        return []
    in_query = [value for name, value in _URL_QUERY.findall(text) if is_secret(name)]
    return [*_URL_PASSWORD.findall(text), *_URL_TOKEN.findall(text), *in_query]


class Redactor:
    """Masks the secrets of a run wherever they turn up in a text."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._forms: tuple[str, ...] = ()

    def learn(self, value: Any, name: str = "", *, literal: bool = True) -> None:
        """Collect secrets.

        Args:
            value: A variable's value; mappings and lists are searched for variables with secret names.
            name: The variable's name.
            literal: The value is what is used; else a text with `{{` is a template, and no secret.
        """
        known = len(self._secrets)
        self._collect(value, name, literal=literal)
        if len(self._secrets) > known:
            forms = {form for secret in self._secrets for form in _forms(secret) if len(form) >= _SHORTEST_SECRET}
            # a secret may be a part of another one
            self._forms = tuple(sorted(forms, key=len, reverse=True))

    def _collect(self, value: Any, name: str, *, literal: bool) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                self._collect(item, name if is_secret(name) else str(key), literal=literal)
        elif isinstance(value, list | tuple):
            for item in value:
                self._collect(item, name, literal=literal)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            text = str(value)
            found = [text] if is_secret(name) else _in_urls(text)
            # masking very short texts would mask the alphabet
            self._secrets |= {
                one
                for secret in found
                for one in (secret, unquote(secret))
                if len(secret) >= _SHORTEST_SECRET and (literal or "{{" not in text)
            }

    def __call__(self, text: str) -> str:
        """Return the text with all known secrets masked."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, _MASK)
        return text


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it may be written: as it is, in JSON, URLs, a shell, YAML, Python, and base64."""
    in_json = json.dumps(secret)[1:-1]
    yield from (secret, clean(secret), in_json, json.dumps(in_json)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield from (quote(secret, safe=""), quote(secret), quote_plus(secret))
    quoted = shlex.quote(secret)
    yield from (quoted, quoted[1:-1]) if quoted != secret else ()
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", secret)
    yield from (secret.replace("'", "''"), repr(secret)[1:-1])
    yield from (line for line in secret.splitlines() if len(line) >= _SHORTEST_PART)
    raw = secret.encode(errors="surrogateescape")
    for offset in range(3):
        # Inside of a longer text a secret has one of three forms; those characters that also hold bits of what stands
        # beside it are left out.
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"\0" * offset + raw).decode().rstrip("=")
            middle = encoded[(0, 2, 3)[offset] : None if (offset + len(raw)) % 3 == 0 else -1]
            if len(middle) >= _SHORTEST_PART:
                yield middle
