"""``gates`` and ``release``: who waits and who holds, and how either is ended by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_apiusage.quota.model import Holder, QuotaRequest, Reserve
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource
from tests.cli.conftest import Run

ORG = "00DSB0000000042"
LEASE = timedelta(hours=2)


@pytest.fixture
def ledger(store_file: Path) -> QuotaLedger:
    """One load that holds 30,000 of 100,000 calls, one of a mapped task that waits for 80,000; and one that waited
    before them and has not asked again for an hour, which no gate has written down yet.
    """
    engine = sqlite_engine(store_file)
    migrate(engine)
    now = datetime.now(UTC)
    UsageStore(engine).add_readings(
        [LimitReading(ORG, API_REQUESTS, ReadingSource.LIMITS, now, now, 100_000, 90_000, 10_000)]
    )
    ledger = QuotaLedger(engine)
    holds, waits = (
        QuotaRequest(ORG, holder, {API_REQUESTS: calls}, now, Reserve(), LEASE)
        for holder, calls in (
            (Holder("elt", "manual__1", "gate"), 30_000),
            (Holder("elt", "manual__1", "big", 3), 80_000),
        )
    )
    gone = QuotaRequest(ORG, Holder("elt", "manual__0", "gone"), {API_REQUESTS: 1}, now - 5 * LEASE, Reserve(), LEASE)
    with ledger.turn(ORG) as turn:
        turn.join(gone, now - 5 * LEASE, now - timedelta(hours=1))
        for request in (holds, waits):
            turn.join(request, now, now + LEASE)
        turn.record(holds, now, "grant", "it fits.", ())
        turn.grant(holds, now)
    return ledger


def test_gates_shows_who_waits_who_holds_and_why(run: Run, ledger: QuotaLedger) -> None:
    """Both with the ids and the holders that ``release`` takes, to people and to programs."""
    data = run("gates", "--org", ORG, "-o", "json").data
    (waits,), (holds,), (decided,) = data["waiting"], data["reservations"], data["decisions"]

    assert (waits["holder"], waits["map_index"], waits["decision"]) == ("elt/manual__1/big[3]", 3, "wait")
    assert "80,000 needed, headroom 60,000" in waits["reason"]
    assert (holds["holder"], holds["needs"]) == ("elt/manual__1/gate", {API_REQUESTS: 30_000})
    assert (decided["kind"], decided["reason"]) == ("grant", "it fits.")
    words = run("gates", "--org", ORG).out
    assert "1 waiting, 1 holding" in words
    assert "elt/manual__1/big[3]" in words


def test_a_reservation_is_ended_by_its_holder(run: Run, ledger: QuotaLedger) -> None:
    """It is gone afterwards; ending it again ends nothing, which is exit 3 and no error."""
    said = run("release", "elt/manual__1/gate", "--yes", "-o", "json")

    assert said.code == 0, said.err
    assert (said.data["ended"], said.data["kind"], said.data["needs"]) == (True, "reservation", {API_REQUESTS: 30_000})
    assert said.data["given_back"] is None  # nobody metered it, so nobody knows
    assert ledger.reservations(ORG, datetime.now(UTC)) == ()
    assert run("release", "elt/manual__1/gate", "--yes").code == 3
    assert run("release", said.data["id"], "--yes").code == 3
    assert run("release", "elt/manual__0/gone", "--yes").code == 3


def test_what_a_metered_load_has_not_spent_comes_back(run: Run, ledger: QuotaLedger) -> None:
    """By its id; the answer says what was spent and what is free at once."""
    (held,) = ledger.reservations(ORG, datetime.now(UTC))
    ledger.draw(held.reservation_id, {API_REQUESTS: 12_000}, datetime.now(UTC), closed=True)
    said = run("release", held.reservation_id, "--yes")

    assert said.code == 0, said.err
    assert "12,000 DailyApiRequests are known to be spent. Free at once: 18,000 DailyApiRequests." in said.out


@pytest.mark.parametrize("target", ["elt/manual__1/big[3]", "elt/manual__1/big/3"])
def test_a_waiting_request_leaves_the_queue(run: Run, ledger: QuotaLedger, target: str) -> None:
    """However its map index is written; the load that holds something keeps it."""
    assert run("release", target, "--yes").code == 0
    assert ledger.waiting(ORG, datetime.now(UTC)) == ()
    assert len(ledger.reservations(ORG, datetime.now(UTC))) == 1


def test_nothing_is_ended_without_a_yes(run: Run, ledger: QuotaLedger) -> None:
    """It asks first: no is exit 3, nobody there is wrong usage, yes does it. The question leaves the JSON alone."""
    no = run("release", "elt/manual__1/gate", "-o", "json", stdin="n\n")
    nobody = run("release", "elt/manual__1/gate")

    assert (no.code, no.data["ended"], nobody.code) == (3, False, 2)
    assert "30,000 DailyApiRequests" in no.err
    assert "--yes" in nobody.err
    assert len(ledger.reservations(ORG, datetime.now(UTC))) == 1
    assert run("release", "elt/manual__1/gate", stdin="y\n").code == 0
    assert ledger.reservations(ORG, datetime.now(UTC)) == ()


def test_an_id_that_nobody_knows_is_an_error(run: Run, ledger: QuotaLedger) -> None:
    """It says what an id or a holder looks like, and where they are shown."""
    said = run("release", "no-such-id", "--yes")

    assert (said.code, said.out) == (1, "")
    assert "airflow apiusage gates" in said.err
