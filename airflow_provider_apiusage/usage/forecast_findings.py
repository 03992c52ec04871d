"""What is missing or odd about a forecast, in words."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_apiusage.usage.forecast_expiry import Expiry
from airflow_provider_apiusage.usage.forecast_history import History
from airflow_provider_apiusage.usage.forecast_model import Basis, Forecast
from airflow_provider_apiusage.usage.model import Finding, Severity

LITTLE = timedelta(days=8)
"""Until a whole week and a day are known, no weekday can be told from a weekend."""

STALE = timedelta(hours=1)
"""Evidence older than this is worth a word."""


def findings_of(forecast: Forecast, leaving: Expiry, history: History | None, scores: int) -> tuple[Finding, ...]:
    """Return what a reader of the forecast should know.

    :param forecast: as made.
    :param leaving: how calls leave.
    :param history: what it is made from; ``None`` if nothing is known.
    :param scores: how many past forecasts of a day its ranges rest on.
    """
    if history is None:
        return (
            Finding(
                "forecast-nothing-known",
                Severity.WARNING,
                f"No reading and no hourly count of org {forecast.org_id} is known from the last weeks, so no "
                "calls are forecast: run an ApiUsageSnapshotOperator every 15 minutes.",
            ),
        )
    findings = []
    if forecast.history < LITTLE:
        hours = forecast.history // timedelta(hours=1)
        findings.append(
            Finding(
                "forecast-little-history",
                Severity.INFO,
                f"The forecast of org {forecast.org_id} rests on {hours} hours; it knows weekdays from weekends after "
                "8 days. Until then its ranges are wide.",
                {"hours": hours, "scores": scores},
            )
        )
    if forecast.basis is Basis.RATE:
        findings.append(
            Finding(
                "forecast-mean-rate",
                Severity.INFO,
                "Too little is known of the time of day at which calls are made, so they are expected evenly.",
            )
        )
    age = timedelta(seconds=forecast.at.timestamp() - history.seen_until)
    if age > STALE:
        findings.append(
            Finding(
                "forecast-from-old-evidence",
                Severity.WARNING,
                f"The newest evidence of org {forecast.org_id} is {age // timedelta(minutes=1)} minutes old; what came "
                "since is forecast, too. Take snapshots more often.",
                {"minutes": age // timedelta(minutes=1)},
            )
        )
    if not leaving.agree:
        findings.append(
            Finding(
                "forecast-evidence-disagrees",
                Severity.WARNING,
                "Readings, days and hours contradict one another; the bounds of what expires come from those that "
                "agree. Run an ApiUsageReconcileOperator to see which do not.",
            )
        )
    if forecast.limit is None:
        findings.append(
            Finding(
                "forecast-limit-unknown",
                Severity.WARNING,
                "The limit is not known, so it cannot be said when calls are free or run out.",
            )
        )
    return tuple(findings)
