"""From any instant of the past or present: the expected calls of the next day, and how wrong that was.

The forecast of a slot from the days before it (:mod:`.forecast_slots`) is scaled by how the last day and the last two
hours compare with it. The same is done from many instants of the past, where it is known what came: the quantiles of
those errors are the ranges of the forecast, so an interval of 90 % is one that held nine times of ten.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from airflow_provider_apiusage.usage.forecast_slots import DAY, Slots

RECENT = 8
"""Slots of the last two hours, which scale the forecast."""
FADE = 12
"""Slots over which that scale fades."""
RECENT_SCALE = (0.6, 1.7)
DAY_SCALE = (0.7, 1.4)
DAY_SHARE = 0.5
"""How much of the last day's difference is taken to last."""
STEADY = 0.02
"""Share of a day's calls added to both sides when two hours are compared, so that quiet hours do not shout."""

HORIZONS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 80, 96)
"""Slots ahead at which the score is kept; between them the ranges are interpolated."""
STEP = 5
"""Slots between two instants from which the score is kept."""
SCORED = 28 * DAY
"""How far back the score goes, in slots."""
HALF_LIFE = 14 * DAY
NEAR = 8
"""Slots by which the time of day of a score may differ and weigh in full."""
FAR_WEIGHT = 0.3
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How much of a forecast may be yesterday alone."""
ENOUGH = 7 * DAY // STEP
"""Scores from which they alone make the range: a week of them. Until then yesterday alone tells more, too."""
WIDE = (-0.7, 1.0)
"""The range without any score, in units of :meth:`Paths.unit`."""
LOW, HIGH = 0.05, 0.95
"""Quantiles of the errors that make the range."""


class Trial(NamedTuple):
    """A forecast from an instant of the past.

    :param weight: how much it tells about the one that is wanted.
    :param made: calls that came.
    :param expected: calls that were expected.
    :param yesterday: calls of the same span a day before.
    :param unit: as :meth:`Paths.unit`.
    """

    weight: float
    made: float
    expected: float
    yesterday: float
    unit: float

    def error(self, share: float) -> float:
        """Return what came beyond what was expected, if yesterday had that share in it."""
        return self.made - self.expected - share * (self.yesterday - self.expected)


class Paths:
    """Expected calls from any slot on.

    :param slots: what is known.
    """

    def __init__(self, slots: Slots) -> None:
        self.slots = slots

    def path(self, origin: int, horizons: Sequence[int]) -> list[float]:
        """Return the calls expected from slot ``origin`` on within each of ``horizons``, from what was known by then.

        :param horizons: numbers of slots, ascending; never fewer calls are expected of more slots.
        """
        day, recent = self._scales(origin)
        expected: list[float] = []
        usual, extra, before = 0.0, 0.0, 0
        for horizon in horizons:
            found = self._usual(origin, origin + horizon, origin)
            more = max(0.0, found - usual)
            middle = (before + horizon) / 2
            extra += more * (recent - 1) * max(0.0, 1 - middle / FADE)
            usual, before = usual + more, horizon
            expected.append(max(day * (usual + extra), expected[-1] if expected else 0.0))
        return expected

    def _usual(self, start: int, end: int, known: int) -> float:
        usual = self.slots.usual(start, end, known)
        return self.slots.rate(known) * (end - start) if usual is None else usual

    def _scales(self, origin: int) -> tuple[float, float]:
        """Return how the last day, and then the last two hours, compare with what was expected of them."""
        if origin < 2 * DAY:
            return 1.0, 1.0
        slots, yesterday, lately = self.slots, origin - DAY, origin - RECENT
        usually = self._usual(yesterday, origin, yesterday)
        ratio = slots.made(yesterday, origin) / usually if usually > 0 else 1.0
        day = 1 + DAY_SHARE * (_within(ratio, DAY_SCALE) - 1)
        steady = STEADY * usually
        usually = day * self._usual(lately, origin, lately)
        if usually + steady <= 0:
            return day, 1.0
        return day, _within((slots.made(lately, origin) + steady) / (usually + steady), RECENT_SCALE)

    def ordinary(self, origin: int) -> float:
        """Return the calls of an ordinary day, as the week before slot ``origin`` has them."""
        low = max(0, origin - 7 * DAY)
        return self.slots.made(low, origin) / max(1, origin - low) * DAY

    def unit(self, origin: int, expected: float, ahead: float) -> float:
        """Return the size by which errors are measured: the expected calls and a share of an ordinary day's."""
        return float(expected + 0.1 * self.ordinary(origin) * (ahead / DAY) ** 0.5 + (expected + 1) ** 0.5)

    def trials(self) -> dict[int, list[Trial]]:
        """Forecast from instants of the past; by horizon, what was expected and what came."""
        slots = self.slots
        trials: dict[int, list[Trial]] = {horizon: [] for horizon in HORIZONS}
        last = slots.seen
        for origin in range(last - STEP, max(DAY, last - SCORED), -STEP):
            apart = abs((last - origin + DAY // 2) % DAY - DAY // 2)
            weight = 0.5 ** ((last - origin) / HALF_LIFE) * (1.0 if apart <= NEAR else FAR_WEIGHT)
            horizons = [horizon for horizon in HORIZONS if origin + horizon <= last]
            for horizon, expected in zip(horizons, self.path(origin, horizons), strict=True):
                end = origin + horizon
                if slots.unseen[end] == slots.unseen[origin]:
                    yesterday = slots.made(origin - DAY, end - DAY)
                    made = slots.made(origin, end)
                    trials[horizon].append(
                        Trial(weight, made, expected, yesterday, self.unit(origin, expected, horizon))
                    )
        return trials


class Spread:
    """What is learned from trials: how much yesterday alone tells, and how far what comes may be from that.

    ``sure`` is 0 without trials and 1 with enough of them.

    :param trials: as :meth:`Paths.trials` returns them.
    """

    def __init__(self, trials: dict[int, list[Trial]]) -> None:
        self.scores = len(trials[HORIZONS[-1]])
        self.sure = min(1.0, self.scores / ENOUGH)
        self._share, self._low, self._high = [], [], []
        for horizon in HORIZONS:
            found = trials[horizon]
            sure = min(1.0, len(found) / ENOUGH)
            share = min(SHARES, key=lambda s: sum(t.weight * abs(t.error(s)) for t in found))
            share = max(share, 1 - sure)
            errors = sorted((t.error(share) / t.unit, t.weight) for t in found)
            low, high = (_quantile(errors, LOW), _quantile(errors, HIGH)) if errors else (0.0, 0.0)
            self._share.append(share)
            self._low.append(min(0.0, low, sure * low + (1 - sure) * WIDE[0]))
            self._high.append(max(0.0, high, sure * high + (1 - sure) * WIDE[1]))

    def yesterday(self, ahead: float) -> float:
        """Return the share of yesterday's calls in what is expected ``ahead`` slots from what was seen last."""
        index, part = _between(ahead)
        return _mixed(self._share, max(index, 1), part)

    def at(self, ahead: float) -> tuple[float, float]:
        """Return the range around what is expected ``ahead`` slots from what was seen last, in units."""
        if ahead >= DAY:
            grows = (ahead / DAY) ** 0.5
            return self._low[-1] * grows, self._high[-1] * grows
        index, part = _between(ahead)
        return _mixed(self._low, index, part), _mixed(self._high, index, part)


def _between(ahead: float) -> tuple[int, float]:
    """Return the first horizon not before ``ahead`` slots, and how much of the way to it from the one before."""
    index = min(bisect_left(HORIZONS, ahead), len(HORIZONS) - 1)
    before = HORIZONS[index - 1] if index else 0
    return index, min(1.0, (ahead - before) / (HORIZONS[index] - before))


def _mixed(values: Sequence[float], index: int, share: float) -> float:
    return values[index] * share + (values[index - 1] if index else 0.0) * (1 - share)


def _quantile(ordered: Sequence[tuple[float, float]], level: float) -> float:
    """Return the value below which a share of the weight lies."""
    wanted = level * sum(weight for _, weight in ordered)
    reached = 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= wanted:
            return value
    return ordered[-1][0]


def _within(value: float, span: tuple[float, float]) -> float:
    return min(max(value, span[0]), span[1])
