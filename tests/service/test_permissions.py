"""Every route with every role, from the table of routes; and what is planted into every field of every route."""

from __future__ import annotations

import itertools
import json
import re
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute
from slurmscale.models import Cluster
from slurmscale.operations import Operation, Option
from slurmscale.service.access.authentication import signed_in
from slurmscale.service.access.permissions import PERMISSIONS, Permission, Role
from slurmscale.service.routes import commands

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
NEEDED = {"Machine": ("name",), "NewNode": ("name",), "Login": ("username", "password"), "UserChange": ("disabled",)}
"""Fields that are needed though each of them may be left out."""
EXAMPLES = {
    "host": "192.0.2.9", "controller": "192.0.2.1", "url": "https://hooks.example/x", "command": "true",
    "password": "correct horse",
}  # fmt: skip
"""Values of fields, by their names, that are no names."""
ANSWERED = {
    "success": True, "stage": "slurm", "stages": [], "fingerprint": "SHA256:x", "host_keys": ["c ssh-ed25519 AAAA"],
    "info": {"cluster_name": "old", "nodes": ["n1"], "version": "24.11.5"}, "error": None, "job_id": "18", "jobs": {},
    "accounting": "none",
}  # fmt: skip
"""What playbooks report: that a cluster can be worked with, and that it took a job."""
REFERENCE = re.compile(r"\{\{ slurmscale_secrets\['job_script'\] \}\}")
"""Where a playbook gets what is in memory only."""
LAUNCHING = {
    f"/api/{path}" for path in (
        "slurm/plan", "slurm/scale-up", "slurm/scale-down", "slurm/nodes/scale", "slurm/nodes/check",
        "slurm/init-nodes", "slurm/runs/{run_id}/retry", "slurm/tasks/{task_id}/retry", "slurm/clusters/connect",
        "slurm/clusters/test-connection", "slurm/clusters/{cluster_id}/refresh", "jobs/submit",
    )
}  # fmt: skip
"""Routes that take texts of a kind that may be anything, and launch a playbook with them."""
VARIABLES = {
    "nodes", "confirm", "plan_only", "take_over", "slurm_version", "scale_timeout", "jobs", "drain_timeout",
    "keep_drained", "force", "uninstall", "slurmctld_reconfigure_partitions", "slurmd_features",
    "slurmd_memory_margin", "slurm_node_registration", "action", "discover_strict", "discover_fingerprint",
    "job_script", "job_name", "job_partition", "job_nodes", "job_time",
}  # fmt: skip
"""Variables that requests may set, or that operations have."""
DANGEROUS = (
    "/etc/shadow", "~root/x", "../x", "a/b", "@x", "-x", "--become", "a b", "a\nb", "a;b", "a|b", "a$b", "a`b", "a'b",
    'a"b', "a=b", "a\\b", "{{ a }}", "{% if a %}", "{", "%", "<a>", "http://x", "all:!b", "*", "",
)  # fmt: skip
"""What names a file, an address or another variable, or is read as more than one word."""
TELLING = re.compile(
    r"ansible_.*|(.*_)?(user|become|group|path|file|dir|chdir|home|key|command|program|script|env|args|vars|playbook|role"
    r"|connection|interpreter|inventory|hosts?|address|conf|urls?|proxy|ca|password|token|insecure|skip|unsafe|trust)(_.*)?"
)
"""Names of variables that decide who acts, where, with what, or whether it is checked."""


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


def danger_of(option):
    """Return what speaks against letting requests set an option; None when nothing does."""
    if option.private:
        # it is in memory only, and marked as no template: see what is planted
        return None
    if TELLING.fullmatch(option.name):
        return "name"
    return next((repr(text) for text in DANGEROUS if option.problem(text) is None), None)


@pytest.mark.parametrize(
    "option",
    [
        Option("reservation", "A text of any kind."),
        Option("reservation", "A pattern that is not tight.", str, r"\S+"),
        Option("reservation", "A path.", str, r"[\w./-]+"),
        Option("reservation", "An option of some program.", str, r"[\w-]+"),
        Option("reservation", "An empty text.", str, r"\w*"),
        Option("job_user", "Who runs it.", str, r"\w+"),
        Option("apphub_client_ca", "A file.", str, r"\w+"),
        Option("ansible_connection", "How.", str, r"\w+"),
        Option("apphub_insecure", "Whether a key is checked.", bool),
    ],
)
def test_a_dangerous_option_is_found(option):
    assert danger_of(option)


def test_options_that_requests_may_set_name_no_file_no_user_and_no_other_variable():
    taken = (Operation.SCALE_UP, Operation.SCALE_DOWN, Operation.CHECK)
    dangers = {(one.value, option.name): danger_of(option) for one in taken for option in one.definition.options}
    assert len(dangers) > 5
    assert {option: danger for option, danger in dangers.items() if danger} == {}


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


def bodies(schema, definitions, planted, *, everywhere):
    """Yield values of a schema that have the planted text in one place each, and plausible ones elsewhere.

    Args:
        schema: The schema.
        definitions: Those it refers to.
        planted: The text.
        everywhere: Also in the place of what is no text, and as a field that there is not.
    """
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    inner = partial(bodies, definitions=definitions, planted=planted, everywhere=everywhere)
    if "anyOf" in schema:
        yield from itertools.chain(*map(inner, schema["anyOf"]))
    elif schema.get("type") == "object":
        plain = example(schema, definitions)
        for field, one in schema.get("properties", {}).items():
            yield from (plain | {field: value} for value in inner(one))
        if everywhere:
            yield plain | {planted: planted}
    elif schema.get("type") == "array":
        yield from ([value] for value in inner(schema["items"]))
    elif everywhere or ("enum" not in schema and schema.get("type") == "string"):
        yield planted


def example(schema, definitions, name=""):
    """Return a plausible value of a schema, without what may be left out."""
    if "$ref" in schema:
        return example(definitions[schema["$ref"].rpartition("/")[2]], definitions, name)
    if "anyOf" in schema:
        return example(schema["anyOf"][0], definitions, name)
    if schema.get("type") == "object":
        fields = schema.get("properties", {})
        wanted = {*schema.get("required", ()), *NEEDED.get(schema.get("title", ""), ())}
        return {field: example(one, definitions, field) for field, one in fields.items() if field in wanted}
    if schema.get("type") == "array":
        return [example(schema["items"], definitions, name)]
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    return {"integer": 1, "number": 1, "boolean": False}.get(schema.get("type"), EXAMPLES.get(name, "n1"))


def body_of(told, document, cluster=None):
    """Return a body that a call takes, None when it takes none.

    Args:
        told: What the description says of the call.
        document: The description.
        cluster: The cluster that it names, where it can.
    """
    schema = schema_of(told)
    if schema is None:
        return None
    definitions = document["components"]["schemas"]
    fields = definitions[schema["$ref"].rpartition("/")[2]]["properties"]
    return example(schema, definitions) | {name: cluster for name in ("cluster", "cluster_id") if name in fields}


def schema_of(told):
    """Return the schema of the body of a call; None when it takes none."""
    return told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")


@pytest.fixture
def planted(app, as_role, launches, tmp_path, monkeypatch):
    """Return what plants texts: a client of a service whose cluster has a node that failed, and how calls are made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "_POLL_SECONDS", 0.01)
    hosts = {"groups": {"slurm_controllers": ["ctl1"], "slurm_nodes": ["n1"]}, "hostvars": {"ctl1": {}, "n1": {}}}
    app.state.scaling.add_cluster(Cluster("lab", hosts=hosts, apphub_urls=("https://apphub.example",)))
    launches.bad.add("n1")
    client = as_role("admin")
    client.headers["Prefer"] = "wait=30"
    failed = client.post("/api/slurm/scale-up", json={"nodes": "n1"}).json()["run"]
    assert failed["status"] == "failed"
    launches.clear()
    launches.bad.clear()
    launches.result = ANSWERED
    return Planted(app, client, {
        "run_id": failed["id"], "task_id": f"{failed['id']}:n1", "cluster_id": "lab", "job_id": "17",
        "user_id": "0" * 12, "token_id": "0" * 12, "credential_id": "0" * 16, "webhook_id": "0" * 16, "code": "none",
    })  # fmt: skip


class Planted:
    """Makes the calls of all routes, with what is wanted in the place of one of their values."""

    def __init__(self, app, client, values):
        self._app = app
        self._client = client
        self._values = values
        self._document = client.get("/openapi.json").json()
        self._numbers = itertools.count(2)

    def calls(self):
        """Yield each call that ends by itself: method, route, and what the description says of it."""
        for route in routes(self._app):
            for method in sorted(route.methods):
                if route.path not in ("/api/auth/logout", "/metrics"):
                    yield method, route, self._document["paths"][route.path_format][method.lower()]

    def body(self, told):
        return body_of(told, self._document, cluster="lab")

    def bodies(self, told, text, *, everywhere):
        """Return the bodies of a call that have a text in one of their fields."""
        definitions = self._document["components"]["schemas"]
        given = {name: "lab" for name in ("cluster", "cluster_id") if name in (self.body(told) or {})}
        made = bodies(schema_of(told), definitions, text, everywhere=everywhere) if schema_of(told) else ()
        # what was made before keeps its name
        return [
            given | body | ({"name": f"n{next(self._numbers)}"} if body.get("name") == "n1" else {}) for body in made
        ]

    def send(self, method, route, *, body=None, params=None, **values):
        """Make a call; returns the status, and sees to it that it is none of the service's own failures."""
        path = route.path.format(**{name: quote(one, safe="") for name, one in (self._values | values).items()})
        answer = self._client.request(method, path, json=body, params=params)
        assert answer.status_code < 500, (method, route.path, body, params, values, answer.text)
        return answer.status_code


def test_the_bodies_in_which_texts_are_planted_are_taken_without_them(planted, launches):
    statuses = {
        (method, route.path): planted.send(method, route, body=body)
        for method, route, told in planted.calls()
        if (body := planted.body(told)) is not None
    }
    assert len(statuses) > 20
    assert 422 not in statuses.values(), statuses
    assert len(launches) >= 8


@pytest.mark.timeout(240)
def test_nothing_that_is_planted_in_a_value_is_run_written_or_taken_for_a_template(planted, launches, tmp_path):
    mark = tmp_path / "MARK"
    texts = [text.replace("MARK", str(mark)) for text in PLANTED]
    before = set(tmp_path.rglob("*"))
    taken = set()
    for method, route, told in planted.calls():
        given = {one["name"]: one["in"] for one in told.get("parameters", ())}
        for text in texts:
            for body in planted.bodies(told, text, everywhere=text == texts[0]):
                if planted.send(method, route, body=body) < 300:
                    taken.add(route.path)
            for name, place in given.items():
                if place == "path" and text:
                    planted.send(method, route, body=planted.body(told), **{name: text})
                elif place == "query":
                    planted.send(method, route, body=planted.body(told), params={name: text})
    assert taken >= LAUNCHING
    assert not mark.exists()
    assert {path for path in set(tmp_path.rglob("*")) - before if tmp_path / "data" not in path.parents} == set()
    for launch in launches:
        assert_no_template(launch.extra_vars)
        assert_no_template(launch.added)
        assert launch.inventory == ()
        assert set(launch.extra_vars) <= VARIABLES
    # it is there, as it was planted
    passwords = {text for text in texts if text and "\n" not in text}
    added = [launch.added for launch in launches]
    for name in ("ansible_password", "ansible_become_password"):
        assert found_in(added, name) >= passwords
    scripts = "".join(found_in(added, "job_script"))
    assert [text for text in texts if text not in scripts] == []


def found_in(value, name):
    """Return the texts that stand under a name, which are marked as no templates."""
    if isinstance(value, list):
        return set().union(*(found_in(one, name) for one in value))
    if not isinstance(value, dict):
        return set()
    own = {value[name]["__ansible_unsafe"]} if name in value else set()
    return own.union(*(found_in(one, name) for one in value.values()))


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
    elif isinstance(value, str) and not REFERENCE.fullmatch(value):
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
