"""Requests made of the description of the API: no mistake of ours, and answers are what it says they are."""

from __future__ import annotations

import secrets

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.usefixtures("lab")

CHECKS = [
    not_a_server_error, content_type_conformance, response_headers_conformance, response_schema_conformance,
    status_code_conformance,
]  # fmt: skip
SENT = ("content-type", "if-none-match", "last-event-id")
ENDLESS = "/api/slurm/events"


def made_of(schema):
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path != ENDLESS:
            yield operation


def differ(operation):
    """Say whether two requests for an operation may differ in anything that is sent."""
    headers = [one for one in operation.headers if one.name.lower() in SENT]
    return any((list(operation.path_parameters), list(operation.query), headers, list(operation.body)))


def probe(client, tokens, examples, number=None):
    """Send what is made of the description with each of some tokens; always the same unless there is a number."""
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    asked = set()
    for operation in made_of(schema):

        @given(case=operation.as_strategy())
        @settings(
            max_examples=examples if differ(operation) else 1,
            deadline=None,
            derandomize=number is None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case):
            sent = case.as_transport_kwargs(base_url="https://localhost")
            # whoever waits for the end of a run would wait here
            more = {name: value for name, value in (case.headers or {}).items() if name.lower() in SENT}
            known = {name: sent[name] for name in ("params", "json", "content", "data") if sent.get(name) is not None}
            for token in tokens:
                headers = {**more, "Authorization": f"Bearer {token}"}
                response = client.request(case.method, sent["url"], headers=headers, **known)
                case.validate_response(response, checks=CHECKS)
                asked.add((case.method, case.path, response.status_code // 100))

        (check if number is None else seed(number)(check))()
    described = {(operation.method.upper(), operation.path) for operation in made_of(schema)}
    assert {(method, path) for method, path, _ in asked} == described
    assert {kind for _, _, kind in asked} >= {2, 4}


def test_answers_are_as_described_for_each_role(client, token):
    probe(client, [token(role) for role in ("viewer", "operator", "admin")], 2)


@pytest.mark.long
def test_answers_are_as_described_whatever_is_asked(client, token, request):
    """Others each time, so that few are enough; `--hypothesis-seed` repeats what was seen."""
    number = int(request.config.getoption("hypothesis_seed", None) or secrets.randbelow(2**32))
    # shown when it fails
    print(f"--hypothesis-seed={number}")  # noqa: T201 - pytest keeps it
    probe(client, [token(role) for role in ("viewer", "operator", "admin")], 40, number)
