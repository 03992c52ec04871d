"""Thousands of random orgs of the sandbox: no interval leaves out the truth."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_apiusage.usage.evidence_curve import Assumptions, curve_of
from airflow_provider_apiusage.usage.model import WINDOW, Coverage, Interval
from airflow_provider_apiusage.usage.reconciliation import Reconciliation, reconcile
from airflow_provider_apiusage.usage.reconciliation_pieces import gather
from airflow_provider_apiusage.usage.release import learn_release
from airflow_provider_apiusage.usage.window import consumption, day_span, expired_by, utc_day
from tests.support.random_orgs import World, day_bounds, random_world

ORGS = 1_500
"""So many in each run of the tests; ``python -m benchmarks.random_orgs`` looks at 10,000."""
BATCHES = 10
IMPOSSIBLE = {"evidence-conflict", "past-days-disagree", "calls-not-in-event-logs", "orgs-mixed-up"}
"""Findings that say that no history fits: false of an org that did what is assumed of orgs."""
IMPLAUSIBLE = {"today-above-rolling", "tail-above-yesterday"}
"""Findings that a burst in the last five minutes can cause as well, as their words say."""


def check_window(world: World, result: Reconciliation) -> None:
    """The window, its tail, the residual and the sources' agreement."""
    at = world.at
    codes = {finding.code for finding in result.findings}
    assert not codes & IMPOSSIBLE, result.findings
    assert result.consistent is not False or codes & IMPLAUSIBLE
    assert world.calls(at - WINDOW, at) in result.window
    midnight, _ = day_bounds(utc_day(at))
    soap = result.coverage is Coverage.SOAP
    assert world.calls(at - WINDOW, midnight, soap=soap) in Interval(result.window_tail.low, result.window_tail.high)
    if result.unlogged is not None:
        assert 0 in result.unlogged


def check_days(world: World, result: Reconciliation) -> None:
    """Every day by each source alone and by all together, and what the report leaves out."""
    for line in result.days:
        start, end = day_bounds(line.day)
        made = world.calls(start, min(end, world.at))
        assert line.agree
        assert made in line.calls
        assert made in line.by_readings
        assert made in line.by_logs
        if line.estimate is not None:
            assert line.estimate in line.calls
        if line.unreported is not None and line.report is not None:
            assert made - line.report in line.unreported


def check_expiry(world: World) -> None:
    """What has left the window by each of the next 24 hours, and what was spent since each of the last readings."""
    known = gather(world.evidence).by_kind
    curve = curve_of(known, Assumptions(learn_release(known.readings).lag))
    assert curve.conflict() is None
    for hours in range(0, 25, 3):
        then = world.at + timedelta(hours=hours)
        truth = world.calls(world.at - WINDOW, then - WINDOW)
        assert truth in expired_by(curve, world.at, then)
    for reading in world.evidence.readings[-5:]:
        spent = world.calls(reading.observed_at, world.at)
        assert spent in consumption(curve, reading.observed_at, world.at)
    for back in range(7):
        start, end = day_span(utc_day(world.at) - timedelta(days=back))
        assert world.calls(*day_bounds(utc_day(world.at) - timedelta(days=back))) in curve.bounds(start, end)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_interval_holds_the_truth(batch: int) -> None:
    """Orgs exact or bucketed, stale, with gaps and missing sources: not one violation."""
    for seed in range(batch, ORGS, BATCHES):
        check(seed)


def check(seed: int) -> None:
    """Hold every interval of one random org against its ledger."""
    world = random_world(seed)
    result = reconcile(world.evidence)
    try:
        check_window(world, result)
        check_days(world, result)
        check_expiry(world)
    except AssertionError as violated:
        raise AssertionError(f"org of seed {seed}") from violated
