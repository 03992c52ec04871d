"""How old an org's figures are, as readings of running loads show it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest

from airflow_provider_apiusage.quota.outlook import NO_CALLS, OwnCalls
from airflow_provider_apiusage.quota.staleness import Figure, Staleness, figure_of, staleness_of
from airflow_provider_apiusage.usage.model import STALENESS, LimitReading, ReadingSource
from tests.support.quota import NOW, minutes, reading

LOADS = [(start, start + 12) for start in range(0, 600, 40)]
"""Loads of twelve minutes each, from so many minutes on."""


def spent(minute: float) -> int:
    """Return what the loads have spent by a minute, at 200 calls a minute."""
    return round(sum(200 * min(max(0.0, minute - start), end - start) for start, end in LOADS))


OWN = OwnCalls(
    [((NOW + minutes(start + part / 4 + 0.1)).timestamp(), 50) for start, _ in LOADS for part in range(12 * 4)]
)


def heard(figure: Callable[[float], int]) -> list[LimitReading]:
    """Return the readings of the loads' answers, a minute apart, while a few calls of others come and go."""
    chance = Random(3)
    return [
        reading(40_000 + figure(minute) + chance.randrange(30), NOW + minutes(minute), source=ReadingSource.HEADER)
        for start, end in LOADS
        for minute in range(start, end + 1)
    ]


def kept_for(span: float) -> list[LimitReading]:
    """Return such readings of an org that makes a figure anew every so many minutes only."""
    return [
        reading(40_000 + spent(minute // span * span), NOW + minutes(minute), source=ReadingSource.HEADER)
        for start, end in LOADS
        for minute in range(start, end + 1)
    ]


def test_a_figure_that_moves_with_what_loads_spend_is_fresh() -> None:
    """Each answer shows the calls before it."""
    assert staleness_of(heard(spent), OWN) == Staleness(timedelta(0))


@pytest.mark.parametrize("late", [1, 2, 4])
def test_a_figure_that_moves_but_follows_late_is_not(late: int) -> None:
    """It stands nowhere still, and yet the first minutes of each load are missing from it."""
    assert staleness_of(heard(lambda minute: spent(minute - late)), OWN) == Staleness(minutes(late + 1))


@pytest.mark.parametrize(("span", "learnt"), [(2, 2), (3, 3), (4, 4), (6, 5), (30, 5)])
def test_a_figure_that_stands_still_while_a_load_runs_is_as_old_as_that(span: int, learnt: int) -> None:
    """Readings a minute apart that agree for so many minutes; never more than Salesforce promises."""
    assert staleness_of(kept_for(span), OWN) == Staleness(minutes(learnt), stands=True)


@pytest.mark.parametrize(("late", "learnt"), [(0, 0), (2, 3)])
def test_what_loads_spent_a_day_before_leaves_the_figure_and_changes_nothing(late: int, learnt: int) -> None:
    """The first three minutes of each load do not show, as just as many calls leave: it is not late for that."""
    before = [(start, start + 3) for start, _ in LOADS]
    day = 24 * 60
    own = OwnCalls(
        [((NOW + minutes(at + part / 4 + 0.1)).timestamp(), 50) for at, _ in LOADS for part in range(12 * 4)]
        + [
            ((NOW + minutes(at - day + part / 4 + 0.1)).timestamp(), 50)
            for at, until in before
            for part in range((until - at) * 4)
        ]
    )

    def gone(minute: float) -> int:
        return round(sum(200 * min(max(0.0, minute - at), until - at) for at, until in before))

    readings = heard(lambda minute: spent(minute - late) - gone(minute - late))

    assert staleness_of(readings, own) == Staleness(minutes(learnt))


def test_what_no_load_has_shown_is_not_known() -> None:
    """Too few readings, too far apart, none of loads, or of loads of which nobody knows what they have spent."""
    all_of_them = heard(spent)
    others = [reading(n, NOW + minutes(n)) for n in range(60)]

    for readings in ([], all_of_them[:8], all_of_them[::4], others):
        assert staleness_of(readings, OWN) is None
    assert staleness_of(all_of_them, NO_CALLS) is None
    assert Staleness().most == STALENESS


KEPT = Staleness(STALENESS, stands=True)


def figures(*used: int | None) -> list[LimitReading]:
    """Return readings a minute apart, the last one now."""
    return [reading(each, NOW - minutes(len(used) - 1 - n)) for n, each in enumerate(used)]


def test_a_figure_that_has_just_changed_is_no_older_than_the_one_before() -> None:
    """The org made it after the last reading that showed another."""
    assert figure_of(figures(10, 10, 12), KEPT) == Figure(minutes(1))
    assert figure_of(figures(10, None, 12), KEPT) == Figure(minutes(2))


def test_a_figure_that_stands_tells_when_it_is_renewed() -> None:
    """Four to five minutes after it was made: no reading before that shows anything new."""
    assert figure_of(figures(10, 12, 12, 12), KEPT) == Figure(minutes(3), NOW - minutes(3) + minutes(4))


def test_a_figure_that_no_other_came_before_may_be_as_old_as_any() -> None:
    """Nothing shows when it was made."""
    assert figure_of(figures(12), KEPT) == Figure(STALENESS)
    assert figure_of(figures(12, 12), KEPT) == Figure(STALENESS)
    assert figure_of([], KEPT) == Figure(STALENESS)


def test_figures_that_change_to_and_fro_come_from_several_places() -> None:
    """Then the last one may be older than the one before."""
    assert figure_of(figures(12, 10, 12), KEPT) == Figure(STALENESS)


def test_a_change_shows_nothing_where_figures_are_late_rather_than_kept() -> None:
    """A figure that moves all the time is as late as ever after it has moved."""
    assert figure_of(figures(10, 11, 12), Staleness(minutes(3))) == Figure(minutes(3))
    assert figure_of(figures(10, 11, 12), Staleness(timedelta(0))) == Figure(timedelta(0))
