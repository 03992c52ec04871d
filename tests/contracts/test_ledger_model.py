"""Any sequence of asking, spending, releasing, vanishing, dying and waiting, against a model that fits on two pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine

from airflow_provider_apiusage.gate import GHOST_AFTER, READING_TAKES, Gate
from airflow_provider_apiusage.quota.model import Grant, LeaseState, QuotaRequest, Wait
from airflow_provider_apiusage.quota.policy import Rules
from airflow_provider_apiusage.salesforce.errors import UnavailableError, Where
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger, Released
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, STALENESS, WINDOW, LimitReading, ReadingSource
from tests.contracts.conftest import open_engine
from tests.support.gates import POLL
from tests.support.quota import BATCHES, MAX_AGE, NOW, holder, minutes, reading, request

LIMIT, RESERVE = {API_REQUESTS: 1_000, BATCHES: 40}, {API_REQUESTS: 100, BATCHES: 4}
TICK = timedelta(microseconds=1)
HEAD_START = timedelta(hours=2)
RULES = Rules(kept_at_peak=None)
"""The policy as it is, but for what others are expected to do: the model knows no forecast."""

HOLDERS = st.integers(1, 6)
NEEDS = st.one_of(
    st.builds(lambda calls: {API_REQUESTS: calls}, st.integers(1, 800)),
    st.builds(lambda calls, batches: {API_REQUESTS: calls, BATCHES: batches}, st.integers(1, 300), st.integers(1, 36)),
    st.builds(lambda batches: {BATCHES: batches}, st.integers(1, 36)),
)
_orgs = count(1)


@dataclass
class Load:
    """A grant in the model: what was promised, until when, and how much of it was really spent."""

    who: int
    reservation_id: str
    needs: Mapping[str, int]
    held_until: datetime
    joined_at: datetime
    place: datetime
    granted_at: datetime
    spent: int = 0
    ended_at: datetime | None = None
    released: bool = False

    @property
    def unspent(self) -> int:
        """Calls that it may still make."""
        return self.needs.get(API_REQUESTS, 0) - self.spent


def place(asked: QuotaRequest) -> datetime:
    """Return the instant that a request is ordered by."""
    return asked.requested_at - asked.priority * HEAD_START


class GateAgainstModel(RuleBasedStateMachine):
    """An org that others use as well; its clock may be wrong, and its figures are late by up to five minutes.

    Two processes ask at its gate. They may be killed as they read the org, and start anew.
    """

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.org_id = f"00D{next(_orgs):012d}"
        self.ledger, self.store = QuotaLedger(self.engine), UsageStore(self.engine)
        self.now, self.lag, self.skew = NOW, timedelta(0), timedelta(0)
        self.gates = [self.gate_on(self.engine), self.gate_on(self.engine)]
        self.down = False
        self.claimed_until = NOW
        self.calls: list[tuple[datetime, str, int, bool]] = []  # when, of which limit, how many, whether ours
        self.loads: list[Load] = []
        self.told: dict[str, list[LimitReading]] = {name: [] for name in LIMIT}
        self.shown_at = dict.fromkeys(LIMIT, NOW)
        self.queue: dict[int, tuple[QuotaRequest, datetime]] = {}
        self.lost: dict[int, tuple[datetime, datetime]] = {}  # who came back too late: its place, and when it lapsed

    def gate_on(self, engine: Engine) -> Gate:
        """Return the gate of one process."""
        return Gate(QuotaLedger(engine), UsageStore(engine), self.read, POLL, lambda: self.now, RULES)

    # --- the org ------------------------------------------------------------------------------------------------

    def used(self, name: str, lag: timedelta = timedelta(0), *, others_until: datetime | None = None) -> int:
        """Return what is used in the window, as the org knows it after a delay; of others, until an instant only."""
        return sum(
            calls
            for at, of, calls, ours in self.calls
            if of == name
            and self.now - WINDOW < at <= self.now - lag
            and (ours or others_until is None or at <= others_until)
        )

    def tell(self, source: ReadingSource, *names: str) -> list[LimitReading]:
        """Answer what the org's counters show; no two answers come at the same instant."""
        self.now += TICK
        self.calls.append((self.now, API_REQUESTS, 1, False))  # asking is a call
        self.shown_at |= dict.fromkeys(names, self.now - self.lag)
        told = [
            reading(
                self.used(name, self.lag), self.now + self.skew, limit=LIMIT[name], name=name, org_id=self.org_id,
                source=source, received_at=self.now,
            )
            for name in names
        ]  # fmt: skip
        for each in told:
            self.told[each.name].append(each)
        return told

    def read(self) -> Sequence[LimitReading]:
        """Be asked for the limits."""
        if self.down:
            self.now += TICK
            self.claimed_until = self.now + READING_TAKES
            raise UnavailableError("The org answered 503.", Where("salesforce_default", "sandbox"))
        return self.tell(ReadingSource.LIMITS, *LIMIT)

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

    def seen(self, name: str) -> datetime:
        """Return until when the calls made show in the latest figure: one that stands still is as old as it is."""
        if not self.told[name]:
            return self.now - WINDOW
        latest = self.told[name][-1]
        first = latest.received_at
        for each in reversed(self.told[name]):
            if each.used != latest.used or latest.received_at - each.received_at >= WINDOW:
                break
            first = each.received_at
        stands = name == API_REQUESTS and latest.received_at - first > STALENESS
        return (first if stands else latest.received_at) - STALENESS

    def outstanding(self, name: str) -> int:
        """Return what is promised, and what ended too late for the latest reading to show its calls for certain."""
        seen = self.seen(name)
        return sum(load.needs.get(name, 0) for load in self.loads if load.ended_at is None or load.ended_at > seen)

    def line(self) -> list[int]:
        """Return who waits, in the order of service."""
        return sorted(self.queue, key=lambda who: place(self.queue[who][0]))

    def fresh(self, name: str) -> bool:
        """Tell whether a limit was read lately enough."""
        return bool(self.told[name]) and self.now - self.told[name][-1].received_at <= MAX_AGE

    def fits(self, who: int) -> bool:
        """Tell whether there is room for this one after all before it, by readings that are fresh enough.

        Behind one that waits there is, as long as all that pass it ask for no more than the policy's share of its need;
        nobody passes who waits because a limit is not known.
        """
        room = {
            name: (told[-1].remaining or 0) - RESERVE[name] - self.outstanding(name)
            for name, told in self.told.items()
            if told
        }
        budget: dict[str, int] = {}
        doubtful: set[str] = set()
        for each in self.line():
            asked = self.queue[each][0]
            stale = [name for name in asked.needs if not self.fresh(name)]
            blocked = [name for name in asked.needs if name in budget]
            alone = not stale and all(need <= room[name] for name, need in asked.needs.items())
            fits = alone and not doubtful.intersection(blocked)
            fits = fits and all(asked.needs[name] <= budget[name] for name in blocked)
            if each == who:
                return fits
            if fits:
                for name, need in asked.needs.items():
                    room[name] -= need
                    if name in budget:
                        budget[name] -= need
                continue
            doubts = bool(stale) or (alone and bool(blocked) and doubtful.issuperset(blocked))
            holds = stale or (blocked if doubts else list(asked.needs))
            doubtful = doubtful | {name for name in holds if name not in budget} if doubts else doubtful - set(holds)
            for name in holds:
                budget.setdefault(name, self.budget_of(asked, name))
        raise AssertionError("does not wait")

    def budget_of(self, asked: QuotaRequest, name: str) -> int:
        """Return how much may still pass one that waits."""
        passed = [load for load in self.loads if load.granted_at > asked.requested_at and load.place > place(asked)]
        return int(RULES.beta * asked.needs.get(name, 0)) - sum(load.needs.get(name, 0) for load in passed)

    # --- what can happen ----------------------------------------------------------------------------------------

    @initialize(skew=st.sampled_from([timedelta(0), minutes(10), -minutes(10)]))
    def the_org_has_a_clock(self, skew: timedelta) -> None:
        """Right, fast or slow."""
        self.skew = skew

    @rule(passed=st.sampled_from([minutes(1), STALENESS, minutes(10), minutes(25), minutes(60), WINDOW]))
    def time_passes(self, passed: timedelta) -> None:
        """Minutes, hours or a day."""
        self.now += passed

    @rule(lag=st.sampled_from([timedelta(0), minutes(2), STALENESS]))
    def counters_become_late(self, lag: timedelta) -> None:
        """The org's figures show a call after up to five minutes."""
        self.lag = lag

    @rule(calls=st.sampled_from([1, 50, 400, 1_500]), name=st.sampled_from([*LIMIT]))
    def others_call(self, calls: int, name: str) -> None:
        """Others spend what they like, far beyond the limit too, where the org lets them."""
        self.now += TICK
        self.calls.append((self.now, name, calls if name == API_REQUESTS else 1 + calls // 50, False))

    @rule(down=st.booleans())
    def the_org_goes_and_comes_back(self, down: bool) -> None:
        """While it is down, it answers 503."""
        self.down = down

    @rule(process=st.integers(0, 1), reading=st.booleans())
    def a_process_is_killed(self, process: int, reading: bool) -> None:
        """It may have been about to read the org; another one takes its place, and knows nothing."""
        if reading:
            with self.ledger.turn(self.org_id) as turn:
                if turn.claim_poll(self.now, self.now + READING_TAKES):
                    self.claimed_until = self.now + READING_TAKES
        self.gates[process] = self.gate_on(open_engine(self.engine.url))

    @rule(
        who=HOLDERS,
        needs=NEEDS,
        lease=st.sampled_from([minutes(5), minutes(60)]),
        priority=st.sampled_from([0, 0, 0, 1, -1]),
        process=st.integers(0, 1),
    )
    def ask(self, who: int, needs: Mapping[str, int], lease: timedelta, priority: int, process: int) -> None:
        """One turn of one holder: the grant it has, or a place in the queue and the verdict that the model expects."""
        self.now += TICK
        self.lapse()
        load = next((load for load in self.held() if load.who == who), None)
        reserve = {name: RESERVE[name] for name in needs}
        asked = request(who, dict(needs), self.now, reserve=reserve, lease=lease, org_id=self.org_id, priority=priority)
        if load is not None and load.needs != needs:  # cleared, and asking for something else: the old grant goes back
            load.ended_at, load.released = self.now, True
            load = None
        if load is None:
            joined_at, lapsed_at = self.lost.pop(who, (self.now, self.now))
            since = joined_at if self.now - lapsed_at < WINDOW else self.now
            since = self.queue[who][0].requested_at if who in self.queue else since
            self.queue[who] = replace(asked, requested_at=since), self.now + POLL + GHOST_AFTER

        decision = self.gates[process].turn(asked)

        if load is not None:
            load.held_until = max(load.held_until, self.now + lease)
            assert isinstance(decision, Grant)
            assert decision.reservation.reservation_id == load.reservation_id
            assert decision.reservation.held_until == load.held_until
            return
        self.queue[who] = self.queue[who][0], self.now + POLL + GHOST_AFTER
        fits = self.fits(who)
        if self.now < self.claimed_until and isinstance(decision, Wait):
            return  # nobody may read the org, so what the model knows may have been waited for
        assert isinstance(decision, Grant if fits else Wait), decision.reason
        if isinstance(decision, Grant):
            joined = self.queue.pop(who)[0]
            self.loads.append(
                Load(
                    who, decision.reservation.reservation_id, needs, self.now + lease, joined.requested_at,
                    place(joined), self.now,
                )
            )  # fmt: skip
            self.nothing_more_was_granted_than_there_was()

    def nothing_more_was_granted_than_there_was(self) -> None:
        """All that is promised fits beside all that was used, but for what others did since the org's figure."""
        for name in LIMIT:
            promised = sum(load.needs.get(name, 0) for load in self.held() if load.held_until > self.now)
            spent = sum(load.spent for load in self.held()) if name == API_REQUESTS else 0
            used = self.used(name, others_until=self.shown_at[name])
            if self.loads[-1].needs.get(name):
                assert used + promised - spent <= LIMIT[name] - RESERVE[name]

    @precondition(lambda self: self.loads)
    @rule(data=st.data())
    def spend(self, data: st.DataObject) -> None:
        """A load that holds its reservation makes some of the calls that it was granted."""
        self.lapse()
        running = [load for load in self.held() if load.unspent > 0]
        if running:
            load = data.draw(st.sampled_from(running))
            calls = data.draw(st.integers(1, load.unspent))
            load.spent += calls
            self.calls.append((self.now, API_REQUESTS, calls, True))

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
        self.lapse()
        self.ledger.leave(holder(who), self.now)
        self.queue.pop(who, None)

    @rule()
    def header(self) -> None:
        """Some response told the limits in passing."""
        self.store.add_readings(self.tell(ReadingSource.HEADER, API_REQUESTS))

    # --- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def what_is_ours_stays_below_the_limit(self) -> None:
        """Calls that our loads made and calls promised to them never pass the limit less the reserve."""
        ours = sum(calls for at, name, calls, ours in self.calls if ours and self.now - WINDOW < at)
        promised = sum(load.unspent for load in self.held() if load.held_until > self.now)
        assert ours + promised <= LIMIT[API_REQUESTS] - RESERVE[API_REQUESTS]

    @invariant()
    def the_ledger_says_what_the_model_says(self) -> None:
        """Who holds, who waits, and what is outstanding."""
        self.lapse()
        held = {(load.reservation_id, tuple(sorted(load.needs.items())), load.held_until) for load in self.held()}
        reservations = self.ledger.reservations(self.org_id, self.now)
        assert {
            (each.reservation_id, tuple(sorted(each.needs.items())), each.held_until) for each in reservations
        } == held
        waiting = [self.queue[who][0] for who in self.line()]
        assert list(self.ledger.waiting(self.org_id, self.now)) == waiting
        with self.ledger.turn(self.org_id) as turn:
            turn.lapse(self.now)
            readings = turn.latest_readings([*LIMIT])
            expected = {name: self.outstanding(name) for name in LIMIT}
            assert turn.outstanding(readings, [*LIMIT], self.now) == expected

    def teardown(self) -> None:
        """Once others are quiet and loads are done, everybody who waits is granted: nobody waits for ever."""
        self.down = False
        self.lapse()
        waiting = {who: asked for who, (asked, _) in self.queue.items()}
        rounds = 0
        while waiting:
            self.now += timedelta(hours=7)
            for who, asked in sorted(waiting.items(), key=lambda each: place(each[1])):
                self.ask(who, asked.needs, minutes(5), asked.priority, 0)
                if who not in self.queue:
                    del waiting[who]
                    done = self.loads.pop().reservation_id  # a metered load that found nothing to do
                    self.ledger.draw(done, dict.fromkeys(LIMIT, 0), self.now, closed=True)
                    self.ledger.release(done, self.now)
            rounds += 1
            assert rounds < 12


def test_whatever_happens_nothing_is_oversold(engine: Engine) -> None:
    """Sequences of all that can happen, made up by Hypothesis: the store and the model never differ."""
    machine = type("Machine", (GateAgainstModel,), {"engine": engine})
    examples = 30 if engine.dialect.name == "sqlite" else 8

    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))
