"""Is a rule met? What is known of an org at one instant -> a verdict with its figures; pure, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_apiusage.usage.alerts import AlertRule, NoSnapshotFor, RisesBy, RunsOutBefore, UsedAbove
from airflow_provider_apiusage.usage.model import LimitReading

DAY = timedelta(days=1)


class Verdict(StrEnum):
    """What the figures say of a rule."""

    MET = "met"
    BETWEEN = "between"
    """Not met, but not far enough from it to resolve an alert: what is open stays open."""
    NOT_MET = "not_met"
    UNKNOWN = "unknown"
    """Nothing is said: what is open stays open, and what is not stays shut."""


@dataclass(frozen=True, slots=True)
class Foretold:
    """What the forecast says of ``DailyApiRequests``; there is none where it knows nothing.

    :param runs_out_at: when they are expected to be used up; ``None`` for not within 24 hours.
    :param read_at: the org's instant of the newest reading that it is made from.
    """

    runs_out_at: datetime | None
    read_at: datetime


@dataclass(frozen=True, slots=True)
class AlertEvidence:
    """What is known of one org at one instant.

    :param org_id: the 15-character id of the org.
    :param at: the org's present instant.
    :param readings: org-wide readings by limit name, in any order.
    :param snapshot_at: the org's instant of the latest snapshot; ``None`` if there never was one.
    :param foretold: see :class:`Foretold`.
    """

    org_id: str
    at: datetime
    readings: Mapping[str, Sequence[LimitReading]] = field(default_factory=dict)
    snapshot_at: datetime | None = None
    foretold: Foretold | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict.

    :param value: what was compared, JSON-safe; ``None`` if it is not known.
    :param threshold: with what, likewise.
    :param figures: what both are made from, likewise.
    """

    verdict: Verdict
    value: float | str | None
    threshold: float | str
    figures: Mapping[str, Any]


def judge(rule: AlertRule, evidence: AlertEvidence) -> Judged:
    """Say whether a rule is met.

    :raises TypeError: if the rule is of a kind that is none of ours.
    """
    if isinstance(rule, UsedAbove):
        return _used_above(rule, evidence)
    if isinstance(rule, RisesBy):
        return _rises_by(rule, evidence)
    if isinstance(rule, RunsOutBefore):
        return _runs_out_before(rule, evidence)
    if isinstance(rule, NoSnapshotFor):
        return _no_snapshot_for(rule, evidence)
    raise TypeError(f"{rule!r} is no rule.")


def look_back(rule: AlertRule) -> timedelta:
    """Return how far back readings matter to a rule."""
    if isinstance(rule, RisesBy):
        return rule.max_age + 2 * rule.within
    return rule.max_age if isinstance(rule, UsedAbove) else timedelta(0)


def share_of(reading: LimitReading) -> float | None:
    """Return which share of its limit is used; ``None`` if it is not known, or there is nothing to use.

    An org that says that its allowance is used up may not say how much that is: then it is all of it.
    """
    if reading.limit == 0:
        return None
    if reading.used is not None and reading.limit is not None:
        return reading.used / reading.limit
    return 1.0 if reading.remaining is not None and reading.remaining <= 0 else None


def deadline_after(rule: RunsOutBefore, at: datetime) -> datetime:
    """Return the next instant after ``at`` at which a clock shows the time of the rule."""
    where = ZoneInfo(rule.timezone)
    day = at.astimezone(where).date()
    while True:
        deadline = datetime.combine(day, rule.before, where).astimezone(at.tzinfo)
        if deadline > at:
            return deadline
        day += DAY


def _used_above(rule: UsedAbove, evidence: AlertEvidence) -> Judged:
    known = _known(rule.limit_name, evidence)
    if not known or known[-1][0].observed_at < evidence.at - rule.max_age:
        return Judged(Verdict.UNKNOWN, None, rule.share, {})
    reading, share = known[-1]
    figures = {**_of(reading), "resolve_below": rule.resolve_below}
    return Judged(_against(share, rule.share, rule.resolve_below), round(share, 6), rule.share, figures)


def _rises_by(rule: RisesBy, evidence: AlertEvidence) -> Judged:
    known = _known(rule.limit_name, evidence)
    if not known or known[-1][0].observed_at < evidence.at - rule.max_age:
        return Judged(Verdict.UNKNOWN, None, rule.share, {})
    latest, share = known[-1]
    start = latest.observed_at - rule.within
    inside = [(r.observed_at, s) for r, s in known if r.observed_at >= start]
    before = [(r.observed_at, s) for r, s in known if start - rule.within <= r.observed_at < start]
    whole = bool(before) or inside[0][0] == start
    if before:
        # Two readings on either side of the beginning tell about what was used then.
        (earlier, lower), (later, upper) = before[-1], inside[0]
        inside.append((start, lower + (upper - lower) * ((start - earlier) / (later - earlier))))
    if len(inside) < 2:
        return Judged(Verdict.UNKNOWN, None, rule.share, {})
    rise = round(share - min(s for _, s in inside), 9)  # 0.5 - 0.3 is 0.2
    verdict = _against(rise, rule.share, rule.resolve_below)
    if not whole and verdict is not Verdict.MET:
        verdict = Verdict.UNKNOWN  # it has risen at least so much, and perhaps more
    figures = {
        **_of(latest),
        "share": round(share, 6),
        "within_seconds": rule.within.total_seconds(),
        "resolve_below": rule.resolve_below,
    }
    return Judged(verdict, round(rise, 6), rule.share, figures)


def _runs_out_before(rule: RunsOutBefore, evidence: AlertEvidence) -> Judged:
    deadline, foretold = deadline_after(rule, evidence.at), evidence.foretold
    if foretold is None or foretold.read_at < evidence.at - rule.max_age:
        return Judged(Verdict.UNKNOWN, None, deadline.isoformat(), {})
    runs_out_at = foretold.runs_out_at
    if runs_out_at is not None and runs_out_at < deadline:
        verdict = Verdict.MET
    elif runs_out_at is None or runs_out_at >= deadline + rule.margin:
        verdict = Verdict.NOT_MET
    else:
        verdict = Verdict.BETWEEN
    value = None if runs_out_at is None else runs_out_at.isoformat()
    return Judged(
        verdict, value, deadline.isoformat(), {"observed_at": foretold.read_at.isoformat(), "timezone": rule.timezone}
    )


def _no_snapshot_for(rule: NoSnapshotFor, evidence: AlertEvidence) -> Judged:
    longest, taken_at = rule.duration.total_seconds(), evidence.snapshot_at
    if taken_at is None:
        return Judged(Verdict.MET, None, longest, {"snapshot_at": None})
    age = max(timedelta(0), evidence.at - taken_at)
    verdict = Verdict.MET if age >= rule.duration else Verdict.NOT_MET
    return Judged(verdict, age.total_seconds(), longest, {"snapshot_at": taken_at.isoformat()})


def _known(limit_name: str, evidence: AlertEvidence) -> list[tuple[LimitReading, float]]:
    """Return the readings that tell a share, oldest first, each with it; of one instant, the one that came last."""
    told = {
        reading.observed_at: (reading, share)
        for reading in sorted(evidence.readings.get(limit_name, ()), key=lambda r: (r.observed_at, r.received_at))
        if not reading.scope and reading.observed_at <= evidence.at and (share := share_of(reading)) is not None
    }
    return list(told.values())


def _against(value: float, opens: float, resolves: float) -> Verdict:
    if value >= opens:
        return Verdict.MET
    return Verdict.NOT_MET if value < resolves else Verdict.BETWEEN


def _of(reading: LimitReading) -> dict[str, Any]:
    return {
        "used": reading.used,
        "limit": reading.limit,
        "remaining": reading.remaining,
        "observed_at": reading.observed_at.isoformat(),
    }
