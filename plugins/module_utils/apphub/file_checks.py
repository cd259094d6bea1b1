# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The files of an AppHub, each downloaded once, and what is found wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Set, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.gpg import Keyring
    from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.http_client import Server

Finding = Dict[str, Any]

PUBLISH = "Publish again with playbooks/publish_apphub.yml"
VERIFY = f"{PUBLISH} -e apphub_verify=true, which puts damaged files back."


def passed(check: str, subject: str, reason: str) -> Finding:
    """Return the finding that something is as it should be."""
    return {"check": check, "subject": subject, "ok": True, "code": "", "reason": reason, "remedy": ""}


def failed(check: str, subject: str, failure: Failure) -> Finding:
    """Return the finding that something is not as it should be."""
    return dict(failure.as_dict(), check=check, subject=subject, ok=False)


class FileChecks:
    """Downloads what an AppHub serves, and collects findings.

    Attributes:
        findings: What was found, in the order in which it was checked.
        sums: Checksum and size of the files that were measured, by path below /pkgs.
        keyring: AppHub's key, once it is known.
    """

    def __init__(self, server: Server) -> None:
        """Check the files of this AppHub."""
        self.findings: List[Finding] = []
        self.sums: Dict[str, Tuple[str, int]] = {}
        self.keyring: Optional[Keyring] = None
        self._server = server
        self._reported: Set[str] = set()

    def add_passed(self, check: str, subject: str, reason: str) -> None:
        """Add that something is as it should be."""
        self.findings.append(passed(check, subject, reason))

    def add_failure(self, check: str, subject: str, code: Code, reason: str, remedy: str) -> None:
        """Add that something is not as it should be."""
        self.findings.append(failed(check, subject, Failure(code, reason, remedy)))

    def _report(self, check: str, path: str, failure: Failure) -> None:
        """Add what is wrong with a file, once even when several indexes name it."""
        if path not in self._reported:
            self._reported.add(path)
            self.findings.append(failed(check, path, failure))

    def fetch(self, check: str, path: str) -> Optional[bytes]:
        """Return a file below /pkgs; None, with a finding, when it can't be fetched."""
        try:
            return self._server.get("pkgs/" + path)
        except FailureError as error:
            self._report(check, path, error.failure)
            return None

    def is_there(self, path: str) -> bool:
        """Say whether there is a file below /pkgs, or something that hides it."""
        try:
            self._server.get("pkgs/" + path)
        except FailureError as error:
            return error.failure.code is not Code.APPHUB_FILE_MISSING
        return True

    def compare(self, path: str, sha256: str) -> bool:
        """Say whether a file below /pkgs has a checksum; with a finding when it has not."""
        try:
            if path not in self.sums:
                self.sums[path] = self._server.measure("pkgs/" + path)
        except FailureError as error:
            self._report("files", path, error.failure)
            return False
        found = self.sums[path][0]
        if found != sha256:
            remedy = f"{VERIFY} If it comes back, look for a failing disk, or a proxy in between."
            reason = f"Its checksum is {found}, not {sha256}."
            self._report("files", path, Failure(Code.APPHUB_FILE_DAMAGED, reason, remedy))
        return found == sha256

    def parsed(self, path: str, sha256: str, parse: Callable[[bytes], Any]) -> Any:
        """Return what an index says; None, with a finding, when it is not as it should be."""
        return self.parse(path, self.fetch("files", path) if self.compare(path, sha256) else None, parse)

    def parse(self, path: str, data: Optional[bytes], parse: Callable[[bytes], Any]) -> Any:
        """Return what an index says; None, with a finding unless there is no data, when it can't be read."""
        try:
            return None if data is None else parse(data)
        except FailureError as error:
            self._report("files", path, error.failure)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._report("files", path, Failure(Code.APPHUB_FILE_DAMAGED, f"It cannot be read: {error}.", VERIFY))
        return None

    def signed(self, path: str, beside: str = "") -> Optional[bytes]:
        """Return what AppHub's key signed in a file below /pkgs; None, with a finding, when it did not.

        Args:
            path: The file.
            beside: Its signature; empty when the file has it around its content.
        """
        data = self.fetch("files", path)
        signature = self.fetch("signature", beside) if beside and data is not None else None
        # Of a key that is missing there is a finding already.
        if data is None or self.keyring is None or (beside and signature is None):
            return None
        found = self.keyring.verify(data, signature)
        if found.failure is None:
            self.add_passed("signature", path, f"It is signed with {self.keyring.fingerprint}.")
            return found.text
        # Of a key that expired there is a finding already, too.
        if found.failure.code is Code.APPHUB_KEY_INVALID and self.keyring.expired and not self.keyring.revoked:
            return found.text
        self._report("signature", path, found.failure)
        return None
