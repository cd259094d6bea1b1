# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""AppHub's key: the secret one that signs, in the home of the AppHub, and the public one that clients verify by."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from typing import List, NamedTuple, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError

_PUBLISH = "Publish again with playbooks/publish_apphub.yml"
_DAMAGED = (
    f"{_PUBLISH} -e apphub_verify=true, which puts damaged files back. If it comes back, look for a proxy in between."
)
OTHER_KEY = f"{_PUBLISH}, with the one key that clients know in apphub_gnupg_home."
EXPIRED_KEY = f"{_PUBLISH}, with a key that has not expired in apphub_gnupg_home."
REVOKED_KEY = f"{_PUBLISH}, with a new key in apphub_gnupg_home; then correct apphub_client_key_sha256."
_UNSIGNED = f"{_PUBLISH}, which signs everything."


class Signature(NamedTuple):
    """What gpg says of a signature.

    Attributes:
        failure: Why it is not good; None when it is.
        text: What was signed, without the signature around it.
    """

    failure: Optional[Failure]
    text: bytes


class Keyring:
    """A public key and what can be verified with it, in a home of its own."""

    def __init__(self, home: str, key: bytes) -> None:
        """Import the key.

        Args:
            home: An empty folder for gpg.
            key: The key, armored.

        Raises:
            FailureError: gpg is missing, or this is no key.
        """
        gpg = shutil.which("gpg")
        if gpg is None:
            raise FailureError(
                Code.APPHUB_TOOL_MISSING,
                "gpg is needed to check AppHub's signature, but it is not on this machine.",
                "Install gnupg here.",
            )
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
            raise FailureError(
                Code.APPHUB_KEY_INVALID, "The file apphub.asc is no public key.", f"{_PUBLISH} -e apphub_verify=true."
            )

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

    def verify(self, signed: bytes, signature: Optional[bytes] = None) -> Signature:
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
        invalid, key = Code.APPHUB_SIGNATURE_INVALID, Code.APPHUB_KEY_INVALID
        failure = None
        if "BADSIG" in status:
            failure = Failure(invalid, "It was changed after it was signed.", _DAMAGED)
        elif "NO_PUBKEY" in status or "ERRSIG" in status:
            other = status.get("NO_PUBKEY") or status["ERRSIG"]
            failure = Failure(invalid, f"It is signed with the key {other}, not with {self.fingerprint}.", OTHER_KEY)
        elif "REVKEYSIG" in status:
            failure = Failure(key, "It is signed with a key that was revoked.", REVOKED_KEY)
        elif "EXPKEYSIG" in status or "EXPSIG" in status:
            found = f"It is signed with a key that expired {self.expired}".strip() + "."
            failure = Failure(key, found, EXPIRED_KEY)
        elif "VALIDSIG" not in status:
            failure = Failure(invalid, "It is not signed.", _UNSIGNED)
        return Signature(failure, text)


class Signer:
    """A GnuPG home with one secret key."""

    def __init__(self, home: str) -> None:
        """Use the home, which need not exist yet."""
        self.home = home

    def _gpg(self, *arguments: str) -> bytes:
        return commands.run(["gpg", "--homedir", self.home, "--batch", "--quiet", "--no-tty", *arguments])

    def fingerprint(self) -> str:
        """Return the fingerprint of the secret key, empty when there is none.

        Raises:
            FailureError: There are several.
        """
        if not os.path.isdir(self.home):
            return ""
        listed = self._gpg("--list-secret-keys", "--with-colons").decode("utf-8", "replace")
        keys = re.findall(r"(?m)^sec:.*\nfpr:(?:[^:\n]*:){8}([0-9A-F]+):", listed)
        if len(keys) > 1:
            raise FailureError(
                Code.APPHUB_SIGNING_KEY_INVALID,
                f"{self.home} holds {len(keys)} secret keys, but clients know one.",
                "Leave one.",
            )
        return keys[0] if keys else ""

    def make(self, name: str) -> str:
        """Make the key and return its fingerprint.

        RSA, because rpm of EL 8 knows nothing newer. It never expires: clients would all stop at once.
        """
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        self._gpg(
            "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", name, "rsa3072", "sign", "never"
        )
        return self.fingerprint()

    def public_key(self) -> bytes:
        """Return the public key, armored."""
        return self._gpg("--armor", "--export")

    def sign(self, path: str, signature: str, *, inline: bool = False) -> None:
        """Sign a file, beside it or around it."""
        how = "--clearsign" if inline else "--detach-sign"
        self._gpg("--armor", "--digest-algo", "SHA256", "--output", signature, how, path)

    def sign_rpms(self, paths: List[str]) -> None:
        """Put the key's signature into RPMs, in place."""
        if not paths:
            return
        # rpm of Debian 12 looks for a program that its own gpg package does not have.
        macros = {"_gpg_name": self.fingerprint(), "__gpg": shutil.which("gpg") or "gpg"}
        defines = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
        commands.run(["rpmsign", *defines, "--addsign", *paths], env={"GNUPGHOME": self.home})

    def check(self) -> None:
        """Make sure that the key signs.

        Raises:
            FailureError: It has a passphrase, or has expired.
        """
        try:
            # Not --output /dev/null: a gpg that fails removes it, and root may.
            self._gpg("--pinentry-mode", "loopback", "--passphrase", "", "--output", "-", "--detach-sign", os.devnull)
        except FailureError as error:
            raise FailureError(
                Code.APPHUB_SIGNING_KEY_INVALID,
                f"The key in {self.home} cannot be used: {error.failure.reason}",
                "It must not have expired, and needs to be without a passphrase, because nobody is there to enter it.",
            ) from None

    def close(self) -> None:
        """End the agent that gpg leaves behind."""
        if os.path.isdir(self.home):
            commands.run(["gpgconf", "--homedir", self.home, "--kill", "all"])
