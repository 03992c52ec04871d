"""A forecast -> when calls are free, and when the allowance runs out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_apiusage.usage.forecast_model import Forecast, FreeAt
from airflow_provider_apiusage.usage.model import Interval
from airflow_provider_apiusage.usage.window import iso_utc


@dataclass(frozen=True, slots=True)
class RunsOut:
    """When the allowance is used up at this pace.

    :param expected_at: as expected; ``None`` if not within 24 hours or not known.
    :param earliest_at: the earliest that is plausible (5 %); ``None`` likewise.
    """

    expected_at: datetime | None
    earliest_at: datetime | None


@dataclass(frozen=True, slots=True)
class ForecastAnswer:
    """What a DAG wants to know of a forecast.

    :param forecast: all of it.
    :param kept_back: calls that were not to be had: a reserve, and what is granted to others.
    :param runs_out: when what is left beside them is used up.
    :param free: when the calls asked for are free; ``None`` if none were asked for.
    """

    forecast: Forecast
    kept_back: int
    runs_out: RunsOut
    free: FreeAt | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a small JSON-safe form, with ``None`` for every unknown.

        ``free_now`` is whether the calls are free at ``at`` with 90 % confidence; ``None`` if that is not known or
        nothing was asked for.
        """
        forecast, free, now = self.forecast, self.free, self.forecast.points[0].used
        known = free is not None and forecast.limit is not None and now is not None
        return {
            "org_id": forecast.org_id,
            "at": iso_utc(forecast.at),
            "limit": forecast.limit,
            "used": now and now.expected,
            "basis": forecast.basis.value,
            "history_hours": round(forecast.history.total_seconds() / 3600),
            "kept_back": self.kept_back,
            "calls": free and free.calls,
            "free_now": free.likely_at == forecast.at if free is not None and known else None,
            "earliest_at": _iso(None if free is None else free.earliest_at),
            "expected_at": _iso(None if free is None else free.expected_at),
            "likely_at": _iso(None if free is None else free.likely_at),
            "runs_out": {
                "expected_at": _iso(self.runs_out.expected_at),
                "earliest_at": _iso(self.runs_out.earliest_at),
            },
            "findings": [
                {"code": finding.code, "severity": finding.severity.value, "message": finding.message}
                for finding in forecast.findings
            ],
        }


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else iso_utc(instant)


def answer(forecast: Forecast, calls: int | None = None, *, kept_back: int = 0) -> ForecastAnswer:
    """Ask a forecast about a number of calls.

    :param forecast: of the org.
    :param calls: how many; ``None`` to ask only when the allowance runs out.
    :param kept_back: calls that are not to be had.
    :raises ValueError: if a number is negative.
    """
    free = None if calls is None else when_free(forecast, calls, kept_back=kept_back)
    return ForecastAnswer(forecast, kept_back, runs_out_at(forecast, kept_back=kept_back), free)


def when_free(forecast: Forecast, calls: int, *, kept_back: int = 0) -> FreeAt:
    """Say when a number of calls is free, to a quarter of an hour.

    :param forecast: of the org.
    :param calls: how many.
    :param kept_back: calls that are not to be had: a reserve, and what is granted to others and not yet spent.
    :returns: never free if ``calls`` is more than the limit leaves; nothing is known without a limit.
    :raises ValueError: if a number is negative.
    """
    if calls < 0 or kept_back < 0:
        raise ValueError(f"Calls cannot be negative: {calls}, kept back {kept_back}.")
    if forecast.limit is None or calls > forecast.limit - kept_back:
        return FreeAt(calls, None, None, None)
    most = forecast.limit - kept_back - calls
    points = forecast.points
    earliest = next((n for n, p in enumerate(points) if least_left(forecast.used, p.expired) <= most), None)
    expected = next((p.at for p in points if p.used is not None and p.used.expected <= most), None)
    likely = next((p.at for p in points if p.used is not None and p.used.high <= most), None)
    # Bounds are known at the points only: it may have happened at any instant since the one before.
    earliest_at = None if earliest is None else points[max(0, earliest - 1)].at
    return FreeAt(calls, earliest_at, expected, likely)


def runs_out_at(forecast: Forecast, *, kept_back: int = 0) -> RunsOut:
    """Say when what is used reaches the limit at this pace, to a quarter of an hour.

    :param forecast: of the org.
    :param kept_back: calls below the limit that are not to be had.
    """
    if forecast.limit is None:
        return RunsOut(None, None)
    most = forecast.limit - kept_back
    known = [(p.at, p.used) for p in forecast.points if p.used is not None]
    return RunsOut(
        next((at for at, used in known if used.expected >= most), None),
        next((at for at, used in known if used.high >= most), None),
    )


def least_left(used: Interval, expired: Interval) -> int:
    """Return the fewest calls that can be left of those used now."""
    return 0 if expired.high is None else max(0, used.low - expired.high)
