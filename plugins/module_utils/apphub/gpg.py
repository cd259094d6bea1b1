# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""AppHub's public key, and whether it signed something; by gpg, in a home of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from typing import List, NamedTuple, Optional


class NoGpgError(Exception):
    """gpg is not on this machine."""


class NoKeyError(Exception):
    """What should be a key is none."""


class Verdict(NamedTuple):
    """What gpg says of a signature.

    Attributes:
        problem: bad, foreign, expired, revoked or unsigned; empty when the signature is good.
        found: The same for people.
        text: What was signed, without the signature around it.
    """

    problem: str
    found: str
    text: bytes


class Keyring:
    """A public key and what can be verified with it."""

    def __init__(self, home: str, key: bytes) -> None:
        """Import the key.

        Args:
            home: An empty folder for gpg.
            key: The key, armored.

        Raises:
            NoGpgError: gpg is missing.
            NoKeyError: This is no key.
        """
        gpg = shutil.which("gpg")
        if gpg is None:
            raise NoGpgError("gpg is needed to check AppHub's signature, but it is not on this machine: install gnupg")
        os.makedirs(home, mode=0o700, exist_ok=True)
        self._home = home
        self._command = [gpg, "--homedir", home, "--batch", "--no-autostart", "--no-tty", "--status-fd", "2"]
        self._gpg("--import", data=key)
        listed = self._gpg("--with-colons", "--list-keys").stdout.decode("utf-8", "replace")
        lines = [line.split(":") for line in listed.splitlines()]
        self.fingerprint = next((fields[9] for fields in lines if fields[0] == "fpr"), "")
        expires = next((fields[6] for fields in lines if fields[0] == "pub"), "")
        self.expires: Optional[int] = int(expires) if expires.isdigit() else None
        self.revoked = any(fields[0] == "pub" and fields[1] == "r" for fields in lines)
        if not self.fingerprint:
            raise NoKeyError("this is no public key")

    def _gpg(self, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        environment = dict(os.environ, LC_ALL="C.UTF-8")
        return subprocess.run(
            [*self._command, *arguments], input=data, capture_output=True, check=False, env=environment
        )

    @property
    def expired(self) -> str:
        """The day on which the key expired; empty when it did not."""
        if self.expires is None or self.expires > time.time():
            return ""
        return time.strftime("%Y-%m-%d", time.gmtime(self.expires))

    def verify(self, signed: bytes, signature: Optional[bytes] = None) -> Verdict:
        """Say whether the key signed something.

        Args:
            signed: What was signed, with the signature around it unless that is given.
            signature: The signature beside it.
        """
        paths: List[str] = []
        for name, content in (("signature", signature), ("signed", signed)):
            if content is not None:
                paths.append(os.path.join(self._home, name))
                with open(paths[-1], "wb") as stream:
                    stream.write(content)
        done = self._gpg("--output", "-", *(["--verify"] if signature is not None else ["--decrypt"]), *paths)
        text = signed if signature is not None else done.stdout
        status = dict(re.findall(r"(?m)^\[GNUPG:\] (\w+) ?(\S*)", done.stderr.decode("utf-8", "replace")))
        if "BADSIG" in status:
            return Verdict("bad", "it was changed after it was signed", text)
        if "NO_PUBKEY" in status or "ERRSIG" in status:
            other = status.get("NO_PUBKEY") or status["ERRSIG"]
            return Verdict(
                "foreign", "it is signed with the key {0}, not with {1}".format(other, self.fingerprint), text
            )
        if "REVKEYSIG" in status:
            return Verdict("revoked", "it is signed with a key that was revoked", text)
        if "EXPKEYSIG" in status or "EXPSIG" in status:
            return Verdict("expired", "it is signed with a key that expired {0}".format(self.expired).strip(), text)
        if "VALIDSIG" not in status:
            return Verdict("unsigned", "it is not signed", text)
        return Verdict("", "signed with {0}".format(self.fingerprint), text)
