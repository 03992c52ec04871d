"""The real gate on a real store, driven by the clock of a world."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.quota.model import Grant, Holder, QuotaRequest, Refuse, Reserve
from airflow_provider_apiusage.salesforce.errors import AllowanceExhaustedError, Where
from airflow_provider_apiusage.store.engine import migrate, prepare_engine
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource
from benchmarks.gate_scenarios import LIMIT, RESERVE, Load, instant
from benchmarks.gate_world import World

ORG = "00DAA0000000001"
SOURCES = {"header": ReadingSource.HEADER, "snapshot": ReadingSource.LIMITS}


class RealGate:
    """Gates as they wait in a triggerer: each asks when it was told to ask again."""

    def __init__(self, world: World, poll: timedelta = timedelta(minutes=5)) -> None:
        engine = prepare_engine(create_engine("sqlite://", poolclass=StaticPool))
        migrate(engine)
        self._world = world
        self._ledger, self._store = QuotaLedger(engine), UsageStore(engine)
        self._gate = Gate(self._ledger, self._store, self._read, poll, self._now)
        self._waiting: dict[int, QuotaRequest] = {}
        self._loads: dict[int, Load] = {}
        self._held: dict[int, str] = {}
        self._wake: list[tuple[datetime, int]] = []

    def arrive(self, load: Load) -> None:
        """Ask for the first time."""
        holder = Holder("loads", str(load.number), "gate")
        self._waiting[load.number] = QuotaRequest(
            ORG, holder, {API_REQUESTS: load.need}, self._now(), Reserve(share=RESERVE), lease=timedelta(hours=2)
        )
        self._loads[load.number] = load
        heapq.heappush(self._wake, (self._now(), load.number))

    def decide(self) -> Iterable[Load]:
        """Let every gate ask whose time it is."""
        granted = []
        while self._wake and self._wake[0][0] <= self._now():
            _, number = heapq.heappop(self._wake)
            decision = self._gate.turn(self._waiting[number])
            if isinstance(decision, Grant):
                del self._waiting[number]
                self._held[number] = decision.reservation.reservation_id
                granted.append(self._loads[number])
            elif isinstance(decision, Refuse):
                raise AssertionError(decision.reason)
            else:
                heapq.heappush(self._wake, (decision.until, number))
        return granted

    def ended(self, load: Load) -> None:
        """Release what it held, unless it died."""
        reservation = self._held.pop(load.number)
        if load.crashes_after is None:
            self._ledger.release(reservation, self._now())

    def reading(self, used: int, source: str) -> None:
        """Keep what was read anyway."""
        self._store.add_readings([self._reading(used, SOURCES[source])])

    def would_open(self, room: int) -> Iterable[Load]:
        """The first one, if beside what is held there is room for it."""
        if not self._waiting:
            return ()
        held = sum(self._loads[number].need for number in self._held)
        first = min(self._waiting, key=lambda number: (self._waiting[number].requested_at, number))
        return [self._loads[first]] if self._loads[first].need <= room - held else ()

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
