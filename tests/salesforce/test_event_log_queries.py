"""What is asked of the queryable object and how its records are understood, without any org."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.salesforce.event_log_queries import caller_of, halves, known_since
from airflow_provider_apiusage.usage.hourly import HOUR, Caller


@pytest.mark.parametrize(
    ("value", "counted"),
    [(True, True), (False, False), (1, True), (0, False), ("true", True), ("FALSE", False), (" 1 ", True), ("0", False),
     (None, None), ("", None), ("yes", None), (2, None)],
)  # fmt: skip
def test_counted_is_understood_in_every_form(value: Any, counted: bool | None) -> None:
    """True and false, 1 and 0, in any case; all else is unknown."""
    assert caller_of({"IsApiLimitCounted": value}).counted is counted


def test_ids_are_shortened_and_blanks_are_unknown() -> None:
    """Of 18 characters the first 15 tell the id; resources lose their ids."""
    record = {
        "UserIdentifier": "005SB0000000001",
        "ConnectedAppIdentifier": "8888Z000000pihzQAA",
        "ClientName": " elt ",
        "ApiFamily": "",
        "ApiResource": "/v67.0/sobjects/Account/001AA0000000001",
        "IsApiLimitCounted": True,
    }
    assert caller_of(record) == Caller("005SB0000000001", "8888Z000000pihz", "elt", None, "sobjects", True)
    assert caller_of({}) == Caller()


@given(st.integers(0, 10**9), st.integers(2, 3_600))
def test_halves_make_up_the_whole(first: int, seconds: int) -> None:
    """Two halves, cut at a whole second, neither empty."""
    start = datetime.fromtimestamp(first, UTC)
    (one, cut), (other, end) = halves(start, start + timedelta(seconds=seconds))

    assert (one, cut, end) == (start, other, start + timedelta(seconds=seconds))
    assert one < cut < end
    assert cut.microsecond == 0


@given(st.integers(0, 100), st.integers(0, 100), st.none() | st.integers(0, 100), st.integers(0, 200))
def test_what_is_known_begins_within_the_period(start: int, length: int, first: int | None, age: int) -> None:
    """At the start if calls were made then or it is less than a day old, never after the first hour with calls."""
    begins = datetime(2026, 10, 1, tzinfo=UTC) + HOUR * start
    until, now = begins + HOUR * length, begins + HOUR * age
    first_at = None if first is None or first >= length else begins + HOUR * first

    since = known_since(begins, until, now, first_at)

    assert begins <= since <= until
    assert first_at is None or since <= first_at
    assert since == begins or (first_at != begins and age > 24)
