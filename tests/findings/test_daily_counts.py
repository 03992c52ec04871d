"""Findings about daily counts, each produced by an org or an export that is so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from airflow_provider_apiusage.sandbox import SandboxOrg
from airflow_provider_apiusage.usage.model import Completeness, Coverage, Interval
from airflow_provider_apiusage.usage.window import utc_day
from tests.findings.conftest import MONDAY, Watched

Make = Callable[..., Watched]
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def export(here: Watched, file: Path, *, written: str = "%Y-%m-%d", counted_only: bool = True) -> str:
    """Write a CSV of the org's calls by user and day, every kind of call, and return its path."""
    days: dict[tuple[date, str], int] = defaultdict(int)
    for period in here.org.ledger.daily():
        if period.caller.counted or not counted_only:
            days[period.start.date(), period.caller.user] += period.count
    rows = [f"{day:{written}},{user},{calls}" for (day, user), calls in sorted(days.items())]
    file.write_text("\n".join(["Date,User,Calls", *rows]) + "\n")
    return str(file)


def test_a_truncated_report_is_no_count(watched: Make) -> None:
    """A day of which not all rows came has no count, and is named where it is missed."""
    here = watched(calls_per_day=5_000, report_row_cap=1, report_shape="TABULAR")
    here.org.clock.advance(2 * DAY + 10 * HOUR)
    here.snapshot(daily_report=here.org.settings.report_id)

    result = here.reconcile()

    codes = [finding.code for finding in result.findings]
    assert any(code in ("report-day-truncated", "report-truncated") for code in codes)
    assert "daily-counts-missing" in codes
    assert (result.today, result.yesterday) == (None, None)


def test_an_export_in_another_language(watched: Make, tmp_path: Path) -> None:
    """Days in words are not guessed: they are unknown, and the finding says which setting reads them."""
    here = watched(calls_per_day=2_000)
    here.org.clock.advance(DAY + 10 * HOUR)
    file = tmp_path / "usage.csv"
    file.write_text("Datum;Benutzer;Anzahl\nMontag, 5. Oktober 2026;Erin;700\nDienstag, 6. Oktober 2026;Erin;300\n")
    options = {"date_column": "Datum", "user_column": "Benutzer", "count_column": "Anzahl"}
    here.snapshot(daily_report=str(file), **options)

    found = here.finding("csv-days-unreadable")

    assert "date_format" in found.message
    assert here.reconcile().today is None


@pytest.mark.parametrize("written", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d"])
def test_an_export_with_localised_days(watched: Make, tmp_path: Path, written: str) -> None:
    """05/10 and 10/05 are both the 5th of October: only one reading lies in the seven days before the export."""
    here = watched(calls_per_day=2_000)
    here.org.clock.advance(DAY + 10 * HOUR)
    here.org.now()
    here.snapshot(daily_report=export(here, tmp_path / "usage.csv", written=written), coverage="all")

    result = here.reconcile()

    assert result.yesterday == here.org.ledger.day_total(utc_day(MONDAY))
    assert result.consistent is True


def test_calls_that_do_not_count_were_added(watched: Make, tmp_path: Path) -> None:
    """A source that adds the calls of Salesforce's own apps exceeds the settled log by no more than these."""
    here = watched(calls_per_day=5_000, event_log_retention_days=30)
    here.org.clock.advance(6 * DAY)
    here.watch(2 * HOUR, HOUR, events="daily")
    here.snapshot(daily_report=export(here, tmp_path / "all.csv", counted_only=False), coverage="all")

    found = [finding for finding in here.reconcile().findings if finding.code == "uncounted-calls-added"]

    assert found
    for finding in found:
        figures = finding.figures
        assert figures["counted"] < figures["report"] <= figures["counted"] + figures["uncounted"]
        assert figures["counted"] == here.org.ledger.day_total(date.fromisoformat(figures["day"]))


def test_what_a_report_of_soap_calls_cannot_see(watched: Make) -> None:
    """Event logs tell for each settled day exactly how many calls the report leaves out; midnight bounds them too."""
    here = watched(calls_per_day=5_000, event_log_retention_days=30)
    here.watch(6 * DAY + 12 * HOUR, 12 * HOUR, events="daily")
    here.snapshot(daily_report=here.org.settings.report_id, coverage="soap")

    lines = here.reconcile().days

    settled = [line for line in lines if line.completeness is Completeness.SETTLED]
    assert len(settled) >= 3
    for line in lines:
        made = here.org.ledger.day_total(line.day)
        soap = here.org.ledger.day_total(line.day, "SOAP")
        assert (line.report, line.coverage) == (soap, Coverage.SOAP)
        assert line.unreported is not None
        assert made - soap in line.unreported
        assert made in line.by_readings
        if line in settled:
            assert line.unreported == Interval(made - soap, made - soap)


def test_a_report_that_is_said_to_count_everything_and_does_not(watched: Make) -> None:
    """SOAP calls declared as all calls leave too much for yesterday: the coverage is the likely cause."""
    here = watched(calls_per_day=5_000)
    here.org.clock.advance(2 * DAY + 12 * HOUR)
    here.watch(timedelta(minutes=30))
    here.snapshot(daily_report=here.org.settings.report_id, coverage="all")

    result = here.reconcile()

    assert result.consistent is False
    assert "coverage: soap" in here.finding("tail-above-yesterday").message


def test_counts_of_another_org(watched: Make, tmp_path: Path) -> None:
    """An export of a busy org beside the figures of a quiet one: more calls today than in the whole window."""
    here = watched(calls_per_day=100)
    other = watched(org=SandboxOrg(start=MONDAY, calls_per_day=50_000))
    for each in (here, other):
        each.org.clock.advance(DAY + 12 * HOUR)
        each.org.now()
    here.snapshot(daily_report=export(other, tmp_path / "other.csv"), coverage="all")

    assert "another org's" in here.finding("today-above-rolling").message
