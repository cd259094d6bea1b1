# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The files of an AppHub, each looked at once, and what is found wrong with them, each with what to do."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import gpg as apphub_signature
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client as apphub_web

Finding = Dict[str, Any]

PUBLISH = "Publish again with playbooks/publish_apphub.yml"
VERIFY = PUBLISH + " -e apphub_verify=true, which puts damaged files back."
# By the kind of a WebError.
REACH = {
    "refused": "Start it on the AppHub: systemctl start nginx; journalctl -u nginx says why it stopped.",
    "silent": "Look whether the machine is up, and for a firewall or proxy in between.",
    "certificate": "Name its certificate authority by apphub_client_ca, or use the name that the certificate is for.",
    "login": "Set apphub_client_username and apphub_client_password if the server asks for them.",
    "other": "Compare with curl -i on this machine; on the AppHub, /var/log/nginx/error.log may say more.",
}
# By the problem of a Verdict.
SIGNATURE = {
    "bad": VERIFY + " If it comes back, look for a proxy in between.",
    "foreign": PUBLISH + ", with the one key that clients know in apphub_gnupg_home.",
    "expired": PUBLISH + ", with a key that has not expired in apphub_gnupg_home.",
    "revoked": PUBLISH + ", with a new key in apphub_gnupg_home; then correct apphub_client_key_sha256.",
    "unsigned": PUBLISH + ", which signs everything.",
}


def finding(check: str, subject: str, found: str, remedy: str = "") -> Finding:
    """Return one line of the report; what is well has no remedy."""
    return {"check": check, "subject": subject, "ok": not remedy, "found": found, "remedy": remedy}


class Evidence:
    """What was seen of an AppHub.

    Attributes:
        findings: What was found, in the order in which it was looked at.
        sums: Checksum and size of the files that were measured, by path below /pkgs.
        keyring: AppHub's key, once it is known.
    """

    def __init__(self, server: apphub_web.Server) -> None:
        """Look at this AppHub."""
        self.findings: List[Finding] = []
        self.sums: Dict[str, Tuple[str, int]] = {}
        self.keyring: Optional[apphub_signature.Keyring] = None
        self._server = server
        self._reported: Set[str] = set()

    def note(self, check: str, subject: str, found: str, remedy: str = "") -> None:
        """Add a finding."""
        self.findings.append(finding(check, subject, found, remedy))

    def _report(self, check: str, path: str, found: str, remedy: str) -> None:
        """Add what is wrong with a file, once however many indexes tell of it."""
        if path not in self._reported:
            self._reported.add(path)
            self.note(check, path, found, remedy)

    def _lost(self, check: str, path: str, error: apphub_web.WebError) -> None:
        lost = PUBLISH + ", which puts lost files back."
        self._report(check, path, str(error), lost if error.kind == "missing" else REACH[error.kind])

    def fetch(self, check: str, path: str) -> Optional[bytes]:
        """Return a file below /pkgs; None, with a finding, when it can't be fetched."""
        try:
            return self._server.get("pkgs/" + path)
        except apphub_web.WebError as error:
            self._lost(check, path, error)
            return None

    def is_there(self, path: str) -> bool:
        """Say whether there is a file below /pkgs, or something that hides it."""
        try:
            self._server.get("pkgs/" + path)
        except apphub_web.WebError as error:
            return error.kind != "missing"
        return True

    def compare(self, path: str, sha256: str) -> bool:
        """Say whether a file below /pkgs has a checksum; with a finding when it has not."""
        try:
            if path not in self.sums:
                self.sums[path] = self._server.measure("pkgs/" + path)
        except apphub_web.WebError as error:
            self._lost("files", path, error)
            return False
        found = self.sums[path][0]
        if found != sha256:
            remedy = VERIFY + " If it comes back, look for a failing disk, or a proxy in between."
            self._report("files", path, "its checksum is {0}, not {1}".format(found, sha256), remedy)
        return found == sha256

    def parsed(self, path: str, sha256: str, parse: Callable[[bytes], Any]) -> Any:
        """Return what an index says; None, with a finding, when it is not as it should be."""
        data = self.fetch("files", path) if self.compare(path, sha256) else None
        try:
            return None if data is None else parse(data)
        except (ValueError, KeyError, SyntaxError, OSError) as error:
            self._report("files", path, "it can't be read: {0}".format(error), VERIFY)
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
        verdict = self.keyring.verify(data, signature)
        # And so there is of one that expired.
        if verdict.problem == "expired" and self.keyring.expired:
            return verdict.text
        self.note("signature", path, verdict.found, SIGNATURE[verdict.problem] if verdict.problem else "")
        return None if verdict.problem else verdict.text
