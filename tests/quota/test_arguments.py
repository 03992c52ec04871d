"""What DAG authors may write for calls, reserve and durations."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.quota.arguments import duration_from, needs_from, on_unknown_from, reserve_from
from airflow_provider_apiusage.quota.model import Holder, OnUnknown, QuotaRequest, Reserve
from airflow_provider_apiusage.quota.wire import request_from_json, request_to_json

NEEDS = {"DailyApiRequests": 1_000, "DailyBulkApiBatches": 5}


@pytest.mark.parametrize(
    ("written", "needs"),
    [
        (30000, {"DailyApiRequests": 30000}),
        ("30000", {"DailyApiRequests": 30000}),
        (" 30,000 ", {"DailyApiRequests": 30000}),
        ("3e4", {"DailyApiRequests": 30000}),
        ("1,230,000", {"DailyApiRequests": 1_230_000}),
        ("1_230_000", {"DailyApiRequests": 1_230_000}),
        ("30 000", {"DailyApiRequests": 30000}),
        (30000.0, {"DailyApiRequests": 30000}),
        (
            {"DailyApiRequests": 500, "DailyBulkApiBatches": "12"},
            {"DailyApiRequests": 500, "DailyBulkApiBatches": 12},
        ),
        ('{"DailyBulkV2QueryJobs": 3}', {"DailyBulkV2QueryJobs": 3}),
        (str(NEEDS), NEEDS),
        (" {'DailyApiRequests': '30,000'} ", {"DailyApiRequests": 30000}),
    ],
)
def test_calls_may_be_a_number_a_rendered_template_or_a_mapping(written: Any, needs: dict[str, int]) -> None:
    """A template renders to text; it means the same as what it was rendered from."""
    assert needs_from(written) == needs


@pytest.mark.parametrize("written", [
    0, -5, "0", "-1", 1.5, "many", "", None, True, [1], {}, {"DailyApiRequests": 0},
    "{'DailyApiRequests': 0}", "{'DailyApiRequests': 30.000}", "{'DailyApiRequests': many}", "{'DailyApiRequests'}",
    "{'DailyApiRequests': 1" , "{[]: 1}", "{}", "{" * 10_000,
])  # fmt: skip
def test_calls_that_make_no_sense_are_refused_by_name(written: Any) -> None:
    """A need is a whole number of at least 1; the message names the field."""
    with pytest.raises(ValueError, match="calls"):
        needs_from(written)


@pytest.mark.parametrize(
    "written",
    [
        "30.000",
        "30.0",
        "30,5",
        "30,00",
        "1,2345",
        "3,00,000",
        "1,000_000",
        "1.000.000",
        "30,000.0",
        ",000",
        "30,",
        "0,5",
    ],
)
def test_a_number_in_another_notation_is_refused_wherever_it_stands(written: str) -> None:
    """Thirty thousand with a point, or thirty and a half with a comma, must not become another number in silence."""
    for calls in (written, {"DailyApiRequests": written}, json.dumps({"DailyApiRequests": written})):
        with pytest.raises(ValueError, match="calls") as refused:
            needs_from(calls)
        assert written in str(refused.value)
    with pytest.raises(ValueError, match="reserve"):
        reserve_from({"DailyApiRequests": written}, needs=NEEDS)
    with pytest.raises(ValueError, match="reserve"):
        reserve_from(written, needs=NEEDS)


def test_a_decimal_point_in_json_text_is_refused_too() -> None:
    """JSON reads 30.000 as thirty; whoever wrote it may have meant more."""
    with pytest.raises(ValueError, match=r"calls\['DailyApiRequests'\]='30.000'"):
        needs_from('{"DailyApiRequests": 30.000}')


@given(st.integers(1, 10**15), st.sampled_from([",", "_", " "]))
def test_groups_of_three_mean_what_they_look_like(number: int, separator: str) -> None:
    """Whatever the number: written in groups of three it is the same."""
    assert needs_from(f"{number:,}".replace(",", separator)) == {"DailyApiRequests": number}


@pytest.mark.parametrize(
    ("reserve", "told"),
    [
        ({"DailyApiRequest": 50_000}, r"reserve names 'DailyApiRequest'.*DailyApiRequests, DailyBulkApiBatches"),
        ('{"DailyBulkApiBatchez": 1}', "reserve names 'DailyBulkApiBatchez'"),
    ],
)
def test_a_reserve_of_a_limit_that_is_not_asked_for_is_refused_by_name(reserve: Any, told: str) -> None:
    """A misspelt name would keep nothing free, and nobody would notice."""
    with pytest.raises(ValueError, match=told):
        reserve_from(reserve, needs=NEEDS)


def test_a_plain_reserve_is_about_calls() -> None:
    """A number keeps calls of DailyApiRequests free; where none are asked for, it would keep nothing."""
    with pytest.raises(ValueError, match="reserve names 'DailyApiRequests'"):
        reserve_from(5_000, needs={"DailyBulkApiBatches": 1})
    assert reserve_from("10%", needs={"DailyBulkApiBatches": 1}) == Reserve(share=0.1)
    assert reserve_from(0, needs={"DailyBulkApiBatches": 1}) == Reserve({"DailyApiRequests": 0})


@pytest.mark.parametrize(
    ("written", "reserve"),
    [
        (None, Reserve()),
        ("", Reserve()),
        (5000, Reserve({"DailyApiRequests": 5000})),
        ("5,000", Reserve({"DailyApiRequests": 5000})),
        (0.1, Reserve(share=0.1)),
        ("0.1", Reserve(share=0.1)),
        ("10%", Reserve(share=0.1)),
        ({"DailyBulkApiBatches": 10}, Reserve({"DailyBulkApiBatches": 10})),
        (0, Reserve({"DailyApiRequests": 0})),
    ],
)
def test_reserve_may_be_calls_a_share_or_a_mapping(written: Any, reserve: Reserve) -> None:
    """Whole numbers are calls, fractions and percentages are shares."""
    assert reserve_from(written, needs=NEEDS) == reserve


@pytest.mark.parametrize("written", [-1, "-5", 1.0, 1.5, "100%", "-1%", "lots", "x%", {"DailyApiRequests": -1}, True])
def test_a_reserve_that_makes_no_sense_is_refused_by_name(written: Any) -> None:
    """A reserve of everything, of less than nothing, or of no number is an error that names the field."""
    with pytest.raises(ValueError, match="reserve"):
        reserve_from(written, needs=NEEDS)


@given(st.integers(0, 10**12), st.floats(0, 1, exclude_max=True))
def test_a_share_is_rounded_up_and_never_exceeds_the_limit(limit: int, share: float) -> None:
    """The reserve in calls is the smallest whole number not below the share."""
    kept = Reserve(share=share).of("DailyApiRequests", limit)

    assert 0 <= kept <= limit
    assert kept - 1 < limit * Decimal(str(share)) <= kept


@pytest.mark.parametrize(("share", "kept"), [(0.07, 7_000), (0.14, 14_000), (0.55, 55_000), (0.1, 10_000)])
def test_a_share_is_what_was_written(share: float, kept: int) -> None:
    """Seven per cent of 100,000 is 7,000, although no binary fraction is exactly 0.07."""
    assert Reserve(share=share).of("DailyApiRequests", 100_000) == kept


@pytest.mark.parametrize(
    ("written", "duration"), [(90, timedelta(seconds=90)), ("90", timedelta(seconds=90)), (timedelta(1), timedelta(1))]
)
def test_durations_are_seconds_or_timedeltas(written: Any, duration: timedelta) -> None:
    """A duration is what the rest of Airflow takes."""
    assert duration_from("lease", written) == duration


@pytest.mark.parametrize("written", [0, -1, timedelta(0), "soon", None, True])
def test_a_duration_that_makes_no_sense_is_refused_by_name(written: Any) -> None:
    """Zero or negative durations would let a reservation lapse before it begins."""
    with pytest.raises(ValueError, match="lease"):
        duration_from("lease", written)


@pytest.mark.parametrize("written", ["", "maybe", None, "WAIT"])
def test_on_unknown_is_one_of_three_words(written: Any) -> None:
    """A typing mistake must not open a gate."""
    with pytest.raises(ValueError, match="on_unknown"):
        on_unknown_from(written)


@given(
    st.dictionaries(st.text(min_size=1), st.integers(1, 10**9), min_size=1),
    st.integers(-1, 50),
    st.sampled_from(OnUnknown),
    st.datetimes(timezones=st.just(UTC)),
)
def test_a_request_survives_the_trip_to_the_triggerer(
    needs: dict[str, int], map_index: int, on_unknown: OnUnknown, requested_at: datetime
) -> None:
    """A trigger's arguments are stored as JSON; nothing of the request is lost or changed."""
    request = QuotaRequest(
        org_id="00D000000000001",
        holder=Holder("dag", "run", "task", map_index),
        needs=needs,
        requested_at=requested_at,
        reserve=Reserve({"DailyApiRequests": 5}, 0.25),
        on_unknown=on_unknown,
    )

    assert request_from_json(request_to_json(request)) == request
