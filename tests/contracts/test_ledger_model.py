"""Any sequence of asking, spending, releasing, vanishing and waiting, against a model that fits on a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Engine

from airflow_provider_apiusage.gate import GHOST_AFTER, Gate
from airflow_provider_apiusage.quota.model import Grant, LeaseState, QuotaRequest, Wait
from airflow_provider_apiusage.quota.policy import Rules
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger, Released
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, STALENESS, WINDOW, LimitReading, ReadingSource
from tests.support.gates import POLL
from tests.support.quota import MAX_AGE, NOW, holder, minutes, reading, request

LIMIT, RESERVE = 100, 10
TICK = timedelta(microseconds=1)
HOLDERS = st.integers(1, 6)
_orgs = count(1)


@dataclass
class Load:
    """A grant in the model: what was promised, until when, and how much of it was really spent."""

    who: int
    reservation_id: str
    need: int
    held_until: datetime
    joined_at: datetime
    granted_at: datetime
    spent: int = 0
    ended_at: datetime | None = None
    released: bool = False


class GateAgainstModel(RuleBasedStateMachine):
    """An org in which nobody but our loads makes calls; its figures are late by up to five minutes.

    So whatever happens, calls made plus calls promised must never pass the limit less the reserve.
    """

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.org_id = f"00D{next(_orgs):012d}"
        self.ledger, self.store = QuotaLedger(self.engine), UsageStore(self.engine)
        rules = Rules(kept_at_peak=None)  # nothing is expected of others: there are none
        self.gate = Gate(self.ledger, self.store, self.read, POLL, lambda: self.now, rules)
        self.now, self.lag = NOW, timedelta(0)
        self.calls: list[tuple[datetime, int]] = []
        self.loads: list[Load] = []
        self.latest: LimitReading | None = None
        self.queue: dict[int, tuple[QuotaRequest, datetime]] = {}
        self.lost: dict[int, tuple[datetime, datetime]] = {}  # who came back too late: its place, and when it lapsed

    # --- the org ------------------------------------------------------------------------------------------------

    def used(self, lag: timedelta = timedelta(0)) -> int:
        """Return the calls in the window, as the org knows them after a delay."""
        return sum(calls for at, calls in self.calls if self.now - WINDOW < at <= self.now - lag)

    def read(self, source: ReadingSource = ReadingSource.LIMITS) -> Sequence[LimitReading]:
        """Answer what the org's counters show; no two answers come at the same instant."""
        self.now += TICK
        self.latest = reading(self.used(self.lag), self.now, limit=LIMIT, org_id=self.org_id, source=source)
        return [self.latest]

    # --- the model ----------------------------------------------------------------------------------------------

    def lapse(self) -> None:
        """End what has run out of time."""
        for load in self.held():
            if load.held_until <= self.now:
                load.ended_at = load.held_until
        gone = {who: each for who, each in self.queue.items() if each[1] <= self.now}
        self.lost |= {who: (asked.requested_at, until) for who, (asked, until) in gone.items()}
        self.queue = {who: each for who, each in self.queue.items() if who not in gone}

    def held(self) -> list[Load]:
        """Return the loads whose reservation has not ended."""
        return [load for load in self.loads if load.ended_at is None]

    def outstanding(self) -> int:
        """Return what is promised, and what ended too late for the latest reading to show its calls for certain."""
        seen = self.now - WINDOW if self.latest is None else self.latest.received_at - STALENESS
        return sum(load.need for load in self.loads if load.ended_at is None or load.ended_at > seen)

    def line(self) -> list[int]:
        """Return who waits, first come first."""
        return sorted(self.queue, key=lambda who: self.queue[who][0].requested_at)

    def fits(self, who: int) -> bool:
        """Tell whether there is room for this one after all before it, by a reading that is fresh enough.

        Behind one that waits there is, as long as all that pass it ask for no more than it does itself.
        """
        if self.latest is None or self.now - self.latest.received_at > MAX_AGE:
            return False
        assert self.latest.remaining is not None
        room = self.latest.remaining - RESERVE - self.outstanding()
        budget: int | None = None
        for each in self.line():
            asked = self.queue[each][0]
            fits = asked.calls <= (room if budget is None else min(room, budget))
            if each == who:
                return fits
            if fits:
                room -= asked.calls
                budget = None if budget is None else budget - asked.calls
            elif budget is None:
                budget = asked.calls - sum(
                    load.need for load in self.loads if min(load.granted_at, load.joined_at) > asked.requested_at
                )
        raise AssertionError("does not wait")

    # --- what can happen ----------------------------------------------------------------------------------------

    @rule(passed=st.sampled_from([minutes(1), STALENESS, minutes(10), minutes(25), minutes(60), WINDOW]))
    def time_passes(self, passed: timedelta) -> None:
        """Minutes, hours or a day."""
        self.now += passed

    @rule(lag=st.sampled_from([timedelta(0), minutes(2), STALENESS]))
    def counters_become_late(self, lag: timedelta) -> None:
        """The org's figures show a call after up to five minutes."""
        self.lag = lag

    @rule(who=HOLDERS, need=st.integers(1, LIMIT - RESERVE), lease=st.sampled_from([minutes(5), minutes(60)]))
    def ask(self, who: int, need: int, lease: timedelta) -> None:
        """One turn of one holder: the grant it has, or a place in the queue and the verdict that the model expects."""
        self.now += TICK
        self.lapse()
        load = next((load for load in self.held() if load.who == who), None)
        asked = request(who, need, self.now, reserve=RESERVE, lease=lease, org_id=self.org_id)
        if load is not None and load.need != need:  # cleared, and asking for something else: the old grant goes back
            load.ended_at, load.released = self.now, True
            load = None
        if load is None:
            place, lapsed_at = self.lost.pop(who, (self.now, self.now))
            since = place if self.now - lapsed_at < WINDOW else self.now
            since = self.queue[who][0].requested_at if who in self.queue else since
            self.queue[who] = replace(asked, requested_at=since), self.now + POLL + GHOST_AFTER

        decision = self.gate.turn(asked)

        if load is not None:
            load.held_until = max(load.held_until, self.now + lease)
            assert isinstance(decision, Grant)
            assert decision.reservation.reservation_id == load.reservation_id
            assert decision.reservation.held_until == load.held_until
            return
        self.queue[who] = self.queue[who][0], self.now + POLL + GHOST_AFTER
        assert isinstance(decision, Grant if self.fits(who) else Wait), decision.reason
        if isinstance(decision, Grant):
            joined_at = self.queue.pop(who)[0].requested_at
            held_until = self.now + lease
            self.loads.append(Load(who, decision.reservation.reservation_id, need, held_until, joined_at, self.now))

    @precondition(lambda self: self.loads)
    @rule(data=st.data())
    def spend(self, data: st.DataObject) -> None:
        """A load that holds its reservation makes some of the calls that it was granted."""
        self.lapse()
        running = [load for load in self.held() if load.spent < load.need]
        if running:
            load = data.draw(st.sampled_from(running))
            calls = data.draw(st.integers(1, load.need - load.spent))
            load.spent += calls
            self.calls.append((self.now, calls))

    @precondition(lambda self: self.loads)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A load says that it is done: for the first time, again, or too late."""
        load = data.draw(st.sampled_from(self.loads))
        if load.ended_at is None and load.held_until <= self.now:
            load.ended_at = load.held_until
        released = load.ended_at is None
        if released:
            load.ended_at, load.released = self.now, True
        state = LeaseState.RELEASED if load.released else LeaseState.LAPSED

        assert self.ledger.release(load.reservation_id, self.now) == Released(load.reservation_id, released, state)

    @rule(who=HOLDERS)
    def withdraw(self, who: int) -> None:
        """A sensor gives up; what it holds stays."""
        self.ledger.leave(holder(who), self.now)
        self.queue.pop(who, None)

    @rule()
    def header(self) -> None:
        """Some response told the limits in passing."""
        self.store.add_readings(self.read(ReadingSource.HEADER))

    # --- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_oversold(self) -> None:
        """Calls made and calls promised never pass the limit less the reserve."""
        promised = sum(load.need - load.spent for load in self.held() if load.held_until > self.now)
        assert self.used() + promised <= LIMIT - RESERVE

    @invariant()
    def the_ledger_says_what_the_model_says(self) -> None:
        """Who holds, who waits, and what is outstanding."""
        self.lapse()
        held = {(load.reservation_id, load.need, load.held_until) for load in self.held()}
        reservations = self.ledger.reservations(self.org_id, self.now)
        assert {(each.reservation_id, each.needs[API_REQUESTS], each.held_until) for each in reservations} == held
        waiting = [self.queue[who][0] for who in self.line()]
        assert list(self.ledger.waiting(self.org_id, self.now)) == waiting
        with self.ledger.turn(self.org_id) as turn:
            turn.lapse(self.now)
            readings = turn.latest_readings([API_REQUESTS])
            assert turn.outstanding(readings, [API_REQUESTS], self.now) == {API_REQUESTS: self.outstanding()}


def test_whatever_happens_nothing_is_oversold(engine: Engine) -> None:
    """Sequences of all that can happen, made up by Hypothesis: the store and the model never differ."""
    machine = type("Machine", (GateAgainstModel,), {"engine": engine})
    examples = 30 if engine.dialect.name == "sqlite" else 8

    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))
