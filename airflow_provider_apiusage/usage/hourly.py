"""Calls by UTC hour and caller, as event logs tell them, and how complete each hour is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from airflow_provider_apiusage.usage.model import Completeness as Completeness
from airflow_provider_apiusage.usage.model import Finding

HOUR = timedelta(hours=1)

SETTLED_AFTER = timedelta(days=3)
"""A day's log is final this long after the day: Salesforce names up to three days for a daily file and its
replacement (Object reference, EventLogFile; Using Event Monitoring)."""

TWO_SEGMENTS = frozenset({"analytics", "composite", "jobs", "limits", "tooling", "ui-api"})
"""First segments of a path that say too little without the second."""

_VERSION = re.compile(r"v[0-9].*")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made calls, through what, and whether they count: the key of an hourly count.

    Blank in the log is ``None`` here: unattributed. The two names are for people and take no part in comparisons.

    :param user: 15-character user id.
    :param app: 15-character id of the connected app.
    :param client: ``CLIENT_NAME``, as the client calls itself.
    :param family: ``API_FAMILY``: ``REST``, ``SOAP``, ``BULK``...
    :param resource: resource class, see :func:`resource_class`.
    :param counted: whether the calls count against the allowance.
    :param user_name: the user's name at the time.
    :param app_name: the connected app's name at the time.
    """

    user: str | None = None
    app: str | None = None
    client: str | None = None
    family: str | None = None
    resource: str | None = None
    counted: bool | None = None
    user_name: str | None = field(default=None, compare=False)
    app_name: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class HourlyCount:
    """Calls of one caller in one UTC hour.

    :param org_id: the 15-character id of the org.
    :param starts_at: the hour's first instant (aware UTC); the hour is ``[starts_at, starts_at + 1 h)``.
    :param caller: who made them.
    :param calls: how many, each counted once however often the log told it.
    """

    org_id: str
    starts_at: datetime
    caller: Caller
    calls: int


@dataclass(frozen=True, slots=True)
class EventUsage:
    """What the event logs tell about ``[start, end)``.

    :param org_id: the 15-character id of the org.
    :param start: first instant asked about, on the hour.
    :param end: the instant after the last, on the hour.
    :param counts: hourly counts in order of time.
    :param completeness: by hour, every hour of the period.
    :param findings: what was odd about the files.
    :param api_calls: calls spent on reading them.
    """

    org_id: str
    start: datetime
    end: datetime
    counts: tuple[HourlyCount, ...]
    completeness: Mapping[datetime, Completeness]
    findings: tuple[Finding, ...] = ()
    api_calls: int = 0

    def of_day(self, day_start: datetime) -> Completeness:
        """Return the completeness of a UTC day: that of its least complete hour.

        :param day_start: 00:00 UTC of the day.
        """
        hours = [self.completeness.get(day_start + HOUR * n, Completeness.NONE) for n in range(24)]
        order = list(Completeness)
        return min(hours, key=order.index)


def hour_of(instant: datetime) -> datetime:
    """Return the first instant of the UTC hour that holds ``instant``.

    :raises ValueError: if ``instant`` is naive.
    """
    if instant.tzinfo is None:
        raise ValueError(f"An instant must be aware of its zone: {instant!r}.")
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def short_id(value: str | None) -> str | None:
    """Return a record id of 18 characters as the 15 that tell it apart; other text as it is; blank is ``None``."""
    value = (value or "").strip()
    return (value[:15] if len(value) == 18 else value) or None


def resource_class(resource: str | None) -> str | None:
    """Return what kind of resource a call went to, without version, ids and object names.

    ``/v67.0/sobjects/Account/001AA`` and ``/services/data/v64.0/sobjects/Case`` are ``sobjects``; any describe is
    ``describe``; jobs, composite, analytics and tooling keep one more segment (``jobs/ingest``); what is no path is
    a SOAP method and stays as it is (``query``).

    :param resource: ``API_RESOURCE`` of a log row; blank is ``None``.
    """
    resource = (resource or "").partition("?")[0].strip()
    if "/" not in resource:
        return resource or None
    if resource.endswith("/describe"):
        return "describe"
    segments = [segment for segment in resource.split("/") if segment]
    if segments[:2] == ["services", "data"]:
        segments = segments[2:]
    elif segments[:1] == ["services"]:
        segments = segments[1:]
    if segments and _VERSION.fullmatch(segments[0]):
        segments = segments[1:]
    if not segments:
        return "versions"
    return ("/".join(segments[:2]) if segments[0] in TWO_SEGMENTS else segments[0]).strip() or None
