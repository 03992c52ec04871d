"""Draws as arithmetic: whatever order totals arrive in, what must show is never more than what was spent by then."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.quota.drawing import (
    Drawer,
    Draws,
    covers,
    draws_from_json,
    draws_to_json,
    needs_of,
    reservation_id_of,
    settled,
    unseen,
)
from airflow_provider_apiusage.usage.model import API_REQUESTS, WINDOW
from tests.support.quota import NOW

Told = list[tuple[int, str, int]]
SECONDS = st.integers(0, 24 * 3600)
TOLD: st.SearchStrategy[Told] = st.lists(st.tuples(SECONDS, st.sampled_from("abc"), st.integers(1, 50)), max_size=60)


def at(seconds: float) -> datetime:
    """Return an instant of the day of a load."""
    return NOW + timedelta(seconds=seconds)


def in_order(told: Told) -> tuple[Draws, list[tuple[int, int]]]:
    """Draw what each drawer spends, by the clock; return the draws, and what all have spent by when."""
    draws, totals, truth = Draws(), dict.fromkeys("abc", 0), []
    for seconds, by, more in sorted(told):
        totals[by] += more
        draws = draws.drawn(by, {API_REQUESTS: totals[by]}, at(seconds))
        truth.append((seconds, sum(totals.values())))
    return draws, truth


@given(TOLD, SECONDS)
def test_what_must_show_is_never_more_than_what_was_spent(told: Told, seconds: int) -> None:
    """At any instant; and of what is left out to save room, no more than a quarter of its age or 30 s is lost."""
    draws, truth = in_order(told)
    known = draws.spent_by(API_REQUESTS, at(seconds))
    now = max((when for when, _ in truth), default=0)
    late = max(2 * 30.0, (now - seconds) / 2)

    assert known <= max((spent for when, spent in truth if when <= seconds), default=0)
    assert known >= max((spent for when, spent in truth if when <= seconds - late), default=0)


@given(TOLD, st.randoms(use_true_random=False), st.lists(st.integers(0, 59), max_size=10))
def test_totals_come_in_any_order_and_again(told: Told, shuffle: object, repeated: list[int]) -> None:
    """What was spent in the end is the same."""
    draws, truth = in_order(told)
    totals = dict.fromkeys("abc", 0)
    messages = []
    for seconds, by, more in sorted(told):
        totals[by] += more
        messages.append((by, totals[by], seconds))
    messages += [messages[place] for place in repeated if place < len(messages)]
    shuffle.shuffle(messages)  # type: ignore[attr-defined]
    mixed = Draws()
    for by, total, seconds in messages:
        mixed = mixed.drawn(by, {API_REQUESTS: total}, at(seconds))

    assert mixed.spent == draws.spent
    assert [when for when, _ in mixed.course] == sorted(when for when, _ in mixed.course)
    if truth:
        assert mixed.spent_by(API_REQUESTS, at(WINDOW.total_seconds())) == truth[-1][1]


def test_a_day_of_draws_every_five_seconds_takes_little_room() -> None:
    """17,280 draws leave fewer than 80 totals, and the last one is exact."""
    draws = Draws()
    for number in range(1, 17_281):
        draws = draws.drawn("a", {API_REQUESTS: number}, at(5 * number))

    assert len(draws.course) < 80
    assert draws.course[-1] == (at(86_400), {API_REQUESTS: 17_280})


@given(TOLD, st.integers(0, 3_000), SECONDS)
def test_outstanding_lies_between_what_is_left_and_what_is_held(told: Told, held: int, seconds: int) -> None:
    """Never less than what the load may still spend, never negative, never more than held or spent."""
    draws, _ = in_order(told)
    spent = draws.spent.get(API_REQUESTS, 0)
    shown = unseen({API_REQUESTS: held}, draws, API_REQUESTS, at(seconds))

    assert max(held - spent, 0) <= shown <= max(held, spent)


def test_only_final_totals_settle() -> None:
    """While one of the loads has not told its last, or nobody has told anything, all of it may have been spent."""
    held = {API_REQUESTS: 100, "DailyOther": 7}
    draws = Draws().drawn("a", {API_REQUESTS: 30}, NOW, closed=True)

    assert settled(held, Draws()) == held
    assert settled(held, draws) == {API_REQUESTS: 30, "DailyOther": 7}
    assert settled(held, draws.drawn("b", {API_REQUESTS: 1}, NOW)) == held
    assert settled({API_REQUESTS: 10}, draws) == {API_REQUESTS: 10}


def test_a_final_total_stays_final() -> None:
    """A draw that comes late does not open it again; a failure stays one."""
    draws = Draws().drawn("a", {API_REQUESTS: 30}, NOW, closed=True, failed=True).drawn("a", {API_REQUESTS: 20}, NOW)

    assert draws.by == {"a": Drawer({API_REQUESTS: 30}, closed=True, failed=True)}
    assert (draws.closed, draws.failed) == (True, True)


@given(TOLD)
def test_draws_survive_the_store(told: Told) -> None:
    """As JSON and back they are the same."""
    draws, _ = in_order(told)

    assert draws_from_json(draws_to_json(draws)) == draws
    assert draws_from_json(None) == Draws()


def test_what_is_spent_covers_nothing() -> None:
    """Held less spent has to be enough, for each limit."""
    draws = Draws().drawn("a", {API_REQUESTS: 30}, NOW)

    assert covers({API_REQUESTS: 100}, draws, {API_REQUESTS: 70})
    assert not covers({API_REQUESTS: 100}, draws, {API_REQUESTS: 71})
    assert not covers({API_REQUESTS: 100}, draws, {"DailyOther": 1})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"reservation_id": "abc", "needs": {API_REQUESTS: 5}}, ("abc", {API_REQUESTS: 5})),
        ("{'reservation_id': 'abc', 'needs': {'DailyApiRequests': 5}}", ("abc", {API_REQUESTS: 5})),
        ({"reservation_id": None, "needs": None}, (None, None)),
        (" abc ", ("abc", None)),
        ("None", (None, None)),
        ("", (None, None)),
        (None, (None, None)),
    ],
)
def test_a_reservation_may_be_given_in_any_form(given: object, expected: tuple[object, object]) -> None:
    """The sensor's XCom, its text after rendering, the bare id, or nothing."""
    assert (reservation_id_of(given), needs_of(given)) == expected
