"""Lists that come in parts: where a part begins, and the link to the next one."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Annotated

from fastapi import Query

from slurmscale.errors import Code
from slurmscale.service.problems import ProblemError

if TYPE_CHECKING:
    from fastapi import Request, Response

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=200)]


def cursor_after(moment: float, record_id: str) -> str:
    """Return the cursor of the part that begins after a record, of a list by time and id."""
    return base64.urlsafe_b64encode(json.dumps([moment, record_id]).encode()).decode()


def place_of(cursor: str | None) -> tuple[float, str] | None:
    """Return the time and the id of the record that a part begins after; None for the first part.

    Raises:
        ProblemError: The cursor is none.
    """
    if cursor is None:
        return None
    try:
        moment, record_id = json.loads(base64.urlsafe_b64decode(cursor))
        return float(moment), str(record_id)
    except (binascii.Error, ValueError, TypeError) as exc:
        raise ProblemError(
            422, Code.REQUEST_INVALID, "The cursor is not one of this service.", "Take it from the answer before."
        ) from exc


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    """Let the header `Link` of an answer name the next part, when there is one."""
    if cursor:
        base = request.scope.get("root_path", "")
        url = request.url.include_query_params(cursor=cursor)
        response.headers["Link"] = f'<{base}{url.path.removeprefix(base)}?{url.query}>; rel="next"'
