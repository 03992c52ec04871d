"""An org, its other users and its loads, in steps of seconds; whoever decides about the loads is put to the test."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate
from random import Random
from typing import Protocol

from airflow_provider_apiusage.sandbox.accounting import Accounting
from airflow_provider_apiusage.sandbox.clock import VirtualClock
from airflow_provider_apiusage.sandbox.identity import USERS, Identity
from airflow_provider_apiusage.sandbox.ledger import Caller
from airflow_provider_apiusage.sandbox.settings import OrgSettings
from airflow_provider_apiusage.sandbox.tally import window_start
from benchmarks.gate_scenarios import BEGIN, LIMIT, RESERVE, Load, Scenario, instant

STEP = 5
"""Seconds of a step."""
OTHERS_EVERY = 15
"""Seconds between two calls of others, who make as many as there are to make by then."""
HEADER_EVERY = 60
"""Seconds between two readings that a running load leaves in the store; the first and the last come at once."""
DRAW_EVERY = 10
"""Seconds between two totals that a running load draws from its reservation."""
SNAPSHOT_EVERY = 900
RESERVED = round(LIMIT * RESERVE)
EPOCH_SECOND = int(BEGIN.timestamp())

OTHERS = Caller(USERS[1].id, family="SOAP", resource="query")
LOADS = Caller(USERS[2].id, family="REST", resource="/v67.0/query")
LOOKS = Caller(USERS[2].id, family="REST", resource="/v67.0/limits")


class Decider(Protocol):
    """Whoever lets loads in."""

    def arrive(self, load: Load) -> None:
        """A load asks for its calls."""

    def decide(self) -> Iterable[Load]:
        """Return the loads that may start now."""

    def spending(self, load: Load) -> None:
        """A load tells what it has spent so far (``load.spent``)."""

    def ended(self, load: Load) -> None:
        """A load has ended properly, or died (``load.crashes_after``)."""

    def reading(self, used: int, source: str) -> None:
        """The org was read anyway: by a ``header`` of a running load, or for a ``snapshot``."""

    def would_open(self, room: int) -> Iterable[Load]:
        """Return the waiting loads that this decider would let in now if it knew the present exactly.

        :param room: what the limit leaves beside the reserve and what is truly used.
        """


class Org(Accounting):
    """The sandbox org's accounting, with marks that are missed if the scenario says so."""

    slipping: Random | None = None
    mark = 0
    hour = 0

    @property
    def bucket(self) -> timedelta:
        """Granularity of expiry; one bucket from 1970 to the start of the window lets it begin at any mark."""
        if self.slipping is None:
            return super().bucket
        return timedelta(seconds=self.mark - 86_400)

    def tick(self, second: int) -> None:
        """Let the mark move on: on the hour, in three cases of five, and never more than three hours late."""
        hour = second // 3600 * 3600
        if self.slipping is not None and hour > self.hour:
            self.hour = hour
            if hour - self.mark > 3 * 3600 or self.slipping.random() < 0.6:
                self.mark = hour


@dataclass
class Measures:
    """What came of a run."""

    looks: int = 0
    refused: int = 0
    locked_minutes: set[int] = field(default_factory=set)
    served: int = 0
    over: int = 0


class World:
    """One org with a decider.

    :param scenario: what happens.
    :param seed: the same seed gives the same others and loads, whoever decides.
    :param days: days with loads, after the warm-up.
    """

    def __init__(self, scenario: Scenario, seed: str, days: int) -> None:
        self.scenario, self.days = scenario, days
        total = scenario.warm_up + days
        self.others = scenario.others(total + 1, Random(f"others {seed}"))
        first = scenario.warm_up * 86_400
        self.loads = [
            load for load in scenario.arrivals(scenario, total, Random(f"loads {seed}")) if load.arrives_at >= first
        ]
        self.loads.sort(key=lambda load: load.arrives_at)
        for number, load in enumerate(self.loads):
            load.number = number
        settings = OrgSettings(limit=LIMIT, expiry_bucket_minutes=scenario.bucket, staleness_seconds=scenario.stale)
        self.clock = VirtualClock(BEGIN)
        self.org = Org(0, self.clock, settings, Identity())
        self.org.slipping = Random(f"slips {seed}") if scenario.slips else None
        self.org.mark = EPOCH_SECOND
        self.second = 0
        self.measures = Measures()
        self._snapshot_phase = Random(f"phase {seed}").randrange(900)
        self._header_due: dict[int, int] = {}
        self._made: deque[tuple[int, int]] = deque()
        self._used, self._bucket, self._waiting = 0, 1, 0
        self._open: dict[int, Load] = {}

    @property
    def used(self) -> int:
        """What is truly used now: kept as it goes, and held against the org's ledger whenever that is asked."""
        bucket = self._bucket
        begin = window_start(EPOCH_SECOND + self.second, bucket)
        while self._made and self._made[0][0] <= begin:
            self._used -= self._made.popleft()[1]
        return self._used

    def call(self, count: int, caller: Caller) -> int:
        """Make calls; return how many the org took."""
        at = instant(self.second)
        taken = min(count, LIMIT - self.used)
        if taken:
            self._made.append((EPOCH_SECOND + self.second, taken))
            self._used += taken
        if taken < count and caller is not LOOKS and self.second >= self.scenario.warm_up * 86_400:
            self.measures.locked_minutes.add(self.second // 60)
            self.measures.refused += count - taken
        self.org.ledger.record(at, caller, taken)
        return taken

    def look(self) -> int | None:
        """Read the org's limits: one call; what is used as it tells, or ``None`` if nothing was left for the call."""
        if self.call(1, LOOKS) == 0:
            return None
        self.measures.looks += 1
        return self.reported() if self.scenario.stale else self.used

    def reported(self) -> int:
        """Return the figure that the org tells."""
        assert self.used == self.org.used
        return self.org.reported

    def run(self, decider: Decider) -> Measures:
        """Let all the days pass."""
        scenario, end = self.scenario, (self.scenario.warm_up + self.days) * 86_400
        arrivals, running = iter(self.loads), []
        coming = next(arrivals, None)
        sums, told = [0, *accumulate(self.others)], 0
        snapshot_due = self._snapshot_phase
        while self.second < end:
            loading = self.second >= scenario.warm_up * 86_400
            idle = not running and not self._waiting and coming is not None and coming.arrives_at > self.second + 60
            self.second += STEP if loading and not idle else 60
            self.clock.set(instant(self.second))
            self.org.tick(EPOCH_SECOND + self.second)
            self._bucket = int(self.org.bucket.total_seconds())
            minute, rest = divmod(self.second // OTHERS_EVERY * OTHERS_EVERY, 60)
            made = sums[minute] + self.others[minute] * rest // 60
            if made > told:
                self.call(made - told, OTHERS)
                told = made
            for load in running:
                self._spend(load, decider)
            running = [load for load in running if load.ended_at is None]
            if scenario.snapshots and self.second >= snapshot_due:
                snapshot_due += SNAPSHOT_EVERY
                decider.reading(self.reported(), "snapshot")
            if not loading:
                continue
            while coming is not None and coming.arrives_at <= self.second:
                decider.arrive(coming)
                self._waiting += 1
                coming = next(arrivals, None)
            if not self._waiting:
                continue
            found = {load.number: load for load in decider.would_open(LIMIT - RESERVED - self.used)}
            for load in found.values():
                if load.opened_at is None:
                    load.opened_at = self.second
            for number, load in self._open.items():
                if number not in found and load.granted_at is None:
                    load.opened_at = None
            self._open = found
            for load in decider.decide():
                load.granted_at = self.second
                self._waiting -= 1
                opened = self.second if load.opened_at is None else load.opened_at
                load.latency = self.second - opened
                running.append(load)
                self._header_due[load.number] = self.second + 1
        return self.measures

    def _spend(self, load: Load, decider: Decider) -> None:
        stop = load.cost if load.crashes_after is None else load.crashes_after
        taken = self.call(min(round(load.pace * STEP), stop - load.spent), LOADS)
        load.spent += taken
        self.measures.served += taken
        if self.second % DRAW_EVERY == 0:
            decider.spending(load)
        ends = load.spent >= stop
        if taken and (self.second >= self._header_due[load.number] or (ends and load.crashes_after is None)):
            self._header_due[load.number] = self.second + HEADER_EVERY
            decider.reading(self.reported(), "header")
        if ends:
            load.ended_at = self.second
            decider.ended(load)
