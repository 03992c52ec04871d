"""Real triggers at their hubs in a real event loop: one turn for all, and nobody's trouble is another's."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import timezone

from airflow_provider_apiusage.gate import GHOST_AFTER
from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.quota.model import Holder, QuotaRequest
from airflow_provider_apiusage.quota.wire import request_to_json
from airflow_provider_apiusage.sandbox import Fault, SandboxOrg, SandboxServer
from airflow_provider_apiusage.sandbox.identity import Identity
from airflow_provider_apiusage.store.engine import sqlite_engine
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.triggers import hub as hubs
from airflow_provider_apiusage.triggers.hub import waiting_at_hub
from airflow_provider_apiusage.triggers.quota import ApiQuotaTrigger
from airflow_provider_apiusage.triggers.waiter import HubKey
from tests.airflow.test_trigger import events_of

DAY = timedelta(hours=20)
Ledger = Callable[[], QuotaLedger]


def request(server: SandboxServer, calls: int, run_id: str, **more: Any) -> QuotaRequest:
    return QuotaRequest(
        server.org.identity.org_id,
        Holder("dag", run_id, "gate"),
        {"DailyApiRequests": calls},
        timezone.utcnow(),
        **more,
    )


def gate(
    server: SandboxServer, calls: int, run_id: str = "run", conn_id: str = "salesforce_default", poll: float = 1.0
) -> ApiQuotaTrigger:
    return ApiQuotaTrigger(conn_id, None, request_to_json(request(server, calls, run_id)), poll)


def start(*triggers: ApiQuotaTrigger) -> list[asyncio.Future[list[dict[str, Any]]]]:
    return [asyncio.ensure_future(events_of(each)) for each in triggers]


@pytest.fixture
def orgs(store_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SandboxServer]]:
    """Two full orgs, as connections ``org_0`` and ``org_1``."""
    with ExitStack() as stack:
        servers = []
        for number in range(2):
            org = SandboxOrg.seed_example(
                limit=25_000, hard_limit=90_000, identity=Identity(org_id=f"00DSB000000010{number}")
            )
            server = stack.enter_context(SandboxServer(org))
            monkeypatch.setenv(f"AIRFLOW_CONN_ORG_{number}", json.dumps(server.connection("client_credentials")))
            servers.append(server)
        bundle = tmp_path / "ca.pem"
        bundle.write_text("".join(server.ca_file.read_text() for server in servers))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        yield servers


@pytest.fixture
def full(connected: SandboxServer) -> SandboxServer:
    """An org in which nothing is left before some hours have passed."""
    connected.org.change({"limit": 25_000, "hard_limit": 90_000})
    return connected


@pytest.fixture
def ledger(store_file: Path) -> Ledger:
    """The ledger as somebody else sees it."""
    return lambda: QuotaLedger(sqlite_engine(store_file))


def queue(ledger: QuotaLedger, server: SandboxServer, **later: float) -> list[str]:
    found = ledger.waiting(server.org.identity.org_id, timezone.utcnow() + timedelta(**later))
    return [each.holder.run_id for each in found]


async def until(condition: Callable[[], bool], *running: asyncio.Future[Any]) -> None:
    """Wait until something is so, as long as the gates go on."""
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):
            for each in running:
                assert not each.done(), await each
            await asyncio.sleep(0.01)


async def test_the_org_is_asked_as_often_for_200_gates_as_for_one(orgs: list[SandboxServer], ledger: Ledger) -> None:
    """Two orgs, two hubs: one with a single gate, one with 200; both are read once per poll interval."""
    ApiUsageHook("org_0").store.orgs()
    books, used = ledger(), [server.org.used for server in orgs]
    few = start(gate(orgs[0], 100, conn_id="org_0"))
    many = start(*(gate(orgs[1], 100, f"run_{n}", "org_1") for n in range(200)))
    assert len(hubs._hubs) == 0
    await until(lambda: len(queue(books, orgs[1])) == 200, *few, *many)
    assert len(hubs._hubs) == 2
    await until(lambda: min(server.org.used - before for server, before in zip(orgs, used, strict=True)) >= 3)
    spent = [server.org.used - before for server, before in zip(orgs, used, strict=True)]
    assert spent[1] <= spent[0] + 2

    for server in orgs:
        server.org.clock.advance(DAY)
    granted = [event["reservation"] for (event,) in await asyncio.gather(*few, *many)]

    assert len({each["reservation_id"] for each in granted}) == 201
    await until(lambda: not hubs._hubs)
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("apiusage-hub")])


async def test_a_gate_that_is_cancelled_leaves_the_queue_and_nobody_else_does(
    full: SandboxServer, ledger: Ledger
) -> None:
    """Cleared, marked or timed out: no ghost stands in front of the others, and they go on waiting."""
    books = ledger()
    ApiUsageHook().store.orgs()
    head, *others = start(*(gate(full, 100, f"run_{n}") for n in range(3)))
    await until(lambda: len(queue(books, full)) == 3, head, *others)
    head.cancel()
    await until(lambda: queue(books, full) == ["run_1", "run_2"], *others)

    full.org.clock.advance(DAY)
    assert [event["status"] for (event,) in await asyncio.gather(*others)] == ["granted"] * 2
    assert head.cancelled()


async def test_who_comes_back_after_it_was_cancelled_stands_where_it_stood(full: SandboxServer, ledger: Ledger) -> None:
    """A gate that is cleared asks anew, later, and keeps its place."""
    books = ledger()
    ApiUsageHook().store.orgs()
    first, second = start(gate(full, 100, "first"), gate(full, 100, "second"))
    await until(lambda: len(queue(books, full)) == 2, first, second)
    first.cancel()
    await until(lambda: queue(books, full) == ["second"], second)
    (again,) = start(gate(full, 100, "first"))
    await until(lambda: len(queue(books, full)) == 2, again, second)

    assert queue(books, full) == ["first", "second"]
    again.cancel()
    second.cancel()
    await until(lambda: queue(books, full) == [])


async def test_a_gate_that_another_triggerer_has_taken_over_is_not_taken_out(
    full: SandboxServer, ledger: Ledger
) -> None:
    """A triggerer that was slow for a moment loses its gates; who renewed them since keeps them in the queue."""
    books = ledger()
    ApiUsageHook().store.orgs()
    moved, other = start(gate(full, 100, "moved", poll=60), gate(full, 100, "other", poll=60))
    await until(lambda: [len(hub._seen) for hub in hubs._hubs.values()] == [2], moved, other)
    with books.turn(full.org.identity.org_id) as turn:
        turn.join(request(full, 100, "moved"), timezone.utcnow(), timezone.utcnow() + timedelta(minutes=3))
    moved.cancel()
    other.cancel()
    await until(lambda: queue(books, full) == ["moved"])
    while hubs._hubs:
        await asyncio.sleep(0.01)

    assert queue(books, full) == ["moved"]


async def test_a_grant_that_nobody_hears_of_is_given_back(full: SandboxServer, ledger: Ledger) -> None:
    """The task was cleared in the moment it was granted: its calls are free for others at once."""
    full.org.change({"limit": 90_000})
    books, org_id = ledger(), full.org.identity.org_id
    ApiUsageHook().store.orgs()
    (other,) = start(gate(full, 89_000, "other"))
    await until(lambda: len(queue(books, full)) == 1, other)

    async def deaf() -> None:
        early = request(full, 100, "deaf", priority=3)
        with waiting_at_hub(HubKey("salesforce_default", None, org_id), early, 1.0):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(deaf())
    await until(lambda: len(books.reservations(org_id, timezone.utcnow())) == 1, other, task)
    await asyncio.sleep(0.2)
    task.cancel()
    await until(lambda: books.reservations(org_id, timezone.utcnow()) == (), other)
    other.cancel()


def test_a_triggerer_that_stops_leaves_its_gates_in_the_queue(full: SandboxServer, ledger: Ledger) -> None:
    """All tasks of the loop are cancelled, as at SIGTERM: another triggerer goes on, and takes nothing up anew."""
    books = ledger()
    ApiUsageHook().store.orgs()

    async def triggerer() -> None:
        waiting = start(*(gate(full, 100, f"run_{n}") for n in range(20)))
        await until(lambda: len(queue(books, full)) == 20, *waiting)

    asyncio.run(triggerer())

    assert len(queue(books, full)) == 20
    assert hubs._hubs == {}

    async def another() -> list[Any]:
        waiting = start(*(gate(full, 100, f"run_{n}") for n in range(20)))
        full.org.clock.advance(DAY)
        return await asyncio.gather(*waiting)

    assert [event["status"] for (event,) in asyncio.run(another())] == ["granted"] * 20


async def test_a_connection_that_fails_fails_its_own_gates_only(
    orgs: list[SandboxServer], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong credentials for one org are told to each of its gates; those of the other org go on."""
    connection = orgs[0].connection("client_credentials")
    connection["extra"]["consumer_secret"] = "wrong-secret"
    monkeypatch.setenv("AIRFLOW_CONN_ORG_0", json.dumps(connection))
    ApiUsageHook("org_1").store.orgs()
    wrong = start(*(gate(orgs[0], 100, f"run_{n}", "org_0") for n in range(5)))
    right = start(*(gate(orgs[1], 100, f"run_{n}", "org_1") for n in range(5)))

    for (event,) in await asyncio.gather(*wrong):
        assert (event["status"], event["kind"]) == ("error", "authentication")
        assert "org_0" in event["message"]
    orgs[1].org.clock.advance(DAY)
    assert [event["status"] for (event,) in await asyncio.gather(*right)] == ["granted"] * 5


async def test_an_org_that_does_not_answer_holds_up_no_other(orgs: list[SandboxServer], ledger: Ledger) -> None:
    """While one org lets its gates wait for an answer, the gates of another are granted; then they are too."""
    ApiUsageHook("org_1").store.orgs()
    books = ledger()
    orgs[0].org.faults.order(Fault("delay", seconds=4, path="/limits", count=1))
    slow = start(*(gate(orgs[0], 100, f"run_{n}", "org_0") for n in range(5)))
    quick = start(*(gate(orgs[1], 100, f"run_{n}", "org_1") for n in range(5)))
    await until(lambda: len(queue(books, orgs[1])) == 5, *quick)
    orgs[1].org.clock.advance(DAY)
    granted = await asyncio.gather(*quick)
    assert not any(each.done() for each in slow)
    orgs[0].org.clock.advance(DAY)

    assert [event["status"] for (event,) in [*granted, *await asyncio.gather(*slow)]] == ["granted"] * 10


def test_a_login_that_hangs_holds_up_no_other(orgs: list[SandboxServer]) -> None:
    """While one org does not answer with a token, another hook of the process logs in to its own."""
    orgs[0].org.faults.order(Fault("delay", seconds=3, path="/oauth2/token", count=1))
    with ThreadPoolExecutor(1) as threads, ApiUsageHook("org_0") as slow, ApiUsageHook("org_1") as quick:
        hanging = threads.submit(slow.get_conn)
        while orgs[0].org.faults.listed():
            assert not hanging.done()
            time.sleep(0.01)
        assert quick.get_conn().session_id
        assert not hanging.done()
        assert hanging.result().session_id


async def test_a_store_that_is_away_is_waited_for_by_all(
    full: SandboxServer, store_file: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is gone in the middle of the wait and comes back: everybody goes on."""
    monkeypatch.setattr(hubs, "AFTER_AN_OUTAGE", 0.1)
    books = ledger()
    ApiUsageHook().store.orgs()
    waiting = start(*(gate(full, 100, f"run_{n}") for n in range(10)))
    await until(lambda: len(queue(books, full)) == 10, *waiting)
    (hub,) = hubs._hubs.values()
    away, gone = store_file.with_suffix(".away"), store_file.with_suffix(".gone")
    away.hardlink_to(store_file)
    gone.symlink_to(store_file.parent)
    gone.replace(store_file)  # at once: in between, SQLite would make a new file
    await until(lambda: hub._outages > 1, *waiting)
    away.replace(store_file)
    full.org.clock.advance(DAY)

    assert [event["status"] for (event,) in await asyncio.gather(*waiting)] == ["granted"] * 10


async def test_credentials_that_are_renewed_reach_all_gates_with_one_login(
    full: SandboxServer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token ends and the connection gets a new one: every gate at the hub goes on with that."""
    first = full.connection("access_token")
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(first))
    ledger()
    ApiUsageHook().store.orgs()
    waiting = start(*(gate(full, 100, f"run_{n}") for n in range(20)))
    await until(lambda: [len(hub._seen) for hub in hubs._hubs.values()] == [20], *waiting)
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(full.connection("access_token")))
    full.org.sessions.expire([first["extra"]["access_token"]])
    full.org.clock.advance(DAY)

    assert [event["status"] for (event,) in await asyncio.gather(*waiting)] == ["granted"] * 20


def test_two_triggerers_share_what_is_left_and_what_is_read(full: SandboxServer, ledger: Ledger) -> None:
    """Two event loops with gates of their own: one reading for both, and together they grant what there is, once."""
    books, used = ledger(), full.org.used
    ApiUsageHook().store.orgs()
    statuses: list[str] = []

    async def triggerer(name: str) -> None:
        waiting = start(*(gate(full, 1_000, f"{name}_{n}") for n in range(40)))
        await until(lambda: len(queue(books, full)) == 80, *waiting)
        full.org.change({"limit": 75_000})
        await until(lambda: len(books.reservations(full.org.identity.org_id, timezone.utcnow())) >= 49)
        await asyncio.sleep(1.5)
        statuses.extend([each.result()[0]["status"] for each in waiting if each.done()])

    loops = [threading.Thread(target=asyncio.run, args=(triggerer(name),)) for name in ("a", "b")]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(60)

    assert statuses == ["granted"] * 49  # 50,000 are left, less the calls of the readings themselves
    assert full.org.used - used < 20


OF_AN_OLDER_VERSION = {
    "org_id": "", "holder": {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1},
    "needs": {"DailyApiRequests": 100}, "requested_at": "2026-10-07T14:30:00+00:00",
    "reserve": {"calls": {}, "share": 0.1}, "lease": 7200.0, "max_age": 900.0, "on_unknown": "wait",
}  # fmt: skip


async def test_a_gate_that_began_to_wait_under_an_older_version_goes_on(connected: SandboxServer) -> None:
    """Its row in Airflow's database knows no priority and no way to end the task: it resumes on a worker, as it did."""
    (event,) = await events_of(ApiQuotaTrigger("salesforce_default", None, OF_AN_OLDER_VERSION, 300.0))

    assert event["status"] == "granted"
    assert event["reservation"]["holder"] == "d/r/t"


async def test_an_older_triggerer_can_take_over_a_gate_of_this_version(connected: SandboxServer) -> None:
    """The arguments are those of the version before; what is new is in the request, where it is not looked for."""
    arguments = gate(connected, 100).serialize()[1]

    assert set(arguments) == {"salesforce_conn_id", "store_conn_id", "request", "poll_interval"}
    assert set(OF_AN_OLDER_VERSION) <= set(arguments["request"])


A_WAITING_PROCESS = """
import asyncio, json, sys
from pathlib import Path
from airflow_provider_apiusage.hooks import store
from airflow_provider_apiusage.triggers.quota import ApiQuotaTrigger

store.default_path = lambda: Path(sys.argv[1])

async def wait(request):
    async for event in ApiQuotaTrigger("salesforce_default", None, request, 300.0).run():
        print(event)

asyncio.run(wait(json.loads(sys.argv[2])))
"""


async def test_a_process_that_is_killed_while_it_waits_leaves_no_ghost(
    full: SandboxServer, ledger: Ledger, store_file: Path
) -> None:
    """SIGKILL: its request lapses by itself after poll interval and ten minutes; who takes over keeps its place."""
    ApiUsageHook().store.orgs()
    books, wire = ledger(), request_to_json(request(full, 100, "killed"))
    process = subprocess.Popen([sys.executable, "-c", A_WAITING_PROCESS, store_file, json.dumps(wire)])
    try:
        await until(lambda: len(books.decisions(full.org.identity.org_id)) > 0)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    patience = 300 + GHOST_AFTER.total_seconds()
    (other,) = start(gate(full, 100, "later", poll=300.0))
    await until(lambda: len(queue(books, full)) == 2, other)
    assert queue(books, full, seconds=patience - 60) == ["killed", "later"]
    assert "killed" not in queue(books, full, seconds=patience)

    (taken_over,) = start(ApiQuotaTrigger("salesforce_default", None, wire, 1.0))
    full.org.clock.advance(DAY)
    assert [event["status"] for (event,) in await asyncio.gather(taken_over, other)] == ["granted"] * 2
