"""The trigger by itself: what it is stored as, what it says, and that it blocks nobody."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import timezone

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.quota.model import Holder, QuotaRequest
from airflow_provider_apiusage.quota.wire import request_to_json
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.triggers.quota import ApiQuotaTrigger


def trigger(server: SandboxServer, calls: int, task_id: str = "gate", poll_interval: float = 0.0) -> ApiQuotaTrigger:
    request = QuotaRequest(
        org_id=server.org.identity.org_id,
        holder=Holder("dag", "run", task_id),
        needs={"DailyApiRequests": calls},
        requested_at=timezone.utcnow(),
    )
    return ApiQuotaTrigger("salesforce_default", None, request_to_json(request), poll_interval)


async def events_of(waiting: ApiQuotaTrigger) -> list[dict[str, Any]]:
    return [event.payload async for event in waiting.run()]


def test_it_is_stored_as_plain_json_and_comes_back_the_same(connected: SandboxServer) -> None:
    """Class path and arguments survive Airflow's own serialisation, and hold no secret."""
    from airflow.models.trigger import Trigger

    original = trigger(connected, 10)
    path, arguments = original.serialize()
    stored = Trigger.from_object(original)

    assert path == "airflow_provider_apiusage.triggers.quota.ApiQuotaTrigger"
    assert stored.kwargs == arguments == json.loads(json.dumps(arguments))
    assert ApiQuotaTrigger(**stored.kwargs).serialize() == original.serialize()
    extra = connected.connection("client_credentials")["extra"]
    assert not [
        value for value in extra.values() if isinstance(value, str) and len(value) > 30 and value in str(stored.kwargs)
    ]


async def test_it_ends_with_one_event_when_granted(connected: SandboxServer) -> None:
    """Granted: one event with the reservation, then the end."""
    (event,) = await events_of(trigger(connected, 10))

    assert event["status"] == "granted"
    assert event["reservation"]["needs"] == {"DailyApiRequests": 10}
    assert "10 needed, headroom" in event["reason"]


async def test_it_ends_with_one_event_when_refused(connected: SandboxServer) -> None:
    """Refused: the arithmetic comes along."""
    (event,) = await events_of(trigger(connected, 10**9))

    assert event["status"] == "refused"
    assert "can never fit" in event["reason"]


async def test_it_waits_until_the_window_has_moved_on(connected: SandboxServer) -> None:
    """It says nothing while too little is left, and grants when enough calls have expired."""
    pending = asyncio.ensure_future(events_of(trigger(connected, 80_000)))
    hook = ApiUsageHook()
    org_id = connected.org.identity.org_id
    while not await asyncio.to_thread(hook.ledger.waiting, org_id, timezone.utcnow()):
        assert not pending.done()
    connected.org.clock.advance(timedelta(hours=20))
    (event,) = await pending

    assert event["status"] == "granted"


async def test_an_error_that_waiting_cannot_mend_is_an_event_with_its_kind(
    connected: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong credentials end the wait with a message that names the connection and shows no secret."""
    connection = connected.connection("client_credentials")
    connection["extra"]["consumer_secret"] = "wrong-secret"
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(connection))
    (event,) = await events_of(trigger(connected, 10))

    assert (event["status"], event["kind"]) == ("error", "authentication")
    assert "salesforce_default" in event["message"]
    assert "wrong-secret" not in event["message"]


async def test_a_connection_that_is_gone_is_an_event_too(
    connected: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger that raises would be skipped under ``soft_fail``; a missing connection must not be."""
    monkeypatch.delenv("AIRFLOW_CONN_SALESFORCE_DEFAULT")
    (event,) = await events_of(trigger(connected, 10))

    assert (event["status"], event["kind"]) == ("error", "configuration")
    assert "no connection 'salesforce_default'" in event["message"]


async def test_a_store_that_is_away_for_a_moment_is_waited_for(
    connected: SandboxServer, store_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that restarts does not fail the gates that wait; they go on when it is back."""
    waiting = trigger(connected, 10)
    ApiUsageHook().store.orgs()
    away = store_file.with_suffix(".away")
    store_file.rename(away)
    store_file.mkdir()
    caplog.set_level("INFO")
    pending = asyncio.ensure_future(events_of(waiting))
    while "The store cannot be used" not in caplog.text:
        assert not pending.done()
        await asyncio.sleep(0.01)
    store_file.rmdir()
    away.rename(store_file)
    (event,) = await pending

    assert event["status"] == "granted"


async def test_a_restarted_trigger_takes_up_its_grant(connected: SandboxServer) -> None:
    """A triggerer that died after the grant was written hands over the same reservation when it is back."""
    (first,) = await events_of(trigger(connected, 10))
    (again,) = await events_of(trigger(connected, 10))

    assert first["reservation"]["reservation_id"] == again["reservation"]["reservation_id"]


async def test_stopping_it_releases_nothing(connected: SandboxServer) -> None:
    """A cancelled wait keeps its place in the queue until it lapses: the triggerer may only be restarting."""
    pending = asyncio.ensure_future(events_of(trigger(connected, 90_000)))
    hook = ApiUsageHook()
    org_id = connected.org.identity.org_id
    while not await asyncio.to_thread(hook.ledger.waiting, org_id, timezone.utcnow()):
        assert not pending.done()
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending

    assert len(hook.ledger.waiting(org_id, timezone.utcnow())) == 1


async def test_it_never_blocks_the_event_loop(connected: SandboxServer) -> None:
    """While a slow org lets it wait, everything else in the triggerer goes on."""
    connected.org.faults.order(Fault("delay", seconds=1, path="/limits", count=1))
    pending = asyncio.ensure_future(events_of(trigger(connected, 10)))
    turns = 0
    while not pending.done():
        await asyncio.sleep(0.01)
        turns += 1

    assert (await pending)[0]["status"] == "granted"
    assert turns > 20


async def waits(server: SandboxServer, pending: asyncio.Future[Any]) -> None:
    """Let a trigger take its first turn."""
    hook = ApiUsageHook()
    while not await asyncio.to_thread(hook.ledger.waiting, server.org.identity.org_id, timezone.utcnow()):
        assert not pending.done()


async def test_credentials_that_are_renewed_reach_a_gate_that_waits(
    connected: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token ends and the connection gets a new one: the wait goes on with that, each time anew."""
    token = ""
    hook = ApiUsageHook()
    pending: asyncio.Future[Any] | None = None
    for _ in range(3):
        connection = connected.connection("access_token")
        monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(connection))
        connected.org.sessions.expire([token])
        token, changed_at = connection["extra"]["access_token"], timezone.utcnow()
        if pending is None:
            pending = asyncio.ensure_future(events_of(trigger(connected, 80_000)))
        latest = None
        while latest is None or latest.received_at < changed_at:  # until the org has been read with the new token
            assert not pending.done(), await pending
            latest = await asyncio.to_thread(hook.store.latest_reading, connected.org.identity.org_id)
    connected.org.clock.advance(timedelta(hours=20))
    assert pending is not None
    (event,) = await pending

    assert event["status"] == "granted"


async def test_credentials_that_stay_wrong_are_tried_twice(
    connected: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that ended and cannot be renewed: the connection is looked at once more, then the wait is over."""
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(connected.connection("access_token")))
    pending = asyncio.ensure_future(events_of(trigger(connected, 80_000)))
    await waits(connected, pending)
    connected.org.sessions.expire()
    (event,) = await pending

    assert (event["status"], event["kind"]) == ("error", "authentication")


@pytest.mark.parametrize("flow", ["client_credentials", "password_soap", "password_oauth"])
async def test_a_login_host_that_is_down_is_waited_for(
    connected: SandboxServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, flow: str
) -> None:
    """A session that ends during a maintenance window does not end the gates that wait."""
    monkeypatch.setattr("airflow_provider_apiusage.salesforce.session._back_off", lambda attempt: 0.0)
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(connected.connection(flow)))
    caplog.set_level("INFO")
    pending = asyncio.ensure_future(events_of(trigger(connected, 80_000)))
    await waits(connected, pending)
    for path in ("/oauth2/token", "/Soap/"):
        connected.org.faults.order(Fault("status", status=503, path=path, body="<html>Down for maintenance</html>"))
    connected.org.sessions.expire()
    while "503" not in caplog.text:
        assert not pending.done(), await pending
        await asyncio.sleep(0.01)
    connected.org.faults.clear()
    connected.org.clock.advance(timedelta(hours=20))
    (event,) = await pending

    assert event["status"] == "granted"


IN_A_NEW_PROCESS = """
import asyncio, sys, threading
from airflow_provider_apiusage.triggers.quota import ApiQuotaTrigger

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("airflow_provider_apiusage.hooks.api_usage", "requests", "sqlalchemy", "simple_salesforce"):
            print(name, threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Watch())
request = {
    "org_id": "", "holder": {"dag_id": "d", "run_id": "r", "task_id": "t"}, "needs": {"DailyApiRequests": 1},
    "requested_at": "2026-10-07T14:30:00+00:00", "reserve": {"calls": {}, "share": 0.0}, "lease": 1, "max_age": 1,
    "on_unknown": "wait",
}

async def main():
    async for event in ApiQuotaTrigger("nobody_made_me", None, request, 0.0).run():
        print(event.payload["kind"])

asyncio.run(main())
"""


def test_what_takes_long_to_import_is_imported_beside_the_event_loop(metadata_database: None) -> None:
    """Half a second of imports would hold up every other trigger."""
    told = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS], capture_output=True, text=True, check=True, timeout=120
    ).stdout

    assert "airflow_provider_apiusage.hooks.api_usage False" in told
    assert " True" not in told
    assert "configuration" in told
