"""Which calls are in which of the sandbox org's log files, held against what it counted, however awkward they are."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.sandbox import event_log
from airflow_provider_apiusage.sandbox.event_log_noise import Pick, count_of, picked, sequence_of
from tests.support.sandbox_logs import CALLERS, ELT, File, org_with, read, told, truth

SHARES = st.sampled_from((0.0, 0.05, 0.3, 0.6, 1.0))
EVERY = st.sampled_from((0, 0, 1, 2, 5))
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "event_log_hourly_first_share": SHARES,
        "event_log_sequences": st.integers(1, 5),
        "event_log_repeat_share": SHARES,
        "event_log_repeat_within": SHARES,
        "event_log_stray_share": SHARES,
        "event_log_stray_daily": st.booleans(),
        "event_log_daily_first_share": SHARES,
        "event_log_daily_same_id": st.booleans(),
        "event_log_empty_files": st.booleans(),
        "event_log_counted_style": st.sampled_from(("1/0", "true/false", "TRUE/FALSE", "blank", "mixed")),
        "event_log_style": st.sampled_from(("quoted", "spaced", "unquoted", "reordered", "extra", "missing")),
        "event_log_ids": st.sampled_from(("15", "18", "mixed")),
        "event_log_malformed_every": EVERY,
        "event_log_nul_every": EVERY,
    },
)
TRAFFIC = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 3_599), st.integers(1, 12), st.sampled_from(CALLERS)), max_size=12
)


@settings(max_examples=200, deadline=None)
@given(traffic=TRAFFIC, changes=SETTINGS)
def test_distinct_rows_are_the_calls_of_the_org(traffic: Any, changes: dict[str, Any]) -> None:
    """Of all hourly files, of all daily files, and of both, whatever noise is set; the listing tells the true length
    and columns."""
    org = org_with(traffic, **changes)
    files = read(org)
    hourly = [file for file in files if file.listed["Interval"] == "Hourly"]
    daily = [file for file in files if file.listed["Interval"] == "Daily"]

    assert told(daily) == told(files) == truth(org)
    if org.settings.event_log_sequences > 1 or org.settings.event_log_hourly_first_share == 1:
        assert told(hourly) == truth(org)
    assert told(hourly) <= truth(org)
    for file in files:
        assert file.listed["LogFileLength"] == len(file.content)
        assert tuple(file.listed["LogFileFieldNames"].split(",")) == file.header
        assert len(file.rows) > 1 or org.settings.event_log_empty_files


@given(share=st.floats(0, 1), sequences=st.integers(1, 9), number=st.integers(0, 5_000), calls=st.integers(0, 300))
def test_counts_of_rows_are_those_of_the_rows(share: float, sequences: int, number: int, calls: int) -> None:
    """Each row is first in one file, and a file's rows can be counted without making them."""
    first_in = Counter(sequence_of(each, share, sequences) for each in range(number, number + calls))

    assert set(first_in) <= set(range(sequences + 1))
    assert sequences == 1 or 0 not in first_in
    for sequence in range(1, sequences + 1):
        assert count_of(sequence, number, calls, share, sequences) == first_in[sequence]


@given(share=st.integers(0, 1_000), period=st.integers(0, 10**6), purpose=st.sampled_from(Pick))
def test_a_share_is_kept_exactly(share: int, period: int, purpose: Pick) -> None:
    """Of a thousand rows in a row, as many thousandths are picked."""
    assert sum(picked(number, period, share / 1_000, purpose) for number in range(77, 1_077)) == share


def hour_of(file: File) -> str:
    return str(file.listed["LogDate"])[:13]


def test_late_rows_come_in_several_sequences() -> None:
    """Each so much later than the one before, holding only rows that no other has."""
    files = read(org_with([(0, 60, 100, ELT)], event_log_hourly_first_share=0.6, event_log_sequences=4), "Hourly")
    ids = [{row["REQUEST_ID"] for row in file.good} for file in files]

    assert [file.listed["Sequence"] for file in files] == [1, 2, 3, 4]
    assert [len(each) for each in ids] == [60, 14, 13, 13]
    assert len(set.union(*ids)) == 100
    assert [file.listed["CreatedDate"][:16] for file in files] == [f"2026-10-07T0{hour}:00" for hour in range(4)]


def test_with_one_sequence_the_late_rows_are_in_the_daily_file_only() -> None:
    """Hourly files may miss calls for good; the day's file has them."""
    org = org_with([(0, 60, 100, ELT)], event_log_hourly_first_share=0.6, event_log_sequences=1)

    assert [len(file.good) for file in read(org)] == [60, 100]


def test_a_later_sequence_repeats_rows_of_earlier_ones() -> None:
    """The share that is set, to the letter, of all that came before; what is new is not repeated in its own file."""
    changes: dict[str, Any] = {"event_log_hourly_first_share": 0.8, "event_log_sequences": 3}
    plain = [set(file.rows[1:]) for file in read(org_with([(0, 60, 1_000, ELT)], **changes), "Hourly")]
    files = read(org_with([(0, 60, 1_000, ELT)], **changes, event_log_repeat_share=0.25), "Hourly")
    repeated = [set(file.rows[1:]) - new for file, new in zip(files, plain, strict=True)]

    assert [len(new) for new in plain] == [800, 100, 100]
    assert [len(rows) for rows in repeated] == [0, pytest.approx(200, abs=20), pytest.approx(225, abs=20)]
    assert repeated[1] <= plain[0]
    assert repeated[2] <= plain[0] | plain[1]
    assert all(len(file.rows) == len(set(file.rows)) for file in files)


def test_rows_are_twice_in_a_file() -> None:
    """The share that is set, in hourly and daily files, never thrice and not only next to each other."""
    for file in read(org_with([(0, 60, 1_000, ELT)], event_log_repeat_within=0.1, event_log_hourly_first_share=1.0)):
        often = Counter(file.rows[1:])
        assert Counter(often.values()) == {1: 900, 2: 100}
        assert any(one != two for one, two in zip(file.rows, file.rows[1:], strict=False) if often[one] == 2)


def test_rows_stray_into_the_next_hour() -> None:
    """They are in its files alone, which exist also without calls of their own; the daily file keeps to its day."""
    traffic = [(2, 60, 1_000, ELT)]
    files = read(org_with(traffic, event_log_stray_share=0.1, event_log_hourly_first_share=1.0))

    assert [(hour_of(file), len(file.good)) for file in files] == [
        ("2026-10-06T23", 900), ("2026-10-07T00", 100), ("2026-10-06T00", 1_000),
    ]  # fmt: skip
    assert {row["TIMESTAMP"][:10] for file in files for row in file.good} == {"2026100623"}

    both = read(org_with(traffic, event_log_stray_share=0.1, event_log_stray_daily=True), "Daily")
    assert [len(file.good) for file in both] == [1_000, 100]
    assert set(both[1].rows[1:]) < set(both[0].rows[1:])


def test_a_call_is_the_same_text_in_its_hourly_and_its_daily_file() -> None:
    """So that a client may hold whole rows against each other."""
    traffic = [(hour, 60 + hour, 20, caller) for hour in range(2) for caller in CALLERS[:4]]
    files = read(org_with(traffic, event_log_counted_style="mixed", event_log_ids="mixed", event_log_nul_every=3))
    hourly = [row for file in files if file.listed["Interval"] == "Hourly" for row in file.rows[1:]]
    daily = [row for file in files if file.listed["Interval"] == "Daily" for row in file.rows[1:]]

    assert sorted(hourly) == sorted(daily)
    assert len(set(daily)) == 160


def test_hours_and_days_without_calls_can_have_empty_files() -> None:
    """From the first call on, up to now, with the header only; without the setting there are none."""
    traffic = [(0, 60, 3, ELT), (3, 60, 3, ELT)]
    files = read(org_with(traffic, event_log_empty_files=True))
    empty = [file for file in files if len(file.rows) == 1]
    hourly = [hour_of(file) for file in files if file.listed["Interval"] == "Hourly"]
    daily = [hour_of(file) for file in files if file.listed["Interval"] == "Daily"]

    assert hourly[:5] == ["2026-10-06T21", "2026-10-06T22", "2026-10-06T23", "2026-10-07T00", "2026-10-07T01"]
    assert hourly[-1] == "2026-10-09T03"
    assert daily == [f"2026-10-{day:02d}T00" for day in (6, 7, 8)]
    assert len(empty) == len(files) - 4
    assert {file.content for file in empty} == {files[0].content.splitlines(keepends=True)[0]}
    assert len(read(org_with(traffic))) == 4


def test_a_fuller_daily_file_may_keep_the_id() -> None:
    """If so set, the id stays and only the date of creation tells the two; else the id is another."""
    for same in (False, True):
        org = org_with(
            [(0, 60, 100, ELT)], event_log_daily_first_share=0.7, event_log_daily_same_id=same, event_log_hourly=False
        )
        first, second = (
            event_log.files(org, datetime(2026, 10, day, hour, tzinfo=UTC)) for day, hour in ((7, 12), (8, 12))
        )
        assert (first[0].id == second[0].id) is same
        assert [f"{file.created_at:%d %H:%M}" for file in (*first, *second)] == ["07 06:13", "08 06:13"]


@pytest.mark.parametrize(
    "changes",
    [
        {"event_log_sequences": 0},
        {"event_log_sequences": 10},
        {"event_log_stray_share": 1.1},
        {"event_log_repeat_share": -0.1},
        {"event_log_repeat_within": 2},
        {"event_log_hourly_first_share": 1.5},
        {"event_log_malformed_every": -1},
        {"event_log_nul_every": -1},
        {"event_log_vanish": -1},
        {"event_log_style": "yaml"},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    """Shares lie between 0 and 1, counts are not negative, and names are known."""
    with pytest.raises(ValueError, match="event_log"):
        org_with(**changes)
