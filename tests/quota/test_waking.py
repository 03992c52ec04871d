"""When a request that waits is looked at again, and when a reading is worth its call."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.quota.model import OnUnknown, Refuse, Wait
from airflow_provider_apiusage.quota.outlook import SOONER, Outlook, OwnCalls
from airflow_provider_apiusage.quota.policy import Approve, Knowledge, OpensAt, decide
from airflow_provider_apiusage.quota.reading_helps import ReadingHelps
from airflow_provider_apiusage.quota.waking import OLDEST, SHORTEST, shortest_pause
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading
from tests.support.outlooks import outlook, outlooks
from tests.support.quota import BATCHES, MAX_AGE, NOW, minutes, reading, request


def wait_of(
    need: int,
    read: LimitReading,
    seen: Outlook,
    now: datetime = NOW,
    *,
    staleness: timedelta = timedelta(0),
    opens_at: OpensAt = lambda _name, _calls: None,
    max_age: timedelta = MAX_AGE,
    reserve: int = 10_000,
    before: LimitReading | None = None,
) -> Wait:
    """Return the wait of one request that is alone in the queue."""
    known = Knowledge(
        {API_REQUESTS: read},
        {},
        now,
        now + minutes(5),
        opens_at,
        outlooks={API_REQUESTS: seen},
        before=lambda _name, _instant: before,
        staleness=staleness,
    )
    [(_, verdict)] = decide([request("a", need, now, reserve=reserve, max_age=max_age)], known)
    assert isinstance(verdict, Wait), verdict
    return verdict


def leaving(hours: float) -> float:
    """6,000 calls an hour."""
    return 6_000 * (hours + 1)


def about(instant: datetime, wanted: datetime) -> bool:
    """Tell whether two instants are less than a second apart."""
    return abs(instant - wanted) < timedelta(seconds=1)


def sooner(gap: timedelta) -> timedelta:
    """Return after what time that many calls of others can have left, if more of them leave than worked out."""
    return gap / (1 + SOONER)


def test_it_wakes_when_enough_calls_of_others_can_have_left() -> None:
    """1,000 are missing, 100 leave in a minute, perhaps 120: no reading until then."""
    verdict = wait_of(1_000, reading(90_000), outlook(gone=leaving))

    assert about(verdict.until, NOW + sooner(minutes(10)))
    assert verdict.look is False


def test_it_wakes_when_enough_of_ones_own_calls_have_left() -> None:
    """Of these it is known how many they are, and when they were made."""
    own = OwnCalls([((NOW + minutes(n)).timestamp(), 100) for n in range(1, 30)])

    assert wait_of(1_000, reading(90_000), replace(outlook(), own=own)).until == NOW + minutes(10)


def test_it_wakes_early_if_others_make_fewer_calls_than_expected() -> None:
    """50 of 100 a minute are made anew; if only 40 are, and 110 leave, the use falls by 70: it looks early."""
    verdict = wait_of(500, reading(90_000), outlook(gone=leaving, new=lambda hours: 3_000 * (hours + 1)))

    assert NOW + minutes(5) < verdict.until < NOW + minutes(7.2)


def test_what_is_short_by_no_more_than_may_have_left_is_worth_a_reading() -> None:
    """Five minutes later 500 were to leave: a reading may show them, and it is made at once."""
    now = NOW + minutes(5)

    assert wait_of(500, reading(90_000), outlook(gone=leaving), now).look
    assert not wait_of(1_500, reading(90_000), outlook(gone=leaving), now).look


def test_when_more_can_have_left_than_was_due_a_reading_is_made_and_not_put_off() -> None:
    """Five minutes later 500 were due to leave, and 550 may have; not while the window proves that they cannot."""
    now = NOW + minutes(5)

    verdict = wait_of(540, reading(90_000), outlook(gone=leaving), now)
    assert (verdict.until, verdict.look) == (now, True)
    verdict = wait_of(
        540, reading(90_000), outlook(gone=leaving), now, opens_at=lambda _name, _calls: NOW + minutes(5.5)
    )
    assert (verdict.until, verdict.look) == (NOW + minutes(5.5), False)


def test_two_readings_are_never_made_within_seconds() -> None:
    """While a second reading is too early, it says when it is not; figures that stand still are read more rarely."""
    seen = outlook(gone=lambda hours: 600_000 * (hours + 1))
    now = NOW + timedelta(seconds=5)

    assert wait_of(500, reading(90_000), seen, now).until == NOW + SHORTEST
    assert wait_of(500, reading(90_000), seen, now, staleness=minutes(5)).until == NOW + timedelta(seconds=60)
    assert shortest_pause(timedelta(0)) == SHORTEST


@pytest.mark.parametrize("max_age", [minutes(60), minutes(4)])
def test_no_reading_grows_older_than_half_an_hour(max_age: timedelta) -> None:
    """Others may make fewer calls, and a limit may be raised; then the reading is due, and not for ``max_age``."""
    seen = outlook()

    assert wait_of(5_000, reading(90_000), seen, max_age=max_age).until == NOW + OLDEST
    verdict = wait_of(5_000, reading(90_000), seen, NOW + OLDEST - minutes(1), max_age=max_age)
    assert (verdict.until, verdict.look) == (NOW + OLDEST, False)
    assert wait_of(5_000, reading(90_000), seen, NOW + OLDEST, max_age=max_age).look


@pytest.mark.parametrize("on_unknown", [OnUnknown.FAIL, OnUnknown.ALLOW])
def test_who_need_not_wait_for_a_reading_does_not(on_unknown: OnUnknown) -> None:
    """A figure older than ``max_age`` is unknown to who would rather fail, or pass blind, than wait."""
    now = NOW + minutes(5)
    known = Knowledge({API_REQUESTS: reading(90_000)}, {}, now, now + minutes(5), outlooks={API_REQUESTS: outlook()})
    asked = replace(request("a", 5_000, now, max_age=minutes(4)), on_unknown=on_unknown)

    [(_, verdict)] = decide([asked], known)

    assert isinstance(verdict, Refuse if on_unknown is OnUnknown.FAIL else Approve)


def test_what_is_too_old_to_grant_on_is_read_before_it_grants() -> None:
    """Enough is free by a figure older than ``max_age``: that is not known, so nobody is granted by it."""
    verdict = wait_of(5_000, reading(50_000), outlook(), NOW + minutes(5), max_age=minutes(4))

    assert "more than max_age allows" in verdict.reason
    assert verdict.look is None


def helps_of(known: Knowledge) -> ReadingHelps:
    """Return what tells whether a reading helps, of an org that was read when its latest reading was made."""

    def would_settle(names: tuple[str, ...]) -> bool:
        assert all(name in known.readings for name in names)
        return False

    last = max(read.received_at for read in known.readings.values())
    return ReadingHelps(known.readings, known.now, minutes(5), timedelta(0), last, would_settle)


def test_who_may_pass_gets_the_reading_that_it_needs() -> None:
    """The first waits for far more than is free, and needs no newer figure; a small one would fit by the old one."""
    now = NOW + MAX_AGE + minutes(1)
    known = Knowledge({API_REQUESTS: reading(85_000)}, {}, now, now + minutes(5), outlooks={API_REQUESTS: outlook()})
    big, small = request("big", 20_000, NOW, reserve=1_000), request("small", 1_000, now, reserve=1_000)
    too_big = request("too big", 18_000, now, reserve=1_000)

    decided = decide([big, small, too_big], known)

    assert [helps_of(known)(asked, verdict) for asked, verdict in decided] == [False, True, False]
    assert isinstance(decided[1][1], Wait)
    assert decided[1][1].until <= known.retry_at


def test_a_limit_that_was_never_read_is_read_though_the_first_needs_no_reading() -> None:
    """Behind one that waits for calls stands one that needs batches as well, of which nothing is known."""
    now = NOW + minutes(10)
    known = Knowledge({API_REQUESTS: reading(85_000)}, {}, now, now + minutes(5), outlooks={API_REQUESTS: outlook()})
    both = request("both", {API_REQUESTS: 1_000, BATCHES: 1}, now, reserve=1_000)

    [(_, first), (_, behind)] = decide([request("big", 20_000, NOW, reserve=1_000), both], known)

    assert isinstance(first, Wait)
    assert first.look is False
    assert helps_of(known)(both, behind)
    assert not helps_of(known)(both, replace(first, look=False))  # as when it may not pass


def test_never_before_the_window_allows_it() -> None:
    """What the expiry curve proves impossible is not waited for earlier, whatever the outlook says."""
    verdict = wait_of(
        1_000, reading(90_000), outlook(gone=leaving), opens_at=lambda _name, calls: NOW + minutes(0.012 * calls)
    )

    assert verdict.until == NOW + minutes(12)


def test_where_calls_leave_in_buckets_it_wakes_at_the_mark() -> None:
    """At 14:37 the next quarter is 14:45; nothing can leave before."""
    now = NOW + minutes(7)

    assert wait_of(1_000, reading(90_000, now), outlook(gone=leaving, bucket=900), now).until == NOW + minutes(15)


def test_a_bucket_that_is_late_is_looked_for_again() -> None:
    """30, 60, 120 and 240 seconds after the mark, as long as it may bring enough."""
    mark = NOW + minutes(15)
    seen = outlook(gone=leaving, bucket=900)
    before = reading(90_000, mark - minutes(1))
    assert wait_of(1_000, before, seen, mark).look
    looks, now, read = [], mark, reading(90_000, mark)
    while len(looks) < 4:
        verdict = wait_of(1_000, read, seen, now)
        now = verdict.until
        if wait_of(1_000, read, seen, now).look:
            looks.append((now - mark).total_seconds())
            read = reading(90_000, now)

    assert looks == [30, 60, 120, 240]


@pytest.mark.parametrize(("used", "again"), [(90_000, True), (89_400, True), (88_500, False), (88_000, False)])
def test_a_bucket_that_has_left_is_not_looked_for_again(used: int, again: bool) -> None:
    """1,500 were due at the mark: whether they have left shows in the figure of then beside the one before."""
    mark = NOW + minutes(15)
    seen = outlook(gone=leaving, bucket=900)
    before, after = reading(90_000, mark - minutes(1)), reading(used, mark)

    verdict = wait_of(96_000 - used, after, seen, mark, before=before, reserve=5_000)

    assert verdict.until == mark + (timedelta(seconds=30) if again else minutes(15))


def test_what_left_at_the_mark_before_is_not_taken_for_what_is_due_now() -> None:
    """The figure before is of twenty minutes ago, and has fallen by what left at the quarter in between."""
    mark = NOW + minutes(15)
    before, after = reading(90_000, mark - minutes(20)), reading(88_500, mark)

    verdict = wait_of(7_500, after, outlook(gone=leaving, bucket=900), mark, before=before, reserve=5_000)

    assert verdict.until == mark + timedelta(seconds=30)


def test_an_org_that_misses_marks_is_looked_at_at_each_of_them() -> None:
    """Nothing is due at the next mark, but what was due before may come. Looked at once, it is left until the next."""
    now, mark = NOW + minutes(7), NOW + minutes(30)
    seen = replace(outlook(bucket=3_600), late=3_600)
    before = reading(90_000, now)

    assert wait_of(5_000, before, seen, now).until == mark
    assert wait_of(5_000, before, seen, mark).look
    after = wait_of(5_000, reading(90_000, mark), seen, mark)
    assert (after.until, after.look) == (mark + OLDEST, False)
    due = replace(outlook(gone=leaving, bucket=3_600), late=3_600)
    assert wait_of(5_000, reading(90_000, mark), due, mark).until == mark + timedelta(seconds=30)


def test_the_orgs_clock_and_ours_are_told_apart() -> None:
    """The org is ten minutes ahead: what can leave by its 14:48 can leave by our 14:38."""
    ahead = NOW + minutes(10)
    read = reading(90_000, ahead, received_at=NOW)

    assert about(wait_of(1_000, read, outlook(ahead, gone=leaving)).until, NOW + sooner(minutes(10)))


def test_of_several_limits_the_last_one_counts() -> None:
    """A limit of which nothing can be foreseen leaves it at the poll interval."""
    known = Knowledge(
        {API_REQUESTS: reading(99_000), BATCHES: reading(100_000, name=BATCHES)},
        {},
        NOW,
        NOW + minutes(5),
        outlooks={API_REQUESTS: outlook(gone=leaving)},
    )

    [(_, verdict)] = decide([request("a", {API_REQUESTS: 2_000, BATCHES: 1})], known)

    assert isinstance(verdict, Wait)
    assert (verdict.until, verdict.look) == (NOW + minutes(5), None)


def test_who_stands_behind_comes_back_with_the_first() -> None:
    """Unless it may pass and there can be room for it earlier."""
    known = Knowledge(
        {API_REQUESTS: reading(90_000)}, {}, NOW, NOW + minutes(5), outlooks={API_REQUESTS: outlook(gone=leaving)}
    )
    queue = [
        request("head", 1_000, NOW, reserve=10_000),
        request("small", 500, NOW + minutes(1), reserve=10_000),
        request("big", 1_100, NOW + minutes(2), reserve=10_000),
    ]

    untils = [verdict.until for _, verdict in decide(queue, known) if isinstance(verdict, Wait)]

    assert untils[0] == untils[2] > untils[1]
    assert about(untils[0], NOW + sooner(minutes(10)))
    assert about(untils[1], NOW + sooner(minutes(5)))


@given(outlooks(), st.integers(0, 130), st.integers(1, 90), st.integers(0, 1_200), st.integers(0, 600))
def test_it_always_comes_back_in_time(seen: Outlook, used: int, need: int, age: int, late: int) -> None:
    """Not before now, and not so late that the reading would be too old for longer than a pause."""
    now, staleness = NOW + timedelta(seconds=age), timedelta(seconds=late)
    known = Knowledge(
        {API_REQUESTS: reading(used, limit=100)},
        {},
        now,
        now + minutes(5),
        outlooks={API_REQUESTS: seen},
        staleness=staleness,
    )

    [(_, verdict)] = decide([request("a", need, now, reserve=10, max_age=minutes(30))], known)

    if isinstance(verdict, Wait):
        pause = shortest_pause(staleness)
        assert now <= verdict.until <= max(now + pause, NOW + OLDEST)
        assert verdict.look or verdict.until > now
