"""One UTC day as each source sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from airflow_provider_apiusage.usage.model import Completeness, Coverage, Interval


@dataclass(frozen=True, slots=True)
class DayLine:
    """Calls of one UTC day, by each source alone and by all together.

    :param day: the UTC day.
    :param until_at: up to which instant it is counted: its end, or the instant reconciled if that comes first.
    :param calls: calls that count against the allowance, by all the evidence together.
    :param by_readings: the same by readings of the rolling figure alone.
    :param by_logs: the same by event logs alone.
    :param report: calls that the daily source tells; ``None`` if it tells nothing of the day.
    :param coverage: which calls the daily source counts; ``None`` if it tells nothing of the day.
    :param unreported: calls that count and that the daily source does not show, by all the evidence; ``None`` if it
        tells nothing of the day.
    :param completeness: of the day in the event logs: that of its least complete hour up to ``until_at``.
    :param estimate: the likeliest number of ``calls``, inside its bounds; ``None`` if nothing suggests one.
    :param estimate_from: how the estimate was made, in words.
    :param agree: whether the pieces that bear on the day leave room for one another; if not, the bounds are those of
        what could be kept.
    """

    day: date
    until_at: datetime
    calls: Interval
    by_readings: Interval
    by_logs: Interval
    report: int | None
    coverage: Coverage | None
    unreported: Interval | None
    completeness: Completeness
    estimate: int | None = None
    estimate_from: str | None = None
    agree: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return a small JSON-safe form, with ``None`` for every unknown."""
        return {
            "day": self.day.isoformat(),
            "calls": _bounds(self.calls),
            "by_readings": _bounds(self.by_readings),
            "by_logs": _bounds(self.by_logs),
            "report": self.report,
            "coverage": self.coverage and self.coverage.value,
            "unreported": self.unreported and _bounds(self.unreported),
            "completeness": self.completeness.value,
            "estimate": self.estimate,
            "estimate_from": self.estimate_from,
            "agree": self.agree,
        }


def _bounds(interval: Interval) -> dict[str, int | None]:
    return {"low": interval.low, "high": interval.high}
