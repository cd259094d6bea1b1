"""Webhooks: signed, sent again when nobody took them, shown, and never in the way of a run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import pytest
from fakes.receiver import running
from fakes.waiting import wait_for
from slurmscale.models import Cluster, Failure
from slurmscale.service import outgoing
from slurmscale.service.access.keys import read_keys
from slurmscale.service.monitoring import apphubs
from slurmscale.service.webhooks import Hooks, post, signed
from slurmscale.states import RunStatus
from slurmscale.store import webhooks as records
from slurmscale.store.webhooks import Webhooks

LIMIT = 30
EVENTS = ["run.completed", "run.failed", "run.interrupted", "cluster.unhealthy", "task.stalled"]


@pytest.fixture
def receiver():
    with running() as receiver:
        yield receiver


@pytest.fixture
def hooks(scaling):
    return Hooks(scaling, read_keys(None, scaling.settings.data_dir))


def due_now(scaling):
    with scaling.store.begin() as connection:
        connection.exec_driver_sql("UPDATE webhook_deliveries SET next_at = 0 WHERE status = 'waiting'")


def end(scaling, run, status=RunStatus.FAILED):
    scaling.store.end_run(run, status, Failure("run-cancelled", "It ended."))


def test_a_webhook_is_made_tested_shown_and_removed(as_role, receiver, app):
    admin = as_role("admin")
    made = admin.post("/api/webhooks", json={"url": receiver.url, "events": ["run.failed"]}).json()
    assert made["secret"].startswith("whsec_")
    where = f"/api/webhooks/{made['id']}"
    (listed,) = admin.get("/api/webhooks").json()["items"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    assert admin.post(f"{where}/test").status_code == 202
    (shown,) = wait_for(
        lambda: [one for one in admin.get(f"{where}/deliveries").json()["items"] if one["status"] == "delivered"],
        LIMIT,
    )
    assert (shown["event"], shown["attempts"], shown["answer"], shown["error"]) == ("test", 1, 204, None)
    ((path, headers, body),) = receiver.got
    assert (path, json.loads(body)["type"]) == ("/hook", "test")
    key = base64.b64decode(made["secret"].removeprefix("whsec_"))
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    expected = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(time.time() - int(headers["webhook-timestamp"])) < LIMIT
    with app.state.scaling.store.engine.connect() as connection:
        assert made["secret"] not in str(connection.exec_driver_sql("SELECT * FROM webhooks").all())
    assert admin.delete(where).status_code == 204
    assert admin.get(f"{where}/deliveries").status_code == 404
    assert as_role("operator").get("/api/webhooks").status_code == 403
    assert [entry.action for entry in app.state.audit.entries(limit=5, user="admin")] == [
        "remove-webhook", "test-webhook", "create-webhook",
    ]  # fmt: skip


def test_the_example_of_standard_webhooks_is_signed_as_it_says():
    headers = signed(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", '{"test": 2432232314}', 1614265330
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("body", [
    {"url": "ftp://one.example/", "events": ["run.failed"]},
    {"url": "http://one.example/?a=b", "events": ["run.failed"]},
    {"url": "http://user:password@one.example/", "events": ["run.failed"]},
    {"url": "http://one.example/", "events": []},
    {"url": "http://one.example/", "events": ["test"]},
])  # fmt: skip
def test_what_is_no_webhook_is_refused(as_role, body):
    assert as_role("admin").post("/api/webhooks", json=body).status_code == 422


def test_each_event_is_told_once_to_those_that_want_it(scaling, hooks, receiver, record_run):
    hooks.add(receiver.url, EVENTS)
    hooks.add(f"{receiver.url}/failed", ["run.failed"])
    end(scaling, record_run(requested_by="ann"))
    end(scaling, record_run(), RunStatus.INTERRUPTED)
    end(scaling, record_run(), RunStatus.CANCELLED)
    done = record_run(cluster="done", nodes=("m1",))
    scaling.store.record(done, status=RunStatus.COMPLETED, completed_at=time.time())
    scaling.store.save_cluster(Cluster("lab", controller="192.0.2.1", health="healthy"))
    for _ in range(2):
        scaling.store.save_cluster(Cluster("lab", controller="192.0.2.1", health="unhealthy"))
    record_run()
    with scaling.store.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE tasks SET status = 'running', updated_at = 5 WHERE node = 'n1' AND status = 'pending'"
        )
    for _ in range(2):
        hooks.send_due()
    told = sorted((path, json.loads(body)["type"]) for path, _, body in receiver.got)
    assert told == [
        ("/hook", "cluster.unhealthy"), ("/hook", "run.completed"), ("/hook", "run.failed"),
        ("/hook", "run.interrupted"), ("/hook", "task.stalled"), ("/hook/failed", "run.failed"),
    ]  # fmt: skip
    failed = next(json.loads(body)["data"] for _, _, body in receiver.got if "run.failed" in body)
    assert (failed["cluster"], failed["nodes"], failed["requested_by"]) == ("lab", ["n1", "n2"], "ann")
    completed = next(json.loads(body)["data"] for _, _, body in receiver.got if "run.completed" in body)
    assert (completed["run"], completed["cluster"], completed["status"]) == (done.id, "done", "completed")


def test_what_nobody_takes_is_sent_again_with_the_same_id_and_given_up_in_the_end(scaling, hooks, receiver, record_run):
    made, _ = hooks.add(receiver.url, EVENTS)
    end(scaling, record_run())
    receiver.statuses = [500, 302, 500, 200]
    for attempt in (1, 2, 3):
        hooks.send_due()
        (shown,) = hooks.records.deliveries(made.id)
        assert (shown.status, shown.attempts) == ("waiting", attempt)
        assert shown.next_at > time.time()
        hooks.send_due()
        assert len(receiver.got) == attempt
        due_now(scaling)
    hooks.send_due()
    (shown,) = hooks.records.deliveries(made.id)
    assert (shown.status, shown.attempts, shown.answer, shown.error) == ("delivered", 4, 200, None)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 1
    assert {path for path, _, _ in receiver.got} == {"/hook"}
    end(scaling, record_run())
    receiver.statuses = [500] * 10
    for _ in range(8):
        hooks.send_due()
        due_now(scaling)
    newest = hooks.records.deliveries(made.id)[0]
    assert (newest.status, newest.attempts, newest.error) == ("failed", 6, "The answer has status 500.")


def test_of_two_processes_one_sends_a_message(scaling, hooks, receiver, record_run):
    hooks.add(receiver.url, EVENTS)
    end(scaling, record_run())
    other = Webhooks(scaling.store)
    assert (len(other.take_due()), other.take_due()) == (1, [])
    hooks.send_due()
    assert receiver.got == []


def test_only_so_many_messages_are_kept(scaling, hooks, receiver, monkeypatch):
    monkeypatch.setattr(records, "KEPT", 3)
    made, _ = hooks.add(receiver.url, EVENTS)
    for _ in range(6):
        hooks.records.test(made.id)
    hooks.send_due()
    # those that end at the same time do not see each other
    hooks.records.test(made.id)
    hooks.send_due()
    assert len(receiver.got) == 7
    with scaling.store.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM webhook_deliveries").scalar()
    assert 3 <= kept <= 4


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "224.0.0.1", "0.0.0.0", "fe80::1", "::ffff:169.254.169.254"],  # noqa: S104 - refused
)
def test_nothing_is_sent_to_addresses_that_nobody_else_has(monkeypatch, address):
    found = [(2, 1, 6, "", (address, 80))]
    monkeypatch.setattr(outgoing.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ValueError, match="nothing is sent"):
        post("http://metadata.example/", b"{}", {})
    (answer,) = apphubs.ask(["http://metadata.example/pkgs"])
    assert (answer.up, "nothing is sent" in answer.detail) == (False, True)
