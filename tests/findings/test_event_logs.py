"""Findings about event logs, each produced by an org whose logs are so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from airflow_provider_apiusage.sandbox.identity import USERS
from airflow_provider_apiusage.sandbox.ledger import Caller
from airflow_provider_apiusage.usage.model import WINDOW, Severity
from airflow_provider_apiusage.usage.window import utc_day
from tests.findings.conftest import MONDAY, Watched

Make = Callable[..., Watched]
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def test_logs_are_hours_late(watched: Make) -> None:
    """Hourly files come two hours later: how far the logs reach is told, with what bounds the rest."""
    here = watched(calls_per_day=1_500)
    here.watch(6 * HOUR, HOUR, events="hourly")

    found = here.finding("log-hours-late")

    assert found.severity is Severity.INFO
    assert 2 <= found.figures["hours"] <= 4


def test_logs_that_stopped_are_a_warning(watched: Make) -> None:
    """Two days without a new log is longer than Salesforce takes."""
    here = watched(calls_per_day=1_500)
    here.watch(4 * HOUR, HOUR, events="hourly")
    here.watch(2 * DAY, 12 * HOUR)

    assert here.finding("log-hours-late").severity is Severity.WARNING


def test_an_hour_without_a_log_is_unknown(watched: Make) -> None:
    """A file that was gone before it could be read leaves a gap that is named, and the truth in the bounds."""
    here = watched(calls_per_day=1_500, event_log_hourly_first_share=1.0)
    here.watch(5 * HOUR, HOUR, events="hourly")
    here.org.change({"event_log_vanish": 1})
    here.watch(4 * HOUR, HOUR, events="hourly")

    found = here.finding("log-hours-missing")

    assert found.figures["hours"] >= 1
    (today,) = [line for line in here.reconcile().days if line.day == utc_day(MONDAY)]
    assert here.org.ledger.day_total(today.day) in today.calls


def test_parts_of_a_composite_batch(watched: Make) -> None:
    """Six requests of four parts are six log rows and 24 calls; the bounds hold these 24."""
    here = watched(event_log_retention_days=30)
    here.org.clock.advance(10 * HOUR)
    part = {"method": "GET", "url": "v62.0/limits"}
    for _ in range(6):
        here.hook.get_conn().restful("composite/batch", method="POST", json={"batchRequests": [part] * 4})
    here.watch(6 * HOUR, 2 * HOUR, events="hourly")

    found = here.finding("composite-batch-parts")

    assert found.figures == {"requests": 6, "most_calls": 150}
    assert here.org.used in here.reconcile().window


def test_calls_of_salesforces_own_apps(watched: Make) -> None:
    """They are in the log, not in the allowance, and in no figure."""
    here = watched()
    here.org.clock.advance(10 * HOUR)
    here.org.add_calls(500, caller=Caller(USERS[3].id, client="mobile", resource="/v67.0/query", counted=False))
    here.watch(6 * HOUR, 2 * HOUR, events="hourly")

    assert here.finding("calls-that-do-not-count").figures == {"calls": 500}
    assert (here.reconcile().rolling or 0) < 500


def test_calls_that_no_log_shows(watched: Make) -> None:
    """Figures of the org exceed what settled logs show: the logs become lower bounds, and the truth stays inside."""
    here = watched(calls_per_day=1_500, event_log_retention_days=30)
    here.watch(12 * HOUR, 2 * HOUR, events="daily")
    here.org.add_calls(4_000, caller=Caller(USERS[3].id, client="hidden", resource="/v67.0/query", logged=False))
    here.watch(12 * HOUR, 2 * HOUR, events="daily")
    here.watch(5 * DAY, 12 * HOUR, events="daily")
    at = MONDAY + DAY

    found = here.finding("calls-not-in-event-logs", at)

    assert "event log of the hour" in found.message
    truth = here.org.ledger.day_total(utc_day(MONDAY))
    assert truth in here.reconcile(at).days[-2].calls


def test_with_settled_logs_the_residual_is_within_the_edge_hour(watched: Make) -> None:
    """Of a window days ago every hour is logged: what is left unexplained is no more than the hours that it cuts."""
    here = watched(calls_per_day=4_000, event_log_retention_days=30)
    here.watch(3 * DAY, 12 * HOUR, events="daily")
    here.org.clock.advance(timedelta(minutes=20))
    here.snapshot()
    at = here.reconcile().at
    here.watch(5 * DAY, 12 * HOUR, events="daily")

    result = here.reconcile(at)

    assert result.unlogged is not None
    assert result.unlogged.high is not None
    assert 0 in result.unlogged
    cut = [at - WINDOW - HOUR, at - WINDOW, at - HOUR, at]
    edges = sum(
        period.count
        for period in here.org.ledger.hourly()
        if period.caller.counted and any(period.start <= moment < period.start + HOUR for moment in cut)
    )
    assert result.unlogged.high - result.unlogged.low <= edges
