"""The page in a browser: its files, where they are served, and what its browser may do."""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

# All of it lies in memory: nothing here waits, and no thread is taken from the calls that do.
router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types lit-html"
)
_INDEX = "index.html"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml"}


def _read(folder: Traversable, prefix: str = "") -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            files |= _read(entry, f"{prefix}{entry.name}/")
        else:
            files[f"{prefix}{entry.name}"] = entry.read_bytes()
    return files


_FILES = _read(resources.files("slurmscale.service") / "page")
_PACKED = {name: gzip.compress(content, mtime=0) for name, content in _FILES.items()}
VERSION = hashlib.sha256(b"".join(name.encode() + _FILES[name] for name in sorted(_FILES))).hexdigest()[:16]
"""Stands in the addresses of the files, so that a browser keeps them until they change."""


@router.get("/")
async def root(request: Request) -> RedirectResponse:
    """Lead to the page."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/slurm")


@router.get("/slurm-tasks")
@router.get("/slurm")
@router.get("/slurm/{path:path}")
async def index(request: Request) -> Response:
    """Return the page; it finds out by its address what it shows.

    The base of its links is told relative to its own address: right under any path that a proxy puts before it.
    """
    own = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    base = "../" * (own.count("/") - 1) or "./"
    text = _FILES[_INDEX].decode().replace("{base}", base).replace("{version}", VERSION)
    return Response(
        text,
        media_type="text/html",
        headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache", "Referrer-Policy": "same-origin"},
    )


@router.get("/page/{version}/{name:path}")
async def file(version: str, name: str, request: Request) -> Response:
    """Return a file of the page, compressed for all who take it so."""
    if name not in _FILES or name == _INDEX:
        raise HTTPException(404)
    kept = "public, max-age=31536000, immutable" if version == VERSION else "no-cache"
    headers = {"Cache-Control": kept, "Vary": "Accept-Encoding"}
    packed = "gzip" in request.headers.get("Accept-Encoding", "")
    if packed:
        headers["Content-Encoding"] = "gzip"
    return Response((_PACKED if packed else _FILES)[name], media_type=_type(name), headers=headers)


def _type(name: str) -> str:
    suffix = f".{name.rpartition('.')[2]}"
    return _TYPES.get(suffix) or "text/plain"
