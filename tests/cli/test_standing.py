"""What can be granted, as the commands say it: exactly what the gate would grant, worked out without a turn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from airflow_provider_apiusage.cli.standing import ASKER, Glance, most_grantable
from airflow_provider_apiusage.quota.knowledge import Knowledge
from airflow_provider_apiusage.quota.model import Holder, QuotaRequest, Reserve
from airflow_provider_apiusage.quota.policy import Approve, decide
from airflow_provider_apiusage.store.engine import looking, migrate, sqlite_engine
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource
from tests.support.quota import NOW, ORG

HOUR = timedelta(hours=1)
LIMIT = 100_000
numbers = count()


def reading(org_id: str, used: int, age: timedelta = timedelta(0)) -> LimitReading:
    """Return a reading made so long ago."""
    at = NOW - age
    return LimitReading(org_id, API_REQUESTS, ReadingSource.LIMITS, at, at, LIMIT, LIMIT - used, used)


def request(org_id: str, task: str, calls: int, waited: timedelta = timedelta(0), share: float = 0.0) -> QuotaRequest:
    """Return a request of so long ago."""
    return QuotaRequest(org_id, Holder("dag", "run", task), {API_REQUESTS: calls}, NOW - waited, Reserve(share=share))


@settings(max_examples=60, deadline=None)
@given(
    used=st.integers(0, 130_000),
    outstanding=st.integers(0, 60_000),
    share=st.sampled_from([0.0, 0.1, 0.33]),
    waiting=st.lists(st.integers(1, 120_000), max_size=14),
    beyond=st.integers(1, 200_000),
)
def test_the_most_that_can_be_granted_is_the_policys_word(
    used: int, outstanding: int, share: float, waiting: list[int], beyond: int
) -> None:
    """So many calls are granted to somebody new who stands last, and not one more, nor any larger number."""
    queue = [request(ORG, str(place), calls, HOUR * (20 - place), share) for place, calls in enumerate(waiting)]
    knowledge = Knowledge({API_REQUESTS: reading(ORG, used)}, {API_REQUESTS: outstanding}, NOW, NOW + HOUR)
    asked = QuotaRequest(ORG, ASKER, {API_REQUESTS: 1}, NOW, Reserve(share=share))

    def granted(calls: int) -> bool:
        one = QuotaRequest(ORG, ASKER, {API_REQUESTS: calls}, NOW, Reserve(share=share))
        return isinstance({r.holder: v for r, v in decide([*queue, one], knowledge)}[ASKER], Approve)

    most = most_grantable(queue, asked, knowledge)

    assert most is not None
    assert most == 0 or granted(most)
    assert not granted(most + 1)
    assert not granted(most + beyond)


def test_what_cannot_be_known_is_unknown_and_not_zero() -> None:
    """Without a reading, with one that is too old, or with one that does not say how much is left."""
    asked = QuotaRequest(ORG, ASKER, {API_REQUESTS: 1}, NOW)
    silent = LimitReading(ORG, API_REQUESTS, ReadingSource.LIMITS, NOW, NOW, None, None, None)
    for readings in ({}, {API_REQUESTS: reading(ORG, 0, HOUR)}, {API_REQUESTS: silent}):
        assert most_grantable([], asked, Knowledge(readings, {API_REQUESTS: 0}, NOW, NOW + HOUR)) is None


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One store for all examples, each of which has an org of its own."""
    made = sqlite_engine(tmp_path_factory.mktemp("standing") / "apiusage.db")
    migrate(made)
    yield made
    made.dispose()


leases = st.tuples(
    st.integers(1, 20_000),  # calls
    st.integers(0, 600),  # minutes ago that it was granted
    st.integers(1, 600),  # minutes that it holds
    st.booleans(),  # released at half of that time
    st.integers(0, 20_000),  # drawn
)


@settings(max_examples=12, deadline=None)
@given(held=st.lists(leases, max_size=5), age=st.integers(0, 120), stale=st.integers(0, 20))
def test_a_glance_sees_what_a_turn_would(
    engine: Engine, held: list[tuple[int, int, int, bool, int]], age: int, stale: int
) -> None:
    """Outstanding is the same as after a turn has written down which leases have lapsed, whatever was drawn from them
    and whenever the org was read; and the glance writes nothing down.
    """
    org_id = f"00DSB{next(numbers):010d}"
    ledger = QuotaLedger(engine)
    UsageStore(engine).add_readings([reading(org_id, 1_000, timedelta(minutes=age))])
    for place, (calls, ago, holds, released, drawn) in enumerate(held):
        granted_at, lease = NOW - timedelta(minutes=ago), timedelta(minutes=holds)
        asked = QuotaRequest(org_id, Holder("dag", "run", str(place)), {API_REQUESTS: calls}, granted_at, lease=lease)
        with ledger.turn(org_id) as turn:
            turn.join(asked, granted_at, granted_at + lease)
            reservation = turn.grant(asked, granted_at)
        if drawn:
            ledger.draw(reservation.reservation_id, {API_REQUESTS: drawn}, granted_at)
        if released and granted_at + lease / 2 < NOW:
            ledger.release(reservation.reservation_id, granted_at + lease / 2)
    names, ages = [API_REQUESTS], {API_REQUESTS: timedelta(minutes=stale)}

    with looking(engine) as connection:
        glance = Glance(connection, org_id)
        seen = [glance.outstanding(glance.latest_readings(names), names, NOW, ages) for _ in range(2)]
    with ledger.turn(org_id) as turn:
        turn.lapse(NOW)
        truth = turn.outstanding(turn.latest_readings(names), names, NOW, ages)

    assert seen == [truth, truth]
