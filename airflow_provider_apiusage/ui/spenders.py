"""Who spent the calls of the last 24 hours, or of a UTC day: from event logs, else from the daily report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from airflow_provider_apiusage.ui import words
from airflow_provider_apiusage.ui.answers import Bounds, Page, Spender, Spenders, State
from airflow_provider_apiusage.ui.known import Known
from airflow_provider_apiusage.usage.attribution import Attribution, Dimension
from airflow_provider_apiusage.usage.holdings import Holdings, holdings
from airflow_provider_apiusage.usage.hourly import HOUR, hour_of
from airflow_provider_apiusage.usage.model import WINDOW, Completeness, Interval

DAY = timedelta(days=1)
ALL = 1_000_000
"""All of them: they are sorted and cut into pages here."""

NONE = Bounds(low=0, high=0)

Sort = Literal["calls", "name"]
Order = Literal["desc", "asc"]

SETTLED = {
    Completeness.SETTLED: "The logs of this time are complete.",
    Completeness.PROVISIONAL: "The logs of this time may still grow.",
    Completeness.NONE: "Of some hours there is no log yet: their calls are in no line here.",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a source tells of a time, before it is sorted.

    :param source: ``event-logs``, ``daily-report``, or ``None``.
    :param attribution: by event logs.
    :param spenders: most calls first.
    """

    source: str | None
    start: datetime
    end: datetime
    attribution: Attribution | None = None
    spenders: tuple[Spender, ...] = ()


def spenders(
    known: Known, org_id: str, by: Dimension, day: date | None, sort: Sort, order: Order, offset: int, limit: int
) -> Spenders:
    """Return one page of who spent the calls of a time.

    :param day: a UTC day; ``None`` for the 24 hours before the newest reading.
    """
    first, last = known.queries.days(org_id) or (None, None)
    told: Told | None = known.spent(org_id, f"{by} {day}", lambda _: work_out(known, org_id, by, day))
    if told is None or told.source is None:
        return Spenders(
            by=by, day=day, start=None if told is None else told.start, end=None if told is None else told.end,
            source=None, state=State.NONE,
            sentence="Who made the calls of this time is not known.", total=NONE, spenders=[],
            page=Page(offset=offset, limit=limit, total=0), unattributed=NONE, unknown=NONE, uncounted=NONE, hours=0,
            hours_without_data=None, first_day=first, last_day=last, todo=words.NO_SPENDERS,
        )  # fmt: skip
    part = in_order(told.spenders, sort, order)[offset : offset + limit]
    found = told.attribution
    total = sum(each.calls.high or 0 for each in told.spenders)
    return Spenders(
        by=by,
        day=day,
        start=told.start,
        end=told.end,
        source=told.source,
        state=State.CURRENT,
        sentence=sentence(told),
        total=_bounds(found.total) if found else Bounds(low=total, high=total),
        spenders=part,
        page=Page(offset=offset, limit=limit, total=len(told.spenders)),
        unattributed=_bounds(found.unattributed) if found else NONE,
        unknown=_bounds(found.unknown) if found else NONE,
        uncounted=_bounds(found.uncounted) if found else NONE,
        hours=found.hours if found else 24,
        hours_without_data=found.hours_without_data if found else None,
        first_day=first,
        last_day=last,
        todo=None,
    )


def in_order(found: Sequence[Spender], sort: Sort, order: Order) -> list[Spender]:
    """Return spenders sorted by calls or by name; those that are equal stay in the order of calls."""
    if sort == "name":
        return sorted(found, key=lambda each: (each.name or each.key).casefold(), reverse=order == "desc")
    return list(found) if order == "desc" else list(reversed(found))


def work_out(known: Known, org_id: str, by: Dimension, day: date | None) -> Told | None:
    """Return what is told of a time; ``None`` if nothing was ever read."""
    newest = known.store.latest_reading(org_id)
    if newest is None:
        return None
    if day is None:
        start, end = newest.observed_at - WINDOW, newest.observed_at
    else:
        start = datetime.combine(day, time(), UTC)
        end = start + DAY
        if start < newest.observed_at < end:  # the day is not over
            end = newest.observed_at
    usage = known.events.usage(org_id, hour_of(start), hour_of(end - timedelta(microseconds=1)) + HOUR)
    if usage.counts:
        found = holdings(usage.counts, at=end, by=by, top=ALL, completeness=usage.completeness)
        return Told("event-logs", start, end, found.attribution, of_logs(found, with_returns=day is None))
    # The daily report tells of whole days and of users only.
    reported = known.queries.reported(org_id, day) if day is not None and by == "user" else {}
    return Told("daily-report" if reported else None, start, end, None, of_report(reported))


def of_logs(found: Holdings, *, with_returns: bool) -> tuple[Spender, ...]:
    """Return spenders as event logs tell them, most calls first."""
    return tuple(
        Spender(
            key=holder.key,
            name=holder.name,
            calls=_bounds(holder.calls),
            share=holder.share,
            half_back_at=holder.back_by(0.5) if with_returns else None,
            all_back_at=holder.back_by(1.0) if with_returns else None,
        )
        for holder in found.holders
    )


def of_report(reported: Mapping[str | None, int]) -> tuple[Spender, ...]:
    """Return spenders as the daily report tells them, most calls first."""
    total = sum(reported.values())
    ranked = sorted(reported.items(), key=lambda item: (-item[1], item[0] or ""))
    return tuple(
        Spender(
            key=user or "",
            name=user,
            calls=Bounds(low=calls, high=calls),
            share=calls / total if total else 0.0,
            half_back_at=None,
            all_back_at=None,
        )
        for user, calls in ranked
    )


def sentence(told: Told) -> str:
    """Say what the lines are made from, and how complete that is."""
    if told.attribution is None:
        return "By the daily report, which may count SOAP calls only; event logs tell more."
    found = told.attribution
    gaps = ""
    if found.hours_without_data:
        gaps = f" No log tells of {found.hours_without_data:,} of {found.hours:,} hours."
    if not found.total.high:
        return f"By the event logs nobody made a call that counts.{gaps}"
    return f"By the event logs. {SETTLED[found.completeness or Completeness.NONE]}{gaps}"


def _bounds(interval: Interval) -> Bounds:
    return Bounds(low=interval.low, high=interval.high)
