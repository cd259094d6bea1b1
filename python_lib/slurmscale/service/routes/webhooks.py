"""Webhooks: who is told of what, and what became of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from slurmscale.errors import NotFoundError
from slurmscale.models import when
from slurmscale.service.access.authentication import Principal, record, requires
from slurmscale.service.access.permissions import Permission
from slurmscale.service.api.idempotency import RepeatableRoute
from slurmscale.service.api.schemas import DeliveryList, DeliveryView, MadeWebhook, NewWebhook, WebhookList, WebhookView
from slurmscale.service.state import HookParts
from slurmscale.store.webhooks import Delivery, Webhook

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"], route_class=RepeatableRoute)

Admin = Annotated[Principal, Depends(requires(Permission.WEBHOOKS_ADMIN))]
WebhookId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,32}$")]


@router.get("")
def webhooks(_principal: Admin, hooks: HookParts) -> WebhookList:
    """List the webhooks."""
    return WebhookList(items=[_view(hook) for hook in hooks.records.all()])


@router.post("", status_code=201)
def create_webhook(
    body: NewWebhook, principal: Admin, request: Request, response: Response, hooks: HookParts
) -> MadeWebhook:
    """Let an address be told of events; what its messages are signed with is shown this once."""
    made, secret = hooks.add(body.url, body.events)
    record(request, principal, "success", details={"url": body.url, "events": list(body.events)})
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/api/webhooks/{made.id}/deliveries"
    return MadeWebhook(**_view(made).model_dump(), secret=secret)


@router.delete("/{webhook_id}", status_code=204)
def remove_webhook(webhook_id: WebhookId, principal: Admin, request: Request, hooks: HookParts) -> None:
    """Tell an address nothing more."""
    found = _webhook(webhook_id, hooks)
    hooks.records.remove(found.id)
    record(request, principal, "success", details={"url": found.url})


@router.post("/{webhook_id}/test", status_code=202)
def test_webhook(webhook_id: WebhookId, principal: Admin, request: Request, hooks: HookParts) -> WebhookView:
    """Send a message that tells of nothing; `/deliveries` shows what became of it."""
    found = _webhook(webhook_id, hooks)
    hooks.records.test(found.id)
    request.app.state.sender.wake()
    record(request, principal, "success", details={"url": found.url})
    return _view(found)


@router.get("/{webhook_id}/deliveries")
def webhook_deliveries(webhook_id: WebhookId, _principal: Admin, hooks: HookParts) -> DeliveryList:
    """List the newest messages to a webhook."""
    found = hooks.records.deliveries(_webhook(webhook_id, hooks).id)
    return DeliveryList(items=[_delivery(one) for one in found])


def _webhook(webhook_id: str, hooks: HookParts) -> Webhook:
    for one in hooks.records.all():
        if one.id == webhook_id:
            return one
    raise NotFoundError("There is no such webhook.")


def _view(hook: Webhook) -> WebhookView:
    return WebhookView(id=hook.id, url=hook.url, events=list(hook.events), created_at=when(hook.created_at))


def _delivery(one: Delivery) -> DeliveryView:
    return DeliveryView(
        id=str(one.id),
        event=one.event,
        status=one.status,
        attempts=one.attempts,
        created_at=when(one.created_at),
        next_at=when(one.next_at) if one.status == "waiting" else None,
        answered_at=when(one.answered_at),
        answer=one.answer,
        error=one.error,
        body=one.body,
    )
