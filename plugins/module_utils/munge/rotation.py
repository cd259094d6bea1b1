# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""One host's part in changing a cluster's munge key, with a way back that needs nobody."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import time
from typing import Any, Dict, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import run

UNIT = "slurmscale-munge-rotation"
#: Where the unit writes when it began and when munged answered; gone after a boot, as the unit is.
TIMES = "/run/slurmscale-munge-rotation"
#: munged refuses a shorter key.
MIN_SIZE = 32
#: The unit's work. The old key is linked before the new one takes its place, so that there is a key at any moment.
#: systemd itself would replace ${...}. With the trap, the shell ends after its sleep does: systemd may keep a unit of
#: which a process remains, and would refuse the next rotation.
SCRIPT = """
set -eu
trap 'exit 0' TERM
key=$1 service=$2 delay=$3 hold=$4 times=$5
back() {
    if [ -e "$key.old" ]; then mv -f "$key.old" "$key"; systemctl restart "$service"; fi
}
sleep "$delay"
ln -f "$key" "$key.old"
deadline=$(($(date +%s) + 20))
began=$(date +%s.%N)
mv -f "$key.new" "$key"
systemctl restart "$service" || { back; exit 1; }
until munge -n > /dev/null 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || { back; exit 1; }
    sleep 0.05
done
echo "$began $(date +%s.%N)" > "$times.part"
mv -f "$times.part" "$times"
sleep "$hold"
back
"""


class RotationError(Exception):
    """A step can't be done; the old key is, or comes, back."""


class Rotation:
    """The key of one host.

    Args:
        path: The key in place.
        service: The unit of munged.
        check_mode: Change nothing.
    """

    def __init__(self, path: str, service: str, *, check_mode: bool) -> None:
        self.path, self.service, self.check_mode = path, service, check_mode
        self.new_path, self.old_path = path + ".new", path + ".old"
        self.touched = False

    def seen(self) -> Dict[str, Any]:
        """Return which key is in place, by its fingerprint only."""
        with open(self.path, "rb") as stream:
            fingerprint = hashlib.sha256(stream.read()).hexdigest()
        return {"active": "new" if os.path.exists(self.old_path) else "old", "sha256": fingerprint}

    def made(self, size: int) -> None:
        """Make a new key beside the old one, with the same owner and rights."""
        self._refuse_running()
        self.touched = True
        if self.check_mode:
            return
        status = os.stat(self.path)
        self._remove(self.new_path)
        descriptor = os.open(self.new_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(size))
            stream.flush()
            os.fsync(stream.fileno())
        os.chown(self.new_path, status.st_uid, status.st_gid)

    def armed(self, at: float, hold: int) -> None:
        """Start the unit that changes the key, and changes it back."""
        self._refuse_running()
        self.touched = True
        if self.check_mode:
            return
        self._check_new()
        if time.time() > at - 0.5:
            raise RotationError(
                "the time to change the key was {0:.1f} s ago: the hosts were not ready in time, or this clock is "
                "ahead of the others. Give them longer by lead.".format(time.time() - at)
            )
        self._remove(self.old_path)
        self._remove(TIMES)
        delay = "{0:.3f}".format(max(0.0, at - time.time()))
        words = ["/bin/sh", "-c", SCRIPT, UNIT, self.path, self.service, delay, str(hold), TIMES]
        # A stop must not take longer than the others wait for this host.
        options = ["--quiet", "--collect", "--unit=" + UNIT, "--property=TimeoutStopSec=5"]
        result = run(["systemd-run", *options, *words], timeout=20)
        if result.rc != 0:
            raise RotationError("systemd-run: {0}".format(result.message))

    def changed(self) -> Optional[Dict[str, Any]]:
        """Wait until the unit has changed the key."""
        while not self.check_mode and not os.path.exists(TIMES):
            if not self._runs():
                raise RotationError("munged did not start with the new key; the old one is back. " + self._words())
            time.sleep(0.1)
        if self.check_mode:
            return None
        with open(TIMES, encoding="ascii") as stream:
            began, answered = (float(word) for word in stream.read().split())
        made = run(["munge", "-n"], timeout=15)
        return {"began": began, "answered": answered, "credential": made.stdout.strip()}

    def proved(self) -> None:
        """Let the new key stay; the old one stays beside it."""
        if self.check_mode:
            return
        if not (self._runs() and os.path.exists(self.old_path)):
            raise RotationError("the old key has come back by itself, as the proof took too long.")
        self._stop()
        if not os.path.exists(self.old_path):
            raise RotationError("the old key came back in this moment.")
        self.touched = True

    def kept(self) -> None:
        """Remove the old key for good."""
        if not self.check_mode:
            self._remove(self.old_path)
            self._remove(TIMES)

    def old(self) -> None:
        """Put the old key back, whatever has happened."""
        if self.check_mode:
            return
        self._stop()
        self._remove(self.new_path)
        if os.path.exists(self.old_path):
            os.replace(self.old_path, self.path)
            self.touched = True
            result = run(["systemctl", "restart", self.service], timeout=60)
            if result.rc != 0:
                raise RotationError("the old key is back, but munged does not start: {0}".format(self._words()))

    def _check_new(self) -> None:
        try:
            status, old = os.stat(self.new_path), os.stat(self.path)
        except FileNotFoundError as missing:
            raise RotationError("{0} is missing: bring the new key first.".format(missing.filename)) from None
        if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != old.st_uid:
            raise RotationError("{0} must belong to munge and be read by nobody else.".format(self.new_path))
        if status.st_size < MIN_SIZE:
            raise RotationError("{0} has {1} bytes; munged wants {2}.".format(self.new_path, status.st_size, MIN_SIZE))

    def _refuse_running(self) -> None:
        if self._runs():
            raise RotationError("another rotation is under way here ({0}.service); wait for its end.".format(UNIT))

    @staticmethod
    def _runs() -> bool:
        return run(["systemctl", "is-active", UNIT + ".service"], timeout=15).stdout.strip() in ("active", "activating")

    def _stop(self) -> None:
        if self._runs():
            result = run(["systemctl", "stop", UNIT + ".service"], timeout=30)
            if result.rc != 0:
                raise RotationError("systemctl stop {0}: {1}".format(UNIT, result.message))
            self.touched = True

    def _words(self) -> str:
        units = ["--unit=" + self.service, "--unit=" + UNIT]
        argv = ["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=8", *units]
        return "Last words: " + run(argv, timeout=15).stdout.strip()

    def _remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            self.touched = True
