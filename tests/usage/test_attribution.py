"""Attribution of hourly counts, against brute force over single calls."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.attribution import DIMENSIONS, Attribution, attribute, attribute_all
from airflow_provider_apiusage.usage.hourly import HOUR, Caller, Completeness, HourlyCount
from airflow_provider_apiusage.usage.model import Interval
from tests.usage.evidence import ORG

MIDNIGHT = datetime(2026, 10, 7, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def count(calls: int, hour: int = 0, *, org_id: str = ORG, counted: bool | None = True, **caller: Any) -> HourlyCount:
    return HourlyCount(org_id, MIDNIGHT + hour * HOUR, Caller(counted=counted, **caller), calls)


blank = st.sampled_from([None, "", " "])
callers = st.builds(
    Caller,
    user=blank | st.sampled_from(["005A", "005B", "005C", "005D"]),
    app=blank | st.sampled_from(["0H4A", "888B"]),
    client=blank | st.sampled_from(["etl", "erp"]),
    family=blank | st.sampled_from(["REST", "SOAP", "Bulk"]),
    resource=blank | st.sampled_from(["query", "sobjects", "jobs/ingest"]),
    counted=st.sampled_from([True, True, False, None]),
)
counts_of_a_day = st.lists(
    st.builds(
        HourlyCount,
        org_id=st.just(ORG),
        starts_at=st.integers(-2, 8).map(lambda hour: MIDNIGHT + hour * HOUR),
        caller=callers,
        calls=st.integers(0, 50),
    ),
    max_size=25,
)
windows = st.tuples(st.integers(-90, 500), st.integers(1, 400)).map(
    lambda drawn: (MIDNIGHT + drawn[0] * MINUTE, MIDNIGHT + (drawn[0] + drawn[1]) * MINUTE)
)
whole_windows = st.tuples(st.integers(-2, 7), st.integers(1, 6)).map(
    lambda drawn: (MIDNIGHT + drawn[0] * HOUR, MIDNIGHT + (drawn[0] + drawn[1]) * HOUR)
)
dimensions = st.sampled_from(DIMENSIONS)


def brute(
    counts: list[HourlyCount], start: datetime, end: datetime, by: str, counted_only: bool
) -> dict[str | None, tuple[int, int]]:
    """Go through every call of every minute an hour could have had: surely inside, and possibly inside."""
    bounds: dict[str | None, tuple[int, int]] = {}
    for each in counts:
        if counted_only and each.caller.counted is not True:
            continue
        minutes = [each.starts_at + n * MINUTE for n in range(60)]
        inside = [start <= minute < end for minute in minutes]
        key = (getattr(each.caller, by) or "").strip() or None
        low, high = bounds.get(key, (0, 0))
        bounds[key] = low + (each.calls if all(inside) else 0), high + (each.calls if any(inside) else 0)
    return bounds


@given(counts_of_a_day, windows | whole_windows, dimensions, st.integers(1, 6), st.booleans())
def test_attribution_is_what_brute_force_finds(
    counts: list[HourlyCount], window: tuple[datetime, datetime], by: Any, top: int, counted_only: bool
) -> None:
    """Every entry, the rest and the unattributed are what adding call by call gives, in the order of most calls."""
    start, end = window
    found = attribute(counts, start=start, end=end, by=by, top=top, counted_only=counted_only)
    bounds = brute(counts, start, end, by, counted_only)

    unattributed = bounds.pop(None, (0, 0))
    ranked = sorted(
        ((key, low, high) for key, (low, high) in bounds.items() if high and key),
        key=lambda item: (-item[2], -item[1], item[0]),
    )
    assert [(each.key, each.calls.low, each.calls.high) for each in found.entries] == ranked[:top]
    assert found.others.keys == len(ranked[top:])
    assert found.others.calls == Interval(sum(r[1] for r in ranked[top:]), sum(r[2] for r in ranked[top:]))
    assert (found.unattributed.low, found.unattributed.high) == unattributed


def parts(found: Attribution) -> list[Interval]:
    return [*(each.calls for each in found.entries), found.others.calls, found.unattributed]


@given(counts_of_a_day, windows, st.integers(1, 3), st.booleans())
def test_the_parts_add_up_and_every_dimension_has_the_same_total(
    counts: list[HourlyCount], window: tuple[datetime, datetime], top: int, counted_only: bool
) -> None:
    """Entries, others and unattributed are the total, bound by bound; shares are of it; all five dimensions agree."""
    start, end = window
    together = attribute_all(counts, start=start, end=end, top=top, counted_only=counted_only)

    for by in DIMENSIONS:
        found: Attribution = getattr(together, by)
        assert found == attribute(counts, start=start, end=end, by=by, top=top, counted_only=counted_only)
        assert found.total == Interval(
            sum(part.low for part in parts(found)), sum(part.high or 0 for part in parts(found))
        )
        assert found.total == together.user.total
        assert all(0 < each.share <= 1 for each in found.entries)
        assert sum(each.share for each in found.entries) <= 1 + 1e-9


@given(counts_of_a_day, windows)
def test_every_call_is_counted_unknown_or_uncounted(
    counts: list[HourlyCount], window: tuple[datetime, datetime]
) -> None:
    """The calls that count, those that do not and those nobody knows about are all the calls, told apart."""
    start, end = window
    counted = attribute(counts, start=start, end=end, by="family")
    everything = attribute(counts, start=start, end=end, by="family", counted_only=False)

    for bound in ("low", "high"):
        whole = sum(getattr(part, bound) for part in (counted.total, counted.unknown, counted.uncounted))
        assert whole == getattr(everything.total, bound)
    assert (counted.unknown, counted.uncounted) == (everything.unknown, everything.uncounted)


@given(counts_of_a_day, windows, st.randoms(use_true_random=False))
def test_the_order_of_the_counts_does_not_matter(
    counts: list[HourlyCount], window: tuple[datetime, datetime], random: Any
) -> None:
    """The same counts in any order give the same answer, ties included."""
    start, end = window
    shuffled = random.sample(counts, len(counts))

    assert attribute_all(counts, start=start, end=end) == attribute_all(shuffled, start=start, end=end)


@given(counts_of_a_day, whole_windows, dimensions)
def test_a_window_on_the_hour_is_exact(counts: list[HourlyCount], window: tuple[datetime, datetime], by: Any) -> None:
    """Without edge hours both bounds are one number."""
    found = attribute(counts, start=window[0], end=window[1], by=by)

    assert all(part.exact for part in (*parts(found), found.total, found.unknown, found.uncounted))


def test_an_edge_hour_may_count_or_not() -> None:
    """Of a window from 00:30 to 02:10, only the hour from 01:00 is inside for sure."""
    counts = [count(100, 0, user="005A"), count(10, 1, user="005A"), count(1, 2, user="005A"), count(7, 3, user="005A")]
    found = attribute(counts, start=MIDNIGHT + 30 * MINUTE, end=MIDNIGHT + 130 * MINUTE, by="user")

    assert found.entries[0].calls == found.total == Interval(10, 111)
    assert found.hours == 3


def test_a_window_inside_one_hour_knows_only_a_maximum() -> None:
    """Ten minutes of an hour may hold none or all of its calls."""
    found = attribute([count(9, user="005A")], start=MIDNIGHT + MINUTE, end=MIDNIGHT + 11 * MINUTE, by="user")

    assert found.total == Interval(0, 9)
    assert found.hours == 1


def test_ties_go_by_the_surer_then_by_key() -> None:
    """With the same upper bound, more sure calls come first; then the key decides."""
    counts = [count(5, 0, user="005A"), count(5, 1, user="005C"), count(5, 1, user="005B")]
    found = attribute(counts, start=MIDNIGHT + MINUTE, end=MIDNIGHT + 2 * HOUR, by="user")

    assert [each.key for each in found.entries] == ["005B", "005C", "005A"]


def test_the_latest_name_is_shown() -> None:
    """Users and apps are known by id and shown by their latest name in the window; clients have no other name."""
    counts = [
        count(1, 1, user="005A", user_name="new@example.invalid", client="etl", app="0H4A", app_name="ELT"),
        count(1, 0, user="005A", user_name="old@example.invalid", client="etl"),
        count(9, 2, user="005A", client="etl"),
        count(1, 9, user="005A", user_name="later@example.invalid"),
    ]
    found = attribute_all(counts, start=MIDNIGHT, end=MIDNIGHT + 3 * HOUR)

    assert [(each.key, each.name) for each in found.user.entries] == [("005A", "new@example.invalid")]
    assert [(each.key, each.name) for each in found.app.entries] == [("0H4A", "ELT")]
    assert [(each.key, each.name) for each in found.client.entries] == [("etl", None)]
    assert found.app.unattributed == Interval(10, 10)


def test_completeness_is_that_of_the_least_complete_hour() -> None:
    """Hours without a log are counted; an hour nobody mentions has none; the hour after the window is no part of it."""
    told = {
        MIDNIGHT: Completeness.SETTLED,
        MIDNIGHT + HOUR: Completeness.PROVISIONAL,
        MIDNIGHT + 2 * HOUR: Completeness.NONE,
    }

    def of(hours: int, completeness: Any = told) -> tuple[Any, int | None]:
        found = attribute([], start=MIDNIGHT, end=MIDNIGHT + hours * HOUR, by="user", completeness=completeness)
        return found.completeness, found.hours_without_data

    assert of(1) == (Completeness.SETTLED, 0)
    assert of(2) == (Completeness.PROVISIONAL, 0)
    assert of(3) == (Completeness.NONE, 1)
    assert of(5) == (Completeness.NONE, 3)
    assert of(2, None) == (None, None)


def test_hours_are_utc_whatever_the_zone_of_the_window() -> None:
    """A window told in a zone with half hours is the same window."""
    kolkata = timezone(timedelta(hours=5, minutes=30))
    counts = [count(5, 0, user="005A"), count(6, 1, user="005A")]
    start, end = MIDNIGHT.astimezone(kolkata), (MIDNIGHT + HOUR).astimezone(kolkata)
    found = attribute(counts, start=start, end=end, by="user", completeness={MIDNIGHT: Completeness.SETTLED})

    assert (found.total, found.hours, found.hours_without_data) == (Interval(5, 5), 1, 0)
    assert found.as_dict()["start"] == "2026-10-07T00:00:00Z"


def test_calls_outside_the_log_are_unknown() -> None:
    """What no log shows is None, and the dictionary is JSON, all five dimensions by name."""
    told = attribute_all([count(5, user="005A"), count(2, counted=None)], start=MIDNIGHT, end=MIDNIGHT + HOUR).as_dict()

    assert json.loads(json.dumps(told)) == told
    assert tuple(told) == DIMENSIONS
    assert told["user"]["outside_log"] is None
    assert told["user"]["entries"] == [{"key": "005A", "name": None, "calls": {"low": 5, "high": 5}, "share": 1.0}]
    assert told["user"]["unknown"] == {"low": 2, "high": 2}
    assert (told["user"]["completeness"], told["user"]["hours_without_data"]) == (None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": MIDNIGHT.replace(tzinfo=None)}, "zone"),
        ({"end": MIDNIGHT.replace(tzinfo=None)}, "zone"),
        ({"end": MIDNIGHT}, "not after it starts"),
        ({"by": "colour"}, "not by 'colour'"),
        ({"top": 0}, "At least one"),
    ],
)
def test_questions_without_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    """A naive or empty window, an unknown dimension, no entries at all."""
    question: dict[str, Any] = {"start": MIDNIGHT, "end": MIDNIGHT + HOUR, "by": "user", **changes}

    with pytest.raises(ValueError, match=message):
        attribute([], **question)


def test_calls_of_two_orgs_are_not_added() -> None:
    """Each org has an allowance of its own."""
    counts = [count(1, user="005A"), count(1, user="005A", org_id="00DAA0000000002")]

    with pytest.raises(ValueError, match=r"several orgs.*00DAA0000000001, 00DAA0000000002"):
        attribute(counts, start=MIDNIGHT, end=MIDNIGHT + HOUR, by="user")
