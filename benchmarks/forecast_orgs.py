"""Invented orgs whose every call is known, and what a store would know of them at any instant."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from math import cos, exp, pi, sqrt
from random import Random

from airflow_provider_apiusage.usage.hourly import HOUR
from airflow_provider_apiusage.usage.model import (
    API_REQUESTS,
    Completeness,
    Evidence,
    HourTotal,
    Interval,
    LimitReading,
    ReadingSource,
)

ORG = "00DAA0000000001"
LIMIT = 100_000
MINUTE = timedelta(minutes=1)
DAY = 1440
BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
"""A Monday."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How an org is watched.

    :param bucket: minutes within which calls are released together; 0 for each by itself.
    :param readings: whether snapshots are taken, every 15 minutes.
    :param logs: whether event logs are there: 6 hours late, settled after 3 days.
    :param gaps: whether snapshots stop for hours now and then, and once for more than a day.
    :param late: whether figures are up to 5 minutes old.
    :param days: how far back the store reaches.
    """

    bucket: int = 0
    readings: bool = True
    logs: bool = False
    gaps: bool = False
    late: bool = True
    days: int = 35


@dataclass
class Org:
    """One org: its calls by minute from :data:`BEGIN` on, and the evidence of all its days.

    :param calls: by minute.
    :param seen: how it is watched.
    :param seed: of how it is watched.
    """

    calls: list[int]
    seen: Seen
    seed: int
    _sums: list[int] = field(default_factory=list)
    _readings: list[LimitReading] = field(default_factory=list)
    _hours: list[HourTotal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sums = [0, *accumulate(self.calls)]
        self._readings = self._read() if self.seen.readings else []
        if self.seen.logs:
            for hour in range(len(self.calls) // 60):
                count = self._sums[(hour + 1) * 60] - self._sums[hour * 60]
                told = Interval(count, count)
                self._hours.append(HourTotal(BEGIN + hour * HOUR, told, Interval(0, count), Completeness.SETTLED))

    def made(self, minute: int) -> int:
        """Return the calls up to a minute."""
        return self._sums[min(max(minute, 0), len(self.calls))]

    def used(self, minute: int) -> int:
        """Return what counts at a minute."""
        start = minute // self.seen.bucket * self.seen.bucket if self.seen.bucket else minute
        return self.made(minute) - self.made(start - DAY)

    def evidence(self, minute: int) -> Evidence:
        """Return what is known at a minute."""
        at = BEGIN + minute * MINUTE
        since = at - timedelta(days=self.seen.days)
        readings = self._readings[
            bisect_left(self._readings, since, key=lambda r: r.observed_at) : bisect_right(
                self._readings, at, key=lambda r: r.observed_at
            )
        ]
        hours = []
        for hour in self._hours:
            if since <= hour.starts_at and hour.starts_at + 7 * HOUR <= at:
                if hour.starts_at + timedelta(days=4) > at:
                    low = int(hour.calls.low * 0.98)
                    hour = HourTotal(hour.starts_at, Interval(low), hour.soap, Completeness.PROVISIONAL)
                hours.append(hour)
        return Evidence(ORG, at, tuple(readings), (), tuple(hours))

    def known(self, evidence: Evidence) -> int:
        """Return the minute of the newest evidence."""
        newest = max(
            [r.observed_at for r in evidence.readings[-1:]] + [h.starts_at + HOUR for h in evidence.hours[-1:]]
        )
        return (newest - BEGIN) // MINUTE

    def _read(self) -> list[LimitReading]:
        chance = Random(self.seed)
        readings: list[LimitReading] = []
        phase = chance.randrange(15)
        out_until = 0
        for minute in range(DAY + phase, len(self.calls), 15):
            if self.seen.gaps and minute >= out_until and chance.random() < 0.004:
                out_until = minute + chance.choice((60, 180, 480, 720))
            if self.seen.gaps and minute // DAY == 30 and minute % DAY < 15:
                out_until = minute + 30 * 60
            if minute < out_until:
                continue
            used = self.used(minute - (chance.randrange(6) if self.seen.late else 0))
            at = BEGIN + minute * MINUTE
            source = ReadingSource.LIMITS
            readings.append(LimitReading(ORG, API_REQUESTS, source, at, at, LIMIT, LIMIT - used, used))
        return readings


def poisson(chance: Random, mean: float) -> int:
    """Return a number of independent events."""
    if mean > 30:
        return max(0, round(chance.gauss(mean, sqrt(mean))))
    limit, product, count = exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


def _weekend(day: int) -> bool:
    return day % 7 >= 5


def _office_hours(minute: int, start: float = 7.0, end: float = 18.0) -> float:
    """Return 0..1: how busy an office is at a minute of the day, with a dip at noon."""
    hour = minute % DAY / 60
    if not start <= hour <= end:
        return 0.0
    middle = (1 - cos(2 * pi * (hour - start) / (end - start))) / 2
    return middle**0.5 * (0.7 if 12 <= hour < 13 else 1.0)


def quiet(days: int, chance: Random) -> list[int]:
    """A few hundred calls a day, a little more by day."""
    return [poisson(chance, 0.3 + 0.4 * _office_hours(m)) for m in range(days * DAY)]


def office(days: int, chance: Random, growth: float = 0.0) -> list[int]:
    """Tens of thousands of calls on weekdays in office hours, few at night and at weekends."""
    calls, wave = [], 0.0
    for day in range(days):
        level = chance.lognormvariate(0, 0.08) * (1 + growth) ** day
        for m in range(DAY):
            wave = 0.995 * wave + chance.gauss(0, 0.02)
            busy = _office_hours(m) * (0.06 if _weekend(day) else 1.0)
            calls.append(poisson(chance, level * (4 + 80 * busy) * max(0.1, 1 + wave)))
    return calls


def growing(days: int, chance: Random) -> list[int]:
    """Office hours, 1.5 % more every day."""
    return office(days, chance, 0.015)


def bursty(days: int, chance: Random) -> list[int]:
    """A steady stream, and five bursts a day at any time: hundreds to thousands of calls within minutes."""
    calls = [poisson(chance, 5 + 6 * _office_hours(m)) for m in range(days * DAY)]
    for _ in range(days * 5):
        start, length = chance.randrange(days * DAY), chance.randrange(5, 45)
        size = min(12_000.0, chance.lognormvariate(7, 0.9))
        for m in range(start, min(days * DAY, start + length)):
            calls[m] += poisson(chance, size / length)
    return calls


def nightly(days: int, chance: Random) -> list[int]:
    """Loads at one and four o'clock that begin within half an hour, a big one on Sundays, and little by day."""
    calls = [poisson(chance, 1 + 4 * _office_hours(m)) for m in range(days * DAY)]
    for day in range(days):
        for hour, size in ((1, 12_000), (4, 5_000), (20, 25_000 if day % 7 == 6 else 0)):
            if chance.random() < 0.04:
                continue
            start = day * DAY + hour * 60 + chance.randrange(30)
            size_today = size * chance.lognormvariate(0, 0.15)
            length = int(40 + size / 200)
            for m in range(start, min(days * DAY, start + length)):
                calls[m] += poisson(chance, size_today / length)
    return calls


def erratic(days: int, chance: Random) -> list[int]:
    """Every day another level and other hours, now and then a day off, and waves in between."""
    calls, wave = [], 0.0
    for _ in range(days):
        level = 0.1 if chance.random() < 0.07 else chance.lognormvariate(0, 0.45)
        start, end = chance.uniform(3, 9), chance.uniform(15, 23)
        for m in range(DAY):
            wave = 0.998 * wave + chance.gauss(0, 0.03)
            calls.append(poisson(chance, level * (6 + 40 * _office_hours(m, start, end)) * max(0.1, 1 + wave)))
    return calls


SCENARIOS: dict[str, Callable[[int, Random], list[int]]] = {
    "quiet": quiet,
    "office hours": office,
    "bursty": bursty,
    "nightly loads": nightly,
    "growing": growing,
    "erratic": erratic,
}
