"""Estimates of cost against loads that are cut into calls one by one."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.quota.arguments import needs_from
from airflow_provider_apiusage.usage.cost import (
    BULK_BATCHES,
    BULK_QUERY_JOBS,
    BULK_QUERY_MEGABYTES,
    READING,
    WRITING,
    Cost,
    cheapest,
    estimate_cost,
)
from airflow_provider_apiusage.usage.model import API_REQUESTS

APIS = (*WRITING, *READING)
LARGEST = {"rest": 1, "collections": 200, "composite": 1_000, "composite_batch": 200, "bulk1": 10_000, "query": 2_000}
near_borders = st.builds(
    lambda size, times, off: max(1, size * times + off),
    st.sampled_from([1, 25, 200, 1_000, 2_000, 10_000]),
    st.integers(0, 4),
    st.integers(-2, 2),
)
options = st.fixed_dictionaries(
    {
        "bytes_per_record": st.sampled_from([1, 499, 500, 5_000, 33_333, 400_000]),
        "polls": st.integers(0, 5),
        "result_files": st.integers(0, 3),
        "extra_calls": st.integers(0, 2),
    }
)


def chunks(rows: int, most_rows: int, most_bytes: int, row_bytes: int) -> list[int]:
    """Fill one chunk after another with rows as a client does, until one more does not fit; return their lengths."""
    filled: list[int] = []
    room_rows = room_bytes = 0
    for _ in range(rows):
        if room_rows == 0 or room_bytes < row_bytes:
            filled.append(0)
            room_rows, room_bytes = most_rows, most_bytes
        filled[-1] += 1
        room_rows, room_bytes = room_rows - 1, room_bytes - row_bytes
    return filled


def simulated(rows: int, api: str, size: int | None, load: dict[str, int]) -> dict[str, int]:
    """Make every call of a load, and count."""
    log: list[str] = []
    polls, files, extra = (load[name] for name in ("polls", "result_files", "extra_calls"))
    unlimited, row_bytes = 10**15, load["bytes_per_record"]
    if api == "bulk1":
        log += [API_REQUESTS] * (2 + extra)
        for _ in chunks(rows, size or 10_000, 10_000_000, row_bytes):
            log += [API_REQUESTS, BULK_BATCHES, *[API_REQUESTS] * (polls + files)]
    elif api == "bulk2":
        for job in chunks(rows, size or unlimited, 100_000_000, row_bytes):
            log += [API_REQUESTS] * (3 + polls + files + extra)
            log += [BULK_BATCHES for _ in range(0, job, 10_000)]
    elif api == "bulk2_query":
        log += [API_REQUESTS, BULK_QUERY_JOBS, *[API_REQUESTS] * (polls + extra)]
        log += [API_REQUESTS for _ in chunks(rows, size or 50_000, unlimited, row_bytes)]
        log += [BULK_QUERY_MEGABYTES for _ in range(0, rows * row_bytes, 1_000_000)]
    elif api == "composite_batch":
        parts = iter(chunks(rows, size or 1, unlimited, row_bytes))
        while request := list(islice(parts, 25)):
            log += [API_REQUESTS for _ in request]
    elif api == "composite" and size is None:
        parts = iter(chunks(rows, 200, unlimited, row_bytes))
        while list(islice(parts, 5)):
            log.append(API_REQUESTS)
    else:
        log += [API_REQUESTS for _ in chunks(rows, size or LARGEST[api], unlimited, row_bytes)]
    return {name: log.count(name) for name in dict.fromkeys(log)}


@settings(max_examples=300)
@given(st.sampled_from(APIS), options, st.integers(0, 3), st.integers(-2, 2), st.data())
def test_the_formulas_count_what_a_load_does_step_by_step(
    api: str, load: dict[str, int], times: int, off: int, data: st.DataObject
) -> None:
    """Cut row by row into calls, batches, jobs and pages, a load takes what was estimated, of every limit."""
    size = data.draw(st.none() | st.integers(1, LARGEST.get(api, 15_000)), label="batch_size")
    rows = max(1, (size or LARGEST.get(api, 10_000)) * times + off)

    assert estimate_cost(records=rows, api=api, batch_size=size, **load) == simulated(rows, api, size, load)


@given(near_borders, st.integers(0, 3_000), st.sampled_from(APIS), options, st.floats(0, 1))
def test_more_rows_never_cost_less(rows: int, more: int, api: str, load: dict[str, int], share: float) -> None:
    """Of no limit."""
    fewer = estimate_cost(records=rows, api=api, retry_share=share, **load)
    larger = estimate_cost(records=rows + more, api=api, retry_share=share, **load)

    assert all(larger[name] >= need for name, need in fewer.items())


@given(near_borders, st.sampled_from(APIS), options, st.floats(0, 1), st.floats(0, 1))
def test_more_retries_never_cost_less(rows: int, api: str, load: dict[str, int], one: float, other: float) -> None:
    """And a load of which all is sent again costs twice as much."""
    plain = estimate_cost(records=rows, api=api, **load)
    few, many = (estimate_cost(records=rows, api=api, retry_share=share, **load) for share in sorted([one, other]))

    assert all(plain[name] <= few[name] <= many[name] for name in plain)
    assert estimate_cost(records=rows, api=api, retry_share=1, **load) == plain + plain


@pytest.mark.parametrize(
    ("rows", "share", "calls"),
    [(201, 0.001, 202), (100, 0.07, 107), (100, "0.07", 107), (100, 0.071, 108), (100, 0, 100)],
)
def test_a_share_is_taken_as_written(rows: int, share: float | str, calls: int) -> None:
    """Rows begun count as rows, and 7 % of 100 are 7, though the nearest float to 0.07 is a little more."""
    assert estimate_cost(records=rows, api="rest", retry_share=share) == {API_REQUESTS: calls}


@given(near_borders, st.sampled_from(APIS), st.floats(0, 1))
def test_an_estimate_is_what_a_gate_takes(rows: int, api: str, share: float) -> None:
    """As a mapping, as the text that a template makes of it, and pickled: needs of at least 1 call."""
    cost = estimate_cost(records=rows, api=api, retry_share=share)

    assert needs_from(cost) == needs_from(str(cost)) == needs_from(f"{cost}") == pickle.loads(pickle.dumps(cost))
    assert cost[API_REQUESTS] >= 1
    assert json.loads(json.dumps(cost)) == cost


@pytest.mark.parametrize("api", WRITING)
def test_nothing_to_write_asks_for_one_call(api: str) -> None:
    """A gate takes no need of 0, and a night without new rows must not fail there."""
    assert estimate_cost(records=0, api=api, retry_share=0.5) == {API_REQUESTS: 1}


def test_a_query_of_nothing_is_still_a_query() -> None:
    """One page; in Bulk the job, its reads and one page."""
    assert estimate_cost(records=0, api="query") == {API_REQUESTS: 1}
    assert estimate_cost(records=0, api="bulk2_query", polls=2) == {
        API_REQUESTS: 4,
        BULK_QUERY_JOBS: 1,
        BULK_QUERY_MEGABYTES: 1,
    }


@pytest.mark.parametrize(
    ("rows", "calls", "batches"),
    [
        (1_000, (1_000, 5, 1, 1_000, 16, 18), 1),
        (50_000, (50_000, 250, 50, 50_000, 72, 18), 5),
        (1_000_000, (1_000_000, 5_000, 1_000, 1_000_000, 1_402, 90), 100),
    ],
)
def test_a_worked_table(rows: int, calls: tuple[int, ...], batches: int) -> None:
    """500 bytes a row, a job read 12 times, two files of results of a Bulk 2.0 job."""
    files = {"bulk2": 2}
    costs = [estimate_cost(records=rows, api=api, polls=12, result_files=files.get(api)) for api in WRITING]

    assert tuple(cost[API_REQUESTS] for cost in costs) == calls
    assert [cost.get(BULK_BATCHES) for cost in costs] == [None] * 4 + [batches] * 2


def test_the_figures_of_the_documentation() -> None:
    """docs/cost.md: the worked example, and the table of what nothing but the number of rows gives."""
    example = estimate_cost(records=250_000, api="bulk2", bytes_per_record=800, job_minutes=10)
    table = {
        rows: [cost[API_REQUESTS] for cost in (estimate_cost(records=rows, api=api) for api in WRITING)]
        for rows in (1_000, 50_000, 1_000_000)
    }

    assert example == {API_REQUESTS: 254, BULK_BATCHES: 26}
    assert table == {
        1_000: [1_000, 5, 1, 1_000, 17, 19],
        50_000: [50_000, 250, 50, 50_000, 77, 19],
        1_000_000: [1_000_000, 5_000, 1_000, 1_000_000, 1_502, 95],
    }


@pytest.mark.parametrize(
    ("given_", "polls"),
    [
        ({}, 13),
        ({"job_minutes": 1}, 13),
        ({"poll_seconds": 60}, 2),
        ({"job_minutes": 30, "poll_seconds": 10}, 181),
        ({"job_minutes": "0.5", "poll_seconds": "7"}, 6),
        ({"job_minutes": 0}, 1),
        ({"polls": 0}, 0),
        ({"polls": "1,234"}, 1_234),
    ],
)
def test_polling_may_be_told_as_time(given_: dict[str, Any], polls: int) -> None:
    """A job that takes so many minutes is read at once, and every few seconds until the first read after its end."""
    cost = estimate_cost(records=1, api="bulk1", result_files=0, **given_)

    assert cost[API_REQUESTS] == 3 + polls


@given(st.integers(0, 4_000), st.integers(1, 300))
def test_a_client_never_reads_more_often_than_that(seconds: int, pause: int) -> None:
    """Whether it begins at once or after its first pause."""
    cost = estimate_cost(records=1, api="bulk1", job_minutes=seconds / 60, poll_seconds=pause, result_files=0)
    polls = cost[API_REQUESTS] - 3
    at_once = next(count for count in range(1, 5_000) if (count - 1) * pause >= seconds)
    later = next(count for count in range(1, 5_000) if count * pause >= seconds)

    assert later <= at_once <= polls <= at_once + 1


def test_what_two_loads_spend_together() -> None:
    """Reading ids and then writing: their needs, limit by limit."""
    both = estimate_cost(records=4_001, api="query") + estimate_cost(records=10_001, api="bulk2", polls=1)

    assert both == {API_REQUESTS: 3 + 7, BULK_BATCHES: 2}
    assert isinstance(both, Cost)
    assert str(both) == '{"DailyApiRequests": 10, "DailyBulkApiBatches": 2}'


@given(near_borders, st.booleans(), options)
def test_the_cheapest_comes_first(rows: int, reading: bool, load: dict[str, int]) -> None:
    """All ways to write, or to read, in order of their API calls."""
    costs = cheapest(records=rows, reading=reading, **load)
    calls = [cost[API_REQUESTS] for cost in costs.values()]

    assert calls == sorted(calls)
    assert costs == {api: estimate_cost(records=rows, api=api, **load) for api in (READING if reading else WRITING)}


def test_advice_for_few_and_many_rows() -> None:
    """One row is a plain call; a few are a Collection; very many are a Bulk 2.0 job."""
    assert [next(iter(cheapest(records=rows))) for rows in (1, 200, 900, 100_000)] == [
        "rest",
        "collections",
        "composite",
        "bulk2",
    ]
    with pytest.raises(ValueError, match="batch_size means something else"):
        cheapest(records=1, batch_size=5)


@pytest.mark.parametrize("records", [30_000, "30000", " 30,000 ", 3e4, Decimal("30000.00")])
def test_rows_may_be_any_whole_number(records: Any) -> None:
    """As a template, a variable or a database gives it."""
    assert estimate_cost(records=records, api="rest") == {API_REQUESTS: 30_000}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"records": -1}, "records=-1 must be at least 0"),
        ({"records": None}, "records=None is no whole number; write it like records=30000"),
        ({"records": "30.000"}, "records='30.000' is no whole number"),
        ({"records": "30,00"}, "records='30,00' is no whole number"),
        ({"records": 1.5}, "records=1.5 is no whole number"),
        ({"records": True}, "records=True is no whole number"),
        ({"records": float("nan")}, "records=nan is no whole number"),
        ({"api": "bulk"}, "api='bulk' is unknown; write one of rest, collections, .*bulk2_query"),
        ({"bytes_per_record": 0}, "bytes_per_record=0 must be at least 1"),
        ({"bytes_per_record": 100_000_001}, "bytes_per_record=100000001 is more than the 100,000,000 bytes"),
        ({"api": "collections", "batch_size": 201}, "batch_size=201 is more than collections takes.*write 200 or less"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"polls": -1}, "polls=-1 must be at least 0"),
        ({"polls": 1, "job_minutes": 1}, "leave out job_minutes and poll_seconds, or polls"),
        ({"polls": 1, "poll_seconds": 1}, "leave out job_minutes and poll_seconds, or polls"),
        ({"job_minutes": -1}, "job_minutes=-1 must be 0 or more"),
        ({"job_minutes": "soon"}, "job_minutes='soon' is no number"),
        ({"poll_seconds": 0}, "poll_seconds=0 must be more than 0"),
        ({"result_files": 4}, "result_files=4 counts the results of one batch or job"),
        ({"extra_calls": -1}, "extra_calls=-1 must be at least 0"),
        ({"retry_share": 5}, "retry_share=5 must be a share from 0 to 1; write 0.05 for 5 %"),
        ({"retry_share": -0.1}, "retry_share=-0.1 must be a share"),
        ({"retry_share": "1/0"}, "retry_share='1/0' is no number"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    """The message says which argument, and what to write."""
    with pytest.raises(ValueError, match=message):
        estimate_cost(**{"records": 1, "api": "bulk2", **arguments})
