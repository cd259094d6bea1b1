from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from fakes.waiting import wait_for
from slurmscale.errors import StoreUnavailableError
from slurmscale.models import Cluster
from slurmscale.operations import Operation
from slurmscale.service.api.schemas import RunView
from slurmscale.store.idempotency import IdempotencyKeys, RequestKey
from slurmscale.store.tables import idempotency_keys
from sqlalchemy import update

pytestmark = pytest.mark.usefixtures("lab")

SECRET = "pa{{ 1 }}ss w0rd"
LIMIT = 60


def machine(number=10, **more):
    return {"name": f"n{number}", "host": f"192.0.2.{number}", "user": "root", "password": SECRET, **more}


def post(client, path, body, **headers):
    return client.post(f"/api/slurm/{path}", json=body, headers=headers)


def scale_up(client, *numbers, wait=30, **more):
    headers = {"Prefer": f"wait={wait}"} if wait else {}
    return post(client, "scale-up", {"nodes": [machine(number) for number in numbers]} | more, **headers)


def audited(app, **wanted):
    return [
        entry for entry in app.state.audit.entries(limit=200)
        if all(getattr(entry, name) == value for name, value in wanted.items())
    ]  # fmt: skip


def test_nodes_are_made_and_the_end_can_be_waited_for(as_role, launches, app):
    answer = scale_up(as_role("operator"), 10, 11)
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=30")
    body = answer.json()
    assert (body["success"], body["error"]) == (True, None)
    assert body["logs"]
    assert (body["run"]["requested_by"], body["run"]["counts"]["success"]) == ("operator", 2)
    assert launches[0].extra_vars["nodes"] == "n10,n11"
    hosts = launches[0].added["_meta"]["hostvars"]
    assert hosts["n10"]["ansible_password"] == {"__ansible_unsafe": SECRET}
    (asked,) = audited(app, action="scale-up")
    assert (asked.status, asked.user_name, asked.nodes, asked.run_id) == (
        "success", "operator", "n10,n11", body["run"]["id"],
    )  # fmt: skip
    (ended,) = wait_for(lambda: audited(app, action="scale-up-end"))
    assert (ended.status, ended.details["results"]) == ("success", {"n10": "completed", "n11": "completed"})
    assert app.state.audit.broken() is None


def test_without_waiting_one_is_told_where_to_look(as_role, launches):
    launches.gate.clear()
    client = as_role("operator")
    answer = scale_up(client, 10, wait=0)
    assert (answer.status_code, answer.json()["success"]) == (202, None)
    where = answer.headers["location"]
    assert where == answer.json()["run"]["links"]["self"]
    overlap = scale_up(client, 10, wait=0)
    assert (overlap.status_code, overlap.json()["code"], overlap.json()["nodes"]) == (409, "nodes-in-use", ["n10"])
    assert overlap.json()["run_id"] == answer.json()["run"]["id"]
    launches.gate.set()
    assert wait_for(lambda: client.get(where).json()["status"] == "completed")


def test_no_password_is_found_in_the_data_the_answers_or_the_audit(as_role, scaling):
    answer = scale_up(as_role("operator"), 10)
    assert SECRET not in answer.text
    files = [path.read_bytes() for path in scaling.settings.data_dir.rglob("*") if path.is_file()]
    assert not [one for one in files if SECRET.encode() in one]


def key(passphrase=None):
    seal = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    form = PrivateFormat.PKCS8 if passphrase else PrivateFormat.OpenSSH
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, form, seal).decode()


def test_a_private_key_is_handed_to_ansible_as_text_and_kept_nowhere(as_role, launches, scaling):
    own, retried = key(), key()
    launches.bad.add("n10")
    client = as_role("operator")
    answer = scale_up(client, 10, nodes=[machine(10) | {"private_key": own}, machine(11) | {"password": "x y z w"}])
    assert answer.status_code == 200
    hosts = launches[0].added["_meta"]["hostvars"]
    assert hosts["n10"]["ansible_private_key"] == {"__ansible_unsafe": own}
    assert "ansible_private_key" not in hosts["n11"]
    assert launches[0].environment["ANSIBLE_SSH_AGENT"] == "auto"
    wanted = own.splitlines()[1]
    files = [path.read_bytes() for path in scaling.settings.data_dir.rglob("*") if path.is_file()]
    assert not [one for one in files if wanted.encode() in one]
    assert wanted not in answer.text
    again = f"runs/{answer.json()['run']['id']}/retry"
    needed = post(client, again, {"credentials": {"password": "x"}})
    assert (needed.status_code, needed.json()["code"], "private key" in needed.json()["remedy"]) == (
        409, "credentials-needed", True,
    )  # fmt: skip
    launches.bad.clear()
    done = post(client, again, {"credentials": {"password": "x", "private_key": retried}}, Prefer="wait=30")
    assert (done.status_code, done.json()["success"]) == (200, True)
    assert launches[1].added["_meta"]["hostvars"]["n10"]["ansible_private_key"] == {"__ansible_unsafe": retried}
    post(client, "nodes/check", {"nodes": [machine(12)]}, Prefer="wait=30")
    assert "ANSIBLE_SSH_AGENT" not in launches[2].environment


@pytest.mark.parametrize(
    "text", ["/etc/shadow", f"-----BEGIN OPENSSH {'PRIVATE'} KEY-----\nx\n-----END", key(b"sealed"), ""]
)
def test_what_is_no_usable_private_key_is_refused_and_not_repeated(as_role, launches, text):
    answer = post(as_role("operator"), "scale-up", {"nodes": [machine() | {"private_key": text}]})
    assert answer.status_code == 422
    assert not text or text[:60] not in answer.text
    assert "private_key" in answer.text
    assert launches == []


def test_a_failed_node_is_repeated_alone_and_wants_its_password_again(as_role, launches):
    launches.bad = {"n11"}
    client = as_role("operator")
    body = scale_up(client, 10, 11).json()
    assert body["success"] is False
    run = body["run"]["id"]
    refused = post(client, f"runs/{run}/retry", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "credentials-needed")
    launches.bad = set()
    again = {"credentials": {"password": SECRET}}
    assert post(client, f"tasks/{run}:n10/retry", again).status_code == 409
    answer = post(client, f"runs/{run}/retry", again, Prefer="wait=30")
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert answer.json()["run"]["retry_of"] == run
    assert answer.json()["run"]["nodes"] == ["n11"]
    # it goes where the first run went, as the same user
    host = launches[-1].added["_meta"]["hostvars"]["n11"]
    assert {name: value["__ansible_unsafe"] for name, value in host.items() if name != "ansible_port"} == {
        "ansible_host": "192.0.2.11", "ansible_user": "root", "ansible_password": SECRET,
    }  # fmt: skip


def test_a_run_is_cancelled_and_one_node_of_many_is_not(as_role, launches, app):
    launches.gate.clear()
    client = as_role("operator")
    run = scale_up(client, 10, 11, wait=0).json()["run"]["id"]
    alone = post(client, f"tasks/{run}:n10/cancel", None)
    assert (alone.status_code, alone.json()["code"], alone.json()["run_id"]) == (409, "task-is-part-of-run", run)
    assert client.post(f"/api/slurm/runs/{run}/cancel").status_code == 202
    assert wait_for(lambda: client.get(f"/api/slurm/runs/{run}").json()["status"] == "cancelled")
    assert client.post(f"/api/slurm/runs/{run}/cancel").status_code == 409
    assert {entry.status for entry in audited(app, action="cancel")} == {"success", "failed"}


def test_the_run_of_one_node_is_cancelled_and_repeated_by_its_task(as_role, launches, app):
    launches.gate.clear()
    client = as_role("operator")
    run = scale_up(client, 10, wait=0).json()["run"]["id"]
    cancelled = client.post(f"/api/slurm/tasks/{run}:n10/cancel")
    assert (cancelled.status_code, cancelled.json()["id"]) == (202, run)
    assert wait_for(lambda: client.get(f"/api/slurm/runs/{run}").json()["status"] == "cancelled")
    assert client.post(f"/api/slurm/tasks/{run}:n10/cancel").status_code == 409
    launches.gate.set()
    again = post(client, f"tasks/{run}:n10/retry", {"credentials": {"password": SECRET}}, Prefer="wait=30")
    assert (again.status_code, again.json()["success"], again.json()["run"]["retry_of"]) == (200, True, run)
    assert again.headers["location"] == again.json()["run"]["links"]["self"]
    assert post(client, f"tasks/{run}:n99/retry", {}).status_code == 404
    assert [entry.status for entry in audited(app, action="cancel")] == ["failed", "success"]


@pytest.mark.parametrize("path", ["scale-up", "scale-down", "nodes/scale"])
def test_what_is_only_to_be_shown_is_run_without_changes(as_role, launches, app, path):
    body = {"nodes": [machine()], "dry_run": True}
    answer = post(as_role("operator"), path, body, Prefer="wait=30")
    assert (answer.status_code, answer.json()["run"]["dry_run"]) == (200, True)
    assert launches[0].check
    assert [entry.details for entry in audited(app, run_id=answer.json()["run"]["id"], status="success")][-1] == {
        "dry_run": True
    }


def test_nodes_are_removed_by_whom_may(as_role, launches):
    body = {"nodes": [machine()], "options": {"jobs": "requeue", "uninstall": True}}
    assert post(as_role("operator"), "scale-down", body, Prefer="wait=30").json()["success"] is True
    assert launches[0].extra_vars["jobs"] == {"__ansible_unsafe": "requeue"}
    assert post(as_role("viewer"), "scale-down", body).status_code == 403


@pytest.mark.parametrize(
    ("path", "operation", "where"),
    [
        ("scale-up", Operation.SCALE_UP, "options"),
        ("scale-down", Operation.SCALE_DOWN, "options"),
        ("nodes/check", Operation.CHECK, None),
    ],
)
def test_every_option_of_an_operation_is_taken_and_reaches_its_playbook(as_role, launches, path, operation, where):
    values = {bool: (True,), int: (42,), str: ("24.11.5-4", "requeue")}
    given = {
        option.name: next(value for value in values[option.kind] if option.problem(value) is None)
        for option in operation.definition.options
    }
    body = {"nodes": [machine()]} | ({where: given} if where else given)
    assert post(as_role("admin"), path, body, Prefer="wait=30").status_code == 200
    told = {name: {"__ansible_unsafe": value} if isinstance(value, str) else value for name, value in given.items()}
    assert told == {name: launches[0].extra_vars.get(name) for name in told}


@pytest.mark.parametrize(
    "option",
    [{"jobs": "all"}, {"drain_timeout": 0}, {"drain_timeout": 700_000}, {"force": "much"}, {"take_over": True}],
)
def test_an_option_that_the_operation_does_not_take_is_refused(as_role, launches, option):
    answer = post(as_role("admin"), "scale-down", {"nodes": [machine()], "options": option})
    assert (answer.status_code, launches) == (422, [])


def test_a_plan_must_be_of_these_nodes(as_role):
    client = as_role("operator")
    planned = post(client, "plan", {"nodes": [machine(10), machine(11)]}, Prefer="wait=30").json()["run"]
    assert (planned["operation"], planned["dry_run"]) == ("plan", True)
    assert client.get(f"/api/slurm/runs/{planned['id']}/plan").status_code == 404  # a replay writes no report
    other = scale_up(client, 12, plan_id=planned["id"])
    assert (other.status_code, other.json()["code"]) == (409, "plan-differs")
    assert scale_up(client, 10, plan_id=planned["id"]).status_code == 200


def test_the_calls_of_older_pages_are_understood(as_role, launches):
    client = as_role("operator")
    init = {"nodes": [{"ssh": {"host": "192.0.2.20", "port": 22, "user": "root", "password": SECRET}, "name": "n20",
                       "role": "compute"}]}  # fmt: skip
    assert post(client, "init-nodes", {**init, "repoURL": "https://evil.example/x"}).status_code == 409
    answer = post(client, "init-nodes", {**init, "repoURL": "https://apphub.example/pkgs/slurm-deb"}, Prefer="wait=30")
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert launches[-1].added["_meta"]["hostvars"]["n20"]["ansible_host"] == {"__ansible_unsafe": "192.0.2.20"}
    check = post(client, "nodes/check", {"nodes": [machine()]}, Prefer="wait=30")
    assert (check.status_code, check.json()["success"]) == (200, True)


def test_a_request_with_a_key_is_done_once(as_role, launches):
    client = as_role("operator")
    key = {"Idempotency-Key": "a-1"}
    body = {"nodes": [machine()]}
    first = post(client, "scale-up", body, Prefer="wait=30", **key)
    again = post(client, "scale-up", body, Prefer="wait=30", **key)
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (200, first.json(), "true")
    assert len(launches) == 1
    other = post(client, "scale-up", {"nodes": [machine(11)]}, **key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    # keys are each user's own
    assert "idempotency-replayed" not in post(as_role("admin"), "scale-up", body, Prefer="wait=30", **key).headers
    assert post(client, "scale-up", body, **{"Idempotency-Key": "not one"}).status_code == 400


def test_while_a_request_is_in_progress_its_key_does_nothing(as_role, accounts, monkeypatch):
    client, key, body = as_role("viewer"), {"Idempotency-Key": "a"}, {"name": "script"}
    begun, go_on, make = threading.Event(), threading.Event(), accounts.new_token

    def slowly(*arguments, **more):
        begun.set()
        assert go_on.wait(30)
        return make(*arguments, **more)

    monkeypatch.setattr(accounts, "new_token", slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/api/tokens", json=body, headers=key)
        assert begun.wait(30)
        second = client.post("/api/tokens", json=body, headers=key)
        go_on.set()
        made = first.result(30)
    assert (second.status_code, second.json()["code"], second.headers["retry-after"]) == (409, "request-at-work", "1")
    assert made.status_code == 201
    again = client.post("/api/tokens", json=body, headers=key)
    assert (again.json(), again.headers["idempotency-replayed"]) == (made.json(), "true")


@pytest.mark.parametrize(("hours", "same"), [(23.9, True), (24.1, False)])
def test_an_answer_is_repeated_for_a_day(as_role, scaling, hours, same):
    client, key, body = as_role("viewer"), {"Idempotency-Key": "a"}, {"name": "script"}
    first = client.post("/api/tokens", json=body, headers=key).json()
    with scaling.store.begin() as connection:
        age = {"created_at": idempotency_keys.c.created_at - hours * 3600}
        connection.execute(update(idempotency_keys).values(age))
    again = client.post("/api/tokens", json=body, headers=key)
    assert (again.status_code, again.json() == first) == (201, same)


def test_a_request_whose_process_was_lost_may_be_made_again_after_some_time(as_role, scaling):
    client, key, body = as_role("viewer"), {"Idempotency-Key": "a"}, {"name": "script"}
    me = client.get("/api/auth/me").json()["id"]
    IdempotencyKeys(scaling.store).begin(RequestKey(me, "a"), "other")
    assert client.post("/api/tokens", json=body, headers=key).status_code == 422
    with scaling.store.begin() as connection:
        connection.exec_driver_sql("UPDATE idempotency_keys SET created_at = created_at - 901")
    assert client.post("/api/tokens", json=body, headers=key).status_code == 201


@pytest.mark.parametrize("path", ["scale-up", "nodes/check"])
def test_a_request_whose_answer_was_lost_is_answered_with_the_run_that_it_made(
    as_role, launches, scaling, monkeypatch, path
):
    client = as_role("operator")
    body, key = {"nodes": [machine()]}, {"Idempotency-Key": "c"}
    launches.gate.clear()
    with monkeypatch.context() as lost:
        # a process that is killed as soon as the run is recorded comes to neither of these
        for name in ("finish", "forget"):
            lost.setattr(IdempotencyKeys, name, lambda *_: None)
        first = post(client, path, body, **key)
    at_work = post(client, path, body, **key)
    assert (at_work.status_code, at_work.headers["idempotency-replayed"]) == (202, "true")
    assert at_work.json()["run"]["id"] == first.json()["run"]["id"]
    launches.gate.set()
    ended = post(client, path, body, Prefer="wait=30", **key)
    # the first answer that somebody kept
    assert (ended.status_code, ended.json(), ended.headers["location"]) == (
        202, at_work.json(), at_work.headers["location"],
    )  # fmt: skip
    assert [run.id for run in scaling.runs()] == [first.json()["run"]["id"]]
    assert post(client, path, {"nodes": [machine(11)]}, **key).json()["code"] == "idempotency-key-reused"


def test_a_request_that_breaks_off_after_its_run_was_recorded_makes_no_second_one(as_role, scaling, monkeypatch):
    client, store = as_role("operator"), scaling.store
    key, retried = {"Idempotency-Key": "d"}, {"Idempotency-Key": "e"}
    scale_up(client, 10)

    def fail(*_):
        raise StoreUnavailableError("It is away.")

    with monkeypatch.context() as broken:
        broken.setattr(RunView, "of", fail)
        assert post(client, "scale-up", {"nodes": [machine(11)]}, **key).status_code == 503
    again = post(client, "scale-up", {"nodes": [machine(11)]}, Prefer="wait=30", **key)
    assert (again.status_code, again.json()["success"]) == (200, True)
    assert len(store.runs()) == 2
    assert post(client, f"runs/{again.json()['run']['id']}/retry", {}, **retried).status_code == 409


def test_a_request_that_failed_may_be_repeated_with_its_key(as_role):
    client = as_role("operator")
    key = {"Idempotency-Key": "b"}
    bad = {"nodes": "n[1-"}
    assert post(client, "scale-up", bad, **key).status_code == 422
    assert post(client, "scale-up", {"nodes": [machine()]}, Prefer="wait=30", **key).status_code == 200


def test_who_may_not_is_told_what_is_missing_and_it_is_audited(as_role, app, launches):
    answer = scale_up(as_role("viewer"), 10)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission-missing")
    assert "slurm:scale:nodes" in answer.json()["detail"]
    (entry,) = audited(app, status="denied")
    assert (entry.action, entry.user_name, entry.details) == (
        "scale-up", "viewer", {"permission": "slurm:scale:nodes"},
    )  # fmt: skip
    bound = as_role("operator", clusters=["other"], name="bound")
    assert scale_up(bound, 10, cluster="lab").status_code == 403
    assert scale_up(bound, 10).status_code == 422
    assert launches == []


@pytest.mark.parametrize("host", [
    "127.0.0.1", "::1", "::", "169.254.169.254", "198.51.100.1", "::ffff:127.0.0.1", "fe80::1", "224.0.0.1",
    "localhost", "2130706433",
])  # fmt: skip
def test_the_clusters_login_goes_to_no_other_network(as_role, launches, host):
    answer = post(as_role("operator"), "scale-up", {"nodes": [{"name": "n1", "host": host}]})
    assert (answer.status_code, answer.json()["code"]) == (422, "request-invalid")
    assert launches == []


def test_also_a_bare_name_is_no_way_around_it_where_there_is_no_inventory(as_role, launches):
    assert post(as_role("operator"), "scale-up", {"nodes": "localhost.localdomain"}).status_code == 422
    assert post(as_role("operator"), "nodes/install", {"node_name": "ip6-localhost"}).status_code == 422
    assert launches == []


def test_a_cluster_is_known_by_its_name_and_never_a_path(as_role, tmp_path, launches, scaling):
    inventory = tmp_path / "hosts"
    inventory.write_text("[slurm_nodes]\nn1\n")
    for name in (str(inventory), "hosts", "../hosts", "nothing"):
        answer = post(as_role("operator"), "scale-up", {"cluster": name, "nodes": [machine()]})
        assert answer.status_code == 422
    scaling.add_cluster(Cluster("second", controller="192.0.2.2"))
    assert "cluster" in post(as_role("operator"), "scale-up", {"nodes": [machine()]}).json()["detail"]
    assert launches == []


def test_nodes_of_an_inventory_in_the_database_are_found_by_name_and_others_are_refused(as_role, scaling, launches):
    hosts = {
        "groups": {"slurm_controllers": ["ctl1"], "slurm_nodes": ["n1"]},
        "hostvars": {"ctl1": {}, "n1": {"ansible_host": "198.51.100.7"}},
    }
    scaling.add_cluster(Cluster("data", hosts=hosts))
    client = as_role("operator")
    answer = post(client, "nodes/install", {"cluster": "data", "node_name": "n1"}, Prefer="wait=30")
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    for nodes in ("n9", "localhost", [{"name": "n9", "host": "198.51.100.9"}]):
        assert post(client, "scale-up", {"cluster": "data", "nodes": nodes}).status_code == 422
    assert len(launches) == 1


def test_nodes_of_an_inventory_are_found_by_name_and_others_are_refused(as_role, scaling, tmp_path):
    inventory = tmp_path / "hosts"
    inventory.write_text("[slurm_controllers]\nctl1\n[slurm_nodes]\nn[1:3] ansible_host=198.51.100.7\n")
    scaling.add_cluster(Cluster("files", inventory=str(inventory)))
    client = as_role("operator")
    answer = post(client, "nodes/batch-install", {
        "cluster": "files", "nodes": [{"node_name": "n1", "os_type": "rocky"}, {"node_name": "n2"}],
    }, Prefer="wait=60")  # fmt: skip
    assert answer.status_code == 200
    assert {name: one["success"] for name, one in answer.json().items()} == {"n1": True, "n2": True}
    assert post(client, "nodes/scale", {"cluster": "files", "nodes": "slurm_nodes"}).status_code == 422
    assert post(client, "nodes/scale", {"cluster": "files", "nodes": "n9"}).status_code == 422
