"""The nouns of API usage, as frozen dataclasses.

Conventions, stated once: an instant is an aware UTC ``datetime`` and its name ends in ``_at``; a day is a UTC
``date``; a count is an ``int`` of API calls (or of whatever the limit counts); a duration is a ``timedelta``.
``None`` means unknown, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

API_REQUESTS = "DailyApiRequests"
"""Salesforce's name of the org-wide allowance of API calls per rolling 24 hours."""

WINDOW = timedelta(hours=24)
"""Length of the rolling window: a call made at 12:36 on Tuesday is free again at 12:36 on Wednesday."""

STALENESS = timedelta(minutes=5)
"""How old Salesforce says the figures of ``/limits`` may be (REST API guide, Limits resource)."""


class Severity(StrEnum):
    """How much a finding matters: ``info`` explains, ``warning`` wants a look, ``error`` contradicts."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One explained mismatch or gap in what was read.

    :param code: stable, machine-readable, kebab-case (``"limit-missing"``).
    :param severity: see :class:`Severity`.
    :param message: one sentence for a person, with the figures, the likely cause and what to do.
    :param figures: the numbers behind the message, JSON-safe.
    """

    code: str
    severity: Severity
    message: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interval:
    """Whole numbers from ``low`` to ``high``, both included; ``high=None`` means no upper bound is known."""

    low: int
    high: int | None = None

    def __contains__(self, value: int) -> bool:
        return self.low <= value and (self.high is None or value <= self.high)

    @property
    def exact(self) -> bool:
        """Whether only one number is left."""
        return self.low == self.high


class Completeness(StrEnum):
    """How much of an hour (or day) the event logs have told so far."""

    NONE = "none"
    """No file covers it yet: nothing is known, which is not zero calls."""
    PROVISIONAL = "provisional"
    """A file was read, but late rows or a fuller file may still come: the counts are a lower bound."""
    SETTLED = "settled"
    """The daily file was read and the time for its replacement is over."""


class ReadingSource(StrEnum):
    """Where a reading of a limit came from."""

    LIMITS = "limits"
    """The body of ``GET /services/data/vXX.0/limits``."""
    HEADER = "header"
    """The ``Sforce-Limit-Info`` header of any other response: a reading that costs nothing."""
    EXHAUSTED = "exhausted"
    """An error that says the allowance is used up: ``remaining`` is 0, the limit may be unknown."""


@dataclass(frozen=True, slots=True)
class LimitReading:
    """One observation of one limit, by one source, at one instant.

    :param org_id: the 15-character id of the org.
    :param name: Salesforce's own limit name, e.g. ``DailyApiRequests``.
    :param source: where the figures came from.
    :param observed_at: the org's instant: the ``Date`` header of the response.
    :param received_at: our instant when the response arrived.
    :param limit: the allocation; ``None`` if unknown.
    :param remaining: what the org reports as left, unclamped: it may be negative; ``None`` if unknown.
    :param used: calls in the window as reported, or ``limit - remaining``; may exceed ``limit`` (soft limit).
    :param scope: a key nested under the limit, such as a connected app's name; ``""`` for the org as a whole.
    """

    org_id: str
    name: str
    source: ReadingSource
    observed_at: datetime
    received_at: datetime
    limit: int | None
    remaining: int | None
    used: int | None
    scope: str = ""

    @property
    def skew(self) -> timedelta:
        """The org's clock minus ours, as this response showed it (whole seconds: ``Date`` has no fraction)."""
        return self.observed_at - self.received_at


class Coverage(StrEnum):
    """Which calls a daily source counts."""

    SOAP = "soap"
    """SOAP calls only, as the "API Usage Last 7 Days" report is documented; a lower bound of the day."""
    ALL = "all"
    """Every call that counts against the allowance."""


@dataclass(frozen=True, slots=True)
class DailyCount:
    """Calls of one user in one UTC day, as one source reported them at one instant.

    :param org_id: the 15-character id of the org.
    :param day: the UTC day, 00:00 to 24:00.
    :param user: who made the calls, as the source names them; ``None`` where the source does not tell.
    :param calls: how many.
    :param coverage: which calls the source counts.
    :param source: ``"report"`` (Analytics API) or ``"csv"`` (an exported file).
    :param observed_at: the org's instant at which the count was read; a day still running is counted up to then.
    """

    org_id: str
    day: date
    user: str | None
    calls: int
    coverage: Coverage
    source: str
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class HourTotal:
    """All callers of one UTC hour together, as event logs tell them (:func:`..hour_total.hour_totals` adds them up).

    :param starts_at: the hour's first instant (aware UTC); the hour is ``[starts_at, starts_at + 1 h)``.
    :param calls: bounds of the calls that count against the allowance.
    :param soap: bounds of those of them that are SOAP calls.
    :param completeness: of the hour.
    :param uncounted: calls that the log marks as not counted, in ``calls`` nowhere: those of Salesforce's own apps.
    :param batches: rows of Composite Batch requests, whose parts the log does not show one by one.
    """

    starts_at: datetime
    calls: Interval
    soap: Interval
    completeness: Completeness
    uncounted: int = 0
    batches: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The readings and counts fetched in one go.

    :param org_id: the 15-character id of the org.
    :param observed_at: the org's instant of the reading of ``/limits``.
    :param readings: one per limit (and per nested entry).
    :param daily_counts: from the 7-day report, where it was asked for.
    :param findings: what was odd about the answers.
    :param api_calls: calls this snapshot itself spent.
    :param taken_by: who took it, such as ``dag/run/task/map_index``; a snapshot is kept once under one such name.
    """

    org_id: str
    observed_at: datetime
    readings: tuple[LimitReading, ...]
    daily_counts: tuple[DailyCount, ...] = ()
    findings: tuple[Finding, ...] = ()
    api_calls: int = 0
    taken_by: str | None = None

    def reading(self, name: str = API_REQUESTS) -> LimitReading | None:
        """Return the org-wide reading of one limit, or ``None`` if the org did not report it."""
        return next((r for r in self.readings if r.name == name and not r.scope), None)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything known that bears on the usage of one org at one instant.

    :param org_id: the 15-character id of the org.
    :param at: the instant asked about (the org's time).
    :param readings: org-wide readings of ``DailyApiRequests`` not later than ``at``, oldest first.
    :param daily_counts: counts of the UTC days that matter at ``at``, each day as it was read nearest to ``at``.
    :param hours: what event logs tell of the hours before ``at``, oldest first; an hour of which they tell nothing
        yet is left out.
    :param findings: what was odd about the reading of the daily counts, as their snapshots have it. A day that one of
        severity ``error`` names (figure ``day``) has no count: no row of it is not zero calls.
    """

    org_id: str
    at: datetime
    readings: tuple[LimitReading, ...]
    daily_counts: tuple[DailyCount, ...] = ()
    hours: tuple[HourTotal, ...] = ()
    findings: tuple[Finding, ...] = ()
