"""The benchmark in small: forecasts of invented orgs against what came, beside naive ones."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.forecast import NAIVE, OURS, Score, pinball, scores


def losses(found: list[Score], what: str) -> dict[str, float]:
    """Mean loss by who made the forecast."""
    return {who: statistics.fmean(s.loss[who] for s in found if s.what == what) for who in (OURS, *NAIVE)}


@pytest.mark.parametrize(
    ("org", "seen"),
    [
        ("office hours", "readings"),
        ("office hours", "readings, 60 min buckets"),
        ("nightly loads", "readings and logs"),
        ("growing", "logs alone"),
    ],
)
def test_regular_orgs_are_forecast_better_than_naively(org: str, seen: str) -> None:
    """Of six days, what is used is told clearly better than by any naive forecast, and the range mostly holds."""
    found = list(scores(org, seen, 7, warm_up=16, days=6, every=23 * 60))

    loss = losses(found, "used")
    assert loss[OURS] < 0.8 * min(loss[who] for who in NAIVE)
    assert statistics.fmean(s.inside for s in found if s.what == "used") > 0.75
    assert statistics.fmean(s.inside for s in found if s.what == "new") > 0.65


def test_an_org_that_cannot_be_forecast_is_not_forecast_worse() -> None:
    """Bursts at any time are told about as well as by the best naive forecast, and the range mostly holds."""
    found = list(scores("bursty", "readings", 7, warm_up=16, days=6, every=23 * 60))

    loss = losses(found, "used")
    assert loss[OURS] < 1.15 * min(loss[who] for who in NAIVE)
    assert statistics.fmean(s.inside for s in found) > 0.75


def test_the_pinball_loss() -> None:
    """By hand: of 10 with 0, 10, 20 as quantiles only the outer two cost, 5 % of 10 each; missing one costs 95 %."""
    assert pinball(10, 0, 10, 20) == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert pinball(30, 0, 10, 20) == pytest.approx((1.5 + 10 + 9.5) / 3)
