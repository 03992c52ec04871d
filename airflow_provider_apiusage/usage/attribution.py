"""Who spent the calls: hourly counts of any window, by user, app, client, family or resource class.

Everything is of what the event logs told. Calls that no log shows (further parts of Composite Batch, for one) are not
in here, and hours without a log are counted, not guessed.

Bounds come from the window's edges alone: an hour that lies in the window only in part may have made all its calls
inside, or none. A window that begins and ends on the hour is exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from airflow_provider_apiusage.usage.hourly import HOUR, Caller, Completeness, HourlyCount, hour_of
from airflow_provider_apiusage.usage.model import Interval
from airflow_provider_apiusage.usage.window import iso_utc

Dimension = Literal["user", "app", "client", "family", "resource"]
"""What calls are attributed to: a field of :class:`Caller`."""

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


@dataclass(frozen=True, slots=True)
class Entry:
    """Calls of one user, app, client, family or resource class.

    :param key: as the log tells it: an id for users and apps.
    :param name: the latest name of the user or app in the window; ``None`` if no row had one.
    :param calls: bounds of the calls.
    :param share: 0 to 1, of all calls attributed or not; edge hours are taken whole.
    """

    key: str
    name: str | None
    calls: Interval
    share: float


@dataclass(frozen=True, slots=True)
class Others:
    """What did not make it to the top.

    :param calls: bounds of their calls.
    :param keys: how many they are.
    """

    calls: Interval
    keys: int


@dataclass(frozen=True, slots=True)
class Attribution:
    """Calls of ``[start, end)`` by one dimension. Entries, others and unattributed add up to ``total``, bound by bound.

    :param by: the dimension.
    :param start: first instant of the window.
    :param end: the instant after it.
    :param counted_only: whether ``total`` holds only calls that count against the allowance.
    :param total: bounds of the calls that the shares are of.
    :param entries: the top, most calls first.
    :param others: the rest.
    :param unattributed: calls of rows that leave the dimension blank.
    :param unknown: calls that the log marks neither as counted nor as not counted. They are not in ``total`` with
        ``counted_only``, and in it without.
    :param uncounted: calls that do not count against the allowance; likewise.
    :param completeness: of the least complete hour in the window; ``None`` if nobody said.
    :param hours: hours that the window touches.
    :param hours_without_data: how many of them no log has told of yet; ``None`` if nobody said.
    :param outside_log: calls that no log shows: unknown, and never 0.
    """

    by: Dimension
    start: datetime
    end: datetime
    counted_only: bool
    total: Interval
    entries: tuple[Entry, ...]
    others: Others
    unattributed: Interval
    unknown: Interval
    uncounted: Interval
    completeness: Completeness | None
    hours: int
    hours_without_data: int | None
    outside_log: None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a small JSON-safe form, with ``None`` for every unknown."""
        return {
            "by": self.by,
            "start": iso_utc(self.start),
            "end": iso_utc(self.end),
            "counted_only": self.counted_only,
            "total": _bounds(self.total),
            "entries": [
                {"key": each.key, "name": each.name, "calls": _bounds(each.calls), "share": each.share}
                for each in self.entries
            ],
            "others": {"calls": _bounds(self.others.calls), "keys": self.others.keys},
            "unattributed": _bounds(self.unattributed),
            "unknown": _bounds(self.unknown),
            "uncounted": _bounds(self.uncounted),
            "completeness": self.completeness and self.completeness.value,
            "hours": self.hours,
            "hours_without_data": self.hours_without_data,
            "outside_log": self.outside_log,
        }


@dataclass(frozen=True, slots=True)
class Attributions:
    """One window by every dimension."""

    user: Attribution
    app: Attribution
    client: Attribution
    family: Attribution
    resource: Attribution

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-safe form: each attribution by its dimension."""
        return {by: getattr(self, by).as_dict() for by in DIMENSIONS}


def attribute(
    counts: Iterable[HourlyCount],
    *,
    start: datetime,
    end: datetime,
    by: Dimension,
    top: int = 10,
    counted_only: bool = True,
    completeness: Mapping[datetime, Completeness] | None = None,
) -> Attribution:
    """Attribute the calls of ``[start, end)``.

    Most calls come first: by the upper bound, then by the lower, then by key.

    :param counts: hourly counts of one org; those outside the window are left out.
    :param start: first instant of the window (aware).
    :param end: the instant after it (aware).
    :param by: the dimension.
    :param top: entries at most, 1 or more.
    :param counted_only: whether to attribute only calls that count against the allowance.
    :param completeness: by hour, as ``EventUsage`` has it; an hour that is missing has no data.
    :raises ValueError: if an instant is naive, the window is empty, ``top`` or ``by`` is none of those, or the counts
        are of several orgs.
    """
    return _attribute(_window(counts, start, end), start, end, by, top, counted_only, completeness)


def attribute_all(
    counts: Iterable[HourlyCount],
    *,
    start: datetime,
    end: datetime,
    top: int = 10,
    counted_only: bool = True,
    completeness: Mapping[datetime, Completeness] | None = None,
) -> Attributions:
    """Attribute the calls of ``[start, end)`` by every dimension; arguments and errors as for :func:`attribute`."""
    within = _window(counts, start, end)
    return Attributions(
        **{by: _attribute(within, start, end, by, top, counted_only, completeness) for by in DIMENSIONS}
    )


class _Sum:
    """Calls that are in the window for sure, and at most."""

    __slots__ = ("high", "low")

    def __init__(self) -> None:
        self.low = self.high = 0

    def add(self, low: int, high: int) -> None:
        self.low += low
        self.high += high

    def interval(self) -> Interval:
        return Interval(self.low, self.high)


_Within = list[tuple[HourlyCount, int]]
"""Counts that touch the window, each with the calls that are in it for sure."""


def _window(counts: Iterable[HourlyCount], start: datetime, end: datetime) -> _Within:
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("A window needs instants that are aware of their zone.")
    if start >= end:
        raise ValueError(f"The window ends at {iso_utc(end)}, not after it starts at {iso_utc(start)}.")
    within: _Within = []
    orgs = set()
    for count in counts:
        hour_end = count.starts_at + HOUR
        if count.starts_at < end and hour_end > start:
            whole = start <= count.starts_at and hour_end <= end
            within.append((count, count.calls if whole else 0))
            orgs.add(count.org_id)
    if len(orgs) > 1:
        raise ValueError(f"Calls of several orgs cannot be attributed together: {', '.join(sorted(orgs))}.")
    return within


def _attribute(
    within: _Within,
    start: datetime,
    end: datetime,
    by: Dimension,
    top: int,
    counted_only: bool,
    completeness: Mapping[datetime, Completeness] | None,
) -> Attribution:
    if by not in DIMENSIONS:
        raise ValueError(f"Calls are attributed by {', '.join(DIMENSIONS)}; not by {by!r}.")
    if top < 1:
        raise ValueError(f"At least one entry must be asked for, not {top}.")
    total, unattributed, unknown, uncounted, others = _Sum(), _Sum(), _Sum(), _Sum(), _Sum()
    sums: dict[str, _Sum] = defaultdict(_Sum)
    names: dict[str, tuple[datetime, str]] = {}
    for count, low in within:
        caller = count.caller
        if caller.counted is not True:
            (unknown if caller.counted is None else uncounted).add(low, count.calls)
            if counted_only:
                continue
        total.add(low, count.calls)
        key = getattr(caller, by)
        if key is None or not key.strip():
            unattributed.add(low, count.calls)
            continue
        sums[key].add(low, count.calls)
        name = _name(caller, by)
        if name:
            names[key] = max(names.get(key, (count.starts_at, name)), (count.starts_at, name))
    ranked = sorted(
        ((key, each) for key, each in sums.items() if each.high),
        key=lambda item: (-item[1].high, -item[1].low, item[0]),
    )
    for _, each in ranked[top:]:
        others.add(each.low, each.high)
    hours = _hours(start, end)
    told = None if completeness is None else [completeness.get(hour, Completeness.NONE) for hour in hours]
    return Attribution(
        by=by,
        start=start,
        end=end,
        counted_only=counted_only,
        total=total.interval(),
        entries=tuple(
            Entry(key, names[key][1] if key in names else None, each.interval(), each.high / total.high)
            for key, each in ranked[:top]
        ),
        others=Others(others.interval(), max(0, len(ranked) - top)),
        unattributed=unattributed.interval(),
        unknown=unknown.interval(),
        uncounted=uncounted.interval(),
        completeness=None if told is None else min(told, key=list(Completeness).index),
        hours=len(hours),
        hours_without_data=None if told is None else told.count(Completeness.NONE),
    )


def _name(caller: Caller, by: Dimension) -> str | None:
    if by == "user":
        return caller.user_name
    return caller.app_name if by == "app" else None


def _hours(start: datetime, end: datetime) -> list[datetime]:
    hours, hour = [], hour_of(start)
    while hour < end:
        hours.append(hour)
        hour += HOUR
    return hours


def _bounds(interval: Interval) -> dict[str, int | None]:
    return {"low": interval.low, "high": interval.high}
