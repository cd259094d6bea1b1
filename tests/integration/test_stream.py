"""The stream of a real server, on SQLite and on PostgreSQL: sockets, server-sent events, and many viewers."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager
from functools import partial

import httpx2
import pytest
from argon2 import PasswordHasher
from fakes.waiting import wait_for
from slurmscale.models import Cluster, Counts, Failure, LogLine, Run, SlurmJob, TaskChange
from slurmscale.operations import Operation
from slurmscale.runner.processes import owner
from slurmscale.scaling import Scaling
from slurmscale.service.access.accounts import Accounts
from slurmscale.service.access.authentication import COOKIE
from slurmscale.service.access.permissions import Permission, Role
from slurmscale.service.app import create_app
from slurmscale.service.processes.serve import Server
from slurmscale.service.settings import ServiceSettings
from slurmscale.service.stream import stream as streams
from slurmscale.service.stream.sessions import Sessions
from slurmscale.settings import Settings
from slurmscale.states import RunStatus, TaskStatus
from slurmscale.store.jobs import JobRecords
from slurmscale.store.repository import Store
from slurmscale.store.tables import row_of_change, row_of_counts, row_of_log_line
from sqlalchemy import event
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

LIMIT = 60
_BUFFER = 65_536
RUN = "20260101-000000-abcdef"
SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""Where the database makes no difference."""


class Work:
    """A run, and the process that records its progress."""

    def __init__(self, store, nodes=("n1", "n2", "n3"), run_id=RUN, cluster="lab"):
        self.store = store
        counts = Counts(total=len(nodes), active=len(nodes))
        self.run = Run(
            run_id, cluster, Operation.SCALE_UP, RunStatus.RUNNING, tuple(nodes), counts, time.time(), **owner()
        )
        self.ids = store.create_run(self.run)

    def change(self, *nodes, progress=50):
        changes = [TaskChange(node, TaskStatus.RUNNING, progress, "packages", "install", None, 1.0) for node in nodes]
        self.store.record(self.run, [{"b_id": self.ids[one.node], **row_of_change(one)} for one in changes])
        return self.store.run(self.run.id).revision

    def print(self, *texts, node="n1"):
        lines = [LogLine(node, 1, 1.0, "runner_on_ok", "t", text) for text in texts]
        self.store.record(self.run, lines=[row_of_log_line(line, self.run.id) for line in lines])

    def end(self):
        self.store.end_run(self.run, RunStatus.CANCELLED, Failure("run-cancelled", "Somebody cancelled it."))


class Served:
    """A server in a thread of this process, and its users."""

    def __init__(self, scaling, listener):
        self.listener = listener
        self.scaling = scaling
        self.accounts = Accounts(scaling.store, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.app = create_app(scaling, ServiceSettings(), self.accounts)

    def token(self, name="anna", **limits):
        user = self.accounts.users.named(name) or self.accounts.add_user(name, Role.VIEWER)
        return self.accounts.new_token(user, "test", 1, **limits)[0]

    def socket(self, token=None, **options):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        options = {"additional_headers": headers, "subprotocols": ["slurmscale.v1"], "open_timeout": LIMIT} | options
        return connect(f"ws://{self.address}/api/slurm/ws", **options)

    def silent(self, token):
        """Return a socket that takes little before it is read."""
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        narrow.connect(self.listener.getsockname())
        return self.socket(token, sock=narrow, max_queue=1, ping_interval=None)

    def events(self, token, headers=None, **parameters):
        """Read server-sent events until they end: status of the answer, and (event, id, data) of each."""
        headers = {"Authorization": f"Bearer {token}"} | (headers or {})
        found = []
        with httpx2.stream(
            "GET", f"http://{self.address}/api/slurm/events", params=parameters, headers=headers, timeout=LIMIT
        ) as answer:
            if answer.status_code != 200:
                return answer.status_code, found
            part = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    part[name] = value
                    continue
                found.append((part["event"], part.get("id"), json.loads(part["data"])))
                part = {}
        return 200, found


@contextmanager
def serving(url, folder):
    listener = socket.create_server(("127.0.0.1", 0))
    # as between two machines: within one, the kernel takes megabytes for who does not read
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    with listener, Scaling(Settings(database_url=url, data_dir=folder)) as scaling:
        served = Served(scaling, listener)
        server = Server(served.app, ServiceSettings())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield served
        finally:
            server.should_exit = True
            thread.join(LIMIT)


@pytest.fixture
def served(url, tmp_path):
    with serving(url, tmp_path / "data") as served:
        yield served


@pytest.fixture
def work(served):
    return Work(served.scaling.store)


def play(scenario):
    async def main():
        async with asyncio.timeout(2 * LIMIT):
            await scenario

    asyncio.run(main())


async def until(viewer, kind, event_id=None):
    """Return the next event of a kind, and all events up to it."""
    seen = []
    async with asyncio.timeout(LIMIT):
        while True:
            seen.append(json.loads(await viewer.recv()))
            if seen[-1]["event"] == kind and event_id in (None, seen[-1]["id"]):
                return seen[-1], seen


async def watch(viewer, **what):
    await viewer.send(json.dumps({"watch": what}))


async def closed(viewer):
    """Wait until the server closes, and return its code."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                await viewer.recv()
            except ConnectionClosed as exc:
                return exc.rcvd.code


def test_many_viewers_are_told_of_changes_without_a_read(served, work):
    tokens = [served.token(f"user{number}") for number in range(10)]
    queries = []

    async def scenario():
        viewers = await asyncio.gather(*(served.socket(token).__aenter__() for token in tokens for _ in range(20)))
        for viewer in viewers:
            await watch(viewer, run=RUN)
        for viewer in viewers:
            await until(viewer, "snapshot")
        event.listen(served.scaling.store.engine, "before_cursor_execute", lambda *about: queries.append(about[2]))
        for progress in range(1, 6):
            revision = await asyncio.to_thread(work.change, "n2", progress=progress)
            for told, _ in await asyncio.gather(*(until(v, "scaling-progress", f"{RUN}:{revision}") for v in viewers)):
                assert [(one["node"], one["progress"]) for one in told["data"]["tasks"]] == [("n2", progress)]
        await asyncio.gather(*(viewer.close() for viewer in viewers))

    play(scenario())
    assert [query for query in queries if "tasks.revision >" in query] == []


def test_one_that_was_away_is_told_everything_in_one_step(served, work):
    token = served.token()

    async def scenario():
        async with served.socket(token) as viewer:
            assert viewer.subprotocol == "slurmscale.v1"
            await watch(viewer, run=RUN)
            told, _ = await until(viewer, "snapshot")
            assert [one["node"] for one in told["data"]["tasks"]] == ["n1", "n2", "n3"]
        for progress in range(1, 11):
            last = work.change("n1" if progress % 2 else "n3", progress=progress)
        async with served.socket(token) as viewer:
            await watch(viewer, run=RUN, after=int(told["id"].rpartition(":")[2]))
            step, seen = await until(viewer, "scaling-progress")
            assert [one["event"] for one in seen if one["event"] != "status"] == ["scaling-progress"]
            assert step["id"] == f"{RUN}:{last}"
            assert {one["node"]: one["progress"] for one in step["data"]["tasks"]} == {"n1": 9, "n3": 10}
            work.end()
            await until(viewer, "end")

    play(scenario())


@SQLITE
def test_a_viewer_that_never_reads_harms_nobody_and_learns_the_end_later(served):
    nodes = [f"node{number}" for number in range(300)]
    work = Work(served.scaling.store, nodes)
    token = served.token()

    async def scenario():
        async with (
            served.silent(token) as silent,
            served.socket(token) as viewer,
        ):
            await watch(silent, run=RUN)
            await watch(viewer, run=RUN)
            await until(viewer, "snapshot")
            for progress in range(1, 31):
                revision = await asyncio.to_thread(work.change, *nodes, progress=progress)
                await until(viewer, "scaling-progress", f"{RUN}:{revision}")
            known, steps = {}, 0
            while known.get("node7") != 30:
                told = json.loads(await silent.recv())
                known |= {one["node"]: one["progress"] for one in told["data"].get("tasks", ())}
                steps += told["event"] != "status"
            # all else was told in one step
            assert steps < 30
            assert set(known) == set(nodes)

    play(scenario())


@SQLITE
def test_a_viewer_that_takes_nothing_for_too_long_is_cut_off(served):
    nodes = [f"node{number}" for number in range(300)]
    work = Work(served.scaling.store, nodes)
    token = served.token()
    sessions = served.app.state.stream.sessions
    # a minute in the service
    served.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)

    async def scenario():
        async with served.silent(token) as silent:
            await until(silent, "status")
            await watch(silent, run=RUN)
            async with asyncio.timeout(LIMIT):
                while sessions:
                    await asyncio.to_thread(work.change, *nodes)
            with pytest.raises(ConnectionClosed):
                await until(silent, "never")

    play(scenario())


def test_a_token_that_is_revoked_ends_what_it_watches_at_once(url, tmp_path, monkeypatch):
    # it looks at tokens once an hour, unless it is told to
    monkeypatch.setattr(streams, "Sessions", partial(Sessions, look=3600))
    with serving(url, tmp_path / "data") as served:
        check_a_revoked_token(served, Work(served.scaling.store))


def check_a_revoked_token(served, work):
    sessions = served.app.state.stream.sessions
    kept, revoked = served.token("kept"), served.token("revoked")
    ended = []
    reader = threading.Thread(target=lambda: ended.append(served.events(revoked, run=RUN)))
    reader.start()

    async def scenario():
        async with served.socket(kept) as good, served.socket(revoked) as bad:
            await watch(good, run=RUN)
            await until(good, "snapshot")
            await asyncio.to_thread(wait_for, lambda: len(sessions) == 3)
            served.accounts.tokens.remove(served.accounts.holder(revoked)[0].id)
            assert await closed(bad) == 4401
            revision = work.change("n1")
            await until(good, "scaling-progress", f"{RUN}:{revision}")

    play(scenario())
    reader.join(LIMIT)
    assert ended
    assert served.events(revoked, run=RUN)[0] == 401


def test_changes_of_clusters_and_jobs_are_told_to_those_who_may_see_them(served):
    store, jobs = served.scaling.store, JobRecords(served.scaling.store)
    store.save_cluster(Cluster("lab", controller="ctl"))
    everything = served.token()
    no_jobs = served.token("reader", permissions=[Permission.READ.value])
    other = served.token("other", clusters=["other"])

    async def scenario():
        async with (
            served.socket(everything) as all_of_it,
            served.socket(no_jobs) as reader,
            served.socket(other) as far,
        ):
            for viewer in (all_of_it, reader, far):
                await until(viewer, "status")
            await asyncio.sleep(1)
            store.save_cluster(Cluster("lab", controller="ctl", cluster_type="external", health="healthy"))
            for viewer in (all_of_it, reader):
                told, _ = await until(viewer, "cluster")
                assert (told["data"]["id"], told["data"]["health"]) == ("lab", "healthy")
            jobs.add(SlurmJob("j1", "lab", "7", state="PENDING"))
            assert (await until(all_of_it, "job"))[0]["data"]["state"] == "PENDING"
            jobs.update([SlurmJob("j1", "lab", "7", state="RUNNING", asked_at=1.0)])
            assert (await until(all_of_it, "job"))[0]["data"]["state"] == "RUNNING"
            store.remove_cluster("lab")
            store.save_cluster(Cluster("other", controller="ctl"))
            told, seen = await until(far, "cluster")
            assert told["data"]["id"] == "other"
            assert [one["event"] for one in seen if one["event"] != "status"] == ["cluster"]
            gone = {"id": "lab", "removed": True}
            seen = []
            while gone not in [one["data"] for one in seen]:
                seen += (await until(reader, "cluster"))[1]
            assert {one["event"] for one in seen} <= {"status", "cluster"}

    play(scenario())


def test_the_status_that_is_told_is_the_one_that_is_read(served):
    store = served.scaling.store
    old = Work(store, ["n9"], "20260101-000000-aaaaaa")
    old.end()
    work = Work(store)
    token = served.token()

    async def scenario():
        async with served.socket(token) as viewer:
            await until(viewer, "status")
            for progress in (10, 20, 30):
                counts = Counts(3, 3, 0, 0, 3 * progress)
                changes = [
                    TaskChange(node, TaskStatus.RUNNING, progress, updated_at=time.time()) for node in work.run.nodes
                ]
                rows = [{"b_id": work.ids[one.node], **row_of_change(one)} for one in changes]
                await asyncio.to_thread(work.store.record, work.run, rows, **row_of_counts(counts))
                async with asyncio.timeout(LIMIT):
                    while (told := (await until(viewer, "status"))[0]["data"])["progress"] != 3 * progress // 4:
                        pass
                assert told == served.scaling.status().as_json()
            work.end()
            async with asyncio.timeout(LIMIT):
                while (told := (await until(viewer, "status"))[0]["data"])["active"]:
                    pass
            assert told == served.scaling.status().as_json()
            assert (told["failed_nodes"], len(told["recent_operations"])) == (4, 2)

    play(scenario())


@SQLITE
def test_who_is_limited_to_other_clusters_meanwhile_connects_again(served, work):
    token = served.token()

    async def scenario():
        async with served.socket(token) as viewer:
            await watch(viewer, run=RUN)
            await until(viewer, "snapshot")
            served.accounts.change_user(served.accounts.find_user("anna"), clusters=["other"])
            assert await closed(viewer) == 1012
        async with served.socket(token) as viewer:
            await watch(viewer, run=work.run.id)
            told, _ = await until(viewer, "error")
            assert (told["data"]["code"], told["data"]["run"]) == ("not-found", RUN)
            await watch(viewer, log=f"{RUN}:n1")
            told, _ = await until(viewer, "error")
            assert told["data"]["log"] == f"{RUN}:n1"

    play(scenario())
    assert served.events(token, run=RUN)[0] == 404


@SQLITE
def test_who_may_not_watch_is_told_why(served):
    token = served.token()
    session = served.token("cookie")
    weak = served.token("weak", permissions=[Permission.JOBS_READ.value])
    cookie = {"Cookie": f"{COOKIE}={session}"}

    async def code(*arguments, **options):
        async with served.socket(*arguments, **options) as viewer:
            return await closed(viewer)

    async def scenario():
        assert await code() == 4401
        assert await code("slsc_wrong") == 4401
        assert await code(weak) == 4403
        assert await code(additional_headers=cookie, origin="http://evil.example") == 4403
        assert await code(additional_headers=cookie) == 4403
        async with served.socket(additional_headers=cookie, origin=f"http://{served.address}") as viewer:
            await until(viewer, "status")
        async with served.socket(subprotocols=["slurmscale.v1", f"bearer.{token}"]) as viewer:
            await until(viewer, "status")
            assert viewer.subprotocol == "slurmscale.v1"

    play(scenario())
    assert served.events(weak)[0] == 403


@SQLITE
def test_what_a_socket_may_send_is_limited(served):
    Work(served.scaling.store, [f"n{number}" for number in range(51)])
    token = served.token()

    async def scenario():
        async with served.socket(token) as viewer:
            for text in (
                "nonsense",
                "{}",
                '{"watch":{}}',
                '{"watch":{"run":"../x"}}',
                '{"x":1}',
                '{"watch":{"run":1}}',
            ):
                await viewer.send(text)
                told, _ = await until(viewer, "error")
                assert told["data"]["code"] == "request-invalid"
            await watch(viewer, run="nothing")
            assert (await until(viewer, "error"))[0]["data"]["code"] == "not-found"
        async with served.socket(token) as viewer:
            await viewer.send(json.dumps({"watch": {"run": "x" * 5000}}))
            assert await closed(viewer) in {1008, 1009}
        async with served.socket(token) as viewer:
            for _ in range(100):
                await viewer.send("{}")
            assert await closed(viewer) == 1008
        async with served.socket(token) as viewer:
            for number in range(51):
                await watch(viewer, log=f"{RUN}:n{number}")
                await asyncio.sleep(0.06)
            told, _ = await until(viewer, "error")
            assert "50" in told["data"]["reason"]

    play(scenario())


@SQLITE
def test_one_user_has_twenty_sockets_at_most(served):
    token, other = served.token(), served.token("other")

    async def scenario():
        viewers = await asyncio.gather(*(served.socket(token).__aenter__() for _ in range(20)))
        for viewer in viewers:
            await until(viewer, "status")
        async with served.socket(token) as viewer:
            assert await closed(viewer) == 4429
        assert (await asyncio.to_thread(served.events, token))[0] == 429
        async with served.socket(other) as viewer:
            await until(viewer, "status")
        await viewers[0].close()
        async with asyncio.timeout(LIMIT):
            while True:
                async with served.socket(token) as viewer:
                    if json.loads(await viewer.recv())["event"] == "status":
                        break
        await asyncio.gather(*(viewer.close() for viewer in viewers))

    play(scenario())


@SQLITE
def test_logs_are_told_as_they_are_printed(served, work):
    token = served.token()
    work.print("one", "two")
    first = served.scaling.store.log(RUN, "n1")[0].id

    async def scenario():
        async with served.socket(token) as viewer:
            await watch(viewer, log=f"{RUN}:n1", after=first)
            await watch(viewer, log=RUN)
            told, _ = await until(viewer, "log")
            assert [line["text"] for line in told["data"]["lines"]] == ["two"]
            work.print("three")
            told, _ = await until(viewer, "log")
            assert (told["data"]["log"], told["data"]["lines"][0]["text"]) == (f"{RUN}:n1", "three")
            assert told["id"] == str(told["data"]["last"])
            await viewer.send(json.dumps({"unwatch": {"log": f"{RUN}:n1"}}))
            work.print("not told")
            work.print("the controller's", node=None)
            told, _ = await until(viewer, "log")
            assert told["data"]["log"] == RUN

    play(scenario())


@SQLITE
def test_server_sent_events_tell_the_same_and_end_with_the_run(served, work):
    token = served.token()
    found = []
    reader = threading.Thread(target=lambda: found.append(served.events(token, run=RUN)))
    reader.start()
    while not served.app.state.stream.sessions:
        time.sleep(0.01)
    work.change("n1")
    revision = work.change("n2")
    work.end()
    reader.join(LIMIT)
    status, told = found[0]
    assert status == 200
    assert told[0][0] == "snapshot"
    assert (told[-1][0], told[-1][1]) == ("end", f"{RUN}:{revision + 1}")
    assert told[-1][2]["run"]["status"] == "cancelled"
    resumed = served.events(token, {"Last-Event-ID": f"{RUN}:{revision}"}, run=RUN)[1]
    assert [kind for kind, _, _ in resumed] == ["scaling-progress", "end"]
    assert served.events(token, run=RUN, after=revision)[1] == resumed
    assert served.events(token, {"Last-Event-ID": f"{RUN}:{revision + 1}"}, run=RUN) == (204, [])
    assert served.events(token, run="nothing")[0] == 404
    assert served.events(token, run=RUN, log=RUN)[0] == 422


def test_the_work_of_another_process_is_seen(served, work):
    token = served.token()
    other = Store(served.scaling.store.engine.url.render_as_string(hide_password=False))

    async def scenario():
        async with served.socket(token) as viewer:
            await watch(viewer, run=RUN)
            await until(viewer, "snapshot")
            work.store = other
            revision = work.change("n3")
            await until(viewer, "scaling-progress", f"{RUN}:{revision}")
            Work(other, ["m1"], f"{RUN}2", "second")
            async with asyncio.timeout(LIMIT):
                while len((await until(viewer, "status"))[0]["data"]["active_operations"]) < 2:
                    pass

    play(scenario())
    other.close()
