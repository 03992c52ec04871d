"""Who goes before whom."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.quota.model import QuotaRequest, Wait
from airflow_provider_apiusage.quota.order import HEAD_START, in_order, place
from airflow_provider_apiusage.quota.policy import Knowledge, Rules, decide
from tests.support.quota import NOW, minutes, reading, request

waiting = st.lists(
    st.builds(
        lambda late, steps: (late, steps),
        st.integers(0, 40 * 60),
        st.integers(-6, 6),
    ),
    max_size=12,
)


def queue_of(asked: list[tuple[int, int]]) -> list[QuotaRequest]:
    """Return requests that joined so many minutes late, with so many steps of priority."""
    return [request(n, 10, NOW + minutes(late), priority=steps) for n, (late, steps) in enumerate(asked)]


def test_priority_is_a_head_start_of_two_hours_a_step() -> None:
    """Who came an hour later with one step goes first; who came three hours later does not."""
    first, urgent = request("first", 1, NOW), request("urgent", 1, NOW + minutes(60), priority=1)
    late = request("late", 1, NOW + minutes(180), priority=1)
    yielding = request("yielding", 1, NOW - minutes(60), priority=-1)

    assert in_order([first, urgent, late, yielding]) == [urgent, first, late, yielding]


@given(waiting)
def test_nobody_who_comes_later_than_the_head_start_goes_before(asked: list[tuple[int, int]]) -> None:
    """The head start is bounded, so whoever waits is passed by few, and never by who comes after that."""
    ordered = in_order(queue_of(asked))

    for n, before in enumerate(ordered):
        for after in ordered[n + 1 :]:
            ahead = max(0, before.priority - after.priority) * HEAD_START
            assert before.requested_at <= after.requested_at + ahead


@given(waiting, st.randoms(use_true_random=False), st.integers(0, 12))
def test_the_order_of_two_is_the_same_in_every_queue(asked: list[tuple[int, int]], chance: object, left: int) -> None:
    """Who else waits, and in which order they are told, changes nothing: places are static."""
    queue = queue_of(asked)
    shuffled = sorted(queue, key=lambda _: chance.random())  # type: ignore[attr-defined]
    rank = {id(each): n for n, each in enumerate(in_order(queue))}
    some = in_order(shuffled[left:])

    for one, other in pairwise(some):
        assert rank[id(one)] < rank[id(other)] or place(one) == place(other)


@given(waiting)
def test_verdicts_come_in_the_order_of_service(asked: list[tuple[int, int]]) -> None:
    """However the queue is handed in, it is decided in its own order."""
    queue = queue_of(asked)
    known = Knowledge({"DailyApiRequests": reading(100_000)}, {}, NOW, NOW + minutes(5), rules=Rules(beta=0))

    verdicts = decide(queue[::-1], known)

    places = [place(each) for each, _ in verdicts]
    assert places == sorted(places)
    assert all(isinstance(verdict, Wait) for _, verdict in verdicts)


def test_a_priority_goes_before_in_the_policy_too() -> None:
    """With room for one, the one with the head start is let in."""
    queue = [request("first", 60_000), request("urgent", 60_000, NOW + timedelta(hours=1), priority=1)]
    known = Knowledge({"DailyApiRequests": reading(0)}, {}, NOW, NOW + minutes(5))

    [(one, let_in), (_, waits)] = decide(queue, known)

    assert (one, type(let_in).__name__, type(waits).__name__) == (queue[1], "Approve", "Wait")
