"""Hours and days in which everything goes wrong, by a clock that tests move: the gate does not oversell or give up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.quota.model import Grant, Refuse, Reservation, Wait
from airflow_provider_apiusage.salesforce.errors import PermissionDeniedError, Where
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading
from tests.support.gates import POLL, World, granted, refused, waits
from tests.support.quota import NOW, ORG, holder, minutes, reading, request

HOUR = timedelta(hours=1)


class Org:
    """The sandbox org over TLS, at whose clock and ours the test stands.

    :param server: of the sandbox org.
    """

    def __init__(self, server: SandboxServer) -> None:
        self.server, self.now, self.reads = server, NOW, 0
        connection = server.connection("access_token")
        where = Where("salesforce_default", server.url)
        session = MeteredSession(
            where, timeout=(5.0, 0.2), retries=0, clock=lambda: self.now, sleep=lambda _seconds: None
        )
        token = connection["extra"]["access_token"]
        self.session = session
        self.client = OrgClient(session, instance_url=server.url, token=token, version="62.0", where=where)

    def read(self) -> list[LimitReading]:
        """Read the limits, as the gate does."""
        self.reads += 1
        return list(self.client.limits()[0])

    def gate(self, ledger: QuotaLedger) -> Gate:
        """Return the gate of one process."""
        return Gate(ledger, UsageStore(ledger.engine), self.read, POLL, lambda: self.now)

    def pass_time(self, passed: timedelta) -> None:
        """Let time pass, here and there."""
        self.now += passed
        self.server.org.clock.advance(passed)


@pytest.fixture
def org(sandbox: SandboxServer) -> Org:
    """The seed's org: 25,000 of 100,000 calls are used."""
    return Org(sandbox)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=503),
        Fault("status", status=500),
        Fault("exhausted"),
        Fault("concurrency"),
        Fault("html"),
        Fault("reset"),
        Fault("delay", seconds=0.4),
    ],
    ids=["503", "500", "403 exhausted", "403 concurrency", "HTML", "connection dropped", "no answer in time"],
)
def test_an_org_that_does_not_answer_for_an_hour_is_waited_for(org: Org, ledger: QuotaLedger, fault: Fault) -> None:
    """Three gates in two processes wait; the org is asked once in five minutes by all of them; then they are let in."""
    org.server.org.faults.order(replace(fault, path="/limits"))
    gates = [org.gate(ledger), org.gate(ledger)]
    asked = [request(n, 10_000, org_id=org.server.org.identity.org_id) for n in range(3)]

    while org.now < NOW + HOUR:
        decisions = [waits(gates[n % 2].turn(each)) for n, each in enumerate(asked)]
        assert all(each.until <= org.now + POLL for each in decisions)
        assert [each.holder for each in ledger.waiting(asked[0].org_id, org.now)] == [each.holder for each in asked]
        org.pass_time(max(minutes(1), max(each.until for each in decisions) - org.now))
    assert org.reads <= HOUR / POLL + 1
    assert org.session.calls <= org.reads

    org.server.org.faults.clear()
    org.pass_time(POLL)
    assert [type(gates[n % 2].turn(each)) for n, each in enumerate(asked)] == [Grant] * 3


def test_an_org_that_forbids_is_no_matter_of_waiting(org: Org, ledger: QuotaLedger) -> None:
    """403 because the user may not: told at once with what to do, and another gate may read the next moment."""
    fault = Fault("status", status=403, body=[{"errorCode": "FORBIDDEN", "message": "You do not have access."}])
    org.server.org.faults.order(replace(fault, path="/limits"))
    asked = request("a", 10_000, org_id=org.server.org.identity.org_id)
    with pytest.raises(PermissionDeniedError, match="API Enabled"):
        org.gate(ledger).turn(asked)

    org.server.org.faults.clear()
    granted(org.gate(ledger).turn(request("b", 10_000, org_id=asked.org_id)))


def test_an_org_that_locks_out_is_waited_for_and_hardly_asked(org: Org, ledger: QuotaLedger) -> None:
    """Beyond its hard limit the org refuses every call; each question would keep it shut for longer."""
    org.server.org.change({"limit": 22_000, "hard_limit": 22_000})
    gate, asked = org.gate(ledger), request("a", 1_000, org_id=org.server.org.identity.org_id)

    hours = 0.0
    while isinstance(decision := gate.turn(asked), Wait):
        org.pass_time(max(minutes(20), decision.until - org.now))
        hours = (org.now - NOW) / HOUR
        assert hours < 24

    assert hours > 1
    assert org.reads <= hours * 3 + 1
    assert org.server.org.used + 1_000 <= 22_000


def spend(ledger: QuotaLedger, held: Reservation, calls: int, world: World) -> None:
    """Be a metered load that has spent so much and is done."""
    ledger.draw(held.reservation_id, {API_REQUESTS: calls}, world.now, closed=True)
    ledger.release(held.reservation_id, world.now)


@pytest.mark.parametrize("metered", [True, False])
def test_a_figure_that_stands_still_is_not_sold_again_and_again(
    world: World, ledger: QuotaLedger, store: UsageStore, metered: bool
) -> None:
    """The org says the same for hours while loads spend: no more is granted than there was when it was first said."""
    gate = Gate(ledger, store, lambda: [reading(10_000, world.now)], POLL, world.clock)
    spent = 0
    while world.now < NOW + 3 * HOUR:
        decision = gate.turn(request(world.now.isoformat(), 20_000, world.now))
        if isinstance(decision, Grant):
            spent += 20_000
            world.pass_time(minutes=2)
            if metered:
                spend(ledger, decision.reservation, 20_000, world)
            else:
                ledger.release(decision.reservation.reservation_id, world.now)
        else:
            ledger.leave(holder(world.now.isoformat()), world.now)
        world.pass_time(minutes=10)

    assert spent == 80_000
    moving = world.gate(ledger, store)
    world.used = 90_000
    waits(moving.turn(request("late", 20_000, world.now)))
    world.pass_time(minutes=6)
    world.used = 30_000
    granted(moving.turn(request("late", 20_000, world.now)))


def test_figures_that_jump_up_and_down_are_taken_as_they_come(world: World, gate: Gate, ledger: QuotaLedger) -> None:
    """Far beyond the limit, down to nothing and up again: each turn goes by the latest, less what is granted."""
    asked = request("a", 30_000)
    for used in (99_000, 1_000_000, 70_001, 95_000):
        world.used = used
        assert "must come free first" in waits(gate.turn(asked)).reason
        world.pass_time(minutes=16)
    world.used = 0
    held = granted(gate.turn(asked)).reservation
    world.pass_time(minutes=5)
    waits(gate.turn(request("b", 90_000, world.now)))
    world.used = 120_000
    world.pass_time(minutes=16)
    waits(gate.turn(request("c", 1, world.now)))

    assert ledger.reservations(ORG, world.now) == (held,)


@pytest.mark.parametrize("skew", [minutes(10), -minutes(10)], ids=["fast", "slow"])
def test_an_org_whose_clock_is_wrong_by_ten_minutes_oversells_nothing(
    world: World, ledger: QuotaLedger, store: UsageStore, skew: timedelta
) -> None:
    """Leases go by our clock: what a load spent at its end is held back until a reading by our clock can show it."""

    def read() -> list[LimitReading]:
        [told] = world.read()
        return [replace(told, observed_at=told.observed_at + skew)]

    gate = Gate(ledger, store, read, POLL, world.clock)
    held = granted(gate.turn(request("a", 90_000))).reservation
    world.pass_time(minutes=7)
    ledger.release(held.reservation_id, world.now)
    for passed in (0.5, 2, 2):
        world.pass_time(minutes=passed)
        waits(gate.turn(request("b", 50_000, NOW)))
    world.used = 40_000
    world.pass_time(minutes=6)

    granted(gate.turn(request("b", 50_000, NOW)))
    waits(gate.turn(request("c", 50_000, NOW)))


def test_a_limit_that_is_cut_in_half_while_fifty_wait(world: World, gate: Gate, ledger: QuotaLedger) -> None:
    """Who cannot fit any more is told so at once; the others go on waiting in their order, and none is let in twice."""
    world.used = 99_000
    asked = [request(n, 60_000 if n % 5 == 0 else 2_000, NOW + timedelta(seconds=n)) for n in range(50)]
    turned = gate.turn_all(ORG, asked)
    assert {type(each) for each in turned.decisions.values()} == {Wait}

    world.limit = 50_000
    world.pass_time(minutes=5)
    turned = gate.turn_all(ORG, asked)
    big = [each for each in asked if each.calls == 60_000]
    small = [each for each in asked if each.calls == 2_000]
    assert [holder for holder, each in turned.decisions.items() if isinstance(each, Refuse)] == [b.holder for b in big]
    assert "60,000 needed can never fit: the limit of 50,000" in refused(turned.decisions[big[0].holder]).reason
    assert all("remaining -49,0" in waits(turned.decisions[each.holder]).reason for each in small[:1])
    assert list(ledger.waiting(ORG, world.now)) == small

    world.used = 40_000
    world.pass_time(minutes=5)
    turned = gate.turn_all(ORG, small)
    let_in = [each for each in small if isinstance(turned.decisions[each.holder], Grant)]
    assert let_in == small[:4]  # 10,000 are left, less the readings
    assert sum(each.needs[API_REQUESTS] for each in ledger.reservations(ORG, world.now)) == 8_000


def test_a_gate_that_waits_for_two_days_keeps_its_place(world: World, ledger: QuotaLedger, store: UsageStore) -> None:
    """First in the queue all the while, through restarts, with few rows kept; then it goes first."""
    world.used = 80_000
    first, later = request("first", 60_000), request("later", 50_000, NOW + timedelta(seconds=1))
    waits(world.gate(ledger, store).turn(first))
    while world.now < NOW + timedelta(hours=48):
        gate = replace(world.gate(ledger, store), poll_interval=2 * HOUR)  # another process each time
        for each in (later, first):
            waits(gate.turn(each))
        assert [each.holder for each in ledger.waiting(ORG, world.now)] == [first.holder, later.holder]
        world.pass_time(hours=2)

    assert len(ledger.decisions(ORG, 1_000)) <= 2 * len(world.reads) + 2
    world.used = 0
    assert [type(gate.turn(each)) for each in (later, first)] == [Wait, Grant]
    assert ledger.waiting(ORG, world.now)[0].requested_at == later.requested_at


def test_hosts_of_ours_whose_clocks_differ_by_ten_minutes(world: World, ledger: QuotaLedger, store: UsageStore) -> None:
    """What one holds or read the other knows of; each takes the other for late or gone, and both keep their places."""
    fast = Gate(
        ledger,
        store,
        lambda: [replace(each, received_at=each.received_at + minutes(10)) for each in world.read()],
        POLL,
        lambda: world.now + minutes(10),
    )
    slow = world.gate(ledger, store)
    held = granted(slow.turn(request("slow", 60_000))).reservation
    world.pass_time(minutes=2)
    first = request("first", 50_000, fast.clock())
    waits(fast.turn(first))
    world.pass_time(minutes=5)
    ledger.release(held.reservation_id, world.now)  # it has just spent all of it
    waits(fast.turn(first))
    waits(slow.turn(request("second", 50_000, world.now)))
    for _ in range(6):
        world.used = 60_000
        world.pass_time(minutes=5)
        waits(slow.turn(request("second", 50_000, world.now)))
        waits(fast.turn(first))
        assert {each.holder for each in ledger.waiting(ORG, world.now)} == {holder("first"), holder("second")}
