"""The part of yesterday that is still in the window, and what the window holds beyond the event logs."""

from __future__ import annotations

from airflow_provider_apiusage.usage.curve import Curve, Statement
from airflow_provider_apiusage.usage.evidence_curve import Assumptions, ByKind, Fit, curve_of
from airflow_provider_apiusage.usage.hourly import HOUR
from airflow_provider_apiusage.usage.logged import logged
from airflow_provider_apiusage.usage.model import STALENESS, WINDOW, Coverage, Interval
from airflow_provider_apiusage.usage.reconciliation_pieces import Pieces
from airflow_provider_apiusage.usage.window import TICK, day_span, utc_day, window_tail


def tail_of_source(pieces: Pieces, near: Fit) -> Interval:
    """Return what the daily source can have counted in the window tail, by everything but the reading reconciled.

    Without a daily source these are all calls that count.

    :param pieces: the evidence.
    :param near: what fits of it; its assumptions are used.
    """
    from_days = Interval(0, pieces.whole_yesterday)
    known = pieces.by_kind
    curve = curve_of(ByKind(pieces.earlier, known.totals, known.hours), near.assumptions)
    if curve.conflict() is not None:
        chosen = tuple(day for day in (pieces.today, pieces.yesterday) if day is not None)
        curve = curve_of(ByKind((), chosen, ()), near.assumptions)
        if curve.conflict() is not None:
            return from_days
    allowed = window_tail(curve, pieces.at)
    if pieces.coverage is Coverage.SOAP:
        allowed = _of_soap_calls(pieces, curve, allowed)
    highs = [high for high in (from_days.high, allowed.high) if high is not None]
    high = min(highs, default=None)
    return from_days if high is not None and allowed.low > high else Interval(allowed.low, high)


def _of_soap_calls(pieces: Pieces, curve: Curve, allowed: Interval) -> Interval:
    """Bound the SOAP calls of the tail: a curve of their own, nowhere steeper than that of all calls."""
    start, (today, _) = pieces.at - WINDOW, day_span(utc_day(pieces.at))
    yesterday, _ = day_span(utc_day(start))
    statements = [
        Statement(yesterday, start, 0, curve.bounds(yesterday, start).high, "all calls before the window"),
        Statement(start, today, 0, allowed.high, "all calls of the window tail"),
    ]
    if pieces.whole_yesterday is not None:
        calls = pieces.whole_yesterday
        statements.append(Statement(yesterday, today, calls, calls, "the daily count"))
    for hour in pieces.hours:
        begins = hour.starts_at - TICK
        if yesterday <= begins < today:
            statements.append(Statement(begins, begins + HOUR, hour.soap.low, hour.soap.high, "event log"))
    soap = Curve(statements)
    return allowed if soap.conflict() is not None else soap.bounds(start, today)


def unlogged(pieces: Pieces, assumptions: Assumptions) -> Interval | None:
    """Return the rolling figure minus what the event logs show of its window, sign kept.

    The edge hours, which the window cuts, make it a range: none or all of their calls may lie inside. So do the calls
    that a figure of up to five minutes ago may not hold yet, or still hold.

    :returns: ``None`` if the figure is unknown, or the logs do not show every hour that the window touches.
    """
    if pieces.reading is None or pieces.reading.used is None:
        return None
    at = pieces.reading.observed_at
    most = logged(pieces.hours, at - WINDOW - STALENESS - assumptions.release_lag, at)
    if most.high is None:
        return None
    least = logged(pieces.hours, at - WINDOW, at - STALENESS)
    return Interval(pieces.reading.used - most.high, pieces.reading.used - least.low)
