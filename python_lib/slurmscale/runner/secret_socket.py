"""Hands secrets to Ansible through memory.

A socket in the run's private directory, and a program that Ansible takes for
a dynamic inventory or a vault password script, which prints what the socket gives. Nothing secret is in a file, in an
argument or in an environment, from where it could get into facts.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_CLIENT = (
    "import socket,sys;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);s.sendall(sys.argv[2].encode());"
    "s.shutdown(1);d=iter(lambda:s.recv(65536),b'');sys.stdout.buffer.write(b''.join(d))"
)
SECRETS_VARIABLE = "slurmscale_secrets"
"""Inventory variable that holds the secret ones among the extra variables."""
OVERRIDES_VARIABLE = "slurmscale_overrides"
"""Variable of a host that holds those of its variables that must win over the host_vars of any inventory."""


class SecretSocket:
    """Serves secrets to the processes of one run.

    Args:
        run_dir: The run's private directory.
        inventory: Dynamic inventory, as Ansible's script plugin wants it; empty when there is nothing to add.
        vault_password: Password of Ansible Vault.
    """

    def __init__(self, run_dir: Path, inventory: dict[str, Any], vault_password: str | None = None) -> None:
        self._answers = {b"inventory": json.dumps(inventory).encode(), b"vault": (vault_password or "").encode()}
        path = run_dir / "channel"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        # Ansible looks for variables beside every source of the inventory, for every task on every host
        self.inventory_script = self._script(run_dir / "inventory.sh", path, "inventory") if inventory else None
        self.vault_script = self._script(run_dir / "vault.sh", path, "vault") if vault_password else None
        self._write_overrides(run_dir / "host_vars", inventory)
        threading.Thread(target=self._serve, name="channel", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        # close alone would leave accept() waiting
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    @staticmethod
    def _write_overrides(directory: Path, inventory: dict[str, Any]) -> None:
        """Write host_vars beside the last inventory, which win over all others; the values stay in memory."""
        for host, variables in inventory.get("_meta", {}).get("hostvars", {}).items():
            if OVERRIDES_VARIABLE in variables:
                directory.mkdir(mode=0o700, exist_ok=True)
                references = {
                    name: f"{{{{ {OVERRIDES_VARIABLE}['{name}'] }}}}" for name in variables[OVERRIDES_VARIABLE]
                }
                (directory / f"{host}.json").write_text(json.dumps(references), encoding="utf-8")

    @staticmethod
    def _script(script: Path, path: Path, what: str) -> Path:
        command = shlex.join([sys.executable, "-I", "-S", "-c", _CLIENT, str(path), what])
        script.write_text(f"#!/bin/sh\nexec {command}\n")
        script.chmod(0o700)
        return script

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.settimeout(5)
                    connection.sendall(self._answers.get(connection.recv(64), b""))
                except OSError:
                    continue
