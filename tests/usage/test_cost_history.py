"""Estimates corrected by what earlier runs of the same task spent."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.quota.arguments import needs_from
from airflow_provider_apiusage.usage.cost import BULK_BATCHES, Cost, estimate_cost
from airflow_provider_apiusage.usage.cost_history import PastRun, estimate_from_history
from airflow_provider_apiusage.usage.model import API_REQUESTS

ESTIMATE = Cost({API_REQUESTS: 1_000})
spendings = st.integers(0, 4_000)


def runs(*spent: int, estimated: int = 1_000, finished: bool = True) -> list[PastRun]:
    return [PastRun({API_REQUESTS: estimated}, {API_REQUESTS: calls}, finished) for calls in spent]


def need(past: list[PastRun], **options: Any) -> int:
    return estimate_from_history(past, ESTIMATE, **options).needs[API_REQUESTS]


@given(st.lists(spendings, min_size=10, max_size=40), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_promise_holds_whichever_run_is_the_next(spent: list[int], quantile: float) -> None:
    """Each run is left out in turn: at least the promised share of them stays within what the others give it."""
    within = sum(
        spent[i] <= need(runs(*spent[:i], *spent[i + 1 :]), quantile=quantile, least=0.001) for i in range(len(spent))
    )

    assert within >= ceil(quantile * len(spent))


@given(st.lists(spendings, max_size=8))
def test_little_history_is_never_below_what_it_shows(spent: list[int]) -> None:
    """Fewer than nine runs: at least the estimate and the largest run, with a margin, as far as the bounds allow."""
    corrected = estimate_from_history(runs(*spent), ESTIMATE).corrections[API_REQUESTS]

    assert not corrected.enough
    assert min(4_000, max([1_000, *spent]) * 1.05) <= corrected.need <= 4_000


@given(st.integers(0, 8), st.integers(0, 2_000))
def test_the_margin_shrinks_with_each_run(count: int, spent: int) -> None:
    """Runs alike: one more never widens the answer, and none is left with nine."""
    fewer, more = need(runs(*[spent] * count)), need(runs(*[spent] * (count + 1)))

    assert more <= fewer or count == 0
    assert need(runs(*[spent] * 9)) == max(250, spent)


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        ([], 1_500),
        (runs(1_000), 1_445),
        (runs(100), 1_445),
        (runs(2_000), 2_889),
        (runs(*[3_000] * 9), 3_000),
        (runs(*[333] * 9), 333),
        (runs(*[100] * 9), 250),
        (runs(*[9_000] * 9), 4_000),
        (runs(*[800] * 18, 9_000), 800),
        (runs(*[800] * 17, 9_000), 4_000),
        (runs(*[800] * 18, 0), 800),
        (runs(*[80] * 9, estimated=100), 800),
    ],
)
def test_a_worked_table(past: list[PastRun], expected: int) -> None:
    """No history, little, wrong by three either way, beyond the bounds, and one wild run among many."""
    assert need(past) == expected


@given(st.lists(spendings, max_size=30), st.integers(1, 10**9))
def test_needs_stay_within_the_bounds_and_fit_a_gate(spent: list[int], estimate: int) -> None:
    """From a quarter to four times the estimate, and at least 1."""
    corrected = estimate_from_history(runs(*spent), {API_REQUESTS: estimate})

    assert max(1, estimate / 4) <= corrected.needs[API_REQUESTS] <= estimate * 4
    assert needs_from(str(corrected.needs)) == corrected.needs


@given(st.permutations([400] * 5 + [1_200] * 10), st.integers(0, 14))
def test_a_run_that_spent_more_never_lowers_the_need(spent: list[int], which: int) -> None:
    """Whatever run it is."""
    more = [calls + 500 * (i == which) for i, calls in enumerate(spent)]

    assert need(runs(*more)) >= need(runs(*spent))


def test_a_run_that_broke_off_does_not_make_the_next_one_cheap() -> None:
    """It would have spent more: at least its estimate counts, or what it spent if that is more."""
    assert need(runs(*[300] * 9)) == 300
    assert need(runs(*[300] * 9, finished=False)) == 1_000
    assert need(runs(*[2_000] * 9, finished=False)) == 2_000


def test_only_the_latest_runs_count() -> None:
    """The load before the change of last month is another load."""
    assert need(runs(*[4_000] * 30, *[500] * 50)) == 500
    assert need(runs(*[4_000] * 30, *[500] * 9), latest=9) == 500
    assert need(runs(*[500] * 30, *[4_000] * 9), latest=9) == 4_000


def test_each_limit_by_itself() -> None:
    """Calls that were metered are corrected; of batches no run tells, so they have the margin. Unknown is not 0."""
    estimate = estimate_cost(records=100_000, api="bulk2", polls=10)
    past = [
        PastRun({API_REQUESTS: 10, BULK_BATCHES: 10}, {API_REQUESTS: 20}),
        PastRun({"Other": 5}, {API_REQUESTS: 20, "Other": 5}),
        PastRun({API_REQUESTS: 0}, {API_REQUESTS: 20}),
    ]
    corrected = estimate_from_history(past * 9, estimate)

    assert corrected.needs == {API_REQUESTS: 32, BULK_BATCHES: 15}
    assert corrected.corrections[API_REQUESTS].runs == 9
    assert corrected.corrections[API_REQUESTS].enough
    assert corrected.corrections[BULK_BATCHES].runs == 0


def test_it_says_what_it_knows() -> None:
    """How many runs, whether they are enough, and when the estimate itself needs mending."""
    said = [
        estimate_from_history(past, ESTIMATE).reason for past in ([], runs(700), runs(700, 800), runs(*[9_000] * 9))
    ]

    few = "which is too few to rely on, so a margin is added"
    assert said == [
        "DailyApiRequests: 1,500 instead of 1,000 (times 1.50), no earlier run tells of it, so this is the estimate "
        "with a margin.",
        f"DailyApiRequests: 1,445 instead of 1,000 (times 1.44), by 1 earlier run, {few}.",
        f"DailyApiRequests: 1,389 instead of 1,000 (times 1.39), by 2 earlier runs, {few}.",
        "DailyApiRequests: 4,000 instead of 1,000 (times 4.00), by 9 earlier runs; they ask for a factor beyond the "
        "bounds: mend the estimate.",
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"quantile": 0},
        {"quantile": 1},
        {"quantile": float("nan")},
        {"doubt": 0.9},
        {"least": 0},
        {"least": 1.1},
        {"most": 0.9},
        {"latest": 0},
    ],
)
def test_what_makes_no_sense_is_refused_by_name(options: dict[str, Any]) -> None:
    """The message names the argument."""
    with pytest.raises(ValueError, match=next(iter(options))):
        need(runs(1), **options)


def test_an_estimate_of_nothing_is_refused() -> None:
    """A need is at least 1."""
    with pytest.raises(ValueError, match="leave out what the load does not need"):
        estimate_from_history([], {API_REQUESTS: 0})
