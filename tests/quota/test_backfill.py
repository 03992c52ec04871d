"""Small loads may pass a big one that waits, within a budget."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.quota.model import QuotaRequest, Wait
from airflow_provider_apiusage.quota.order import PastGrant, place
from airflow_provider_apiusage.quota.policy import Approve, Knowledge, Rules, Verdict, decide
from airflow_provider_apiusage.usage.model import API_REQUESTS
from tests.support.quota import BATCHES, NOW, minutes, reading, request

TICK = timedelta(microseconds=1)
Round = tuple[list[tuple[int, int]], int]
"""Needs and priorities of those that arrive, and what is used then."""


def knowing(
    used: int, *, beta: float = 1.0, grants: tuple[PastGrant, ...] = (), now: datetime = NOW, limit: int = 100_000
) -> Knowledge:
    """Return what one turn knows of an org without a reserve."""
    readings = {name: reading(used, now, limit=limit, name=name) for name in (API_REQUESTS, BATCHES)}
    return Knowledge(readings, {}, now, now + minutes(5), grants=grants, rules=Rules(beta=beta))


def let_in(queue: list[QuotaRequest], known: Knowledge) -> list[str]:
    """Return the runs of those that are approved."""
    return [
        asked.holder.run_id.partition("T")[2] for asked, verdict in decide(queue, known) if isinstance(verdict, Approve)
    ]


def past(calls: int, joined: datetime, granted: datetime, priority: int = 0) -> PastGrant:
    """Return a grant of the past."""
    return PastGrant(joined, priority, granted, {API_REQUESTS: calls})


def queue_of(*needs: int) -> list[QuotaRequest]:
    """Return requests that joined one after the other."""
    return [request(chr(97 + n), need, NOW + n * TICK) for n, need in enumerate(needs)]


def test_small_loads_pass_while_together_they_ask_for_no_more_than_the_head() -> None:
    """The budget of one need: the fourth would exceed it, the fifth still fits in."""
    head = request("a", {API_REQUESTS: 30_000, BATCHES: 20_000}, NOW)
    known, short = knowing(0), reading(90_000, name=BATCHES)
    queue = [head, *queue_of(1, 10_000, 15_000, 6_000, 5_000)[1:]]

    assert let_in(queue, replace(known, readings={**known.readings, BATCHES: short})) == ["b", "c", "e"]


def test_half_the_budget_lets_half_as_many_pass() -> None:
    """The share is a matter of taste: 0 is strictly first come, first served."""
    queue = queue_of(30_000, 10_000, 5_000, 6_000)

    assert let_in(queue, knowing(75_000, beta=0.5)) == ["b", "c"]
    assert let_in(queue, knowing(75_000, beta=0)) == []


def test_who_has_passed_before_is_remembered() -> None:
    """What later comers were granted since the head joined counts; what was granted before, or to earlier ones, not."""
    queue = queue_of(30_000, 10_000)
    earlier = past(30_000, NOW - minutes(60), NOW + minutes(1))
    before = past(30_000, NOW - minutes(60), NOW - minutes(30))
    later = past(20_001, NOW + minutes(1), NOW + minutes(2))
    now = NOW + minutes(10)

    assert let_in(queue, knowing(75_000, grants=(earlier, before), now=now)) == ["b"]
    assert let_in(queue, knowing(75_000, grants=(later,), now=now)) == []
    assert let_in(queue, knowing(75_000, grants=(replace(later, needs={API_REQUESTS: 20_000}),), now=now)) == ["b"]


def test_a_head_start_is_no_overtaking() -> None:
    """Whoever was granted by priority stood before the head, whenever it came."""
    queue = queue_of(30_000, 10_000)
    urgent = past(25_000, NOW + minutes(60), NOW + minutes(61), priority=1)

    assert let_in(queue, knowing(75_000, grants=(urgent,), now=NOW + minutes(90))) == ["b"]


def test_each_limit_has_its_own_budget() -> None:
    """Who names two limits needs leave on both; who waits for an unknown one is not passed."""
    head = request("a", {API_REQUESTS: 30_000, BATCHES: 10}, NOW)
    batches = request("b", {BATCHES: 11}, NOW + TICK)
    both = request("c", {API_REQUESTS: 10, BATCHES: 10}, NOW + 2 * TICK)
    known = knowing(75_000)

    assert let_in([head, batches, both], known) == ["c"]
    unknown = replace(known, readings={API_REQUESTS: known.readings[API_REQUESTS]})
    assert let_in([head, both], unknown) == []


def test_the_reason_tells_whom_it_passes_and_what_is_left() -> None:
    """A person sees in the log why the small one went first."""
    [(_, head), (_, small)] = decide(queue_of(30_000, 10_000), knowing(75_000))

    assert isinstance(head, Wait)
    assert small.reason.endswith(
        "It passes salesforce_load/scheduled__2026-10-07Ta/gate, which waits for 30,000; after it, 20,000 more may."
    )


def test_who_may_pass_and_has_no_room_is_told_both() -> None:
    """Leave to pass is of no use without room."""
    [_, (_, small)] = decide(queue_of(30_000, 10_000), knowing(95_000))

    assert isinstance(small, Wait)
    assert "In the queue behind" in small.reason
    assert "It may pass when there is room. DailyApiRequests: 10,000 needed, headroom 5,000" in small.reason


@given(
    st.lists(
        st.tuples(st.lists(st.tuples(st.integers(1, 60), st.integers(-2, 2)), max_size=5), st.integers(0, 100)),
        max_size=25,
    ),
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]),
)
def test_the_budget_is_never_exceeded_in_a_queue_that_lives(rounds: list[Round], beta: float) -> None:
    """Turn after turn, with arrivals of any need and priority: whoever heads the queue is passed by beta at most."""
    queue: list[QuotaRequest] = []
    grants: list[PastGrant] = []
    now, number = NOW, 0
    for arrivals, used in rounds:
        now += minutes(30)
        for need, priority in arrivals:
            number += 1
            queue.append(request(number, need, now + number * TICK, priority=priority))
        now += minutes(1)
        verdicts: list[tuple[QuotaRequest, Verdict]] = decide(
            queue, knowing(used, beta=beta, grants=tuple(grants), now=now, limit=100)
        )
        granted = [asked for asked, verdict in verdicts if isinstance(verdict, Approve)]
        head = next((asked for asked, verdict in verdicts if isinstance(verdict, Wait)), None)
        passed_now = [asked for asked in granted if head is not None and place(asked) > place(head)]
        grants += [PastGrant(asked.requested_at, asked.priority, now, asked.needs) for asked in granted]
        if head is not None and passed_now:
            passed = [p for p in grants if p.granted_at > head.requested_at and place(p) > place(head)]
            assert sum(p.needs[API_REQUESTS] for p in passed) <= beta * head.calls
        queue = [asked for asked in queue if asked not in granted]
