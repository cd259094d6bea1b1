"""Sends webhooks their messages, signed as Standard Webhooks says, and again when nobody took one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from slurmscale.errors import RefusedError, SlurmscaleError
from slurmscale.periodic import PeriodicCall
from slurmscale.service.access.keys import derive
from slurmscale.service.outgoing import connection_to
from slurmscale.store.webhook_messages import WebhookEvent
from slurmscale.store.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurmscale.scaling import Scaling
    from slurmscale.store.webhooks import Delivery, Webhook

_PREFIX = "whsec_"
_SECRET_BYTES = 24
_SECONDS = 10.0
_PAUSES = (5.0, 30.0, 120.0, 600.0, 3600.0)
"""After each try that failed but the last one."""
_LOOK_SECONDS = 5.0
_AT_ONCE = 4
_MOST_ANSWER = 64 * 1024
_TAKEN = range(200, 300)

log = structlog.get_logger(__name__)


class Hooks:
    """The webhooks of a service, with their secrets.

    Args:
        scaling: The library.
        keys: The secret keys of the service.
    """

    def __init__(self, scaling: Scaling, keys: tuple[bytes, ...]) -> None:
        self.records = Webhooks(scaling.store)
        self._silent = scaling.settings.stalled_minutes * 60
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in derive(keys, "webhooks")])

    def add(self, url: str, events: Iterable[str]) -> tuple[Webhook, str]:
        """Add a webhook; returns it and its secret."""
        secret = _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        sealed = self._fernet.encrypt(secret.encode()).decode()
        return self.records.add(url, dict.fromkeys(events), sealed, secrets.token_hex(8)), secret

    def reseal(self) -> int:
        """Seal the secrets of all webhooks anew with the first key.

        Returns:
            How many.

        Raises:
            RefusedError: One was sealed with a key that is not there.
        """
        done = 0
        for hook in self.records.all():
            try:
                sealed = self._fernet.rotate(hook.secret).decode()
            except InvalidToken as exc:
                raise RefusedError(
                    f"The secret of the webhook {hook.id} was sealed with another key.",
                    "Put that key back into the secret key file, behind the new one.",
                ) from exc
            done += self.records.replace_secret(hook, sealed)
        return done

    def send_due(self) -> None:
        """Send what is to be sent now."""
        known = {one.id: one for one in self.records.all()}
        if any(WebhookEvent.TASK_STALLED in one.events for one in known.values()):
            self.records.find_stalled(self._silent)
        due = self.records.take_due() if known else []
        if not due:
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for delivery in due:
                if delivery.webhook_id in known:
                    pool.submit(self._send, known[delivery.webhook_id], delivery)

    def _send(self, hook: Webhook, delivery: Delivery) -> None:
        try:
            answer, error = self._post(hook, delivery)
            self.records.answered(delivery, answer, error, _PAUSES)
        except SlurmscaleError as exc:
            log.warning("what became of a message to a webhook could not be recorded", error=exc.reason)
        except Exception:
            log.exception("a webhook could not be told")

    def _post(self, hook: Webhook, delivery: Delivery) -> tuple[int | None, str | None]:
        try:
            secret = self._fernet.decrypt(hook.secret).decode()
        except InvalidToken:
            return None, "The secret of the webhook was sealed with a key that is gone. Make it anew."
        try:
            status = post(hook.url, delivery.body.encode(), signed(secret, f"msg_{delivery.id}", delivery.body))
        except (OSError, ValueError, http.client.HTTPException) as exc:
            return None, str(exc) or type(exc).__name__
        return status, None if status in _TAKEN else f"The answer has status {status}."


def signed(secret: str, message_id: str, body: str, now: float | None = None) -> dict[str, str]:
    """Return the headers that vouch for a message and its time.

    Args:
        secret: The webhook's secret.
        message_id: The message: the same whenever it is sent.
        body: What is sent.
        now: Seconds since the epoch; the time when None.
    """
    stamp = str(int(time.time() if now is None else now))
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    mac = hmac.new(key, f"{message_id}.{stamp}.{body}".encode(), hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Post to an address, and nowhere else: no redirect is followed, and the address is looked up once.

    Returns:
        The status of the answer.

    Raises:
        OSError: It can't be reached.
        ValueError: It is none, or one that nobody outside a machine has, such as that of a cloud's own service.
    """
    where = urlsplit(url)
    with connection_to(where, _SECONDS) as connection:
        connection.request("POST", where.path or "/", body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        answer.read(_MOST_ANSWER)
        return answer.status


def sender(hooks: Hooks) -> PeriodicCall:
    """Return what sends the messages of webhooks while it is entered; of many processes each message has one."""
    return PeriodicCall(
        hooks.send_due, _LOOK_SECONDS, "webhooks", "the messages to webhooks can not be read for the moment"
    )
