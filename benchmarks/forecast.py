"""Forecasts against the truth of 30 invented days, next to three naive ones.

``python -m benchmarks.forecast``
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from random import Random

from airflow_provider_apiusage.usage.forecast import forecast
from benchmarks.forecast_orgs import DAY, SCENARIOS, Org, Seen

WARM_UP = 28
SCORED = 30
EVERY = 13 * 60
"""Minutes between two forecasts: not a divisor of a day, so that every time of day comes up."""
HORIZONS = (1, 2, 4, 8, 12, 18, 24)
"""Hours ahead."""
SEEDS = (2, 3)
"""The method was worked out on seed 1."""
LEVELS = (0.05, 0.5, 0.95)
OURS, NAIVE = "ours", ("last value", "same hour yesterday", "linear")

WATCHED = {
    "readings": Seen(),
    "readings, 15 min buckets": Seen(bucket=15),
    "readings, 60 min buckets": Seen(bucket=60),
    "readings and logs": Seen(logs=True),
    "readings with gaps": Seen(gaps=True),
    "readings of 3 days": Seen(days=3),
    "logs alone": Seen(readings=False, logs=True),
}


@dataclass(frozen=True, slots=True)
class Score:
    """One forecast of one figure at one horizon.

    :param org: name of the scenario.
    :param seen: how it was watched.
    :param hours: ahead.
    :param what: ``used`` or ``new``.
    :param loss: mean pinball loss of the three quantiles, in calls, by who made the forecast.
    :param inside: whether the truth was within our 90 % interval.
    :param above: whether it was above it.
    """

    org: str
    seen: str
    hours: int
    what: str
    loss: dict[str, float]
    inside: bool
    above: bool


def pinball(truth: float, low: float, middle: float, high: float) -> float:
    """Return the mean pinball loss of a forecast's 5 %, 50 % and 95 % quantiles."""
    losses = (
        (truth - q) * (level if truth >= q else level - 1) for q, level in zip((low, middle, high), LEVELS, strict=True)
    )
    return statistics.fmean(losses)


def _naive(org: Org, what: str, known: int, minute: int, later: int) -> tuple[float, float, float]:
    """Return the naive forecasts, in the order of :data:`NAIVE`; they are told the true figures up to ``known``."""
    before = later - DAY if later - DAY <= known else later - 2 * DAY
    if what == "used":
        now = org.used(known)
        return now, org.used(before), max(0.0, now + (now - org.used(known - 180)) / 180 * (later - known))
    made, span = org.made(known), later - minute
    return (
        (made - org.made(known - 60)) / 60 * span,
        org.made(before) - org.made(before - span),
        (made - org.made(known - DAY)) / DAY * span,
    )


def _truth(org: Org, what: str, minute: int, later: int) -> int:
    return org.used(later) if what == "used" else org.made(later) - org.made(minute)


def _naive_ranges(org: Org, what: str, known: int, minute: int, later: int) -> list[tuple[float, float, float]]:
    """Return the naive forecasts with ranges from their own errors of the last weeks, as ours has."""
    errors: list[list[float]] = [[] for _ in NAIVE]
    for back in range(later - known, min(WARM_UP, known // DAY - 3) * DAY, 150):
        past = known - back, minute - back, later - back
        truth = _truth(org, what, *past[1:])
        for found, value in zip(errors, _naive(org, what, *past), strict=True):
            found.append(truth - value)
    ranges = []
    for found, value in zip(errors, _naive(org, what, known, minute, later), strict=True):
        cuts = statistics.quantiles(found, n=20)
        ranges.append((max(0.0, value + min(0.0, cuts[0])), value, max(0.0, value + max(0.0, cuts[-1]))))
    return ranges


def scores(
    org_name: str, seen_name: str, seed: int, *, warm_up: int = WARM_UP, days: int = SCORED, every: int = EVERY
) -> Iterator[Score]:
    """Forecast one org through its days, and hold every forecast against what came.

    :param org_name: of the scenario.
    :param seen_name: how it is watched, one of :data:`WATCHED`.
    :param seed: of the scenario.
    :param warm_up: days before the first forecast.
    :param days: days of forecasts.
    :param every: minutes between two forecasts.
    """
    calls = SCENARIOS[org_name](warm_up + days + 1, Random(f"{org_name} {seed}"))
    org = Org(calls, WATCHED[seen_name], seed)
    for minute in range(warm_up * DAY, (warm_up + days) * DAY, every):
        evidence = org.evidence(minute)
        made, known = forecast(evidence), org.known(evidence)
        for hours in HORIZONS:
            point = made.points[hours * 4]
            for what, ours in (("used", point.used), ("new", point.new)):
                if ours is not None:
                    later = minute + hours * 60
                    truth = _truth(org, what, minute, later)
                    loss = {OURS: pinball(truth, ours.low, ours.expected, ours.high)}
                    ranges = _naive_ranges(org, what, known, minute, later)
                    loss |= {name: pinball(truth, *values) for name, values in zip(NAIVE, ranges, strict=True)}
                    inside = ours.low <= truth <= ours.high
                    yield Score(org_name, seen_name, hours, what, loss, inside, truth > ours.high)


def _run(job: tuple[str, str, int]) -> list[Score]:
    return list(scores(*job))


def table(found: Iterable[Score], key: str) -> None:
    """Print the loss of each forecast, as a share of the best naive one's, and the coverage of ours.

    :param found: of one figure.
    :param key: what to group by: a field of :class:`Score`.
    """
    groups: dict[object, list[Score]] = defaultdict(list)
    for score in found:
        groups[getattr(score, key)].append(score)
    print(f"| {key} | ours | {' | '.join(NAIVE)} | ours / best naive | in the 90 % interval | above it |")
    print("|---|---|---|---|---|---|---|---|")
    for name, group in groups.items():
        losses = {who: statistics.fmean(s.loss[who] for s in group) for who in (OURS, *NAIVE)}
        best = min(losses[who] for who in NAIVE)
        inside = statistics.fmean(s.inside for s in group)
        above = statistics.fmean(s.above for s in group)
        shown = " | ".join(f"{losses[who]:,.1f}" for who in (OURS, *NAIVE))
        print(f"| {name} | {shown} | {losses[OURS] / best:.2f} | {inside:.1%} | {above:.1%} |")


def main(seeds: Sequence[int] = SEEDS) -> None:
    """Print the tables."""
    jobs = [(org, seen, seed) for org in SCENARIOS for seen in WATCHED for seed in seeds]
    started = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        found = [score for run in pool.map(_run, jobs) for score in run]
    for what in ("used", "new"):
        of = [score for score in found if score.what == what]
        print(f"\n{what}: {len(of):,} forecasts")
        for key in ("what", "org", "seen", "hours"):
            print()
            table(of, key)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
