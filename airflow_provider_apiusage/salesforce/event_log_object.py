"""Hourly counts from the queryable object ``ApiTotalUsageEventLog``, grouped in the org or row by row.

Both ways tell the same. ``RequestIdentifier`` is the same for all events of a transaction (Object reference), so it
tells no repeats: if an org repeats a row, which is not documented for this object, it counts again, read either way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

from airflow_provider_apiusage.salesforce.errors import (
    ApiUsageError,
    MalformedAnswerError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from airflow_provider_apiusage.salesforce.event_log_queries import (
    MOST_GROUPS,
    OBJECT,
    counted_groups,
    counted_rows,
    denied,
    grouped_query,
    halves,
    known_since,
    known_until,
    rows_query,
    silent,
    too_much,
    ungrouped,
)
from airflow_provider_apiusage.salesforce.org import Answer, OrgClient
from airflow_provider_apiusage.usage.hourly import HOUR, Caller, HourlyCount, hour_of
from airflow_provider_apiusage.usage.model import Finding

SHORTEST = timedelta(seconds=1)
"""Pieces of an hour are not cut any shorter."""

UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)

Method = Literal["grouped", "rows"]


@dataclass(frozen=True, slots=True)
class ObjectUsage:
    """What the object told.

    :param counts: hourly counts in order of time, all within ``[read_from, read_until)``.
    :param read_from: the first instant that is known; later than asked for if the org tells nothing that old,
        and then that first hour may be told in part.
    :param read_until: the instant after the last that is known: an hour before the org's now, or earlier.
    :param method: how the org was asked; ``None`` if it told nothing.
    :param findings: what was odd. After ``event-log-object-ungrouped``, ``prefer="rows"`` spares one call each time.
    """

    counts: tuple[HourlyCount, ...]
    read_from: datetime
    read_until: datetime
    method: Method | None
    findings: tuple[Finding, ...] = ()


def read_hourly_from_object(
    org: OrgClient, start: datetime, end: datetime, *, prefer: Method | None = None
) -> ObjectUsage:
    """Read the hourly counts of ``[start, end)``, as far as the org can tell them by now.

    API calls spent, for ``h`` hours whose rows fill ``p`` pages of up to 2,000:

    - Grouped ``h``, rows ``p``, and none for a period that the org cannot tell yet.
    - A single hour is grouped. For more, the first page of rows is asked for: it costs what ``SELECT COUNT()`` would,
      tells how many rows there are as well, and is of use itself. What it leaves is read the cheaper way, by the other
      pages or by a query for each hour left; so at most ``min(p, h + 1)`` calls.
    - An hour of more than 2,000 groups takes its pages of rows instead, or its first page and queries for ever shorter
      halves, if these are fewer: ``2 p`` calls for its ``p`` pages at most, the refused query included.
    - A refusal to group costs 1 call, once; the rest is read by rows.
    - A query locator that has vanished costs the page that was lost and those of its hour again.
    - Where the token does not tell the org's id, one query for it.

    Memory holds one page and a number for each hour and caller.

    :param org: the org; its clock is what its last answer showed.
    :param start: first instant, on the hour.
    :param end: the instant after the last, on the hour.
    :param prefer: ``"grouped"`` or ``"rows"`` without looking which is cheaper.
    :raises ValueError: if ``start`` or ``end`` is not on the hour.
    :raises ApiUsageError: by kind. A missing object or permission is a finding instead, ``event-log-object-denied``.
    """
    if hour_of(start) != start or hour_of(end) != end:
        raise ValueError(f"Hourly counts begin and end on the hour: {start.isoformat()}, {end.isoformat()}.")
    until = min(end, known_until(org.now()))
    if until <= start:
        return ObjectUsage((), start, start, None)
    reading = _Reading(org)
    try:
        reading.read(start, until, prefer)
    except (NotFoundError, PermissionDeniedError) as refused:
        return ObjectUsage((), start, start, None, (denied(refused, org.version),))
    asked_at = reading.asked_at or org.now()
    until = max(start, min(until, known_until(asked_at)))
    told = {key: calls for key, calls in reading.tally.items() if start <= key[0] < until}
    since = known_since(start, until, asked_at, min((hour for hour, _caller in told), default=None))
    findings = reading.findings + ([silent(start, since)] if since > start else [])
    counts = [HourlyCount(org.org_id(), hour, caller, calls) for (hour, caller), calls in told.items()]
    counts.sort(key=lambda count: count.starts_at)
    return ObjectUsage(tuple(counts), since, until, reading.method, tuple(findings))


@dataclass(slots=True)
class _Cursor:
    """How far the rows of ``[start, end)`` were read, in order of time.

    :param following: address of the next page; ``None`` after the last.
    :param total: rows in all, if told.
    :param size: rows of the first page.
    :param whole_until: hours before it are told whole; ``start`` if rows came out of order.
    """

    start: datetime
    end: datetime
    following: str | None = None
    total: int | None = None
    size: int = 0
    rows: int = 0
    last_at: datetime | None = None
    ordered: bool = True
    seen: set[str] = field(default_factory=set)

    @property
    def left(self) -> int | None:
        """Pages yet to read; ``None`` if unknown."""
        if self.following is None:
            return 0
        return None if self.total is None or not self.size else max(1, -(-(self.total - self.rows) // self.size))

    @property
    def whole_until(self) -> datetime:
        """Hours from ``start`` to here are told whole."""
        return hour_of(self.last_at) if self.ordered and self.last_at is not None else self.start


class _TooManyGroupsError(Exception):
    """A period has more groups than one answer holds, or takes the org too long."""


class _Reading:
    """One reading: what was told so far, and how."""

    def __init__(self, org: OrgClient) -> None:
        self._org = org
        self.tally: Counter[tuple[datetime, Caller]] = Counter()
        self.method: Method = "rows"
        self.asked_at: datetime | None = None
        self.findings: list[Finding] = []

    def read(self, start: datetime, end: datetime, prefer: Method | None) -> None:
        """Read ``[start, end)``."""
        if prefer == "rows":
            self._finish(self._begin(start, end))
        elif prefer == "grouped" or end - start == HOUR:
            self._grouped(start, end, None)
        else:
            try:
                cursor = self._begin(start, end)
            except MalformedAnswerError as refused:
                if not too_much(refused):
                    raise
                self._grouped(start, end, None)
                return
            if cursor.left is not None and cursor.left <= (end - cursor.whole_until) // HOUR:
                self._finish(cursor)
            else:
                self._grouped(cursor.whole_until, end, cursor)

    def _grouped(self, start: datetime, end: datetime, cursor: _Cursor | None) -> None:
        """Read hour by hour, on a refusal to group the rest by rows.

        :param cursor: rows that were begun and reach into the first hour.
        """
        for hour in (start + HOUR * n for n in range((end - start) // HOUR)):
            try:
                self._replace(hour, self._groups(hour, hour + HOUR))
            except _TooManyGroupsError:
                self._crowded(hour)
            except MalformedAnswerError as refused:
                self.findings.append(ungrouped(refused))
                self._finish(cursor if cursor is not None and hour == start else self._begin(hour, end))
                return
            self.method = "grouped"

    def _crowded(self, hour: datetime) -> None:
        """Read an hour of too many groups: in pieces if that takes fewer calls than its pages of rows."""
        self._forget(hour)
        cursor = self._begin(hour, hour + HOUR)
        pieces = self._pieces(hour, hour + HOUR, (cursor.left or 0) - 1)
        if pieces is None:
            self._finish(cursor)
        else:
            self._replace(hour, pieces)

    def _pieces(self, start: datetime, end: datetime, most: int) -> Counter[Caller] | None:
        """Count the groups of ever shorter halves; ``None`` if that takes more than ``most`` calls."""
        told: Counter[Caller] = Counter()
        waiting = halves(start, end)
        while waiting:
            if len(waiting) > most:
                return None
            most -= 1
            first, last = waiting.pop()
            try:
                told.update(self._groups(first, last))
            except _TooManyGroupsError:
                if last - first <= SHORTEST:
                    return None
                waiting += halves(first, last)
        return told

    def _groups(self, start: datetime, end: datetime) -> Counter[Caller]:
        """Ask for the groups of a period.

        :raises _TooManyGroupsError: if they are too many, told so or cut short.
        :raises MalformedAnswerError: if the org does not group.
        """
        try:
            answer = self._ask(grouped_query(start, end))
        except ApiUsageError as refused:
            if too_much(refused):
                raise _TooManyGroupsError from None
            raise
        try:
            records = answer.body["records"]
            if answer.body["done"] is not True or len(records) >= MOST_GROUPS:
                raise _TooManyGroupsError
            return counted_groups(records)
        except UNREADABLE:
            raise self._malformed("holds something else than groups with a count") from None

    def _begin(self, start: datetime, end: datetime) -> _Cursor:
        """Read the first page of rows."""
        cursor = _Cursor(start, end)
        self._count(cursor, self._ask(rows_query(start, end)))
        return cursor

    def _finish(self, cursor: _Cursor) -> None:
        """Read the pages that are left; where the locator has vanished, from the hour that was reached, once.

        :raises UnavailableError: if it vanishes again without another hour told.
        """
        restarted_at: datetime | None = None
        while cursor.following is not None:
            try:
                answer = self._org.get(cursor.following, f"reading on in {OBJECT}")
            except (MalformedAnswerError, NotFoundError) as vanished:
                if restarted_at == cursor.whole_until:
                    raise UnavailableError(vanished.what, vanished.where) from None
                restarted_at = cursor.whole_until
                self._forget(restarted_at)
                cursor = self._begin(restarted_at, cursor.end)
            else:
                self._count(cursor, answer)

    def _count(self, cursor: _Cursor, answer: Answer) -> None:
        """Count a page of rows and note where it leaves off."""
        body: Any = answer.body
        try:
            records = body["records"]
            following = None if body["done"] else str(body["nextRecordsUrl"])
            told, times = counted_rows(records)
            total = body.get("totalSize")
        except UNREADABLE:
            raise self._malformed("holds something else than rows with a time") from None
        if following in cursor.seen:
            raise self._malformed("leads in circles")
        if following is not None:
            cursor.seen.add(following)
        cursor.following = following
        cursor.total = total if isinstance(total, int) else None
        cursor.size = cursor.size or len(times)
        cursor.rows += len(times)
        ahead = times if cursor.last_at is None else [cursor.last_at, *times]
        cursor.ordered = cursor.ordered and all(one <= other for one, other in pairwise(ahead))
        cursor.last_at = max(ahead, default=None)
        self.tally.update(told)

    def _ask(self, soql: str) -> Answer:
        answer = self._org.get("query", f"querying {OBJECT}", params={"q": soql})
        self.asked_at = self.asked_at or answer.observed_at
        return answer

    def _malformed(self, what: str) -> MalformedAnswerError:
        return MalformedAnswerError(f"The answer while querying {OBJECT} {what}.", self._org.where)

    def _replace(self, hour: datetime, told: Mapping[Caller, int]) -> None:
        """Put what is told of a whole hour in place of what rows told of it so far."""
        self._forget(hour)
        self.tally.update({(hour, caller): calls for caller, calls in told.items()})

    def _forget(self, hour: datetime) -> None:
        """Forget what was told about an hour and later ones."""
        for key in [key for key in self.tally if key[0] >= hour]:
            del self.tally[key]
