"""The audit trail, for those who may read it: in pages, or as a table for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from slurmscale.service.access.authentication import Principal, requires
from slurmscale.service.access.permissions import Permission
from slurmscale.service.api.paging import Limit, link_next
from slurmscale.service.api.schemas import AuditPage, AuditView
from slurmscale.service.state import Parts

router = APIRouter(prefix="/api", tags=["audit"])

Auditor = Annotated[Principal, Depends(requires(Permission.AUDIT_READ))]
_MOST_ROWS = 10_000
Text = Annotated[str | None, Query(max_length=255)]


def _filters(
    user: Text = None,
    action: Text = None,
    status: Text = None,
    run: Text = None,
    since: Annotated[float | None, Query(ge=0)] = None,
) -> dict[str, Any]:
    """Return which rows are wanted, as `AuditTrail.entries` takes it."""
    return {"since": since, "user": user, "action": action, "status": status, "run_id": run}


Filters = Annotated[dict[str, Any], Depends(_filters)]


@router.get("/audit")
def audit(
    principal: Auditor,
    parts: Parts,
    request: Request,
    response: Response,
    wanted: Filters,
    limit: Limit = 50,
    cursor: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> AuditPage:
    """List what was asked for, by whom, and the result; newest first.

    Who is limited to some clusters is shown what is of them, and what was asked for with the same token or login.
    """
    found = parts.audit.entries(limit=limit + 1, before=cursor, **wanted, **_limits(principal))
    more = str(found[limit - 1].id) if len(found) > limit else None
    link_next(request, response, more)
    return AuditPage(items=[AuditView.of(entry) for entry in found[:limit]], next_cursor=more)


@router.get("/audit.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def audit_table(
    principal: Auditor,
    parts: Parts,
    wanted: Filters,
) -> Response:
    """List the newest rows, 10,000 at most, as CSV."""
    found = parts.audit.entries(limit=_MOST_ROWS, **wanted, **_limits(principal))
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(AuditView.model_fields)
    for entry in found:
        view = AuditView.of(entry)
        cells = view.model_dump(mode="json") | {"nodes": " ".join(view.nodes), "details": json.dumps(view.details)}
        rows.writerow([_cell(value) for value in cells.values()])
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    return Response(table.getvalue(), headers=headers, media_type="text/csv")


def _limits(principal: Principal) -> dict[str, Any]:
    """Return which rows somebody may see, likewise."""
    return {} if principal.clusters is None else {"clusters": principal.clusters, "token_id": principal.token_id}


def _cell(value: object) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
