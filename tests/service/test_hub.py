"""What is watched is read once for all, and every viewer learns everything in its own time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from slurmscale.documents import Document
from slurmscale.errors import NotFoundError, StoreUnavailableError
from slurmscale.models import Counts, LogLine, Run, Task
from slurmscale.operations import Operation
from slurmscale.service.stream.feeds import ListFeed
from slurmscale.service.stream.hub import Hub
from slurmscale.service.stream.viewer import Viewer
from slurmscale.states import RunStatus, TaskStatus
from slurmscale.store.notices import Change, Kind

LIMIT = 30


class Named(Document):
    """Something in a list."""

    id: str
    state: str
    seen_at: float = 0.0


@dataclass(frozen=True)
class Status:
    """What the status is made of, and the status."""

    text: str
    revision: int
    stalled: tuple = ()

    def after(self, change):
        if change.values is None or change.revision != self.revision + 1 or change.values["status"] != "running":
            return self if 0 < change.revision <= self.revision else None
        return replace(self, revision=change.revision)

    def status(self):
        return self

    def as_json(self):
        return {"active": self.text, "stalled": list(self.stalled)}


class Records:
    """Runs in memory that count how often they are read."""

    def __init__(self, nodes=3):
        names = tuple(f"n{number}" for number in range(1, nodes + 1))
        counts = Counts(total=nodes, active=nodes)
        self.now = Run("r1", "lab", Operation.SCALE_UP, RunStatus.RUNNING, names, counts, 1.0, remaining=7)
        self.tasks = {
            node: Task(number, f"r1:{node}", "r1", node, "t", TaskStatus.RUNNING, 0, "", "", None, None, None, 1.0, 1.0)
            for number, node in enumerate(names)
        }
        self.lines = []
        self.reads = Counter()
        self.told = set()
        self.away = False
        self.notices = True
        self.whole = True
        """Whether notices tell what was written."""
        self.silent = ()

    # what the hub reads

    def run_changes(self, run_id, after=0):
        self._read("run")
        if run_id != self.now.id:
            raise NotFoundError(f"There is no run {run_id}.")
        return self.now, [task for task in self.tasks.values() if task.revision > after]

    def log(self, _run_id, node=None, *, after=0, limit=None):
        self._read("log")
        return [line for line in self.lines if line.node == node and line.id > after][:limit]

    def log_end(self, _run_id, node=None):
        return max([line.id for line in self.lines if line.node == node], default=0)

    def revisions(self, _run_ids=()):
        self._read("revisions")
        return {} if self.now is None else {self.now.id: self.now.revision}

    @contextlib.contextmanager
    def listen(self, told):
        self.told.add(told)
        yield
        self.told.discard(told)

    def read_status(self, clusters=None):
        self._read("status")
        text = f"{clusters and sorted(clusters)} {self.now.status} {self.now.counts.success}"
        return Status(text, self.now.revision, self.silent)

    def read_stalled(self, _clusters=None):
        self._read("stalled")
        return self.silent

    def _read(self, what):
        if self.away:
            raise StoreUnavailableError("The database does not answer.")
        self.reads[what] += 1

    # what happens

    def change(self, *nodes, progress=50, status=TaskStatus.RUNNING, run_status=RunStatus.RUNNING):
        revision = self.now.revision + 1
        for node in nodes:
            self.tasks[node] = replace(self.tasks[node], progress=progress, status=status, revision=revision)
        self.now = replace(self.now, revision=revision, status=run_status)
        written = {self.tasks[node].id: {"progress": progress, "status": status} for node in nodes}
        self._tell({"status": run_status}, written, lines=False)

    def print(self, count, node="n1"):
        first = len(self.lines) + 1
        self.lines += [LogLine(node, 1, 1.0, "runner_on_ok", "t", f"line {first + i}", first + i) for i in range(count)]
        self.now = replace(self.now, revision=self.now.revision + 1)
        self._tell({"status": self.now.status})

    def _tell(self, values, tasks=None, *, lines=True):
        change = Change(Kind.RUN, self.now.id, "lab", self.now.revision, values, tasks or {}, lines=lines)
        self.tell(change if self.whole else replace(change, values=None, tasks={}))

    def tell(self, change):
        for told in tuple(self.told) if self.notices else ():
            told(change)


class Screen:
    """Keeps what a viewer is told."""

    def __init__(self, hub, **options):
        self.viewer = Viewer(hub, **options)
        self.seen = []
        self._grown = asyncio.Event()
        self.task = asyncio.create_task(self._look())

    async def _look(self):
        async for message in self.viewer.messages():
            self.seen.append(json.loads(message.as_text))
            self._grown.set()

    async def until(self, condition):
        async with asyncio.timeout(LIMIT):
            while not (found := [event for event in self.seen if condition(event)]):
                self._grown.clear()
                await self._grown.wait()
            return found[0]

    def of(self, kind):
        return [event for event in self.seen if event["event"] == kind]

    def nodes(self):
        """Put together what all events said of the nodes."""
        known = {}
        for event in self.seen:
            known |= {task["node"]: task["progress"] for task in event["data"].get("tasks", ())}
        return known


def at(revision):
    return lambda event: event["id"] == f"r1:{revision}"


def watching(records, scenario, poll=30.0, **options):
    async def main():
        hub = Hub(records, records, records.listen, poll=poll, **options)
        work = asyncio.create_task(hub.run())
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(2 * LIMIT):
                await scenario(hub)
        finally:
            work.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("whole", [True, False])
def test_many_viewers_cost_at_most_one_read_per_change_and_none_when_it_is_told(whole):
    records = Records()
    records.whole = whole

    async def scenario(hub):
        screens = [Screen(hub) for _ in range(50)]
        for screen in screens:
            await screen.viewer.watch(hub.run_feed("r1"))
        for screen in screens:
            assert (await screen.until(at(1)))["event"] == "snapshot"
        for revision in (2, 3, 4):
            records.change("n2", progress=revision)
            for screen in screens:
                event = await screen.until(at(revision))
                assert [task["node"] for task in event["data"]["tasks"]] == ["n2"]
        assert records.reads["run"] == (1 if whole else 4)

    watching(records, scenario)


def test_a_slow_viewer_is_told_everything_in_one_step():
    records = Records()

    async def scenario(hub):
        quick, slow = Screen(hub), Viewer(hub)
        await quick.viewer.watch(hub.run_feed("r1"))
        await slow.watch(hub.run_feed("r1"))
        messages = slow.messages()
        assert json.loads((await anext(messages)).as_text)["event"] == "snapshot"
        for revision, node in ((2, "n1"), (3, "n2"), (4, "n1")):
            records.change(node, progress=revision)
            await quick.until(at(revision))
        step = json.loads((await anext(messages)).as_text)
        assert step["id"] == "r1:4"
        assert {task["node"]: task["progress"] for task in step["data"]["tasks"]} == {"n1": 4, "n2": 3}
        assert quick.nodes() == {"n1": 4, "n2": 3, "n3": 0}

    watching(records, scenario)


def test_one_that_comes_back_goes_on_where_it_was():
    records = Records()
    for revision in (2, 3, 4):
        records.change(f"n{revision - 1}", progress=revision)

    async def scenario(hub):
        back, current, strange = Screen(hub), Screen(hub), Screen(hub)
        await back.viewer.watch(hub.run_feed("r1"), after=3)
        await current.viewer.watch(hub.run_feed("r1"), after=4)
        await strange.viewer.watch(hub.run_feed("r1"), after=99)
        step = await back.until(at(4))
        assert step["event"] == "scaling-progress"
        assert [task["node"] for task in step["data"]["tasks"]] == ["n3"]
        assert (await strange.until(at(4)))["event"] == "snapshot"
        records.change("n1", progress=80)
        await current.until(at(5))
        assert len(current.seen) == 1

    watching(records, scenario)


def test_the_end_is_told_to_all_and_to_whoever_comes_later():
    records = Records()

    async def scenario(hub):
        screen, late = Screen(hub), Screen(hub)
        await screen.viewer.watch(hub.run_feed("r1"))
        await screen.until(at(1))
        records.change("n1", progress=100, status=TaskStatus.COMPLETED, run_status=RunStatus.COMPLETED)
        end = await screen.until(lambda event: event["event"] == "end")
        assert end["data"]["run"]["status"] == "completed"
        assert [event["event"] for event in screen.seen] == ["snapshot", "scaling-progress", "end"]
        await late.viewer.watch(hub.run_feed("r1"), after=2)
        await late.until(lambda event: event["event"] == "end")
        assert len(late.seen) == 1

    watching(records, scenario)


def test_a_change_without_a_notice_is_found():
    records = Records()
    records.notices = False

    async def scenario(hub):
        screen = Screen(hub)
        await screen.viewer.watch(hub.run_feed("r1"))
        await screen.until(at(1))
        records.change("n1")
        await screen.until(at(2))

    watching(records, scenario, poll=0.05)


@pytest.mark.parametrize("shared", [True, False])
def test_who_is_told_of_all_processes_looks_for_nothing_as_long_as_notices_come(shared):
    records = Records()
    lists = []

    async def scenario(hub):
        screen = Screen(hub)
        await screen.viewer.watch(hub.run_feed("r1"))
        await screen.viewer.watch(
            ListFeed("things", kind=Kind.CLUSTERS, event="thing", items=lambda: lists.append("read") or {})
        )
        await screen.until(at(1))
        records.change("n1")
        await screen.until(at(2))
        await hub._look(aged=True)
        if shared:
            assert (records.reads["revisions"], lists) == (0, ["read"])
        # silence may be that of a connection that is gone
        records.notices = False
        records.change("n2")
        await hub._look(aged=True)
        await screen.until(at(3))
        while len(lists) < 2:  # noqa: ASYNC110 - nothing tells of a read
            await asyncio.sleep(0.01)
        assert records.reads["revisions"] == (1 if shared else 2)

    watching(records, scenario, shared=shared)


def test_what_a_lost_notice_told_is_read_with_the_next_one():
    records = Records()

    async def scenario(hub):
        screen = Screen(hub)
        await screen.viewer.watch(hub.run_feed("r1"))
        await screen.until(at(1))
        records.notices = False
        records.change("n1", progress=10)
        records.notices = True
        records.change("n2", progress=20)
        step = await screen.until(at(3))
        assert {task["node"]: task["progress"] for task in step["data"]["tasks"]} == {"n1": 10, "n2": 20}
        assert step["data"]["remaining"] == 7
        records.change("n3", progress=30)
        await screen.until(at(4))
        assert records.reads["run"] == 2
        # told late, and known already
        records.tell(Change(Kind.RUN, "r1", "lab", 2, {"status": "running"}, {0: {"progress": 0, "status": "running"}}))
        records.change("n3", progress=31)
        await screen.until(at(5))
        assert screen.nodes() == {"n1": 10, "n2": 20, "n3": 31}
        assert records.reads["run"] == 2

    watching(records, scenario)


def test_after_a_time_without_notices_all_is_read_again():
    records = Records()

    async def scenario(hub):
        screen = Screen(hub)
        await screen.viewer.watch(hub.run_feed("r1"))
        await screen.until(at(1))
        records.notices = False
        records.change("n1")
        records.notices = True
        records.tell(Change(Kind.ANYTHING))
        await screen.until(at(2))
        assert hub.accounts_changed.is_set()

    watching(records, scenario)


def test_what_changes_in_a_list_is_told_to_those_who_watch():
    records = Records()
    items = {"a": Named(id="a", state="new"), "b": Named(id="b", state="new")}

    def feed(**options):
        return ListFeed("things", kind=Kind.CLUSTERS, event="thing", items=lambda: dict(items), **options)

    async def scenario(hub):
        screen = Screen(hub)
        await screen.viewer.watch(feed(unless="seen_at"))
        items["a"] = Named(id="a", state="old")
        items["b"] = Named(id="b", state="new", seen_at=1.0)
        records.tell(Change(Kind.JOBS))
        records.tell(Change(Kind.CLUSTERS))
        told = await screen.until(lambda _: True)
        assert (told["event"], told["data"]) == ("thing", {"id": "a", "state": "old", "seen_at": 0.0})
        late = Screen(hub)
        await late.viewer.watch(feed())
        del items["b"]
        records.tell(Change(Kind.CLUSTERS))
        for viewer in (screen, late):
            assert await viewer.until(lambda told: told["data"].get("removed") and told["data"]["id"] == "b")
        assert (len(screen.seen), len(late.seen)) == (2, 1)

    watching(records, scenario)


def test_a_log_is_read_in_parts_and_goes_on():
    records = Records()
    records.print(1200)

    async def scenario(hub):
        whole, others = Screen(hub), [Screen(hub) for _ in range(20)]
        await whole.viewer.watch(hub.log_feed("r1:n1"))
        for screen in others:
            await screen.viewer.watch(hub.log_feed("r1:n1"), after=1200)
        await whole.until(lambda event: event["data"].get("last") == 1200)
        reads = records.reads["log"]
        records.print(3)
        for screen in (whole, *others):
            await screen.until(lambda event: event["data"].get("last") == 1203)
            assert [line["id"] for line in screen.of("log")[-1]["data"]["lines"]] == [1201, 1202, 1203]
        assert records.reads["log"] == reads + 1
        told = [line["text"] for event in whole.of("log") for line in event["data"]["lines"]]
        assert told == [f"line {number}" for number in range(1, 1204)]

    watching(records, scenario)


def test_the_status_is_told_when_it_is_another_one():
    records = Records()

    async def scenario(hub):
        screen, limited = Screen(hub), Screen(hub)
        await screen.viewer.watch(hub.status_feed(None))
        await limited.viewer.watch(hub.status_feed(frozenset({"lab"})))
        assert (await screen.until(lambda _: True))["data"]["active"] == "None running 0"
        assert (await limited.until(lambda _: True))["data"]["active"] == "['lab'] running 0"
        reads = records.reads["status"]
        for _ in range(5):
            records.change("n1")
        records.tell(Change(Kind.RUN, "other", "elsewhere", 1))
        records.change("n1", run_status=RunStatus.COMPLETED)
        event = await screen.until(lambda event: event["id"] == "2")
        assert event["data"]["active"] == "None completed 0"
        assert len(screen.of("status")) == 2
        await limited.until(lambda event: event["id"] == "2")
        # known progress is not read, and what is told of other clusters neither
        assert records.reads["status"] == reads + 2

    watching(records, scenario)


def test_silent_nodes_are_looked_for_by_the_clock():
    records = Records()

    async def scenario(hub):
        screen = Screen(hub)
        await screen.viewer.watch(hub.status_feed(None))
        await screen.until(lambda _: True)
        records.silent = ("n1",)
        event = await screen.until(lambda event: event["id"] == "2")
        assert event["data"]["stalled"] == ["n1"]
        assert records.reads["stalled"] >= 1

    watching(records, scenario, poll=0.1)


def test_what_does_not_exist_is_refused_and_forgotten():
    records = Records()

    async def scenario(hub):
        viewer = Viewer(hub)
        with pytest.raises(NotFoundError):
            await viewer.watch(hub.run_feed("r2"))
        assert len(viewer) == 0
        assert hub._feeds == {}

    watching(records, scenario)


def test_nothing_is_read_for_nobody():
    records = Records()

    async def scenario(hub):
        screen, other = Screen(hub), Screen(hub)
        await screen.viewer.watch(hub.run_feed("r1"))
        await other.viewer.watch(hub.run_feed("r1"))
        await screen.until(at(1))
        screen.viewer.close()
        records.change("n1")
        await other.until(at(2))
        other.viewer.close()
        assert (hub._feeds, hub._tasks) == ({}, {})
        records.change("n1")
        assert records.reads["run"] == 1

    watching(records, scenario)


def test_a_database_that_is_away_for_a_while_loses_no_progress():
    records = Records()

    async def scenario(hub):
        screen = Screen(hub)
        await screen.viewer.watch(hub.run_feed("r1"))
        await screen.until(at(1))
        records.away = True
        records.change("n1")
        records.change("n2")
        records.away = False
        await screen.until(at(3))
        assert screen.nodes() == {"n1": 50, "n2": 50, "n3": 0}

    watching(records, scenario)


def test_a_run_that_is_deleted_while_it_is_watched_is_told():
    records = Records()

    async def scenario(hub):
        screen = Screen(hub)
        await screen.viewer.watch(hub.run_feed("r1"))
        await screen.until(at(1))
        records.now = replace(records.now, id="r2", revision=2)
        records.tell(Change(Kind.RUN, "r1", "lab", 9))
        event = await screen.until(lambda event: event["event"] == "error")
        assert event["data"]["code"] == "not-found"
        assert len(screen.viewer) == 0

    watching(records, scenario)


def test_silence_is_told_from_death():
    records = Records()

    async def scenario(hub):
        screen = Screen(hub, ping=0.05)
        await screen.viewer.watch(hub.run_feed("r1"))
        await screen.until(lambda event: event["event"] == "ping")

    watching(records, scenario)


def test_messages_come_ten_a_second_at_most():
    records = Records()

    async def scenario(hub):
        screen = Screen(hub)
        await screen.viewer.watch(hub.run_feed("r1"))
        await screen.until(at(1))
        for _ in range(200):
            records.change("n1")
            await asyncio.sleep(0.002)
        await screen.until(at(201))
        assert len(screen.seen) < 100

    watching(records, scenario)
