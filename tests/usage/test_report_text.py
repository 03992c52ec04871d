"""The log table."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow_provider_apiusage.usage.model import Coverage, Evidence
from airflow_provider_apiusage.usage.reconciliation import reconcile
from airflow_provider_apiusage.usage.report_text import as_table
from tests.usage.evidence import AT, ORG, TODAY, YESTERDAY, counted, reading


def evidence(used: int, coverage: Coverage, at: datetime = AT) -> Evidence:
    """Return the evidence of Salesforce's example, with another rolling figure."""
    counts = (counted(TODAY, 15_000, coverage=coverage), counted(YESTERDAY, 20_000, coverage=coverage))
    return Evidence(ORG, at, (reading(used),), counts)


def test_the_example_reads_like_the_article() -> None:
    """The table shows the window, the two days, the sum and the verdict."""
    assert as_table(reconcile(evidence(25_000, Coverage.ALL))).splitlines() == [
        "API usage of org 00DAA0000000001",
        "  Window (UTC)                 Tuesday 2026-10-06 14:30:00 to Wednesday 2026-10-07 14:30:00",
        "  API requests, last 24 hours  25,000 of 100,000, 25.0%",
        "  Wednesday 2026-10-07         15,000",
        "  Tuesday 2026-10-06           20,000",
        "  Tuesday in the window        10,000 (the evidence allows 0 to 20,000)",
        "  Not in the daily counts      0",
        "  Daily counts cover           every call that counts against the allowance",
        "  Verdict                      consistent",
        "",
        "  Wednesday 15,000 + some calls from Tuesday 10,000 (of 20,000) = 25,000 (API requests, last 24 hours)",
        "",
        "  info     window-shift: The rolling figure counts 24 hours and today's count starts at 00:00 UTC, so they "
        "differ by what is left of yesterday in the window: 10,000 of the 25,000 calls. Nothing to do.",
    ]


def test_what_the_days_do_not_show_stands_in_the_sum() -> None:
    """With a SOAP-only report the sum names the calls that are in no daily count, and the finding follows."""
    text = as_table(reconcile(evidence(50_000, Coverage.SOAP)))

    assert "Tuesday 20,000 (of 20,000) + 15,000 not in the daily counts = 50,000" in text
    assert "at most 20,000 (the evidence allows 0 to 20,000)" in text
    assert "15,000 to 35,000" in text
    assert "  info     soap-only-report: At least 15,000" in text


def test_a_contradiction_stands_out() -> None:
    """An inconsistent verdict and its error are in capitals."""
    text = as_table(reconcile(evidence(50_000, Coverage.ALL)))

    assert "INCONSISTENT" in text
    assert "  ERROR    tail-above-yesterday: " in text


def test_unknowns_are_words() -> None:
    """Without any evidence every figure reads unknown, none reads None or 0."""
    text = as_table(reconcile(Evidence(ORG, AT, ())))

    assert "unknown (limit unknown)" in text
    assert "Wednesday unknown + some calls from Tuesday unknown = unknown" in text
    assert "unknown (the evidence allows at least 0)" in text
    assert "undecided" in text
    assert "None" not in text


def test_edges_are_utc_whatever_the_zone_asked_in() -> None:
    """An instant in another zone is shown, and its day named, in UTC."""
    tokyo = AT.astimezone(timezone(timedelta(hours=9)))

    assert as_table(reconcile(evidence(25_000, Coverage.ALL, tokyo))) == as_table(
        reconcile(evidence(25_000, Coverage.ALL))
    )
