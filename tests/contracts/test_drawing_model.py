"""Any sequence of spending, drawing late, giving back, topping up, dying and releasing: nothing is oversold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.quota.model import Grant, LeaseState
from airflow_provider_apiusage.reservations import top_up
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, STALENESS, WINDOW, LimitReading, ReadingSource
from tests.support.gates import POLL
from tests.support.quota import NOW, minutes, reading, request

LIMIT, RESERVE = 100, 10
TICK = timedelta(microseconds=1)
_orgs = count(1)


@dataclass
class Drawer:
    """One load on a reservation: what it has really spent, what it has told of that, and whether it is done."""

    spent: int = 0
    told: int = 0
    closed: bool = False


@dataclass
class Load:
    """A grant in the model."""

    who: int
    reservation_id: str
    held: int
    held_until: datetime
    lease: timedelta
    drawers: dict[str, Drawer] = field(default_factory=dict)
    ended: LeaseState | None = None

    @property
    def spent(self) -> int:
        """What was really spent."""
        return sum(drawer.spent for drawer in self.drawers.values())

    @property
    def told(self) -> int:
        """What the ledger has heard of it."""
        return sum(drawer.told for drawer in self.drawers.values())

    @property
    def closed(self) -> bool:
        """Whether all have told their last."""
        return bool(self.drawers) and all(drawer.closed for drawer in self.drawers.values())


class DrawingAgainstModel(RuleBasedStateMachine):
    """An org in which nobody but our loads makes calls; its figures are late by up to five minutes.

    The loads are honest: they tell the ledger that they draw before they spend, and spend what they hold at most. But
    they draw late or out of order, share reservations, vanish, and are granted more.
    """

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.org_id = f"00D{next(_orgs):012d}"
        self.ledger, self.store = QuotaLedger(self.engine), UsageStore(self.engine)
        self.gate = Gate(self.ledger, self.store, self.read, POLL, lambda: self.now)
        self.now, self.lag = NOW, STALENESS
        self.calls: list[tuple[datetime, int]] = []
        self.loads: list[Load] = []

    def used(self, lag: timedelta = timedelta(0)) -> int:
        """Return the calls in the window, as the org knows them after a delay."""
        return sum(calls for at, calls in self.calls if self.now - WINDOW < at <= self.now - lag)

    def read(self, source: ReadingSource = ReadingSource.LIMITS) -> Sequence[LimitReading]:
        """Answer what the org's counters show; no two answers come at the same instant."""
        self.now += TICK
        return [reading(self.used(self.lag), self.now, limit=LIMIT, org_id=self.org_id, source=source)]

    def live(self) -> list[Load]:
        """Return the loads whose reservation has not ended."""
        for load in self.loads:
            if load.ended is None and load.held_until <= self.now:
                load.ended = LeaseState.LAPSED
        return [load for load in self.loads if load.ended is None]

    def outstanding(self) -> int:
        """Return what the ledger says is outstanding."""
        with self.ledger.turn(self.org_id) as turn:
            turn.lapse(self.now)
            readings = turn.latest_readings([API_REQUESTS])
            return turn.outstanding(readings, [API_REQUESTS], self.now)[API_REQUESTS]

    def tell(self, load: Load, by: str, told: int, *, closed: bool = False) -> None:
        """Draw: the lease is renewed if it is held, the total never falls, and nothing more is outstanding."""
        held, before = load in self.live(), self.outstanding()
        drawer = load.drawers.setdefault(by, Drawer())
        drawer.told, drawer.closed = max(drawer.told, told), drawer.closed or closed
        if held:
            load.held_until = max(load.held_until, self.now + load.lease)
        drawn = self.ledger.draw(load.reservation_id, {API_REQUESTS: told}, self.now, by=by, closed=closed)

        assert drawn is not None
        assert drawn.spent == {API_REQUESTS: load.told}
        assert (drawn.state, drawn.held_until) == (load.ended or LeaseState.GRANTED, load.held_until)
        assert self.outstanding() <= before

    # --- what can happen ----------------------------------------------------------------------------------------

    @rule(passed=st.sampled_from([minutes(1), minutes(3), STALENESS, minutes(10), minutes(40), WINDOW]))
    def time_passes(self, passed: timedelta) -> None:
        """Minutes, hours or a day."""
        self.now += passed

    @rule(lag=st.sampled_from([timedelta(0), minutes(2), STALENESS]))
    def counters_become_late(self, lag: timedelta) -> None:
        """The org's figures show a call after up to five minutes."""
        self.lag = lag

    @rule(
        who=st.integers(1, 4),
        need=st.sampled_from([5, 30, 45, 60, 90]),
        lease=st.sampled_from([minutes(5), minutes(60), minutes(300)]),
        begins=st.booleans(),
    )
    def ask(self, who: int, need: int, lease: timedelta, begins: bool) -> None:
        """One turn of a holder that holds nothing; its load may begin at once."""
        self.now += TICK
        if any(load.who == who for load in self.live()):
            return
        decision = self.gate.turn(request(who, need, self.now, reserve=RESERVE, lease=lease, org_id=self.org_id))
        if isinstance(decision, Grant):
            held = decision.reservation
            self.loads.append(
                Load(who, held.reservation_id, held.needs[API_REQUESTS], held.held_until, held.held_until - self.now)
            )
            if begins:
                self.tell(self.loads[-1], "a", 0)

    @rule(data=st.data(), by=st.sampled_from("ab"))
    def begin(self, data: st.DataObject, by: str) -> None:
        """A load tells that it draws."""
        if live := self.live():
            self.tell(data.draw(st.sampled_from(live)), by, 0)

    @rule(data=st.data())
    def spend(self, data: st.DataObject) -> None:
        """One of the loads on a reservation makes calls that are left of it; it may draw them at once, or later."""
        able = [
            (load, by)
            for load in self.live()
            for by, drawer in load.drawers.items()
            if not drawer.closed and load.spent < load.held
        ]
        if able:
            load, by = data.draw(st.sampled_from(able))
            left = load.held - load.spent
            calls = data.draw(st.sampled_from([left, left, 1 + left // 2]))
            load.drawers[by].spent += calls
            self.calls.append((self.now, calls))
            if data.draw(st.booleans()):
                self.tell(load, by, load.drawers[by].spent)

    @rule(data=st.data(), last=st.booleans())
    def draw(self, data: st.DataObject, last: bool) -> None:
        """A total comes: the last one, or one of some time ago; also after the reservation has ended."""
        able = [(load, by) for load in self.loads for by in load.drawers]
        if able:
            load, by = data.draw(st.sampled_from(able))
            drawer = load.drawers[by]
            self.tell(load, by, drawer.spent if last else data.draw(st.integers(0, drawer.spent)), closed=last)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """A load gives back a part of what it will not need; saying it twice gives it once."""
        if live := self.live():
            load, before = data.draw(st.sampled_from(live)), self.outstanding()
            calls, held = data.draw(st.integers(0, load.held - load.spent)), {API_REQUESTS: load.held}
            for _ in range(2):
                self.ledger.release(load.reservation_id, self.now, calls={API_REQUESTS: calls}, holding=held)
            load.held -= calls
            assert self.outstanding() == before - calls

    @rule(data=st.data(), more=st.integers(1, 60))
    def extend(self, data: st.DataObject, more: int) -> None:
        """A load asks for more, twice; decided by the policy as it is, with the forecast that the gate has."""
        if not self.loads:
            return
        load, before = data.draw(st.sampled_from(self.loads)), self.outstanding()
        held = {API_REQUESTS: load.held}
        outcomes = [
            top_up(self.ledger, load.reservation_id, {API_REQUESTS: more}, self.now, holding=held) for _ in range(2)
        ]
        first = outcomes[0]
        assert first is not None
        assert outcomes[1] is not None
        assert first.extended == outcomes[1].extended
        if first.extended:
            assert load in self.live()
            load.held += more
            assert self.outstanding() == before + more
        else:
            assert self.outstanding() == before

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A reservation is released: for the first time, again, or too late."""
        if not self.loads:
            return
        load, before = data.draw(st.sampled_from(self.loads)), self.outstanding()
        first = load in self.live()
        released = self.ledger.release(load.reservation_id, self.now)

        load.ended = load.ended or LeaseState.RELEASED
        assert released is not None
        assert (released.released, released.state) == (first, load.ended)
        freed = load.held - load.told if first and load.closed else 0
        assert (released.given_back or {}).get(API_REQUESTS, 0) == freed
        assert self.outstanding() == before - freed

    @rule()
    def header(self) -> None:
        """Some response told the limits in passing."""
        self.store.add_readings(self.read(ReadingSource.HEADER))

    # --- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_oversold(self) -> None:
        """Calls made and calls that may still be made never pass the limit less the reserve."""
        promised = sum(load.held - load.spent for load in self.live())
        assert self.used() + promised <= LIMIT - RESERVE

    @invariant()
    def what_may_still_be_made_is_outstanding(self) -> None:
        """However much has been drawn."""
        assert self.outstanding() >= sum(load.held - load.spent for load in self.live())

    @invariant()
    def the_ledger_holds_what_the_model_holds(self) -> None:
        """No reservation is lost, none comes back, none holds more or less."""
        held = {(load.reservation_id, load.held, load.held_until) for load in self.live()}
        reservations = self.ledger.reservations(self.org_id, self.now)
        assert {(each.reservation_id, each.needs[API_REQUESTS], each.held_until) for each in reservations} == held


def test_whatever_loads_do_nothing_is_oversold(engine: Engine) -> None:
    """Sequences of all that can happen, made up by Hypothesis."""
    machine = type("Machine", (DrawingAgainstModel,), {"engine": engine})
    examples = 25 if engine.dialect.name == "sqlite" else 8

    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))
