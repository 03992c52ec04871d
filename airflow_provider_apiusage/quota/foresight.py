"""Evidence -> :class:`~.outlook.Outlook`: the past of a limit, carried on into the next day.

Made from the same pieces as the forecast that people see (:mod:`..usage.forecast`): when calls were made, what the same
time of day brought on earlier days, and how wrong that was. What differs: expiry is taken as the reconstruction has it
and not as bounds, and calls of one's own loads are left out, since they ask before they come.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import accumulate
from math import sqrt

from airflow_provider_apiusage.quota.outlook import STEP, Outlook, OwnCalls
from airflow_provider_apiusage.usage.forecast_cells import DAY_SECONDS, SEEN, UNSEEN
from airflow_provider_apiusage.usage.forecast_history import History, reconstruct
from airflow_provider_apiusage.usage.forecast_paths import ENOUGH, FAR_WEIGHT, HALF_LIFE, NEAR, Paths
from airflow_provider_apiusage.usage.forecast_slots import DAY, SLOT, Slots, slots_of
from airflow_provider_apiusage.usage.model import HourTotal, Interval, LimitReading
from airflow_provider_apiusage.usage.release import KINDS

LEVEL = 0.97
"""Quantile of past errors that is the margin of the peak guard."""

UNTRIED = 0.25
"""The margin without any past error to go by, in units of :func:`_unit`."""

HORIZONS = (1, 2, 4, 8, 16, 32, 48, 64, 80, 96)
"""Slots ahead at which errors are measured; between them the margin is interpolated."""

STEP_BACK = 7
"""Slots between two instants of the past from which the outlook is tried."""

_Trial = tuple[float, float]
"""An error in units, and how much it tells about today."""

LEAST_HISTORY = timedelta(hours=24)
"""How much of the past must have been seen to expect anything of the future."""

BEHIND = 3600
"""Seconds before its instant with which an outlook begins: the reading may be older, and what it shows older still."""

AHEAD = DAY + 24
"""Slots of an outlook: 24 hours, and six in which the last buckets leave, late ones included."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How wrong the outlook was lately. It changes slowly, so it is made more rarely than the outlook itself.

    :param high: the margin by horizon, in units of :func:`_unit`.
    :param bucket: seconds within which the org is taken to release calls together.
    :param slips: whether it is taken to miss marks at times.
    """

    high: tuple[float, ...]
    bucket: int
    slips: bool = False

    def margin(self, ahead: float) -> float:
        """Return the margin ``ahead`` slots from what was seen last, in units."""
        if ahead >= DAY:
            return self.high[-1] * sqrt(ahead / DAY)
        index = min(bisect_left(HORIZONS, ahead), len(HORIZONS) - 1)
        before, low = (HORIZONS[index - 1], self.high[index - 1]) if index else (0, 0.0)
        part = min(1.0, (ahead - before) / (HORIZONS[index] - before))
        return low + (self.high[index] - low) * part


@dataclass(frozen=True, slots=True)
class Past:
    """What an outlook is made from.

    :param readings: of one limit, org-wide; in any order.
    :param hours: of the event logs; in any order.
    :param own: calls of one's own loads, which come through the gate and are not to be expected: epoch second, calls.
    :param staleness: how old the org's figures may be when they are read.
    :param marks: seconds within which the org may release calls together, as far as is known.
    """

    readings: Sequence[LimitReading]
    hours: Sequence[HourTotal] = ()
    own: Sequence[tuple[float, int]] = ()
    staleness: timedelta = timedelta(0)
    marks: int = 3600

    def release(self) -> tuple[int, bool] | None:
        """Return the seconds within which the org releases calls together, and whether it misses marks at times.

        ``None`` if there is nothing to go by.

        What readings rule out is not asked for how well it explains them.
        """
        kinds = [kind for kind in KINDS if kind.total_seconds() <= self.marks]
        history = self._history(kinds)
        return None if history is None else (int(history.bucket), history.slips)

    def slots(self, at: datetime, bucket: int, *, slips: bool = False) -> Slots | None:
        """Return the calls of others by slot; ``None`` if too little of the past was seen.

        :param at: the org's instant up to which.
        :param bucket: seconds within which the org is taken to release calls together.
        :param slips: whether it is taken to miss marks at times.

        Of one's own calls it is known when they were made, so they are taken out of the figures before it is worked out
        when others made theirs.
        """
        history = self._history([timedelta(seconds=bucket)], slips=slips)
        if history is None:
            return None
        slots = slots_of(history, at.timestamp())
        seen = sum(1 for quality in slots.quality if quality == SEEN)
        return slots if seen * SLOT >= LEAST_HISTORY.total_seconds() else None

    def _history(self, kinds: Sequence[timedelta], *, slips: bool | None = None) -> History | None:
        own = OwnCalls(self.own)
        late = self.staleness.total_seconds()

        def ours(start: float, end: float) -> float:
            return float(own.between(start, end - late))

        def told(hour: HourTotal) -> HourTotal:
            second = hour.starts_at.timestamp()
            made, low, high = own.between(second - 1, second + 3599), hour.calls.low, hour.calls.high
            calls = Interval(max(0, low - made), None if high is None else max(0, high - made))
            return replace(hour, calls=calls)

        return reconstruct(self.readings, map(told, self.hours), kinds=kinds, own=ours, slips=slips)


def scores_of(past: Past, at: datetime, level: float = LEVEL) -> Scores | None:
    """Try the outlook on the past; ``None`` if too little of it was seen.

    What is tried starts where at least a week was known, if there is so much: without it, no Monday could be foreseen,
    and how wrong that was says nothing of today.

    :param past: what it is tried on.
    :param at: the org's instant.
    :param level: quantile of the errors that is the margin.
    """
    release = past.release()
    slots = None if release is None else past.slots(at, release[0], slips=release[1])
    if release is None or slots is None:
        return None
    paths = Paths(slots)
    first = next((n for n, quality in enumerate(slots.quality) if quality != UNSEEN), 0)
    last = slots.seen
    since = first + (8 * DAY if last - first >= 10 * DAY else DAY)
    trials: dict[int, list[_Trial]] = {horizon: [] for horizon in HORIZONS}
    for origin in range(last - STEP_BACK, since, -STEP_BACK):
        apart = abs((last - origin + DAY // 2) % DAY - DAY // 2)
        weight = 0.5 ** ((last - origin) / HALF_LIFE) * (1.0 if apart <= NEAR else FAR_WEIGHT)
        horizons = [horizon for horizon in HORIZONS if origin + horizon <= last]
        for horizon, expected in zip(horizons, paths.path(origin, horizons), strict=True):
            if slots.unseen[origin + horizon] == slots.unseen[origin]:
                made = slots.made(origin, origin + horizon)
                trials[horizon].append(((made - expected) / _unit(paths, origin, expected, horizon), weight))
    return Scores(tuple(_high(trials[horizon], level) for horizon in HORIZONS), *release)


def _unit(paths: Paths, origin: int, expected: float, ahead: float) -> float:
    """Return the size by which errors are measured: half of what is expected, and half of what is usual."""
    usual = paths.ordinary(origin) * sqrt(min(1.0, max(0.0, ahead) / DAY))
    return (max(0.0, expected) + usual) / 2 + 1


def outlook_of(past: Past, at: datetime, scores: Scores) -> Outlook | None:
    """Carry the past on; ``None`` if too little of it was seen.

    :param past: what is carried on.
    :param at: the org's instant.
    :param scores: made lately by :func:`scores_of`.
    """
    bucket = min(scores.bucket, past.marks)
    slots = past.slots(at, bucket, slips=scores.slips and bucket == scores.bucket)
    if slots is None:
        return None
    paths = Paths(slots)
    seen, stale = slots.seen, slots.now - slots.seen
    reach = range(1, stale + AHEAD + 1)
    sums = [0.0, *accumulate(slots.calls[:seen])]
    for expected in paths.path(seen, reach):
        sums.append(max(sums[-1], sums[seen] + expected))
    begin = at.timestamp() - slots.now * SLOT

    def until(second: float) -> float:
        place = min(max(0.0, (second - begin) / SLOT), float(len(sums) - 1))
        low = min(int(place), len(sums) - 2)
        return sums[low] + (sums[low + 1] - sums[low]) * (place - low)

    unseen = sum(1 for quality in slots.quality[max(0, seen - DAY) : seen] if quality == UNSEEN)
    first = (int(at.timestamp()) - BEHIND) // STEP * STEP
    seconds = [first + n * STEP for n in range(BEHIND // STEP + AHEAD)]
    known = until(at.timestamp() - stale * SLOT)
    margins = []
    for second in seconds:
        behind = max(0.0, (second - at.timestamp()) / SLOT) + stale + unseen
        margins.append(scores.margin(behind) * _unit(paths, seen, until(second) - known, behind))
    return Outlook(
        at=at,
        first=first,
        new=[until(second) - until(first) for second in seconds],
        margin=margins,
        gone=[until(second - DAY_SECONDS) - until(first - DAY_SECONDS) for second in seconds],
        bucket=bucket,
        marks=past.marks,
        late=int(slots.late),
        own=OwnCalls([(second + DAY_SECONDS, calls) for second, calls in past.own]),
    )


def _high(trials: Sequence[_Trial], level: float) -> float:
    """Return the quantile of the errors of one horizon, in units."""
    sure = min(1.0, len(trials) / ENOUGH)
    errors = sorted(trials)
    wanted, reached, quantile = level * sum(weight for _, weight in errors), 0.0, 0.0
    for error, weight in errors:
        reached, quantile = reached + weight, error
        if reached >= wanted:
            break
    return max(0.0, sure * quantile + (1 - sure) * UNTRIED)
