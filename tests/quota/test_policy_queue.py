"""The queue: first come, first served, nobody overtakes, nobody is promised what another was."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.quota.model import OnUnknown, QuotaRequest, Refuse, Wait
from airflow_provider_apiusage.quota.policy import Approve, Knowledge, Rules, Verdict, decide
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading
from tests.support.quota import BATCHES, NOW, minutes, reading, request

RETRY_AT = NOW + minutes(5)


def kinds(queue: list[QuotaRequest], *readings: LimitReading, **outstanding: int) -> list[type]:
    """Return the kind of verdict of each request."""
    return [type(verdict) for _, verdict in decide(queue, knowing(*readings, **outstanding))]


def knowing(*readings: LimitReading, **outstanding: int) -> Knowledge:
    """Return what one turn knows; nobody may pass who waits."""
    rules = Rules(beta=0.0)
    return Knowledge({each.name: each for each in readings}, outstanding, NOW, RETRY_AT, rules=rules)


def test_requests_ahead_are_granted_first_and_their_calls_are_gone() -> None:
    """Two that fit one by one, but not together: the first is approved, the second waits by what is left."""
    first, second = decide([request("a", 60_000), request("b", 60_000)], knowing(reading(0)))

    assert isinstance(first[1], Approve)
    assert isinstance(second[1], Wait)
    assert "headroom 40,000 (remaining 100,000 of 100,000 - reserve 0 - outstanding 60,000)" in second[1].reason


def test_who_comes_later_waits_behind_who_waits() -> None:
    """A small need does not overtake a large one; its reason names who stands before it and for what."""
    [_, (_, small)] = decide([request("large", 60_000), request("small", 10)], knowing(reading(50_000)))

    assert isinstance(small, Wait)
    assert small.reason == (
        "In the queue behind salesforce_load/scheduled__2026-10-07Tlarge/gate, which waits for 60,000 DailyApiRequests."
    )
    assert small.until == RETRY_AT
    assert small.figures[0].headroom == 50_000


def test_who_waits_for_one_limit_does_not_block_another() -> None:
    """Requests that share no limit do not stand in each other's way; one that names both does."""
    plenty = [reading(95_000), reading(0, limit=15_000, name=BATCHES)]
    queue = [request("calls", 60_000), request("batches", {BATCHES: 5}), request("both", {API_REQUESTS: 1, BATCHES: 1})]
    assert kinds(queue, *plenty) == [Wait, Approve, Wait]

    queue = [request("both", {API_REQUESTS: 60_000, BATCHES: 1}), request("batches", {BATCHES: 5})]
    assert kinds(queue, *plenty) == [Wait, Wait]


def test_who_stands_first_is_named_even_behind_others() -> None:
    """All behind one that waits are told the same one, not the one right before them."""
    queue = [request("first", 60_000), request("second", 1), request("third", 1)]

    told = [verdict.reason for _, verdict in decide(queue, knowing(reading(50_000)))[1:]]

    assert all("Tfirst/gate" in each for each in told)


def test_who_is_refused_blocks_nobody_and_is_refused_from_any_place() -> None:
    """What can never fit need not queue for its refusal, and holds no place."""
    queue = [request("never", 200_000), request("a", 60_000), request("b", 60_000), request("never too", 200_000)]

    assert kinds(queue, reading(0)) == [Refuse, Approve, Wait, Refuse]


def test_who_may_start_without_knowing_still_takes_its_place() -> None:
    """An unknown that one request waits for holds up the next one too, whatever that one would risk."""
    queue = [request("careful", 10), request("bold", 10, on_unknown=OnUnknown.ALLOW)]

    assert kinds(queue) == [Wait, Wait]
    assert kinds(queue[1:]) == [Approve]


def test_who_waits_for_an_unknown_holds_no_place_on_what_is_known() -> None:
    """A limit of which nothing can be learnt stops those that name it, and nobody else."""
    queue = [
        request("doubtful", {API_REQUESTS: 1, BATCHES: 1}),
        request("calls", 10),
        request("bold", {API_REQUESTS: 1, BATCHES: 1}, on_unknown=OnUnknown.ALLOW),
        request("more calls", 10),
        request("batches", {BATCHES: 1}),
    ]

    assert kinds(queue, reading(0)) == [Wait, Approve, Wait, Approve, Wait]


def test_who_stands_behind_a_doubt_holds_no_other_place_either() -> None:
    """A request that knows enough waits behind one that does not, but those behind it are held up by neither."""
    readings = reading(0), reading(0, NOW - minutes(5), limit=15_000, name=BATCHES)
    both = {API_REQUESTS: 1, BATCHES: 1}
    queue = [request("doubtful", both, max_age=minutes(1)), request("sure", both), request("calls", 10)]

    assert kinds(queue, *readings) == [Wait, Wait, Approve]
    queue[1] = request("needs room", {API_REQUESTS: 100_000, BATCHES: 1})
    assert kinds([*queue[:2], request("more", 1)], readings[1], reading(1)) == [Wait, Wait, Wait]


def test_who_waits_for_room_and_for_an_unknown_gets_its_place_when_that_is_known() -> None:
    """From then on it stands where it stood: nobody overtakes who waits for room."""
    queue = [request("first", {API_REQUESTS: 60_000, BATCHES: 1}), request("second", 10)]

    assert kinds(queue, reading(50_000)) == [Wait, Approve]
    assert kinds(queue, reading(50_000), reading(0, limit=15_000, name=BATCHES)) == [Wait, Wait]


def test_each_request_keeps_its_own_reserve() -> None:
    """What one leaves free for people another may take, if its author said so."""
    queue = [request("modest", 60_000, reserve=0.5), request("all in", 40_000)]

    assert kinds(queue, reading(0)) == [Refuse, Approve]
    assert kinds([request("modest", 50_000, reserve=0.5), request("all in", 50_000)], reading(0)) == [Approve, Approve]


_needs = st.dictionaries(st.sampled_from([API_REQUESTS, BATCHES]), st.integers(1, 130), min_size=1)


@st.composite
def queues(draw: st.DrawFn) -> list[QuotaRequest]:
    """Queues of up to eight requests."""
    asked = draw(st.lists(st.tuples(_needs, st.integers(0, 120)), max_size=8))
    return [
        request(number, needs, NOW + timedelta(seconds=number), reserve=dict.fromkeys(needs, kept))
        for number, (needs, kept) in enumerate(asked)
    ]


@st.composite
def knowledge(draw: st.DrawFn) -> Knowledge:
    """What may be known of two limits of 100 each: a use from nothing to above the limit, or nothing at all."""
    used = {name: draw(st.none() | st.integers(0, 120)) for name in (API_REQUESTS, BATCHES)}
    known = [reading(value, limit=100, name=name) for name, value in used.items() if value is not None]
    return knowing(*known, **{name: draw(st.integers(0, 60)) for name in used})


def granted_of(verdicts: list[tuple[QuotaRequest, Verdict]], name: str) -> int:
    """Return how many calls of one limit were approved."""
    return sum(each.needs.get(name, 0) for each, verdict in verdicts if isinstance(verdict, Approve))


@given(queues(), knowledge())
def test_no_more_is_approved_than_there_is(queue: list[QuotaRequest], known: Knowledge) -> None:
    """Together all that are approved leave every approved request's reserve untouched."""
    verdicts = decide(queue, known)

    for asked, verdict in verdicts:
        for name in asked.needs if isinstance(verdict, Approve) else ():
            upto = verdicts[: 1 + next(place for place, (each, _) in enumerate(verdicts) if each is asked)]
            remaining = known.readings[name].remaining
            assert remaining is not None
            kept = asked.reserve.of(name, 100)
            assert granted_of(upto, name) + known.outstanding[name] + kept <= remaining


@given(_needs, st.integers(0, 120), knowledge())
def test_alone_a_request_is_approved_exactly_if_it_fits(needs: dict[str, int], kept: int, known: Knowledge) -> None:
    """Nothing but headroom decides where nobody stands before."""
    asked = request("a", needs, reserve=dict.fromkeys(needs, kept))
    fits = all(
        name in known.readings
        and (known.readings[name].remaining or 0) - min(kept, 120) - known.outstanding[name] >= need
        for name, need in needs.items()
    )

    [(_, verdict)] = decide([asked], known)

    assert isinstance(verdict, Approve) == fits


@given(queues(), knowledge())
def test_who_waits_blocks_all_behind_that_share_a_limit(queue: list[QuotaRequest], known: Knowledge) -> None:
    """Whoever is approved shares no limit with anybody before it who waits, unless that one waits for an unknown."""
    blocked: set[str] = set()
    for asked, verdict in decide(queue, known):
        if isinstance(verdict, Approve):
            assert not blocked & set(asked.needs)
        elif isinstance(verdict, Wait):
            blocked |= {name for name in asked.needs if name not in known.readings} or set(asked.needs)


@given(queues(), knowledge())
def test_the_order_is_kept_and_later_requests_change_nothing(queue: list[QuotaRequest], known: Knowledge) -> None:
    """Every request has one verdict, in order; what stands behind a request does not bear on it."""
    verdicts = decide(queue, known)

    assert [asked for asked, _ in verdicts] == queue
    for length in range(len(queue)):
        assert decide(queue[:length], known) == verdicts[:length]


@given(queues(), knowledge(), st.sampled_from([API_REQUESTS, BATCHES]), st.integers(1, 50))
def test_more_calls_left_never_shut_the_gate_for_the_first(
    queue: list[QuotaRequest], known: Knowledge, name: str, more: int
) -> None:
    """Whoever heads the queue and is approved is approved with more calls left as well."""
    if not queue or name not in known.readings:
        return
    before = known.readings[name]
    assert before.used is not None
    assert before.remaining is not None
    after = replace(before, used=before.used - more, remaining=before.remaining + more)
    richer = replace(known, readings={**known.readings, name: after})

    if isinstance(decide(queue[:1], known)[0][1], Approve):
        assert isinstance(decide(queue[:1], richer)[0][1], Approve)


@given(queues(), knowledge(), st.integers(1, 50))
def test_more_calls_left_never_take_from_the_head_of_the_queue(
    queue: list[QuotaRequest], known: Knowledge, more: int
) -> None:
    """As far as the queue was approved without a gap, it is approved with more calls left."""
    richer = replace(
        known,
        readings={
            name: replace(each, used=(each.used or 0) - more, remaining=(each.remaining or 0) + more)
            for name, each in known.readings.items()
        },
    )

    for (_, before), (_, after) in zip(decide(queue, known), decide(queue, richer), strict=True):
        if not isinstance(before, Approve):
            break
        assert isinstance(after, Approve)
