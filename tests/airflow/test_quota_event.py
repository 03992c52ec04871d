"""Watchers: DAGs that are scheduled by quota instead of by the clock."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import Asset, timezone

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.operators.reconcile import ApiUsageReconcileOperator
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator
from airflow_provider_apiusage.quota.model import Grant, Holder, QuotaRequest
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.triggers import quota_event, quota_lookout
from airflow_provider_apiusage.triggers.quota_event import ApiQuotaEventTrigger
from airflow_provider_apiusage.usage.model import API_REQUESTS
from tests.airflow.test_triggerer import Supervisor, comms  # noqa: F401 - a fixture

QUIET = 600.0  # seconds between two readings: whatever a test sees comes from the store


@pytest.fixture(autouse=True)
def quick_and_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other as fast as they can, and no level is left from another test."""
    for name in ("SHORTEST_SLEEP", "LOOK", "ARRIVALS", "AFTER_AN_OUTAGE"):
        monkeypatch.setattr(quota_lookout, name, 0.01)
    quota_event._levels.clear()


def watcher(calls: int = 50_000, **options: Any) -> ApiQuotaEventTrigger:
    return ApiQuotaEventTrigger(calls=calls, **{"poll_interval": QUIET, **options})


class Heard:
    """The events of a watcher so far."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._more = asyncio.Event()

    @property
    def levels(self) -> list[str]:
        return [event["level"] for event in self.events]

    def hear(self, payload: dict[str, Any]) -> None:
        self.events.append(payload)
        self._more.set()

    async def until(self, count: int) -> None:
        while len(self.events) < count:
            self._more.clear()
            await self._more.wait()


@asynccontextmanager
async def running(trigger: ApiQuotaEventTrigger) -> AsyncIterator[Heard]:
    """Run a watcher as a triggerer before Airflow 3.3 does; one that ends or raises fails the test."""
    heard = Heard()

    async def hear() -> None:
        async for event in trigger.run():
            heard.hear(event.payload)
        raise AssertionError("a watcher never ends")

    async with ended_with_block(hear()):
        yield heard


@asynccontextmanager
async def ended_with_block(work: Any) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    body = asyncio.current_task()
    assert body is not None
    task.add_done_callback(lambda done: None if done.cancelled() else body.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if task.done():
            task.result()
        raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def told_by_a_snapshot(hook: ApiUsageHook) -> None:
    """Keep a reading, as a snapshot or a load does beside the watcher."""
    hook.store.add_readings(hook.get_limits())


async def used_up(server: SandboxServer, limit: int) -> None:
    """Change what is left, and let the store know."""
    server.org.change({"limit": limit, "hard_limit": max(limit, 100_000)})
    await asyncio.to_thread(told_by_a_snapshot, ApiUsageHook())


async def until(condition: Callable[[], Any]) -> None:
    while not await asyncio.to_thread(condition):
        await asyncio.sleep(0.01)


def test_it_is_stored_as_plain_json_and_comes_back_the_same(connected: SandboxServer) -> None:
    """Class path and arguments survive Airflow's own serialisation, and two that are alike are one to Airflow."""
    from airflow.models.trigger import Trigger

    original = watcher(reserve="10%", gone_below=20_000, max_age=timedelta(minutes=1))
    path, arguments = original.serialize()
    stored = Trigger.from_object(original)

    assert stored.kwargs == arguments == json.loads(json.dumps(arguments))
    again = ApiQuotaEventTrigger(**stored.kwargs)
    assert again.serialize() == original.serialize()
    assert ApiQuotaEventTrigger.hash(path, arguments) == ApiQuotaEventTrigger.hash(*again.serialize())
    assert "secret" not in json.dumps(arguments)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"calls": 0}, "must be at least 1"),
        ({"calls": "many"}, "is no whole number"),
        ({"gone_below": 50_001}, "gone_below=50001 must not be more than calls=50000"),
        ({"edges": "up"}, "edges='up' must be one of"),
        ({"max_age": 0}, "max_age=.* more than zero"),
        ({"poll_interval": -1}, "poll_interval=.* more than zero"),
        ({"reserve": 1.5}, "must be a share"),
    ],
)
def test_what_makes_no_sense_is_said_when_the_dag_is_read(wrong: dict[str, Any], says: str) -> None:
    """A wrong argument is an import error of the DAG, not a watcher that tells nothing."""
    with pytest.raises(ValueError, match=says):
        watcher(**wrong)


async def test_each_edge_is_told_once(connected: SandboxServer) -> None:
    """Available, gone, available again: one event each, however often it looks, with the figures of the moment."""
    org = connected.org
    async with running(watcher(reserve=5_000)) as heard:
        await heard.until(1)
        for limit, count in ((90_000, 1), (60_000, 2), (70_000, 2), (100_000, 3)):
            await used_up(connected, limit)
            await heard.until(count)
    first, second, _ = heard.events

    assert heard.levels == ["available", "gone", "available"]
    assert first == {
        "org": org.identity.org_id,
        "limit": "DailyApiRequests",
        "calls": 50_000,
        "available": 69_999,
        "level": "available",
        "at": first["at"],
        "observed_at": "2026-10-07T14:30:00+00:00",
        "source": "limits",
    }
    assert first["at"].startswith("2026-10-07T14:3")
    assert second["available"] < 50_000
    assert json.loads(json.dumps(heard.events)) == heard.events


async def test_the_first_look_is_silent_if_there_is_nothing_to_tell(connected: SandboxServer) -> None:
    """What was never available is not gone; when it comes, it is told."""
    connected.org.change({"limit": 40_000, "hard_limit": 100_000})
    async with running(watcher()) as heard:
        await until(lambda: ApiUsageHook().store.latest_reading(connected.org.identity.org_id))
        await used_up(connected, 41_000)
        await used_up(connected, 100_000)
        await heard.until(1)

    assert heard.levels == ["available"]


@pytest.mark.parametrize(("edges", "levels"), [("available", ["available"] * 2), ("gone", ["gone"])])
async def test_only_the_edges_asked_for_are_told(connected: SandboxServer, edges: str, levels: list[str]) -> None:
    """A DAG that only loads is not run because calls are gone, and the other way round."""
    async with running(watcher(edges=edges)) as heard, running(watcher(calls=50_001)) as both:
        for limit, count in ((100_000, 1), (60_000, 2), (100_000, 3)):
            await used_up(connected, limit)
            await both.until(count)
        await heard.until(len(levels))

    assert heard.levels == levels


async def test_use_that_goes_up_and_down_is_told_once(connected: SandboxServer) -> None:
    """With ``gone_below`` calls are gone only when fewer than that are left."""
    async with running(watcher(gone_below=20_000)) as heard, running(watcher(calls=50_001)) as restless:
        for limit, count in ((100_000, 1), (60_000, 2), (100_000, 3), (60_000, 4)):
            await used_up(connected, limit)
            await restless.until(count)
        assert heard.levels == ["available"]
        await used_up(connected, 44_000)
        await heard.until(2)

    assert heard.levels == ["available", "gone"]


async def test_what_others_hold_is_not_available(connected: SandboxServer) -> None:
    """The figures are the gate's. What is reserved is not told as available, but gone only if one asks for that."""
    hook, org_id, now = ApiUsageHook(), connected.org.identity.org_id, timezone.utcnow
    request = QuotaRequest(org_id, Holder("dag", "run", "gate"), {API_REQUESTS: 30_000}, now())
    async with running(watcher(reserved_is_gone=True)) as strict, running(watcher()) as usual:
        await strict.until(1)
        await usual.until(1)
        used = connected.org.used
        granted = await asyncio.to_thread(hook.gate(timedelta(seconds=QUIET)).turn, request)
        assert isinstance(granted, Grant)
        await strict.until(2)
        async with running(watcher(calls=50_001)) as late:
            await until(lambda: strict.levels == ["available", "gone"])
            reservation = granted.reservation.reservation_id
            await asyncio.to_thread(hook.ledger.draw, reservation, {API_REQUESTS: 0}, now(), closed=True)
            await asyncio.to_thread(hook.ledger.release, reservation, now())
            await strict.until(3)
            await late.until(1)

    assert strict.levels == ["available", "gone", "available"]
    assert strict.events[1]["available"] == 44_999
    assert usual.levels == late.levels == ["available"]
    assert late.events[0]["available"] == 74_999
    assert connected.org.used == used
    assert hook.ledger.waiting(org_id, now()) == ()
    assert hook.ledger.reservations(org_id, now()) == ()


async def test_it_reads_the_org_itself_when_that_can_matter(connected: SandboxServer) -> None:
    """Nobody tells anything: it notices that calls have left the window, and that others have taken them."""
    connected.org.change({"limit": 60_000, "hard_limit": 100_000})
    async with running(watcher(poll_interval=0.01, max_age=1)) as heard:
        await until(lambda: ApiUsageHook().store.latest_reading(connected.org.identity.org_id))
        connected.org.clock.advance(timedelta(hours=20))
        await heard.until(1)
        connected.org.change({"limit": 40_000})
        await heard.until(2)

    assert heard.levels == ["available", "gone"]


async def test_a_restart_in_the_same_process_tells_nothing_twice(connected: SandboxServer) -> None:
    """A watcher that Airflow starts again takes up its level; before Airflow 3.3 that is kept in the process."""
    for told in ("available", None, "gone"):
        async with running(watcher()) as heard:
            if told is None:
                async with running(watcher(calls=50_002)) as other:
                    await other.until(1)
            elif told == "gone":
                await used_up(connected, 60_000)
            if told:
                await heard.until(1)
        assert heard.levels == ([told] if told else [])


async def test_what_fails_is_tried_again_and_told_nobody(
    connected: SandboxServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No connection, wrong credentials, an org that is down: the watcher goes on, and no secret is in its log."""
    right = json.dumps(connected.connection("client_credentials"))
    wrong = connected.connection("client_credentials")
    wrong["extra"]["consumer_secret"] = "wrong-secret"
    monkeypatch.delenv("AIRFLOW_CONN_SALESFORCE_DEFAULT")
    caplog.set_level("INFO")
    async with running(watcher(poll_interval=0.01)) as heard:
        await until(lambda: "There is no connection 'salesforce_default'" in caplog.text)
        monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(wrong))
        await until(lambda: "invalid_client" in caplog.text)
        connected.org.faults.order(Fault("status", status=404, path="/limits", body="<html>gone</html>", count=2))
        monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", right)
        await heard.until(1)

    assert heard.levels == ["available"]
    assert "wrong-secret" not in caplog.text


async def test_it_never_blocks_the_event_loop(connected: SandboxServer) -> None:
    """While a slow org lets it wait, everything else in the triggerer goes on."""
    connected.org.faults.order(Fault("delay", seconds=1, path="/limits", count=1))
    turns = 0
    async with running(watcher()) as heard:
        while not heard.events:
            await asyncio.sleep(0.01)
            turns += 1

    assert turns > 20


@pytest.fixture
async def triggerer() -> AsyncIterator[Triggerer]:
    """Airflow's own trigger runner, in the event loop of the test."""
    one = Triggerer()
    yield one
    await one.stop()


class Triggerer:
    """Airflow's trigger runner, without the supervisor that would tell it what to run."""

    def __init__(self) -> None:
        from airflow.jobs.triggerer_job_runner import TriggerRunner

        self.runner = TriggerRunner()

    def start(self, trigger: ApiQuotaEventTrigger, trigger_id: int) -> asyncio.Task[None]:
        task = asyncio.create_task(self.runner.run_trigger(trigger_id, trigger))
        self.runner.triggers[trigger_id] = {"task": task, "is_watcher": True, "name": str(trigger_id), "events": 0}
        return task

    async def told(self, trigger_id: int, count: int) -> list[str]:
        """Wait until a watcher has fired so often; return the levels that it told."""
        while True:
            levels = [one.event.payload["level"] for one in self.runner.events if one.trigger_id == trigger_id]
            if len(levels) >= count:
                return levels
            assert not self.runner.triggers[trigger_id]["task"].done()
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for details in self.runner.triggers.values():
            details["task"].cancel()
        await asyncio.gather(*(each["task"] for each in self.runner.triggers.values()), return_exceptions=True)
        await self.runner._shared_streams.stop_all()


async def test_watchers_of_one_org_share_one_stream_and_its_calls(
    connected: SandboxServer, triggerer: Triggerer
) -> None:
    """In Airflow's own runner: one login and one call for all, each its own edges; one that comes later, too."""
    used = connected.org.used
    tasks = [triggerer.start(watcher(calls=calls), calls) for calls in (10_000, 50_000, 70_000)]
    for calls in (10_000, 50_000, 70_000):
        assert await triggerer.told(calls, 1) == ["available"]
    triggerer.start(watcher(calls=74_000), 74_000)
    assert await triggerer.told(74_000, 1) == ["available"]
    assert connected.org.used - used == 1
    assert len(triggerer.runner._shared_streams._groups) == 1

    tasks[2].cancel()  # its DAG was deleted; the others go on
    await asyncio.gather(tasks[2], return_exceptions=True)
    await used_up(connected, 60_000)
    assert await triggerer.told(74_000, 2) == ["available", "gone"]
    assert await triggerer.told(50_000, 2) == ["available", "gone"]
    assert await triggerer.told(10_000, 1) == ["available"]
    assert await triggerer.told(70_000, 1) == ["available"]
    assert connected.org.used - used == 2  # of which one was not ours


async def test_a_failing_read_ends_no_watcher_of_a_stream(
    connected: SandboxServer, triggerer: Triggerer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The stream outlives wrong credentials and an org that is down; all that share it hear of what comes after."""
    wrong = connected.connection("client_credentials")
    right = json.dumps(wrong)
    wrong["extra"]["consumer_secret"] = "wrong-secret"
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(wrong))
    tasks = [triggerer.start(watcher(calls=calls, poll_interval=0.01), calls) for calls in (10_000, 50_000)]
    await until(lambda: "invalid_client" in caplog.text)
    connected.org.faults.order(Fault("status", status=503, path="/limits", body="down", count=5))
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", right)
    for calls in (10_000, 50_000):
        assert await triggerer.told(calls, 1) == ["available"]

    assert not any(task.done() for task in tasks)


class AssetStates(Supervisor):
    """A supervisor that also keeps asset states, as Airflow's API server does for it since Airflow 3.3."""

    def __init__(self) -> None:
        self.kept: dict[Any, Any] = {}
        super().__init__()

    def _serve(self) -> None:
        import msgspec
        from airflow.sdk.execution_time.comms import _RequestFrame, _ResponseFrame

        decoder = msgspec.msgpack.Decoder(_RequestFrame)
        with self._end.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                frame = decoder.decode(stream.read(*struct.unpack(">I", head)))
                assert frame.body is not None
                answer: dict[str, Any] | None = None
                place = frame.body.get("name"), frame.body.get("key")
                if frame.body["type"] == "SetAssetStateStoreByName":
                    self.kept[place] = frame.body["value"]
                elif frame.body["type"] == "GetAssetStateStoreByName" and place in self.kept:
                    answer = {"type": "AssetStateStoreResult", "value": self.kept[place]}
                elif frame.body["type"] == "GetAssetStateStoreByName":
                    answer = {"type": "ErrorResponse", "error": "ASSET_STORE_NOT_FOUND", "detail": None}
                self._end.sendall(_ResponseFrame(id=frame.id, body=answer).as_bytes())


@pytest.fixture
def supervisor() -> Iterator[AssetStates]:
    """The other end of the triggerer's socket."""
    one = AssetStates()
    yield one
    one.close()


@pytest.mark.usefixtures("comms")
async def test_another_triggerer_tells_nothing_twice(connected: SandboxServer, supervisor: AssetStates) -> None:
    """Airflow 3.3 keeps the level with the asset: who takes over goes on from there, with nothing in its process."""
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

    def restarted() -> ApiQuotaEventTrigger:
        quota_event._levels.clear()
        trigger = watcher()
        trigger.asset_state_store = AssetStateStoreAccessors(inlets=[Asset("calls")])
        return trigger

    async with running(restarted()) as first:
        await first.until(1)
        await until(lambda: [*supervisor.kept.values()] == ["available"])
    async with running(restarted()) as second:
        await used_up(connected, 60_000)
        await second.until(1)
        await until(lambda: [*supervisor.kept.values()] == ["gone"])

    assert (first.levels, second.levels) == (["available"], ["gone"])
    assert [name for name, _ in supervisor.kept] == ["calls"]


async def test_two_assets_with_the_very_same_watcher_go_on(
    connected: SandboxServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow makes them one trigger, with the states of both assets; which is meant cannot be told, and is said."""
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

    trigger = watcher()
    trigger.asset_state_store = AssetStateStoreAccessors(inlets=[Asset("one"), Asset("two")])
    async with running(trigger) as heard:
        await heard.until(1)
        await used_up(connected, 60_000)
        await heard.until(2)

    assert heard.levels == ["available", "gone"]
    assert "The level is kept in this process only" in caplog.text


def test_a_watcher_is_what_airflow_takes_for_one(metadata_database: None) -> None:
    """An asset with it is serialised with its DAG, and the trigger comes out of the database as it went in."""
    from airflow.sdk import DAG, AssetWatcher
    from airflow.serialization.serialized_objects import DagSerialization

    asset = Asset("calls", watchers=[AssetWatcher(name="quota", trigger=watcher(reserve=0.1))])
    with DAG("scheduled_by_quota", schedule=asset) as dag:
        pass
    written = json.dumps(DagSerialization.serialize_dag(dag))

    assert "airflow_provider_apiusage.triggers.quota_event.ApiQuotaEventTrigger" in written


def test_snapshots_and_reconciliations_tell_their_figures(
    connected: SandboxServer, run_dag: Callable[..., Any]
) -> None:
    """The asset events carry what a DAG that they start decides by: small, JSON, the codes of findings alone."""
    from airflow.models.asset import AssetEvent
    from airflow.sdk import DAG
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with DAG("tells", schedule=None) as dag:
        snapshot = ApiUsageSnapshotOperator(task_id="snapshot", daily_report=connected.org.settings.report_id)
        snapshot >> ApiUsageReconcileOperator(task_id="reconcile")
    run = run_dag(dag)
    with create_session() as session:
        query = select(AssetEvent).where(AssetEvent.source_dag_id == "tells", AssetEvent.source_run_id == run.run_id)
        extras = {event.source_task_id: event.extra for event in session.scalars(query)}

    org_id = connected.org.identity.org_id
    assert extras["snapshot"] == {
        "org_id": org_id,
        "observed_at": "2026-10-07T14:30:00+00:00",
        "limit": 100_000,
        "used": extras["snapshot"]["used"],
        "remaining": 100_000 - extras["snapshot"]["used"],
        "daily": {"2026-10-06": 20_000, "2026-10-07": 15_000},
        "findings": extras["snapshot"]["findings"],
    }
    told = extras["reconcile"]
    assert (told["org_id"], told["today"], told["yesterday"], told["limit"]) == (org_id, 15_000, 20_000, 100_000)
    assert told["rolling"] == extras["snapshot"]["used"]
    assert {"window_tail", "residual", "coverage", "consistent", "at"} <= {*told}
    assert all(isinstance(code, str) for extra in extras.values() for code in extra["findings"])
