"""Who holds the calls that are in the window now, and when each gives them back.

A call made in an hour of yesterday leaves the window in the same hour of today (help 000133732), so hourly counts tell
for every user, app, client, family or resource class when its calls come back, to the hour. Orgs that release calls on
the hour do so by the end of it. What no log shows yet is held by nobody here: it is told as unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_apiusage.usage.attribution import Attribution, Dimension, attribute
from airflow_provider_apiusage.usage.hourly import HOUR, HourlyCount
from airflow_provider_apiusage.usage.model import WINDOW, Completeness, Interval
from airflow_provider_apiusage.usage.window import iso_utc


@dataclass(frozen=True, slots=True)
class Return:
    """Calls that leave the window within one hour.

    :param start: first instant of the hour in which they leave (aware UTC).
    :param calls: bounds; in the hour that is running, some may have left already.
    """

    start: datetime
    calls: Interval


@dataclass(frozen=True, slots=True)
class Holding:
    """Calls in the window of one user, app, client, family or resource class.

    :param key: as the log tells it.
    :param name: the latest name of the user or app; ``None`` if no row had one.
    :param calls: bounds of the calls in the window.
    :param share: 0 to 1, of all calls that the logs show in the window.
    :param returns: when they leave, hour by hour; hours without any are left out.
    """

    key: str
    name: str | None
    calls: Interval
    share: float
    returns: tuple[Return, ...]

    def back_by(self, share: float) -> datetime | None:
        """Return the end of the hour by which so large a share of the calls has left; ``None`` without calls.

        :param share: above 0, up to 1.
        """
        total = sum(each.calls.high or 0 for each in self.returns)
        left = 0
        for each in self.returns:
            left += each.calls.high or 0
            if left >= total * share:
                return each.start + HOUR
        return None

    def as_dict(self) -> dict[str, Any]:
        """Return a small JSON-safe form: who, how many, and by when half and all of them are back."""
        half, whole = self.back_by(0.5), self.back_by(1.0)
        return {
            "key": self.key,
            "name": self.name,
            "calls": {"low": self.calls.low, "high": self.calls.high},
            "share": round(self.share, 4),
            "half_back_at": half and iso_utc(half),
            "all_back_at": whole and iso_utc(whole),
        }


@dataclass(frozen=True, slots=True)
class Holdings:
    """The window by one dimension.

    :param attribution: totals, others, what is unattributed or unknown, and how complete the logs are.
    :param holders: the top, most calls first.
    """

    attribution: Attribution
    holders: tuple[Holding, ...]


def holdings(
    counts: Iterable[HourlyCount],
    *,
    at: datetime,
    by: Dimension = "user",
    top: int = 10,
    completeness: Mapping[datetime, Completeness] | None = None,
) -> Holdings:
    """Tell who holds the calls of the 24 hours before ``at``, and when they leave the window.

    :param counts: hourly counts of one org; those outside the window are left out.
    :param at: the instant asked about (aware).
    :param by: the dimension.
    :param top: holders at most, 1 or more.
    :param completeness: by hour, as ``EventUsage`` has it.
    :raises ValueError: as :func:`..attribution.attribute`.
    """
    kept = tuple(counts)
    told = attribute(kept, start=at - WINDOW, end=at, by=by, top=top, completeness=completeness)
    made: dict[str, dict[datetime, int]] = {entry.key: defaultdict(int) for entry in told.entries}
    for count in kept:
        hours = made.get(getattr(count.caller, by))
        if hours is not None and count.caller.counted and count.starts_at + HOUR > at - WINDOW and count.starts_at < at:
            hours[count.starts_at] += count.calls
    return Holdings(
        told,
        tuple(
            Holding(
                entry.key,
                entry.name,
                entry.calls,
                entry.share,
                tuple(_return(hour, calls, at) for hour, calls in sorted(made[entry.key].items())),
            )
            for entry in told.entries
        ),
    )


def _return(hour: datetime, calls: int, at: datetime) -> Return:
    whole = at - WINDOW <= hour and hour + HOUR <= at
    return Return(hour + WINDOW, Interval(calls if whole else 0, calls))
