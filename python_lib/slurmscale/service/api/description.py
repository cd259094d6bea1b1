"""The description of the API: what FastAPI finds, and who may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from slurmscale.service.access.authentication import signed_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastapi.dependencies.models import Dependant

_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token, or the session of a login."},
    "session": {"type": "apiKey", "in": "cookie", "name": "__Host-slurmscale", "description": "The login of a page."},
}


class DescribedApi(FastAPI):
    """An application whose description names the permission that each call needs, as `x-permission`."""

    def openapi(self) -> dict[str, Any]:
        """Return the description in OpenAPI's form."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["securitySchemes"] = _SCHEMES
            for route in _flat(self.routes):
                for method in (route.methods or ()) if route.include_in_schema else ():
                    operation = document["paths"][route.path_format][method.lower()]
                    signed, permission = needs(route)
                    if signed:
                        operation["security"] = [{name: []} for name in _SCHEMES]
                    if permission:
                        operation["x-permission"] = permission
        return super().openapi()


def needs(route: APIRoute) -> tuple[bool, str | None]:
    """Return whether a route needs a login or a token, and the permission that it needs."""
    calls = [dependant.call for dependant in _all(route.dependant)]
    permissions = [getattr(call, "permission", None) for call in calls]
    return signed_in in calls, next((one.value for one in permissions if one), None)


def _all(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for one in dependant.dependencies:
        yield from _all(one)


def _flat(routes: Iterable[Any]) -> Iterator[APIRoute]:
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        if isinstance(route, APIRoute):
            yield route
        elif inner:
            yield from _flat(inner)
