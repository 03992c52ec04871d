"""The real gate on a real store, driven by the clock of a world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.quota.model import Decision, Grant, Holder, QuotaRequest, Refuse, Reserve
from airflow_provider_apiusage.quota.policy import DEFAULT_RULES, Rules
from airflow_provider_apiusage.quota.turned import Place
from airflow_provider_apiusage.salesforce.errors import AllowanceExhaustedError, Where
from airflow_provider_apiusage.store.engine import migrate, prepare_engine
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource
from benchmarks.gate_scenarios import LIMIT, RESERVE, Load, instant
from benchmarks.gate_world import World

ORG = "00DAA0000000001"
LEASE = timedelta(hours=2)
LOOK = 10
"""Seconds between two looks of a hub at whether the store knows something new."""

SOURCES = {"header": ReadingSource.HEADER, "snapshot": ReadingSource.LIMITS}


class RealGate:
    """All gates of the org as one triggerer's hub has them: a turn for all when it is due, or when something happened.

    Loads are metered: what they have spent is drawn from their reservations as they go.

    :param world: whose clock and org it is.
    :param rules: of the policy.
    :param poll: as ``[apiusage] poll_interval``.
    """

    def __init__(self, world: World, rules: Rules = DEFAULT_RULES, poll: timedelta = timedelta(minutes=5)) -> None:
        engine = prepare_engine(create_engine("sqlite://", poolclass=StaticPool))
        migrate(engine)
        self._world = world
        self._ledger, self._store = QuotaLedger(engine), UsageStore(engine)
        self._gate = Gate(self._ledger, self._store, self._read, poll, self._now, rules)
        self._waiting: dict[Holder, QuotaRequest] = {}
        self._loads: dict[Holder, Load] = {}
        self._places: Mapping[Holder, Place] = {}
        self._held: dict[int, str] = {}
        self._next_at = self._now()
        self._dead: list[tuple[datetime, int]] = []
        self._head: tuple[Load, int] | None = None
        self._early: list[LimitReading] = []
        self.turns = 0

    def arrive(self, load: Load) -> None:
        """Join those that wait."""
        holder = Holder("loads", str(load.number), "gate")
        self._waiting[holder] = QuotaRequest(
            ORG, holder, {API_REQUESTS: load.need}, self._now(), Reserve(share=RESERVE), lease=LEASE
        )
        self._loads[holder] = load
        self._store.add_readings(self._early)
        self._early.clear()
        self._next_at = self._now()

    def decide(self) -> Iterable[Load]:
        """Take a turn for all, if it is time."""
        if not self._waiting or self._now() < self._next_at:
            return []
        self.turns += 1
        turned = self._gate.turn_all(ORG, [*self._waiting.values()], self._places)
        self._places, self._next_at = turned.places, turned.next_at
        granted, head = [], None
        for holder, decision in turned.decisions.items():
            assert not isinstance(decision, Refuse), decision.reason
            load = self._loads[holder]
            if isinstance(decision, Grant):
                del self._waiting[holder]
                self._held[load.number] = decision.reservation.reservation_id
                granted.append(load)
            elif head is None or load.number < head[0].number:
                head = (load, _peak(decision))
        self._head = head
        if granted:
            self._next_at = self._now()
        return granted

    def ended(self, load: Load) -> None:
        """Tell the final total and release, unless the load died."""
        reservation = self._held.pop(load.number)
        if load.crashes_after is not None:
            self._dead.append((self._now() + LEASE, load.need - load.spent))
        else:
            self._ledger.draw(reservation, {API_REQUESTS: load.spent}, self._now(), closed=True)
            self._ledger.release(reservation, self._now())
        self._wake()

    def spending(self, load: Load) -> None:
        """Draw it from the reservation, as a metered load does every few seconds."""
        self._ledger.draw(self._held[load.number], {API_REQUESTS: load.spent}, self._now())

    def reading(self, used: int, source: str) -> None:
        """Keep what was read anyway; what is read before the first load comes is kept when that does."""
        read = self._reading(used, SOURCES[source])
        if self._loads:
            self._store.add_readings([read])
            self._wake()
        else:
            self._early.append(read)

    def would_open(self, room: int) -> Iterable[Load]:
        """The first one, if there is room beside what running loads may still spend, and no peak ahead.

        A load that died cannot be told from one that pauses until its lease is over, two hours after its last sign.
        """
        if self._head is None:
            return ()
        held = sum(max(0, load.need - load.spent) for load in self._loads.values() if load.number in self._held)
        held += sum(unspent for until, unspent in self._dead if until > self._now())
        load, peak = self._head
        return [load] if load.need <= room - held - peak else ()

    def _wake(self) -> None:
        """Another process wrote to the store: the hub sees it when it looks there next."""
        self._next_at = min(self._next_at, instant(self._world.second // LOOK * LOOK + LOOK))

    def _now(self) -> datetime:
        return instant(self._world.second)

    def _read(self) -> Sequence[LimitReading]:
        used = self._world.look()
        if used is None:
            raise AllowanceExhaustedError("Nothing is left.", Where("loads", "the org"), "Wait.")
        return [self._reading(used, ReadingSource.LIMITS)]

    def _reading(self, used: int, source: ReadingSource) -> LimitReading:
        at = self._now()
        return LimitReading(ORG, API_REQUESTS, source, at, at, LIMIT, LIMIT - used, used)


def _peak(decision: Decision) -> int:
    return next((each.peak or 0 for each in decision.figures), 0)
