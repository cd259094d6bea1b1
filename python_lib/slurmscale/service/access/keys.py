"""The secret keys of the service: they vouch for the audit trail and seal what is kept of answers."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING

from slurmscale.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

_FILE = "service.key"
_SIZE = 32
_REMEDY = "Write one key a line, 32 random bytes in URL-safe base64, into a file with mode 0600."


def read_keys(path: Path | None, data_dir: Path) -> tuple[bytes, ...]:
    """Return the secret keys; the first one is for what is new, the others for what is old.

    Args:
        path: File of keys; one in the data directory, made when there is none, if None.
        data_dir: The data directory.

    Raises:
        RefusedError: The file can't be read, is open to others, or holds no key.
    """
    own = path or data_dir / _FILE
    if path is None:
        _make(own)
    try:
        with own.open("rb") as source:
            mode = os.fstat(source.fileno()).st_mode & 0o777
            lines = source.read().split()
    except OSError as exc:
        raise RefusedError(f"The secret key file {own} cannot be read: {exc.strerror}.", _REMEDY) from exc
    if mode & 0o077:
        raise RefusedError(f"The secret key file {own} is open to others: its mode is {mode:04o}.", f"chmod 600 {own}")
    with contextlib.suppress(binascii.Error):
        keys = tuple(base64.urlsafe_b64decode(line) for line in lines)
        if keys and all(len(key) == _SIZE for key in keys):
            return keys
    raise RefusedError(f"The secret key file {own} holds no key, or something else.", _REMEDY)


def derive(keys: tuple[bytes, ...], purpose: str) -> tuple[bytes, ...]:
    """Return keys for one purpose, of which none tells anything about the others."""
    return tuple(hmac.new(key, purpose.encode(), hashlib.sha256).digest() for key in keys)


def _make(path: Path) -> None:
    """Make a key file; when two processes do, the first one's stays."""
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            target.write(base64.urlsafe_b64encode(secrets.token_bytes(_SIZE)) + b"\n")
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    except OSError as exc:
        raise RefusedError(f"The secret key file {path} cannot be made: {exc.strerror}.", _REMEDY) from exc
