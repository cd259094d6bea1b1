"""Every answer that is not a success: problem details as RFC 9457 has them, with a code, a reason and a remedy."""

from __future__ import annotations

import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from slurmscale.clean_text import clean
from slurmscale.documents import Document
from slurmscale.errors import (
    ClusterError,
    Code,
    NodesError,
    NotFoundError,
    OverlapError,
    ProjectError,
    RefusedError,
    SlurmscaleError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastapi import FastAPI, Request
    from starlette.requests import HTTPConnection

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
_RETRY_SECONDS = 5
_STATUSES: tuple[tuple[type[SlurmscaleError], int], ...] = (
    (NodesError, 422),
    (ClusterError, 422),
    (OverlapError, 409),
    (ProjectError, 500),
    (RefusedError, 409),
    (NotFoundError, 404),
    (StoreError, 503),
    (SlurmscaleError, 500),
)
_HTTP_CODES = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}


class FieldProblem(Document):
    """What is wrong with one part of a request."""

    pointer: str
    """JSON pointer to the part, or the name of a parameter."""
    detail: str


class Problem(Document):
    """Why a request was not done."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    """For programs; docs/reference/reasons.md lists all codes."""
    remedy: str
    """What to do; empty when the detail says it."""
    request_id: str
    run_id: str | None = None
    """The run that is in the way."""
    nodes: list[str] | None = None
    """The nodes that it holds."""
    errors: list[FieldProblem] | None = None
    """What is wrong with the request, part by part."""


class ProblemError(Exception):
    """A request that is not done.

    Args:
        status: Status of HTTP.
        code: For programs.
        detail: What is needed and what was found, as a sentence.
        remedy: What to do, as a sentence.
        headers: Further headers of the answer.
        more: Further members of the problem.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        remedy: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.remedy = remedy
        self.headers = dict(headers or {})
        self.more = more


def problem_of(error: SlurmscaleError) -> ProblemError:
    """Turn an error of the library into a problem."""
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    headers = {"Retry-After": str(_RETRY_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    more = {"run_id": error.run_id, "nodes": list(error.nodes)} if isinstance(error, OverlapError) else {}
    return ProblemError(status, error.code, error.reason, error.remedy, headers=headers, **more)


def document_of(problem: ProblemError, request: HTTPConnection) -> Problem:
    """Return what is sent of a problem."""
    return Problem(
        type=f"/problems/{problem.code}",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=clean(problem.detail),
        instance=request.url.path,
        code=problem.code,
        remedy=clean(problem.remedy),
        request_id=request.scope.get("request_id", ""),
        **problem.more,
    )


def answer(problem: ProblemError, request: HTTPConnection) -> JSONResponse:
    """Return the answer that tells a problem."""
    content = document_of(problem, request).model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, problem.status, problem.headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let the application answer its errors with problems."""
    app.add_exception_handler(ProblemError, _of_problem)
    app.add_exception_handler(SlurmscaleError, _of_library)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_mistake)


async def _of_problem(request: Request, exc: Exception) -> JSONResponse:
    return answer(cast("ProblemError", exc), request)


async def _of_library(request: Request, exc: Exception) -> JSONResponse:
    return answer(problem_of(cast("SlurmscaleError", exc)), request)


async def _of_validation(request: Request, exc: Exception) -> JSONResponse:
    # what was given is never repeated: it may be a password in the wrong place
    errors = [
        {"pointer": _pointer(error["loc"]), "detail": str(error["msg"])}
        for error in cast("RequestValidationError", exc).errors()
    ]
    problem = ProblemError(
        422, Code.REQUEST_INVALID, "The request is not what this route takes.", "Correct what is named.", errors=errors
    )
    return answer(problem, request)


def _pointer(location: Iterable[str | int]) -> str:
    where, *rest = location
    if where != "body":
        return ".".join(map(str, rest)) or str(where)
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in rest)


async def _of_http(request: Request, exc: Exception) -> JSONResponse:
    found = cast("HTTPException", exc)
    code = _HTTP_CODES.get(found.status_code, Code.REQUEST_INVALID)
    detail = {404: "There is no such address.", 405: f"{request.method} is not possible here."}
    text = detail.get(found.status_code, "The request cannot be read.")
    return answer(ProblemError(found.status_code, code, text, headers=found.headers), request)


async def _of_mistake(request: Request, exc: Exception) -> JSONResponse:
    # the text of the exception may hold what the request held
    last = traceback.extract_tb(exc.__traceback__)[-1]
    where = f"{type(exc).__name__} in {last.name}, line {last.lineno}"
    log.error("a request failed", path=request.url.path, where=where, request_id=request.scope.get("request_id"))
    detail = f"A mistake in slurmscale: {where}."
    return answer(ProblemError(500, Code.INTERNAL_ERROR, detail, "Please report it."), request)
