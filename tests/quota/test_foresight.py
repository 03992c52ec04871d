"""From readings to an outlook: what it expects, by how much it may be wrong, and what it is not made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate
from math import cos, pi
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.quota.foresight import Past, outlook_of, scores_of
from airflow_provider_apiusage.quota.outlook import Outlook
from airflow_provider_apiusage.usage.model import LimitReading
from tests.support.quota import NOW, minutes, reading

DAYS = 15
DAY = timedelta(days=1)


def by_day(minute: int) -> float:
    """40 calls a minute at noon, none at midnight."""
    return 20 * (1 - cos(2 * pi * (minute % 1440) / 1440))


class Watched:
    """An org whose calls by minute are known, and read every ten minutes; it rests at weekends.

    Of days that are all alike the figure would tell nothing: it would stand still.
    """

    def __init__(
        self, calls: Callable[[int], float], *, days: int = DAYS, bucket: int = 0, missed: float = 0.0
    ) -> None:
        chance, self.behind = Random(7), [0]
        for _hour in range((days + 2) * 24):
            misses = self.behind[-1] < 3 and chance.random() < missed
            self.behind.append(self.behind[-1] + 1 if misses else 0)
        self.begin, self.bucket = NOW.replace(hour=0, minute=0) - days * DAY, bucket
        working = [(self.begin + day * DAY).weekday() < 5 for day in range(days + 2)]
        minutes_of_all = range((days + 2) * 1440)
        self.sums = [0, *accumulate(round(calls(m)) if working[m // 1440] else 0 for m in minutes_of_all)]
        # The first day is not read: its calls are in the window of the first reading.
        self.readings = [self.read(minute) for minute in range(1443, self._minute(NOW) + 1, 10)]

    def used(self, minute: int) -> int:
        """Return what is used at a minute since the beginning."""
        start = minute // self.bucket * self.bucket if self.bucket else minute
        start -= 60 * self.behind[minute // 60]
        return self.sums[minute] - self.sums[max(0, start - 1440)]

    def read(self, minute: int) -> LimitReading:
        """Return the reading of a minute."""
        return reading(self.used(minute), self.begin + minutes(minute))

    def made(self, start: datetime, end: datetime) -> int:
        """Return the calls of a span."""
        return self.sums[self._minute(end)] - self.sums[self._minute(start)]

    def gone(self, start: datetime, end: datetime) -> int:
        """Return the calls that leave in a span."""
        marks = [(self._minute(at) // (self.bucket or 1)) * (self.bucket or 1) for at in (start, end)]
        return self.sums[marks[1] - 1440] - self.sums[marks[0] - 1440]

    def _minute(self, at: datetime) -> int:
        return (at - self.begin) // minutes(1)


def outlook(past: Past, at: datetime = NOW) -> Outlook:
    """Return the outlook of an org of which enough is known."""
    scores = scores_of(past, at)
    assert scores is not None
    made = outlook_of(past, at, scores)
    assert made is not None
    return made


def test_a_kind_of_release_that_readings_rule_out_is_not_taken_however_well_it_fits() -> None:
    """An org seems to release on quarter hours; a figure that fell between two of them shows that it does not."""
    of_quarters = Watched(by_day, bucket=15).readings

    assert Past(of_quarters).release() == (900, False)
    assert Past(of_quarters, marks=0).release() == (0, False)
    scores = scores_of(Past(of_quarters), NOW)
    assert scores is not None
    shown_since = outlook_of(Past(of_quarters, marks=0), NOW, scores)
    assert shown_since is not None
    assert shown_since.bucket == 0


@pytest.mark.parametrize(("missed", "slips"), [(0.0, False), (0.4, True)])
def test_marks_that_are_missed_are_told_from_marks_that_are_kept(missed: float, slips: bool) -> None:
    """An org releases on the hour, or misses two marks of five, up to three in a row, and releases all at the next."""
    org = Watched(by_day, bucket=60, missed=missed)

    assert Past(org.readings).release() == (3600, slips)
    assert outlook(Past(org.readings)).late in ((3600, 7200) if slips else (0,))


def test_bursts_are_not_taken_for_marks_that_are_missed() -> None:
    """Neither where readings are close, nor where they are an hour apart and a burst between two looks the same."""
    chance = Random(2)
    bursts = [chance.choice((0, 0, 0, 0, 0, 0, 0, 800)) for _ in range((DAYS + 2) * 24)]
    org = Watched(lambda minute: 5 + (bursts[minute // 60] if minute % 60 < 10 else 0), bucket=60)

    assert Past(org.readings).release() == (3600, False)
    assert [Past(org.readings[phase::6]).release() for phase in (2, 3, 4)] == [(3600, False)] * 3


def test_an_org_that_only_one_s_own_loads_call_has_an_outlook() -> None:
    """Others have made no call yet: that is known, and when one's own leave is known too."""
    org = Watched(lambda minute: 100 if minute % 1440 < 60 else 0)
    own = [
        ((org.begin + minutes(day * 1440 + five)).timestamp(), 500)
        for day in range(DAYS + 1)
        if (org.begin + day * DAY).weekday() < 5
        for five in range(0, 60, 5)
    ]

    seen = outlook(Past(org.readings, own=own))

    assert seen.gone_between(NOW, NOW + DAY) == pytest.approx(6_000, rel=0.1)


def test_what_comes_is_foreseen_though_marks_are_missed() -> None:
    """A day is expected as it was, to a twentieth; taken for an org that keeps its marks, it is not half as good."""
    org = Watched(by_day, bucket=60, missed=0.4)
    past, known = Past(org.readings), scores_of(Past(org.readings), NOW)
    assert known is not None
    seen, otherwise = outlook(past), outlook_of(past, NOW, replace(known, slips=False))
    assert otherwise is not None

    def wrong(by: Outlook) -> int:
        """Return how many calls are put into another hour than they were made in."""
        hours = [NOW - DAY + timedelta(hours=n) for n in range(24)]
        return sum(
            round(abs(by.gone_between(h + DAY, h + DAY + timedelta(hours=1)) - org.made(h, h + timedelta(hours=1))))
            for h in hours[:-4]
        )

    day = org.made(NOW - DAY, NOW)
    assert wrong(replace(seen, bucket=0)) < day / 20
    assert wrong(replace(otherwise, bucket=0)) > 2 * wrong(replace(seen, bucket=0))


@pytest.mark.parametrize("bucket", [0, 15, 60])
def test_a_day_like_every_other_is_expected_to_come_again(bucket: int) -> None:
    """What comes and what leaves is as it was, to a few per cent of a day, and released as the org releases."""
    org = Watched(by_day, bucket=bucket)

    seen = outlook(Past(org.readings))

    assert seen.bucket == bucket * 60
    for hours in (1, 4, 8, 16, 24):
        end = NOW + timedelta(hours=hours)
        assert seen.new_between(NOW, end) == pytest.approx(org.made(NOW, end), abs=1_500)
        assert seen.gone_between(NOW, end) == pytest.approx(org.gone(NOW, end), abs=1_500)
    assert seen.highest(NOW) < 7_000


def test_what_was_wrong_before_is_the_margin() -> None:
    """Days that differ by a half and more leave a margin that holds them; days that do not leave hardly any."""
    chance = Random(5)
    levels = [chance.choice((0.4, 1.0, 1.6)) for _ in range(DAYS + 2)]
    steady, erratic = Watched(by_day), Watched(lambda minute: levels[minute // 1440] * by_day(minute))

    calm, wild = outlook(Past(steady.readings)), outlook(Past(erratic.readings))

    at = (24 * 3600 + NOW.timestamp() - calm.first) / 900
    assert calm.margin[int(at)] < 7_000
    assert 10_000 < wild.margin[int(at)] < 40_000


def test_calls_of_ones_own_loads_leave_but_are_not_expected_again() -> None:
    """A load of 10,000 at three every night comes through the gate, so nothing need be kept for it."""

    def loads(minute: int) -> float:
        return by_day(minute) + (200 if 180 <= minute % 1440 < 230 else 0)

    org = Watched(loads)
    own = [
        ((org.begin + minutes(day * 1440 + 180 + five)).timestamp(), 1_000)
        for day in range(DAYS + 1)
        if (org.begin + day * DAY).weekday() < 5
        for five in range(0, 50, 5)
    ]
    night = NOW.replace(hour=3, minute=0) + DAY

    blind, knowing = outlook(Past(org.readings)), outlook(Past(org.readings, own=own))

    span = night - minutes(30), night + minutes(90)
    assert blind.new_between(*span) > 8_000
    assert knowing.new_between(*span) < 2_500
    assert knowing.gone_between(*span) > 8_000


@pytest.mark.parametrize("days", [0, 1])
def test_of_a_past_that_is_too_short_nothing_is_foreseen(days: int) -> None:
    """Less than a day of readings says nothing of the next; one reading, or none, even less."""
    org = Watched(by_day, days=2)
    few = [r for r in org.readings if r.observed_at > NOW - timedelta(hours=23)]

    assert scores_of(Past(few if days else few[:1]), NOW) is None
    assert scores_of(Past([]), NOW) is None


def test_the_first_outlook_has_a_margin_though_nothing_was_tried() -> None:
    """A day and a half of readings: expected is as much as yesterday, give or take a quarter."""
    org = Watched(by_day, days=3)
    readings = [r for r in org.readings if r.observed_at > NOW - timedelta(hours=36)]

    seen = outlook(Past(readings))

    assert seen.new_between(NOW, NOW + DAY) == pytest.approx(org.made(NOW, NOW + DAY), rel=0.3)
    assert max(seen.margin) > 4_000


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 60_000), min_size=30, max_size=200), st.sampled_from([15, 30, 60]))
def test_any_figures_make_an_outlook_whose_curves_never_fall(figures: list[int], step: int) -> None:
    """Whatever is read: cumulative curves rise, margins are not negative, and a span is the sum of its parts."""
    readings = [reading(used, NOW - minutes(step * n)) for n, used in enumerate(figures)]
    past = Past(readings)
    scores = scores_of(past, NOW)
    made = None if scores is None else outlook_of(past, NOW, scores)

    if made is not None:
        assert list(made.new) == sorted(made.new)
        assert list(made.gone) == sorted(made.gone)
        assert min(made.margin) >= 0
        middle, end = NOW + minutes(100), NOW + minutes(700)
        parts = made.new_between(NOW, middle) + made.new_between(middle, end)
        assert made.new_between(NOW, end) == pytest.approx(parts)
