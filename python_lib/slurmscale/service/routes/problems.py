"""What a problem means: the pages that `type` of a problem leads to."""

from __future__ import annotations

import html
from functools import cache
from typing import TYPE_CHECKING, Annotated

import yaml
from fastapi import APIRouter, Path, Response

from slurmscale.errors import NotFoundError
from slurmscale.runner import project
from slurmscale.service.state import Parts

if TYPE_CHECKING:
    import pathlib

router = APIRouter(include_in_schema=False)

_LIST = "plugins/module_utils/failure_code_meanings.yml"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{code}</title>
<h1>{code}</h1>
<p>{meaning}</p>
<p>The problem itself says what was found and what to do: detail and remedy.</p>
"""


@router.get("/problems/{code}")
def problem(code: Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{1,63}$")], parts: Parts) -> Response:
    """Say what a code means."""
    meaning = _meanings(project.find(parts.scaling.settings.project_dir).root).get(code)
    if meaning is None:
        raise NotFoundError(f"There is no problem {code}.")
    return Response(_PAGE.format(code=code, meaning=html.escape(meaning)), media_type="text/html")


@cache
def _meanings(root: pathlib.Path) -> dict[str, str]:
    """Read the collection's list of codes."""
    sections = yaml.safe_load((root / _LIST).read_text(encoding="utf-8"))
    return {code: text for groups in sections.values() for group in groups for code, text in group["codes"].items()}
