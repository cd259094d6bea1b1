# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Updates slurm.conf of a backup controller before the primary applies the change, so that it can be restored."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any, Dict, List, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import slurmctld_service
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_files import Changes, FileSet
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.installation import SERVICE
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.lock import SHARED_LOCK, read_lock_note
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import SlurmConfig, read_text


class BackupController:
    """The files of a backup controller.

    Args:
        conf: Its slurm.conf, which lies where the primary's does.
        files: The primary's files, each with path, before and after; None means that there is none.
        service: The unit of its slurmctld.
    """

    def __init__(self, conf: str, files: List[Dict[str, Any]], service: str = SERVICE) -> None:
        self.conf = conf
        self.service = service
        self.files = FileSet(conf)
        self._lock_file = os.path.join(os.path.dirname(os.path.realpath(conf)), SHARED_LOCK)
        self.texts: Changes = {one["path"]: (one["before"], one["after"]) for one in files}

    def shares(self, lock_note: str) -> bool:
        """Say whether the directory is the primary's own, which wrote this note into its lock file."""
        return bool(lock_note) and read_lock_note(self._lock_file) == lock_note

    def stage(self, *, check_mode: bool) -> Changes:
        """Put the new files in place, after Slurm's own parser has read them.

        Returns:
            What was changed, or in check mode would be.

        Raises:
            FailureError: The files are not what the primary's were, or Slurm refuses them; nothing was changed.
        """
        if not check_mode:
            self._end_interrupted()
        changes: Changes = {}
        for path, (before, after) in self.texts.items():
            now = _text(path)
            if now not in (before, after):
                raise self._differs(path)
            if now != after:
                changes[path] = (now, after)
        if changes:
            self._check_candidate(changes)
        if changes and not check_mode:
            backup = self.files.back_up(changes)
            note = {"backup": backup, "active": self._is_active()}
            self.files.begin(backup, note)
            try:
                self.files.replace(changes)
            except BaseException:
                self._put_back(note)
                raise
        return changes

    def keep(self) -> bool:
        """Note that the primary works with the files; say whether one had to be written again."""
        now = {path: (_text(path), after) for path, (_before, after) in self.texts.items()}
        missing = {path: texts for path, texts in now.items() if texts[0] != texts[1]}
        if missing:
            self.files.replace(missing)
        self.files.finish()
        return bool(missing)

    def restore(self) -> bool:
        """Put back what was there before, unless a later run has changed it; say whether it was put back.

        Raises:
            FailureError: slurmctld had ended with the new files, and does not start with the old ones.
        """
        note = self.files.interrupted()
        if note is None or any(_text(path) not in texts for path, texts in self.texts.items()):
            return False
        self._put_back(note)
        return True

    def _put_back(self, note: Dict[str, Any]) -> None:
        self.files.restore(note["backup"])
        self.files.finish()
        self.files.discard(note["backup"])
        # It takes over when the primary ends, reads the same files and ends of them as well.
        if note.get("active") and not self._is_active():
            self._start()

    def _is_active(self) -> bool:
        return slurmctld_service.unit_properties(self.service).get("ActiveState") == "active"

    def _start(self) -> None:
        # Without this, systemd refuses to start a unit that failed too often just now.
        commands.run(["systemctl", "reset-failed", self.service], timeout=15)
        result = commands.run(["systemctl", "start", self.service], timeout=90)
        if result.rc != 0:
            raise FailureError(
                Code.SLURMCTLD_NOT_STARTED,
                f"The backup controller {socket.gethostname()} has its old files again, but its slurmctld, which ended "
                f"with the new ones, does not start: {result.message}",
                f"See why: journalctl -u {self.service}",
            )

    def _end_interrupted(self) -> None:
        """Recover from a killed run: keep the files that the primary has, restore all others."""
        note = self.files.interrupted()
        if note is None:
            return
        if all(_text(path) == before for path, (before, _after) in self.texts.items()):
            self.files.finish()
        else:
            self._put_back(note)

    def _differs(self, path: str) -> FailureError:
        host = socket.gethostname()
        return FailureError(
            Code.CONFIGURATION_DIFFERS,
            f"Nothing was changed, as {path} on the backup controller {host} is not the primary's.",
            f"Copy slurm.conf and what it includes from the primary to {host}, then run again.",
        )

    def _check_candidate(self, changes: Changes) -> None:
        current = list(SlurmConfig.load(self.conf).files)
        with self.files.candidate(changes, current) as candidate:
            result = commands.run(["scontrol", "show", "hostnames", "a"], timeout=20, conf=candidate)
        if result.rc != 0:
            text = result.message.replace(os.path.dirname(candidate), os.path.dirname(self.conf))
            reason = f"Nothing was changed, as Slurm refuses the new configuration on {socket.gethostname()}: {text}"
            raise FailureError(Code.CONFIGURATION_REFUSED, reason)


def _text(path: str) -> Optional[str]:
    with contextlib.suppress(FileNotFoundError):
        return read_text(path)
    return None
