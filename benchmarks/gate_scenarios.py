"""Invented orgs and loads for the gate to be tried on; the same seed gives the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import exp, pi, sin, sqrt
from random import Random

LIMIT = 100_000
RESERVE = 0.1
DAY = 1440
"""Minutes."""
BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
"""A Monday; the org has been used, and snapshots of it taken, for :attr:`Scenario.warm_up` days when loads begin."""

Others = Callable[[int, Random], list[int]]
Arrivals = Callable[["Scenario", int, Random], list["Load"]]


@dataclass
class Load:
    """One load.

    :param number: tells loads apart.
    :param arrives_at: seconds since :data:`BEGIN`.
    :param need: calls that it asks for.
    :param cost: calls that it makes, unless it crashes.
    :param pace: calls a second.
    :param crashes_after: calls after which it is gone without a word; ``None``: it ends properly.
    """

    number: int
    arrives_at: int
    need: int
    cost: int
    pace: float
    crashes_after: int | None = None
    granted_at: int | None = None
    ended_at: int | None = None
    spent: int = 0
    opened_at: int | None = None
    latency: int | None = None


@dataclass(frozen=True)
class Scenario:
    """What happens to an org.

    :param others: calls of others by minute.
    :param arrivals: makes the loads.
    :param daily: calls that loads ask for on an average day.
    :param wrong: standard deviation of the logarithm of what a load costs, over what it asked for.
    :param threefold: whether costs are a third or three times what was asked for, one load in four each.
    :param crashing: share of loads that die on the way.
    :param stale: seconds for which the org's figures stand still.
    :param bucket: minutes within which calls leave together.
    :param slips: whether the hour's mark is missed at times, for up to three hours.
    :param snapshots: whether a snapshot is taken every 15 minutes anyway.
    :param logs: whether the store has event logs, 6 hours late.
    :param honest: whether estimates are honest and expiry is regular, so that no lock-out is acceptable.
    """

    others: Others
    arrivals: Arrivals
    daily: int
    wrong: float = 0.0
    threefold: bool = False
    crashing: float = 0.0
    stale: int = 0
    bucket: int = 0
    slips: bool = False
    snapshots: bool = True
    logs: bool = False
    honest: bool = True
    warm_up: int = 15
    tags: tuple[str, ...] = field(default=())


def poisson(chance: Random, mean: float) -> int:
    """Return a number of independent events."""
    if mean > 30:
        return max(0, round(chance.gauss(mean, sqrt(mean))))
    edge, product, count = exp(-mean), chance.random(), 0
    while product > edge:
        product *= chance.random()
        count += 1
    return count


def _busy(minute: int) -> float:
    """Return 0..1: how busy people are at a minute of the day."""
    hour = minute % DAY / 60
    return sin(pi * (hour - 6) / 13) ** 0.6 if 6 < hour < 19 else 0.0


def office(scale: float = 1.0, monday: float = 1.0, weekend: float = 0.1) -> Others:
    """People and integrations: about 40,000 calls on a weekday, most of them by day; totals differ by a tenth."""

    def calls(days: int, chance: Random) -> list[int]:
        made, wave = [], 0.0
        for day in range(days):
            level = scale * chance.lognormvariate(0, 0.06) * (monday if day % 7 == 0 else 1.0)
            level *= weekend if day % 7 >= 5 else 1.0
            for minute in range(DAY):
                wave = 0.995 * wave + chance.gauss(0, 0.012)
                made.append(poisson(chance, level * (6 + 55 * _busy(minute)) * max(0.1, 1 + wave)))
        return made

    return calls


def bursts(days: int, chance: Random) -> list[int]:
    """An office of half the size, and four bursts a day at any time: hundreds to twelve thousand calls in minutes."""
    made = office(0.5)(days, chance)
    for _ in range(4 * days):
        start, length = chance.randrange(days * DAY), chance.randrange(5, 45)
        size = min(12_000.0, chance.lognormvariate(7.6, 0.9))
        for minute in range(start, min(days * DAY, start + length)):
            made[minute] += poisson(chance, size / length)
    return made


def _sizes(chance: Random, total: float) -> list[int]:
    """Return needs of loads that together ask for about ``total``: many small ones, few big ones."""
    sizes: list[int] = []
    while sum(sizes) < total:
        sizes.append(round(min(30_000.0, max(200.0, chance.lognormvariate(7.6, 1.1)))))
    return sizes


def _load(scenario: Scenario, number: int, at: float, need: int, chance: Random) -> Load:
    cost = need * chance.lognormvariate(0, scenario.wrong) if scenario.wrong else need
    if scenario.threefold:
        cost *= chance.choice((1 / 3, 1, 1, 3))
    cost = max(1, min(round(cost), 60_000))
    crash = chance.randrange(cost) if chance.random() < scenario.crashing else None
    return Load(number, int(at), need, cost, chance.choice((4, 8, 15)), crash)


def through_the_day(scenario: Scenario, days: int, chance: Random) -> list[Load]:
    """Loads at any time, more of them by night, as schedules have it."""
    return _spread(scenario, days, chance, [1.0] * 7)


def at_weekends(scenario: Scenario, days: int, chance: Random) -> list[Load]:
    """Most loads run at the weekend, up to the night to Monday."""
    return _spread(scenario, days, chance, [0.5, 0.4, 0.4, 0.4, 0.5, 2.2, 2.6])


def _spread(scenario: Scenario, days: int, chance: Random, weights: list[float]) -> list[Load]:
    loads: list[Load] = []
    for day in range(days):
        for need in _sizes(chance, scenario.daily * weights[day % 7]):
            hour = chance.uniform(0, 7) if chance.random() < 0.5 else chance.uniform(0, 24)
            loads.append(_load(scenario, len(loads), (day * 24 + hour) * 3600, need, chance))
    return loads


def all_at_once(scenario: Scenario, days: int, chance: Random) -> list[Load]:
    """All loads of a day arrive in the first seconds after two o'clock."""
    loads: list[Load] = []
    for day in range(days):
        for need in _sizes(chance, scenario.daily):
            loads.append(_load(scenario, len(loads), (day * 24 + 2) * 3600 + chance.uniform(0, 20), need, chance))
    return loads


BUSY = Scenario(office(), through_the_day, 48_000)
SATURATED = Scenario(office(1.1), through_the_day, 60_000)

SCENARIOS = {
    "calm": Scenario(office(), through_the_day, 25_000),
    "busy": BUSY,
    "saturated": SATURATED,
    "bursty": Scenario(bursts, through_the_day, 55_000, honest=False),
    "many at once": Scenario(office(), all_at_once, 55_000),
    "weekend": Scenario(office(monday=1.5), at_weekends, 45_000),
    "wrong by 30 %": replace(SATURATED, wrong=0.3, honest=False),
    "wrong threefold": replace(SATURATED, threefold=True, honest=False),
    "crashes": replace(SATURATED, crashing=0.15),
    "stale": replace(SATURATED, stale=300),
    "15 min buckets": replace(SATURATED, bucket=15),
    "60 min buckets": replace(SATURATED, bucket=60),
    "irregular": replace(SATURATED, slips=True, honest=False),
    "with logs": replace(SATURATED, logs=True),
    "no snapshots": replace(SATURATED, snapshots=False),
    "all together": replace(SATURATED, wrong=0.3, crashing=0.1, stale=300, slips=True, honest=False),
}


def instant(second: int) -> datetime:
    """Return the instant of a second since :data:`BEGIN`."""
    return BEGIN + timedelta(seconds=second)
