"""A store as three busy days leave it: filled by the product from a sandbox org, with loads that wait and hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.quota.model import Holder, LimitFigures, QuotaRequest, Reserve
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.sandbox.ledger import Caller
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.usage.event_log_plan import EventSource
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource
from airflow_provider_apiusage.usage.reconciliation import reconcile

REPORT = "00OAA0000000001"
CONN_ID = "salesforce_default"
HOUR = timedelta(hours=1)
QUARTER = HOUR / 4
SPENT = 1_200
"""Calls that the load which holds a reservation has made of it."""
SNAPSHOTS = "api_usage_snapshot"
"""The DAG that takes the snapshots."""

WAITING = Holder("nightly_load", "scheduled__2026-10-07T02:00:00+00:00", "gate", -1)
MAPPED = Holder("nightly_load", "scheduled__2026-10-07T02:00:00+00:00", "gate_each", 3)
HOLDING = Holder("hourly_sync", "manual__2026-10-07T14:00:00+00:00", "gate", -1)
REFUSED = Holder("huge_load", "manual__2026-10-07T13:00:00+00:00", "gate", -1)


@dataclass(frozen=True)
class World:
    """What was made.

    :param store: the SQLite file.
    :param org_id: of the sandbox org.
    :param instance_url: where it was reached.
    :param at: the org's instant of the newest reading.
    :param used: calls in the window then, by the org's own word.
    :param limit: its allocation.
    :param reserve: what the gates keep back.
    :param held: calls of the reservation that is held.
    :param waiting: calls of each of the two loads that wait.
    """

    store: Path
    org_id: str
    instance_url: str
    at: datetime
    used: int
    limit: int
    reserve: int
    held: int
    waiting: int


def live(server: SandboxServer, store: Path, *, hours: int) -> World:
    """Let hours pass in the org, with a snapshot after every third one; then let loads ask the gate.

    The hook must reach the org as ``salesforce_default``, and its default store must be ``store``.

    :param hours: a multiple of 3; the org's clock must be so much behind.
    """
    org = server.org
    callers = tuple(
        Caller(user.id, app.id, f"client-{number}/1.{number}", family)
        for number, (user, app, family) in enumerate(
            zip(org.identity.users, org.identity.apps, ("SOAP", "REST", "REST", "SOAP"), strict=False)
        )
    )

    running_since = org.clock.now() + (hours - 1) * HOUR

    def pass_time(start: datetime) -> None:
        """Others make calls for a quarter of an hour, by day more than by night; a load does in the last hour."""
        org.spread(330 if 6 <= start.hour < 18 else 250, start, start + QUARTER, callers)
        if start >= running_since:
            org.spread(SPENT // 4, start, start + QUARTER, callers[1:2])

    for back in range(96, 0, -1):  # the day before anybody looked
        pass_time(org.clock.now() - back * QUARTER)
    with ApiUsageHook(CONN_ID, keep_readings=False) as hook:
        for number in range(0, hours, 3):
            heard = []
            for _ in range(12):
                start = org.clock.now()
                now = org.clock.advance(QUARTER)
                pass_time(start)
                # What headers of answers to running loads tell.
                limit, spent = org.settings.limit, org.used
                source = ReadingSource.HEADER
                heard.append(
                    LimitReading(org.identity.org_id, API_REQUESTS, source, now, now, limit, limit - spent, spent)
                )
            hook.store.add_readings(heard[:-1])
            last = number == hours - 3
            before = org.used
            snapshot = hook.take_snapshot(
                daily_report=REPORT if last else None, taken_by=f"{SNAPSHOTS}/run-{number}/snapshot/-1"
            )
            if last:
                hook.try_events(EventSource.AUTO, snapshot, most=500)
            hook.store.add(snapshot)
        evidence = hook.store.evidence(hook.get_org_id())
        assert evidence is not None
        used = evidence.readings[-1].used
        assert used is not None
        assert before <= used <= before + 1  # the reading is a call of its own
        told = reconcile(evidence)
        for back in range(3, -1, -1):
            hook.store.add_reconciliation(
                replace(told, at=told.at - back * 24 * HOUR).as_record(), told.at - back * 24 * HOUR
            )
        instance_url = hook.conn.base_url.split("/services")[0]
        org_id = hook.get_org_id()
        ledger = hook.ledger
    _ask(ledger, org_id)
    return World(store, org_id, instance_url, told.at, used, org.settings.limit, 10_000, 5_000, 80_000)


def _ask(ledger: QuotaLedger, org_id: str) -> None:
    now = datetime.now(UTC)

    def request(holder: Holder, calls: int, minutes: int) -> QuotaRequest:
        return QuotaRequest(
            org_id, holder, {API_REQUESTS: calls}, now - timedelta(minutes=minutes), Reserve(share=0.1), 48 * HOUR
        )

    held, refused = request(HOLDING, 5_000, 50), request(REFUSED, 95_000, 40)
    waiting, mapped = request(WAITING, 80_000, 30), request(MAPPED, 80_000, 20)
    with ledger.turn(org_id) as turn:
        reading = turn.latest_readings([API_REQUESTS])[API_REQUESTS]
        figures = [LimitFigures(API_REQUESTS, 5_000, reading.limit, reading.remaining, 10_000, 0)]
        for each in (held, refused, waiting, mapped):
            turn.join(each, each.requested_at, now + 48 * HOUR)
        turn.record(held, held.requested_at, "grant", "DailyApiRequests: 5,000 needed, enough is left.", figures)
        reservation = turn.grant(held, held.requested_at)
        turn.record(refused, refused.requested_at, "refuse", "DailyApiRequests: 95,000 needed can never fit.", figures)
        turn.refuse(refused, refused.requested_at)
        turn.record(
            waiting, waiting.requested_at, "wait", "DailyApiRequests: 80,000 needed; too few are free.", figures
        )
        reason = f"In the queue behind {WAITING}, which waits for 80,000 DailyApiRequests."
        turn.record(mapped, mapped.requested_at, "wait", reason, figures)
    ledger.draw(reservation.reservation_id, {API_REQUESTS: SPENT}, now)
