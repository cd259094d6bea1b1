# Apache License 2.0 (see LICENSE)
"""Changes the munge key of one host in steps, with a timed return to the old key that needs nobody.

The files beside the key say what state a rotation is in, whoever was killed at whatever moment:

    KEY.rotation   which rotation has this host; it is the lock, from the first step until the last
    KEY.new        the new key is staged
    KEY.old        the new key is in place and the old one comes back at the time that KEY.rotation tells
    KEY.previous   the new key is in place for good, the old one is about to be removed

Going from .old to .previous and going back to the old key are each one rename of the same file, so only one of them
can happen.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
import tempfile
import time
from typing import Any, Dict, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import run

#: Followed by the time of the switch: systemd may still have the unit of a rotation that has ended, and takes no second
#: one of its name.
UNIT = "slurmscale-munge-rotation-"
ANY_UNIT = UNIT + "*.service"
#: Where the unit writes when it began and when munged answered; gone after a boot, as the unit is.
TIMES = "/run/slurmscale-munge-rotation"
#: munged refuses a shorter key.
MIN_SIZE = 32
#: Seconds after which a rotation that goes no further counts as interrupted: once staged or committed, and once the
#: time of the return is over.
MAX_PAUSE = 600
MAX_DELAY = 60
#: The unit's work; times are milliseconds since 1970. systemd starts it again when it is killed, so it first finds out
#: how far it got. systemd itself would replace ${...}. With the trap, the shell ends after its sleep does.
SCRIPT = """
set -eu
trap 'exit 0' TERM
key=$1 service=$2 switch_at=$3 return_at=$4 times=$5
wait_until() {
    left=$(($1 - $(date +%s%3N)))
    if [ "$left" -gt 0 ]; then sleep "$((left / 1000)).$(printf %03d $((left % 1000)))"; fi
}
back() {
    if mv -f "$key.old" "$key" 2> /dev/null; then systemctl restart "$service"; fi
    exit 0
}
if [ ! -e "$key.old" ]; then
    if [ ! -e "$key.new" ]; then
        [ -e "$key.previous" ] || systemctl restart "$service"
        exit 0
    fi
    wait_until "$switch_at"
    ln -f "$key" "$key.old"
    began=$(date +%s.%N)
    mv -f "$key.new" "$key"
    systemctl restart "$service" || back
    deadline=$(($(date +%s) + 20))
    until munge -n > /dev/null 2>&1; do
        [ "$(date +%s)" -lt "$deadline" ] || back
        sleep 0.05
    done
    echo "$began $(date +%s.%N)" > "$times.part"
    mv -f "$times.part" "$times"
fi
[ -e "$times" ] || back
wait_until "$return_at"
back
"""


class RotationError(FailureError):
    """A step of a rotation can't be done."""


class KeyRotation:
    """The key of one host, and the rotation that changes it.

    Args:
        path: The key in place.
        service: The unit of munged.
        rotation: Which rotation this is; empty for one who only wants to know, or to end somebody else's.
        check_mode: Change nothing.
    """

    def __init__(self, path: str, service: str, rotation: str = "", *, check_mode: bool = False) -> None:
        self.path, self.service, self.rotation, self.check_mode = path, service, rotation, check_mode
        self.new_path, self.old_path, self.previous_path = path + ".new", path + ".old", path + ".previous"
        self.record_path = path + ".rotation"
        self.changed = False

    def status(self) -> Dict[str, Any]:
        """Tell what is on disk: which key is in place, and how far which rotation is.

        Returns:
            active, sha256, phase, rotation, return_at and interrupted, as the module documents them.
        """
        record = self._read_record()
        sha256, phase = self._fingerprint(self.path), self._phase(record)
        replaced = self._fingerprint(self.old_path) or self._fingerprint(self.previous_path)
        runs = phase in ("scheduled", "switched") and self._unit_runs()
        expires = record.get("expires", float("inf") if phase in ("none", "staged") else 0)
        return {
            "active": "old" if replaced in (None, sha256) else "new",
            "sha256": sha256,
            "phase": phase,
            "rotation": record.get("rotation"),
            "return_at": record.get("return_at") if runs else None,
            "interrupted": time.time() > expires or (phase == "switched" and not runs),
        }

    def stage(self, size: int) -> None:
        """Make a new key beside the old one, with the same owner and rights.

        Args:
            size: Its bytes.
        """
        self._lock({"expires": time.time() + MAX_PAUSE})
        self.changed = True
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

    def schedule(self, switch_at: float, hold: int) -> None:
        """Start the unit that switches to the new key, and later back.

        Args:
            switch_at: When, in seconds since 1970.
            hold: Seconds after which the old key comes back.
        """
        return_at = switch_at + hold
        if not self.check_mode:
            self._check_new_key()
            if time.time() > switch_at - 0.5:
                raise RotationError(
                    Code.ROTATION_TOO_LATE,
                    f"the time to switch keys was {time.time() - switch_at:.1f} s ago: the hosts were not ready in "
                    "time, or this clock is ahead of the others.",
                    "Give the hosts longer by -e lead=SECONDS, and see that their clocks agree.",
                )
        terms = {"switch_at": switch_at, "return_at": return_at, "expires": return_at + MAX_DELAY}
        self._lock({**terms, "new_key": self._fingerprint(self.new_path)})
        self.changed = True
        if self.check_mode:
            return
        self._remove(TIMES)
        times = [f"{moment * 1000:.0f}" for moment in (switch_at, return_at)]
        unit = UNIT + times[0]
        words = ["/bin/sh", "-c", SCRIPT, unit, self.path, self.service, *times, TIMES]
        # A stop must not take longer than the others wait for this host.
        properties = ["--property=TimeoutStopSec=5", "--property=Restart=on-failure", "--property=RestartSec=100ms"]
        result = run(["systemd-run", "--quiet", "--collect", "--unit=" + unit, *properties, *words], timeout=20)
        if result.rc != 0:
            raise RotationError(Code.ROTATION_NOT_SCHEDULED, f"systemd-run: {result.message}")

    def wait_for_switch(self) -> Optional[Dict[str, Any]]:
        """Wait until the unit has switched to the new key.

        Returns:
            When it began and when munged answered, and a credential made with the new key.
        """
        if self.check_mode:
            return None
        self._require_ours()
        while not os.path.exists(TIMES):
            if not self._unit_runs():
                self._raise_not_switched()
            time.sleep(0.1)
        if self._phase(self._read_record()) not in ("switched", "committed"):
            raise self._taken_back()
        with open(TIMES, encoding="ascii") as stream:
            began, answered = (float(word) for word in stream.read().split())
        made = run(["munge", "-n"], timeout=15)
        return {"began": began, "answered": answered, "credential": made.stdout.strip()}

    def commit(self) -> None:
        """Let the new key stay; the old one is still there."""
        if self.check_mode:
            return
        self._require_ours()
        if os.path.exists(self.previous_path):
            return
        try:
            # Whatever the unit does from now on, it finds nothing to put back.
            os.rename(self.old_path, self.previous_path)
        except FileNotFoundError:
            raise self._taken_back() from None
        self.changed = True
        self._stop_unit()
        self._write_record(dict(self._read_record(), expires=time.time() + MAX_PAUSE))

    def finish(self) -> None:
        """Remove the old key for good, and end the rotation."""
        if self.check_mode:
            return
        if self._phase(self._read_record()) == "none":
            return
        self._require_ours()
        if os.path.exists(self.old_path):
            raise RotationError(
                Code.ROTATION_UNDER_WAY, "the new key was not committed, and the old one comes back by itself."
            )
        self._remove(self.previous_path)
        self._remove(TIMES)
        self._remove(self.record_path)

    def roll_back(self, *, force: bool) -> None:
        """Put the old key back, however far the rotation is, and end it.

        Args:
            force: Also when it is somebody else's.
        """
        record = self._read_record()
        phase = self._phase(record)
        if self.check_mode or phase == "none":
            return
        if record and not force:
            self._require_ours()
        self._stop_unit()
        self._remove(self.new_path)
        replaced = next((path for path in (self.old_path, self.previous_path) if os.path.exists(path)), None)
        if replaced:
            os.replace(replaced, self.path)
            self.changed = True
        # Also when the key is back already: who put it back may have been killed before munged read it.
        needs_restart = replaced is not None or phase == "returned"
        result = run(["systemctl", "restart", self.service], timeout=60) if needs_restart else None
        if result and result.rc != 0:
            raise RotationError(
                Code.SERVICE_DOWN,
                f"the old key is back, but munged does not start: {self._journal()}",
                f"Find out why: systemctl status {self.service}",
            )
        self._remove(TIMES)
        self._remove(self.record_path)

    def _phase(self, record: Dict[str, Any]) -> str:
        if os.path.exists(self.previous_path):
            return "committed"
        if os.path.exists(self.old_path):
            return "switched"
        if "switch_at" in record:
            # A key of another rotation may have been deployed since.
            staged = self._fingerprint(self.new_path)
            return "scheduled" if staged is not None and staged == record.get("new_key") else "returned"
        return "staged" if record or os.path.exists(self.new_path) else "none"

    def _read_record(self) -> Dict[str, Any]:
        try:
            with open(self.record_path, encoding="utf-8") as stream:
                record: Dict[str, Any] = json.load(stream)
        except (FileNotFoundError, ValueError):
            return {}
        return record

    def _lock(self, terms: Dict[str, Any]) -> None:
        """Take this host for the rotation, or fail; a rotation may take it again with later terms."""
        held, state = self._read_record(), self.status()
        switched = state["phase"] in ("switched", "committed")
        if switched and state["interrupted"]:
            raise self._interrupted(held, state)
        ours = held.get("rotation") == self.rotation
        # A scheduled rotation that has returned can't be committed any more: it has ended, whoever ran it.
        returned = state["phase"] == "returned" and "return_at" in held
        free = state["phase"] == "staged" if ours else returned or (state["interrupted"] and not switched)
        if switched or (held and not free) or self._unit_runs():
            raise self._under_way(held, state)
        if self.check_mode:
            return
        record = {"rotation": self.rotation, "started": time.time(), **terms}
        if held:
            self._write_record(record)
        elif not self._write_record(record, only_if_free=True):
            raise self._under_way(self._read_record(), self.status())

    def _write_record(self, record: Dict[str, Any], *, only_if_free: bool = False) -> bool:
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(self.record_path), prefix=".slurmscale-")
        try:
            with os.fdopen(descriptor, "w") as stream:
                json.dump(record, stream)
                stream.flush()
                os.fsync(stream.fileno())
            if not only_if_free:
                os.replace(temporary, self.record_path)
                return True
            try:
                os.link(temporary, self.record_path)
            except FileExistsError:
                return False
            return True
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _require_ours(self) -> None:
        record = self._read_record()
        if not record:
            raise RotationError(
                Code.ROTATION_NOT_SCHEDULED, f"rotation {self.rotation} was not scheduled on this host."
            )
        if record.get("rotation") != self.rotation:
            raise self._under_way(record, self.status())

    def _under_way(self, record: Dict[str, Any], state: Dict[str, Any]) -> RotationError:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["started"])) if record else "an unknown time"
        reason = f"rotation {record.get('rotation') or '?'} of {began} holds this host and is {state['phase']}"
        if state["return_at"]:
            reason += time.strftime("; the old key comes back at %H:%M:%S", time.localtime(state["return_at"]))
        return RotationError(
            Code.ROTATION_UNDER_WAY,
            reason + ". Nothing was changed.",
            "Wait for its end. When nobody runs it any more, bring the old key back on all hosts of the cluster: "
            "ansible HOSTS -b -m ai_infra.slurm.munge_rotation -a 'state=rolled_back force=true'",
        )

    def _interrupted(self, record: Dict[str, Any], state: Dict[str, Any]) -> RotationError:
        kept = self.previous_path if state["phase"] == "committed" else self.old_path
        return RotationError(
            Code.ROTATION_INTERRUPTED,
            f"rotation {record.get('rotation') or 'of an unknown name'} was interrupted when this host had "
            f"{state['phase']}: it has the new key, and the old one is {kept}. Nothing was changed.",
            "Bring the old key back on all hosts of the cluster: ansible HOSTS -b -m ai_infra.slurm.munge_rotation "
            "-a 'state=rolled_back force=true'",
        )

    @staticmethod
    def _taken_back() -> RotationError:
        return RotationError(
            Code.ROTATION_TAKEN_BACK,
            "the old key has come back by itself, as not all hosts were verified in time.",
            "Give the hosts longer by -e hold=SECONDS.",
        )

    def _raise_not_switched(self) -> None:
        phase = self._phase(self._read_record())
        if phase == "returned":
            reason = f"munged did not start with the new key; the old one is back. {self._journal()}"
            raise RotationError(Code.ROTATION_TAKEN_BACK, reason)
        raise RotationError(
            Code.ROTATION_INTERRUPTED, f"{ANY_UNIT} does not run any more, and the rotation is {phase}."
        )

    def _check_new_key(self) -> None:
        try:
            status, old = os.stat(self.new_path), os.stat(self.path)
        except FileNotFoundError as missing:
            raise RotationError(
                Code.MUNGE_KEY_MISSING, f"{missing.filename} is missing.", "Deploy the new key first."
            ) from None
        if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != old.st_uid:
            raise RotationError(
                Code.PERMISSIONS_WRONG, f"{self.new_path} must belong to munge and be readable by nobody else."
            )
        if status.st_size < MIN_SIZE:
            raise RotationError(
                Code.MUNGE_KEY_UNUSABLE, f"{self.new_path} has {status.st_size} bytes; munged needs {MIN_SIZE}."
            )

    @staticmethod
    def _fingerprint(path: str) -> Optional[str]:
        try:
            with open(path, "rb") as stream:
                return hashlib.sha256(stream.read()).hexdigest()
        except FileNotFoundError:
            return None

    @staticmethod
    def _unit_runs() -> bool:
        states = run(["systemctl", "is-active", ANY_UNIT], timeout=15).stdout.split()
        return not {"active", "activating"}.isdisjoint(states)

    def _stop_unit(self) -> None:
        if self._unit_runs():
            result = run(["systemctl", "stop", ANY_UNIT], timeout=30)
            if result.rc != 0:
                raise RotationError(Code.SERVICE_DOWN, f"systemctl stop {ANY_UNIT}: {result.message}")
            self.changed = True

    def _journal(self) -> str:
        units = ["--unit=" + self.service, "--unit=" + ANY_UNIT]
        argv = ["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=8", *units]
        return "The journal: " + run(argv, timeout=15).stdout.strip()

    def _remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            self.changed = True
