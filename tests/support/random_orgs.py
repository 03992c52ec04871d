"""Random orgs of the sandbox, watched as an org is: what was seen of one, and its ledger, which knows the truth."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from random import Random

from airflow_provider_apiusage.sandbox.accounting import Accounting
from airflow_provider_apiusage.sandbox.clock import VirtualClock
from airflow_provider_apiusage.sandbox.identity import USERS, Identity
from airflow_provider_apiusage.sandbox.ledger import Caller as LedgerCaller
from airflow_provider_apiusage.sandbox.settings import OrgSettings
from airflow_provider_apiusage.usage.hour_total import hour_totals
from airflow_provider_apiusage.usage.hourly import HOUR, Caller, HourlyCount, resource_class
from airflow_provider_apiusage.usage.model import (
    API_REQUESTS,
    Completeness,
    Coverage,
    DailyCount,
    Evidence,
    Finding,
    HourTotal,
    LimitReading,
    ReadingSource,
    Severity,
)

ORG = "00DAA0000000001"
DAYS = 9
SECOND = timedelta(seconds=1)

SOAP = LedgerCaller(USERS[1].id, family="SOAP", resource="query")
REST = LedgerCaller(USERS[2].id, family="REST", resource="/v67.0/query")
BATCH = LedgerCaller(USERS[2].id, family="REST", resource="/v67.0/composite/batch")
PART = LedgerCaller(USERS[2].id, family="REST", resource="/v67.0/sobjects/Account", logged=False)
OWN_APP = LedgerCaller(USERS[3].id, family="REST", resource="/v67.0/query", counted=False)


@dataclass
class World:
    """A random org.

    :param at: the instant asked about.
    :param evidence: what was seen of the org up to then.
    :param coverage: what the daily counts hold.
    """

    at: datetime
    evidence: Evidence
    coverage: Coverage
    _made: list[datetime] = field(default_factory=list)
    _total: list[int] = field(default_factory=list)
    _soap: list[int] = field(default_factory=list)

    def calls(self, start: datetime, end: datetime, *, soap: bool = False) -> int:
        """Return the counted calls made in ``(start, end]``, of SOAP or of every kind."""
        totals = self._soap if soap else self._total
        return totals[bisect_right(self._made, end)] - totals[bisect_right(self._made, start)]


def random_world(seed: int, *, most_readings: int = 60, most_calls: int = 60) -> World:
    """Return a random org: random traffic, exact or bucketed windows, figures that stand still, gaps, missing sources.

    :param seed: the same seed gives the same org.
    :param most_readings: of the rolling figure.
    :param most_calls: occasions on which calls were made.
    """
    chance = Random(seed)
    start = datetime(2026, 10, 1, tzinfo=UTC) + chance.randrange(86_400) * SECOND
    at = start + timedelta(days=DAYS)
    if chance.random() < 0.2:
        at = at.replace(hour=0, minute=0, second=0)
    settings = OrgSettings(
        expiry_bucket_minutes=chance.choice((0, 0, 15, 60)), staleness_seconds=chance.choice((0, 0, 60, 300))
    )
    org = Accounting(seed, VirtualClock(start), settings, Identity())
    moments: list[tuple[datetime, int]] = [(moment, 0) for moment in _call_times(chance, start, at, most_calls)]
    watched = chance.randrange(2, most_readings)
    moments += [(moment, 1) for moment in _reading_times(chance, start, at, watched)]
    readings = []
    for moment, is_reading in sorted(moments):
        org.clock.set(moment)
        if is_reading:
            readings.append(_reading(org, moment, chance))
        else:
            _make_calls(org, moment, chance)
    org.clock.set(at)
    coverage = chance.choice(list(Coverage))
    counts, findings = _daily_counts(org, at, coverage, chance) if chance.random() < 0.7 else ((), ())
    hours = _hours(org, at, chance) if chance.random() < 0.6 else ()
    world = World(at, Evidence(ORG, at, tuple(readings), counts, hours, findings), coverage)
    _remember(world, org)
    return world


def _call_times(chance: Random, start: datetime, at: datetime, most: int) -> list[datetime]:
    """Return occasions: some anywhere, some on marks, some in a burst around a boundary."""
    span = int((at - start).total_seconds())
    times = [start + chance.randrange(span + 1) * SECOND for _ in range(chance.randrange(most))]
    edges = (at, at - timedelta(days=1), at.replace(hour=0, minute=0, second=0))
    for _ in range(chance.randrange(8)):
        moment = chance.choice(edges) + chance.randrange(-600, 601) * SECOND
        times.append(min(at, moment))
    times += [moment.replace(minute=chance.choice((0, 15)), second=0) for moment in times[: chance.randrange(5)]]
    return [moment for moment in times if start <= moment <= at]


def _reading_times(chance: Random, start: datetime, at: datetime, most: int) -> list[datetime]:
    """Return when the figure was read: every so often with gaps, at random, around midnight, now."""
    times = [start + chance.randrange(int((at - start).total_seconds())) * SECOND for _ in range(chance.randrange(10))]
    if chance.random() < 0.7:
        step = timedelta(minutes=chance.choice((15, 60, 180, 720, 1440)))
        first = at - step * chance.randrange(1, most)
        times += [first + step * n for n in range(most) if chance.random() < 0.9]
    if chance.random() < 0.5:
        times += [
            datetime(2026, 10, 1, tzinfo=UTC) + timedelta(days=n, seconds=chance.randrange(-30, 31)) for n in range(12)
        ]
    if chance.random() < 0.8:
        times.append(at - chance.choice((0, 0, 60, 299)) * SECOND)
    return [moment for moment in times if start <= moment <= at]


def _make_calls(org: Accounting, moment: datetime, chance: Random) -> None:
    caller = chance.choice((SOAP, SOAP, REST, REST, BATCH, OWN_APP))
    count = chance.choice((1, 2, 5, 40))
    if caller is BATCH:
        # One row in the log, a call for each part.
        org.ledger.record(moment, BATCH, 1)
        org.ledger.record(moment, PART, chance.randrange(25))
        return
    org.ledger.record(moment, caller, count)


def _reading(org: Accounting, moment: datetime, chance: Random) -> LimitReading:
    used = org.reported
    source = chance.choice((ReadingSource.LIMITS, ReadingSource.LIMITS, ReadingSource.HEADER))
    return LimitReading(ORG, API_REQUESTS, source, moment, moment, 100_000, 100_000 - used, used)


def _daily_counts(
    org: Accounting, at: datetime, coverage: Coverage, chance: Random
) -> tuple[tuple[DailyCount, ...], tuple[Finding, ...]]:
    """Return the report as read now, and which days of it could not be read."""
    counts, findings = [], []
    for back in range(7):
        day = at.date() - timedelta(days=back)
        if chance.random() < 0.15:
            findings.append(Finding("report-day-truncated", Severity.ERROR, "More rows.", {"day": str(day)}))
            continue
        per_user: dict[str, int] = defaultdict(int)
        for period in org.ledger.daily():
            shown = coverage is Coverage.ALL or period.caller.family == "SOAP"
            if period.start.date() == day and period.caller.counted and shown:
                per_user[period.caller.user] += period.count
        counts += [DailyCount(ORG, day, user, calls, coverage, "report", at) for user, calls in per_user.items()]
    return tuple(counts), tuple(findings)


def _hours(org: Accounting, at: datetime, chance: Random) -> tuple[HourTotal, ...]:
    """Return the event logs: settled up to a day, then provisional, then not there; some hours are lost."""
    settled_until = at.date() - timedelta(days=chance.choice((0, 0, 1, 3)))
    lag = chance.randrange(30) * HOUR
    blank = chance.random() < 0.2
    completeness: dict[datetime, Completeness] = {}
    days = chance.choice((1, 2, 2, 3, 8))
    first = datetime.combine(at.date() - timedelta(days=days), datetime.min.time(), UTC)
    for n in range((days + 1) * 24):
        hour = first + n * HOUR
        if hour + HOUR > at - lag or chance.random() < 0.03:
            continue
        completeness[hour] = Completeness.SETTLED if hour.date() < settled_until else Completeness.PROVISIONAL
    if chance.random() < 0.3:
        completeness = dict.fromkeys(completeness, Completeness.SETTLED)
    counts = []
    for period in org.ledger.hourly():
        state = completeness.get(period.start)
        if state is None or not period.caller.logged:
            continue
        calls = period.count if state is Completeness.SETTLED else chance.randint(0, period.count)
        who = period.caller
        counted = None if blank and chance.random() < 0.5 else who.counted
        caller = Caller(user=who.user, family=who.family, resource=resource_class(who.resource), counted=counted)
        counts.append(HourlyCount(ORG, period.start, caller, calls))
    return hour_totals(counts, completeness)


def _remember(world: World, org: Accounting) -> None:
    """Keep the truth: the counted calls by second, summed up."""
    by_second: dict[datetime, list[int]] = defaultdict(lambda: [0, 0])
    begin = int((world.at - timedelta(days=DAYS + 1)).timestamp())
    for calls in org.ledger.between(begin, int(world.at.timestamp()) + 1):
        if calls.caller.counted:
            sums = by_second[datetime.fromtimestamp(calls.second, UTC)]
            sums[0] += calls.number
            sums[1] += calls.number if calls.caller.family == "SOAP" else 0
    world._made = sorted(by_second)
    world._total = [0, *accumulate(by_second[moment][0] for moment in world._made)]
    world._soap = [0, *accumulate(by_second[moment][1] for moment in world._made)]


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Return the half-open span of a UTC day in seconds: its own 00:00:00 is inside, the next is not."""
    midnight = datetime.combine(day, datetime.min.time(), UTC)
    return midnight - SECOND, midnight + timedelta(days=1) - SECOND
