"""Findings about the rolling figure, each produced by an org that behaves so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from airflow_provider_apiusage.sandbox import SandboxOrg
from airflow_provider_apiusage.usage.model import Severity
from tests.findings.conftest import MONDAY, Watched

Make = Callable[..., Watched]
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def test_the_window_is_shifted_against_the_day(watched: Make) -> None:
    """The worked example: 25,000 rolling and 15,000 today differ by the 10,000 of Tuesday that are still inside."""
    here = watched(org=SandboxOrg.seed_example())
    here.snapshot(daily_report=here.org.settings.report_id, coverage="all")

    found = here.finding("window-shift")

    # The snapshot's own call is a REST call, which the report of SOAP calls does not show.
    assert found.figures == {"estimate": 10_001, "rolling": 25_001, "today": 15_000}
    assert found.severity is Severity.INFO


def test_a_figure_may_be_five_minutes_old(watched: Make) -> None:
    """As many calls as came between two snapshots before are missing from the figure: no contradiction."""
    here = watched(staleness_seconds=300, report_families=[])
    for _ in range(4):
        here.org.add_calls(100)
        here.watch(15 * MINUTE)
    here.org.clock.advance(4 * MINUTE)
    here.org.add_calls(90)
    here.snapshot(daily_report=here.org.settings.report_id, coverage="all")

    result = here.reconcile()

    assert here.finding("within-staleness").figures["today"] > (result.rolling or 0)
    assert result.consistent is True


def test_an_org_that_releases_on_the_hour_is_recognised(watched: Make) -> None:
    """Calls of 12:05 are still counted at 12:30 of the next day; the readings agree only if that is so."""
    here = watched(expiry_bucket_minutes=60)
    here.watch(12 * HOUR)
    here.org.clock.advance(5 * MINUTE)
    here.org.add_calls(1_000)
    here.watch(26 * HOUR)

    found = here.finding("calls-released-late")

    assert "limits reading of 2026-10-06T12:" in found.message
    assert here.reconcile().consistent is not False


def test_use_beyond_a_soft_limit(watched: Make) -> None:
    """120 calls of 100: a warning with the figures, which stay what they are."""
    here = watched(limit=100, hard_limit=1_000, remaining_when_over="negative")
    here.org.add_calls(120)
    here.snapshot()

    found = here.finding("over-the-limit")

    assert (found.severity, found.figures["limit"]) == (Severity.WARNING, 100)
    assert found.figures["used"] >= 120


def test_a_limit_that_was_raised_and_one_that_was_lowered(watched: Make) -> None:
    """More licences are told as such, fewer are a warning."""
    here = watched(limit=100_000)
    here.snapshot()
    here.org.change({"limit": 140_000})
    here.watch(15 * MINUTE)
    assert here.finding("limit-raised").severity is Severity.INFO

    here.org.change({"limit": 90_000})
    here.watch(15 * MINUTE)
    found = here.finding("limit-lowered")

    assert (found.severity, found.figures["before"], found.figures["after"]) == (Severity.WARNING, 140_000, 90_000)


def test_two_orgs_under_one_id(watched: Make) -> None:
    """A copy of the org that answers under the same id: its readings alternate with those of the first."""
    here, copy = watched(limit=100_000), watched(limit=5_000_000)
    assert here.hook.get_org_id() == copy.hook.get_org_id()
    for each in (here, copy, here, copy):
        each.org.clock.set(max(here.org.now(), copy.org.now()) + 15 * MINUTE)
        each.snapshot()

    found = copy.finding("orgs-mixed-up")

    assert (found.severity, found.figures["limits"]) == (Severity.ERROR, [100_000, 5_000_000])


def test_a_clock_that_is_ten_minutes_ahead(watched: Make) -> None:
    """The org's clock decides about windows and days; ours is said to be wrong."""
    now = datetime.now(UTC).replace(microsecond=0)
    here = watched(org=SandboxOrg(start=now + 10 * MINUTE, speed=1.0))
    here.snapshot()

    assert 590 <= here.finding("clock-skew").figures["seconds"] <= 610


def test_a_reading_of_another_window(watched: Make) -> None:
    """Asked about an hour later, the figure speaks of another window: it is not taken."""
    here = watched()
    here.snapshot()

    result = here.reconcile(MONDAY + HOUR)

    assert result.rolling is None
    assert "reading-too-old" in [finding.code for finding in result.findings]
