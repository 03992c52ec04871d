"""What a grant leaves for the peak ahead and for the age of what is known, and how long that holds anybody back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.quota.model import Refuse, Wait
from airflow_provider_apiusage.quota.outlook import STEP, WINDOW_SECONDS, Outlook
from airflow_provider_apiusage.quota.policy import Approve, Knowledge, Rules, Verdict, decide
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading
from tests.support.outlooks import outlook, outlooks
from tests.support.quota import NOW, minutes, reading, request

DAY = timedelta(days=1)


def knowing(
    read: LimitReading,
    seen: Outlook | None,
    *,
    now: datetime = NOW,
    outstanding: int = 0,
    staleness: timedelta = timedelta(0),
    rules: Rules | None = None,
    expired: int = 0,
) -> Knowledge:
    """Return what one turn knows."""
    return Knowledge(
        {API_REQUESTS: read},
        {API_REQUESTS: outstanding},
        now,
        now + minutes(5),
        outlooks={API_REQUESTS: seen},
        staleness=staleness,
        rules=rules or Rules(),
        expired=lambda _name: expired,
    )


def verdict_of(need: int, known: Knowledge, at: datetime = NOW, reserve: int = 10_000) -> Verdict:
    """Decide about one request that is alone in the queue."""
    [(_, verdict)] = decide([request("a", need, at, reserve=reserve)], known)
    return verdict


def monday(hours: float) -> float:
    """40,000 new calls between the 6th and the 14th hour from now."""
    return 40_000 * min(1.0, max(0.0, (hours - 6) / 8))


def test_a_grant_leaves_room_for_the_highest_use_of_the_next_day() -> None:
    """60,000 are used, others will make 40,000: with 2,500 of the reserve kept even then, nothing can be granted."""
    seen = outlook(new=monday)

    verdict = verdict_of(1_000, knowing(reading(60_000), seen))

    assert isinstance(verdict, Wait)
    assert verdict.figures[0].peak == 32_500
    assert verdict.reason == (
        "DailyApiRequests: 1,000 needed, headroom -2,500 (remaining 40,000 of 100,000 - reserve 10,000 - outstanding 0 "
        "- peak ahead 32,500); 3,500 too many beside the highest use expected within 24 hours."
    )


def test_what_leaves_before_the_peak_makes_room_for_it() -> None:
    """If as many calls leave in the morning as come by day, there is no peak."""
    seen = outlook(new=monday, gone=lambda hours: 40_000 * min(1.0, max(0.0, (hours - 1) / 3)))

    assert isinstance(verdict_of(30_000, knowing(reading(60_000), seen)), Approve)


def test_calls_may_still_be_there_at_the_peak_if_the_org_misses_marks() -> None:
    """As many calls leave as come, hour by hour; an org that may be two hours behind still counts 10,000 of them."""

    def steadily(hours: float) -> float:
        return 5_000 * (hours + 1)

    seen = outlook(new=steadily, gone=steadily, bucket=3_600)

    in_time, behind = (
        verdict_of(30_000, knowing(reading(65_000), each), reserve=0) for each in (seen, replace(seen, late=2 * 3_600))
    )

    assert isinstance(in_time, Approve)
    assert isinstance(behind, Wait)
    assert (behind.figures[0].peak or 0) - (in_time.figures[0].peak or 0) == pytest.approx(10_000, abs=1)


def test_the_margin_of_the_forecast_counts_at_the_peak() -> None:
    """A forecast that was wrong by 5,000 leaves 5,000 less."""
    sure = verdict_of(9_000, knowing(reading(48_500), outlook(new=monday)))
    doubtful = verdict_of(9_000, knowing(reading(48_500), outlook(new=monday, margin=lambda _hours: 5_000)))

    assert isinstance(sure, Approve)
    assert isinstance(doubtful, Wait)
    assert sure.figures[0].peak is not None
    assert doubtful.figures[0].peak == sure.figures[0].peak + 5_000


def test_without_an_outlook_the_guard_is_off_and_says_so() -> None:
    """An org of which too little is known is decided about by what it tells now."""
    verdict = verdict_of(30_000, knowing(reading(60_000), None))

    assert isinstance(verdict, Approve)
    assert verdict.figures[0].peak is None
    assert verdict.reason.endswith("DailyApiRequests: too little is known of the past to see a peak ahead.")


def test_a_reading_that_ages_leaves_less() -> None:
    """After ten minutes others have made what was expected of them, and perhaps a burst."""
    seen = outlook(new=lambda hours: 600 * max(0.0, hours + 1), gone=lambda hours: 600 * max(0.0, hours + 1))
    now = NOW + minutes(10)

    [(_, fresh)] = decide([request("a", 10)], knowing(reading(50_000), seen))
    [(_, aged)] = decide([request("a", 10, now)], knowing(reading(50_000), seen, now=now))
    [(_, stale)] = decide([request("a", 10, now)], knowing(reading(50_000), seen, now=now, staleness=minutes(5)))

    assert [(v.figures[0].expected, v.figures[0].margin) for v in (fresh, aged, stale)] == [
        (0, 0),
        (100, 334),
        (150, 500),
    ]


def test_what_has_surely_left_since_the_reading_counts() -> None:
    """The expiry curve proves it, so it needs no new reading."""
    known = knowing(reading(90_000), outlook(), now=NOW + minutes(5), expired=1_200)

    verdict = verdict_of(1_000, known)

    assert isinstance(verdict, Approve)
    assert "+ expired since 1,200 - margin 167)" in verdict.reason


@pytest.mark.parametrize(("waited", "peak"), [(0, 32_500), (3, 32_500), (3.5, 16_250), (4, 0), (9, 0)])
def test_the_guard_fades_for_who_has_waited_for_days(waited: float, peak: int) -> None:
    """A load that never fits beside what others are expected to do is not held for ever."""
    known = knowing(reading(60_000), outlook(new=monday))

    verdict = verdict_of(1_000, known, at=NOW - waited * DAY)

    assert verdict.figures[0].peak == peak


def test_a_limit_that_is_cut_or_raised_counts_at_the_next_turn() -> None:
    """The reading tells the limit; nothing of the old one is remembered."""
    seen = outlook()
    before, cut = reading(40_000), reading(40_000, limit=50_000)

    assert isinstance(verdict_of(30_000, knowing(before, seen)), Approve)
    assert isinstance(verdict_of(30_000, knowing(cut, seen)), Wait)
    assert isinstance(verdict_of(60_000, knowing(cut, seen)), Refuse)
    assert isinstance(verdict_of(60_000, knowing(reading(40_000, limit=120_000), seen)), Approve)


small = st.builds(
    lambda used, outstanding, age: (used, outstanding, age),
    st.integers(0, 110),
    st.integers(0, 40),
    st.integers(0, 900),
)


def high_path(seen: Outlook, since: datetime) -> float:
    """Return how far the use may rise above that of an instant, by the outlook's own points."""
    start = since.timestamp()
    until = start + WINDOW_SECONDS + seen.bucket
    points = [
        (seen.first + n * STEP, seen.new[n], seen.margin[n])
        for n in range(len(seen.new))
        if start <= seen.first + n * STEP <= until
    ]
    begin = seen.new_between(NOW - DAY, since)
    return max(
        new - seen.new[0] - begin + margin - seen.gone_between(since, NOW + timedelta(seconds=at - NOW.timestamp()))
        for at, new, margin in points
    )


@given(small, outlooks(), st.integers(1, 60), st.integers(0, 30), st.floats(0, 1))
def test_a_grant_never_lets_the_high_path_reach_what_is_kept(
    state: tuple[int, int, int], seen: Outlook, need: int, reserve: int, kept: float
) -> None:
    """Whatever is forecast: used, outstanding, granted and the high path together leave what is kept of the reserve."""
    used, outstanding, age = state
    now = NOW + timedelta(seconds=age)
    known = knowing(
        reading(used, limit=100), seen, now=now, outstanding=outstanding, rules=Rules(kept_at_peak=kept, burst=0.0)
    )

    verdict = verdict_of(need, known, at=now, reserve=reserve)

    if isinstance(verdict, Approve):
        assert used + outstanding + need + high_path(seen, now) <= 100 - kept * reserve + 1e-6
        assert used + outstanding + need + reserve <= 100


@given(small, outlooks(), st.integers(1, 100), st.integers(0, 30), st.integers(0, 600))
def test_who_could_pass_as_head_is_not_held_for_ever(
    state: tuple[int, int, int], seen: Outlook, need: int, reserve: int, late: int
) -> None:
    """Once its patience is over, a request that has room by the newest figures is let in, whatever is expected."""
    used, outstanding, age = state
    now = NOW + timedelta(seconds=age)
    known = knowing(reading(used, limit=100), seen, now=now, outstanding=outstanding, staleness=timedelta(seconds=late))

    verdict = verdict_of(need, known, at=now - 4 * DAY, reserve=reserve)

    fits = need <= 100 - used - reserve - outstanding
    assert isinstance(verdict, Approve) == fits
    assert isinstance(verdict, Refuse) == (need > 100 - reserve)


@given(small, outlooks(), st.integers(1, 100), st.integers(0, 30), st.integers(0, 600))
def test_a_need_is_refused_only_if_it_can_never_fit(
    state: tuple[int, int, int], seen: Outlook, need: int, reserve: int, late: int
) -> None:
    """No outlook, margin or queue turns a wait into a refusal."""
    used, outstanding, age = state
    known = knowing(
        reading(used, limit=100),
        seen,
        now=NOW + timedelta(seconds=age),
        outstanding=outstanding,
        staleness=timedelta(seconds=late),
    )

    assert isinstance(verdict_of(need, known, reserve=reserve), Refuse) == (need > 100 - reserve)


@given(small, outlooks(), st.integers(1, 70), st.integers(0, 30))
def test_nothing_used_and_nothing_expected_lets_in_all_that_can_ever_be_free(
    state: tuple[int, int, int], seen: Outlook, need: int, late: int
) -> None:
    """Margins never make impossible what is possible: with nothing used, a need of all but the reserve is met."""
    quiet = replace(seen, new=[0.0] * len(seen.new), margin=[0.0] * len(seen.new))
    known = knowing(reading(0, limit=100), quiet, now=NOW + timedelta(seconds=state[2]), staleness=minutes(late))

    assert isinstance(verdict_of(100, known, reserve=0), Approve)
    assert isinstance(verdict_of(need, known, reserve=30), Approve)


@given(small, outlooks(), st.integers(1, 60), st.integers(0, 30))
def test_figures_add_up(state: tuple[int, int, int], seen: Outlook, need: int, reserve: int) -> None:
    """The headroom of a verdict is the sum of the terms that it tells."""
    used, outstanding, age = state
    known = knowing(reading(used, limit=100), seen, now=NOW + timedelta(seconds=age), outstanding=outstanding)

    [told] = verdict_of(need, known, reserve=reserve).figures

    assert told.headroom == (told.remaining or 0) - (told.reserve or 0) - (told.outstanding or 0) + (
        told.expired or 0
    ) - (told.expected or 0) - (told.margin or 0) - (told.peak or 0)
    assert told.peak is not None
    assert told.peak >= 0
    assert ceil(told.expected or 0) >= 0
