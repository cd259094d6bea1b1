"""Every route with every role, from the table of routes; and what is planted into every field of every route."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from slurmscale.operations import Operation
from slurmscale.service.access.authentication import signed_in
from slurmscale.service.access.permissions import PERMISSIONS, Permission, Role

OPEN = {"/healthz", "/readyz", "/api/auth/login"}
"""Routes that need no login; pages and the description are not in the table."""
OUTSIDE = {
    "/", "/slurm", "/slurm/{path:path}", "/slurm-tasks", "/page/{version}/{name:path}", "/problems/{code}",
    "/openapi.json",
    # it asks for a permission itself, as it must not be refused before it was accepted
    "/api/slurm/ws",
}  # fmt: skip
"""What is no call of the API: the page, which holds no data, what tells of the API, and the socket."""
PLANTED = (
    "{{ lookup('pipe', 'touch MARK') }}",
    "{% for x in lookup('pipe', 'touch MARK') %}{% endfor %}",
    "$(touch MARK)",
    "`touch MARK`",
    "n1; touch MARK",
    "n1|touch MARK",
    "-oProxyCommand=touch MARK",
    "../../MARK",
    "MARK",
    "n1 NodeName=evil",
    "n1\nNodeName=evil",
    "@all",
    "*",
    "<img src=x onerror=alert(1)>",
    "n1,localhost",
    "all",
    "n[1-99999999]",
    "\u202en1",
    "",
)


_TEXTS_A_FIELD = 2


def routes(app):
    return [route for route in _flat(app.routes) if isinstance(route, APIRoute) and route.include_in_schema]


def _flat(found):
    for route in found:
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        if isinstance(route, APIRoute) or not inner:
            yield route
        else:
            yield from _flat(inner)


def permission_of(route):
    """Return what a route asks for: a permission, a login (True), or nothing."""
    waiting, needed = [route.dependant], None
    while waiting:
        dependant = waiting.pop()
        waiting += dependant.dependencies
        call = dependant.call
        if hasattr(call, "permission"):
            return call.permission
        if call is signed_in:
            needed = True
    return needed


def path_of(route):
    values = {
        "run_id": "none",
        "task_id": "none:n1",
        "token_id": "0" * 12,
        "user_id": "0" * 12,
        "cluster_id": "none",
        "webhook_id": "0" * 16,
        "credential_id": "0" * 16,
        "job_id": "0",
    }
    return route.path.format(**values)


def test_what_is_no_call_of_the_api_is_known_and_a_new_route_is_found(app):
    def others():
        return {route.path for route in _flat(app.routes)} - {route.path for route in routes(app)}

    assert others() == OUTSIDE
    app.add_api_route("/api/new", lambda: 1, methods=["PUT"])
    app.add_api_route("/api/hidden", lambda: 1, include_in_schema=False)
    (new,) = [route for route in routes(app) if route.path == "/api/new"]
    assert permission_of(new) is None
    assert others() == OUTSIDE | {"/api/hidden"}


def test_every_route_asks_for_a_permission_but_those_that_are_known_to_need_none(app):
    table = {(method, route.path): permission_of(route) for route in routes(app) for method in route.methods}
    assert len(table) > 25
    assert {path for (_, path), needed in table.items() if needed is None} == OPEN
    changing = {key: needed for key, needed in table.items() if key[0] != "GET" and key[1].startswith("/api/slurm")}
    assert Permission.READ not in changing.values()


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_names_a_permission_that_there_is(operation):
    assert operation.definition.permission in set(Permission)


def test_every_role_is_let_in_where_it_may_and_nowhere_else(app, client, as_role):
    clients = {role: as_role(role.value) for role in Role}
    for route in routes(app):
        needed = permission_of(route)
        for method in route.methods:
            path = path_of(route)
            if path in OPEN or path in ("/api/auth/logout", "/api/slurm/events"):
                continue
            assert client.request(method, path).status_code == 401, (method, path)
            for role, signed in clients.items():
                status = signed.request(method, path).status_code
                may = needed is True or needed in PERMISSIONS[role]
                assert (status != 403) is may, (method, path, role, status)
                assert status != 401, (method, path, role)
                assert status < 500, (method, path, role)
    denied = [entry for entry in app.state.audit.entries(limit=1000) if entry.status == "denied"]
    assert denied
    assert {entry.user_name for entry in denied} == {"viewer", "operator"}


def test_a_limited_token_is_let_in_nowhere_else(app, as_role):
    client = as_role("admin", permissions=["audit:read"])
    for route in routes(app):
        needed = permission_of(route)
        if not isinstance(needed, Permission):
            continue
        for method in route.methods:
            status = client.request(method, path_of(route)).status_code
            assert (status == 403) is (needed is not Permission.AUDIT_READ), (method, route.path, status)


def bodies(schema, definitions, planted):
    """Yield values of a schema that have the planted text in one place each, and plausible ones elsewhere."""
    if "$ref" in schema:
        yield from bodies(definitions[schema["$ref"].rpartition("/")[2]], definitions, planted)
    elif "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from bodies(one, definitions, planted)
    elif schema.get("type") == "object":
        plain = {name: example(one, definitions) for name, one in schema.get("properties", {}).items()}
        plain = {name: value for name, value in plain.items() if value is not None}
        for name, one in schema.get("properties", {}).items():
            for value in bodies(one, definitions, planted):
                yield plain | {name: value}
        yield plain | {planted: planted}
    elif schema.get("type") == "array":
        for value in bodies(schema["items"], definitions, planted):
            yield [value]
    else:
        yield planted


def example(schema, definitions):
    """Return a plausible value of a schema; None where it may be left out."""
    if "default" in schema:
        return None
    if "$ref" in schema:
        inner = definitions[schema["$ref"].rpartition("/")[2]]
        return example(inner, definitions)
    if "anyOf" in schema:
        return example(schema["anyOf"][-1], definitions)
    if schema.get("type") in ("object", "array"):
        wanted = {name: schema["properties"][name] for name in schema.get("required", ())}
        items = [example(schema["items"], definitions)] if "items" in schema else []
        return items or {name: example(one, definitions) for name, one in wanted.items()}
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    return {"integer": 1, "number": 1, "boolean": False}.get(schema.get("type"), "192.0.2.9")


@pytest.mark.usefixtures("lab")
def test_nothing_that_is_planted_in_a_field_is_run_written_or_taken_for_a_template(
    app, as_role, launches, tmp_path, monkeypatch
):
    mark = tmp_path / "MARK"
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    client = as_role("admin")
    document = client.get("/openapi.json").json()
    definitions = document["components"]["schemas"]
    sent = 0
    for route in routes(app):
        if route.path in ("/api/auth/login", "/api/auth/logout", "/api/slurm/events"):
            continue
        for method in route.methods - {"GET"}:
            content = document["paths"][route.path][method.lower()].get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            for start in range(_TEXTS_A_FIELD if schema else 0):
                # each field gets some of the texts, and over all fields each text is planted
                texts = itertools.cycle(PLANTED[start::_TEXTS_A_FIELD])
                count = len(list(bodies(schema, definitions, "")))
                for number in range(count):
                    text = next(texts).replace("MARK", str(mark))
                    body = next(itertools.islice(bodies(schema, definitions, text), number, None))
                    answer = client.request(method, path_of(route), json=body)
                    sent += 1
                    assert answer.status_code < 500, (method, route.path, body, answer.text)
    assert sent > 100
    assert not mark.exists()
    made = {path for path in set(tmp_path.rglob("*")) - before if tmp_path / "data" not in path.parents}
    assert made == set()
    for launch in launches:
        for where in (launch.extra_vars, launch.added):
            assert_no_template(where)
        assert launch.inventory == ()
        assert set(launch.extra_vars) <= {
            "nodes", "confirm", "plan_only", "take_over", "slurm_version", "scale_timeout", "jobs", "drain_timeout",
            "keep_drained", "force", "uninstall", "slurmctld_reconfigure_partitions", "slurmd_features",
            "slurmd_memory_margin", "slurm_node_registration",
        }  # fmt: skip


def assert_no_template(value):
    """Only what is marked as no template may hold braces."""
    if isinstance(value, dict):
        if set(value) != {"__ansible_unsafe"}:
            for key, one in value.items():
                assert "{" not in key
                assert_no_template(one)
    elif isinstance(value, list):
        for one in value:
            assert_no_template(one)
    elif isinstance(value, str):
        assert "{{" not in value
        assert "{%" not in value


def test_the_description_names_the_permission_of_each_call(app, client):
    document = client.get("/openapi.json").json()
    for route in routes(app):
        needed = permission_of(route)
        for method in route.methods:
            operation = document["paths"][route.path_format][method.lower()]
            assert operation.get("x-permission") == (needed if isinstance(needed, Permission) else None)
            assert ("security" in operation) is (needed is not None)


def test_the_description_in_the_documentation_is_that_of_the_application(client):
    kept = Path(__file__).resolve().parents[2] / "docs/reference/openapi.json"
    assert json.loads(kept.read_text()) == client.get("/openapi.json").json(), "run `make docs`"
