"""The virtual clock, and figures that follow it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from airflow_provider_apiusage.sandbox import SandboxOrg
from airflow_provider_apiusage.sandbox.clock import VirtualClock

START = datetime(2026, 10, 7, 14, 30, tzinfo=UTC)


class Stopwatch:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_stepped_clock_stands_still_until_advanced() -> None:
    """Real time does not move a clock of speed 0."""
    watch = Stopwatch()
    clock = VirtualClock(START, 0, watch)
    watch.seconds = 1_000

    assert clock.now() == START
    assert clock.advance(timedelta(hours=1)) == START + timedelta(hours=1) == clock.now()


def test_a_fast_clock_multiplies_real_time_and_can_change_pace() -> None:
    """Ten real seconds at 60 times are ten minutes; a new speed applies from then on."""
    watch = Stopwatch()
    clock = VirtualClock(START, 60, watch)
    watch.seconds = 10
    assert clock.now() == START + timedelta(minutes=10)

    clock.set_speed(1)
    watch.seconds = 11

    assert clock.now() == START + timedelta(minutes=10, seconds=1)


def test_the_clock_only_goes_forward() -> None:
    """Going back, naive instants and negative speeds are refused; other zones are understood."""
    clock = VirtualClock(START)

    with pytest.raises(ValueError, match="forward"):
        clock.advance(timedelta(seconds=-1))
    with pytest.raises(ValueError, match="forward"):
        clock.set(START - timedelta(seconds=1))
    with pytest.raises(ValueError, match="time zone"):
        clock.set(datetime(2026, 10, 8))  # noqa: DTZ001
    with pytest.raises(ValueError, match="speed"):
        clock.set_speed(-1)
    assert clock.set(datetime(2026, 10, 7, 17, 0, tzinfo=timezone(timedelta(hours=2)))).hour == 15


def test_the_worked_example_is_as_the_article_has_it() -> None:
    """Wednesday 14:30: 25,000 rolling, 15,000 on Wednesday, 20,000 on Tuesday, of which 10,000 in the window."""
    org = SandboxOrg.seed_example()
    days = [org.ledger.day_total(START.date() - timedelta(days=age), "SOAP") for age in (0, 1, 2)]

    assert days == [15_000, 20_000, 0]
    assert org.used == org.reported == 25_000
    assert org.ledger.rolling(START.replace(hour=0, minute=0) - timedelta(seconds=1)) == 20_000
    assert sum(step.count for step in org.expiry(timedelta(hours=9, minutes=30))) == 10_000


def test_a_busy_org_is_the_same_for_the_same_seed() -> None:
    """Same seed and start, same calls; another seed, other calls."""
    first, again, other = (
        SandboxOrg.busy(seed=seed, start=START, speed=0.0, calls_per_day=5_000) for seed in (3, 3, 4)
    )

    assert first.used == again.used != other.used
    assert first.ledger.daily() == again.ledger.daily()
    assert 3_500 < first.used < 7_000


def test_others_are_refused_at_the_hard_limit_too() -> None:
    """Traffic of others never lifts usage above the hard limit, and what was refused is told."""
    org = SandboxOrg(start=START, limit=90, hard_limit=100, calls_per_day=400)

    assert org.used == 100
    assert org.refused_of_others > 0


def test_stale_figures_are_refreshed_only_so_often() -> None:
    """The reported figure stands still for the given seconds of the org's time; the truth does not."""
    org = SandboxOrg(start=START, staleness_seconds=300)
    org.add_calls(10)

    assert (org.used, org.reported) == (10, 0)
    org.clock.advance(timedelta(seconds=299))
    assert (org.used, org.reported) == (10, 0)
    org.clock.advance(timedelta(seconds=1))
    assert (org.used, org.reported) == (10, 10)


@pytest.mark.parametrize(
    "changes", [{"limits": 1}, {"limit": "many"}, {"limit": True}, {"limit_header": "odd"}, {"report_columns": ("A",)}]
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, object]) -> None:
    """Unknown names, wrong types and unknown choices are errors, at start and later."""
    org = SandboxOrg(start=START)

    with pytest.raises(ValueError, match=next(iter(changes))):
        org.change(changes)
    with pytest.raises(ValueError, match=next(iter(changes))):
        SandboxOrg(start=START, **changes)
