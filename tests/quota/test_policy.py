"""The gate's policy: who may start, who waits, who is refused, and the arithmetic that each is told."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from airflow_provider_apiusage.quota.model import OnUnknown, QuotaRequest, Refuse, Wait
from airflow_provider_apiusage.quota.policy import Approve, Knowledge, OpensAt, Reported, Verdict, decide, must_expire
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource
from tests.support.quota import BATCHES, MAX_AGE, NOW, minutes, reading, request

RETRY_AT = NOW + minutes(5)


def knowing(
    *readings: LimitReading, outstanding: dict[str, int] | None = None, opens_at: OpensAt = lambda _name, _calls: None
) -> Knowledge:
    """Return what one turn knows."""
    return Knowledge({each.name: each for each in readings}, outstanding or {}, NOW, RETRY_AT, opens_at)


def verdict_of(asked: QuotaRequest, *readings: LimitReading, **others: int) -> Verdict:
    """Decide about one request that is alone in the queue."""
    [(same, verdict)] = decide([asked], knowing(*readings, outstanding=others))
    assert same is asked
    return verdict


def test_a_need_that_fits_is_approved_with_its_arithmetic() -> None:
    """Headroom is what remains, less the reserve, less what is outstanding."""
    verdict = verdict_of(request("a", 30_000, reserve=10_000), reading(25_000), DailyApiRequests=5_000)

    assert isinstance(verdict, Approve)
    assert verdict.reason == (
        "DailyApiRequests: 30,000 needed, headroom 60,000 (remaining 75,000 of 100,000 "
        "- reserve 10,000 - outstanding 5,000)."
    )
    [figures] = verdict.figures
    assert (figures.need, figures.limit, figures.remaining, figures.reserve, figures.outstanding, figures.headroom) == (
        30_000, 100_000, 75_000, 10_000, 5_000, 60_000,
    )  # fmt: skip
    assert figures.observed_at == NOW


@pytest.mark.parametrize(("need", "kind"), [(60_000, Approve), (60_001, Wait)])
def test_the_whole_headroom_can_be_granted_and_not_one_call_more(need: int, kind: type) -> None:
    """The boundary is exact."""
    assert isinstance(verdict_of(request("a", need, reserve=0.15), reading(25_000)), kind)


def test_a_need_that_does_not_fit_yet_waits_for_calls_to_leave_the_window() -> None:
    """It is told how many must come free, how many of them by leaving the window, and when at the earliest."""
    asked = request("a", 30_000, reserve=10_000)
    opens = NOW + minutes(90)
    knowledge = knowing(
        reading(80_000), outstanding={API_REQUESTS: 4_000}, opens_at=lambda name, calls: {20_000: opens}.get(calls)
    )

    [(_, verdict)] = decide([asked], knowledge)

    assert isinstance(verdict, Wait)
    assert verdict.reason == (
        "DailyApiRequests: 30,000 needed, headroom 6,000 (remaining 20,000 of 100,000 - reserve 10,000 "
        "- outstanding 4,000); 24,000 must come free first, 20,000 of them by leaving the window."
    )
    assert (verdict.until, verdict.opens_at) == (RETRY_AT, opens)


def test_where_only_reservations_stand_in_the_way_nothing_has_to_leave_the_window() -> None:
    """A reservation can be given back at any moment, so no instant is named."""
    asked = request("a", 30_000)
    knowledge = knowing(reading(60_000), outstanding={API_REQUESTS: 15_000}, opens_at=lambda _name, _calls: NOW)

    [(_, verdict)] = decide([asked], knowledge)

    assert isinstance(verdict, Wait)
    assert verdict.reason.endswith("; 5,000 must come free first, reservations have to be given back.")
    assert verdict.opens_at is None
    assert must_expire(verdict.figures[0]) == 0


def test_use_above_the_limit_waits() -> None:
    """A soft limit may be passed; what remains is negative then, and the need waits for all of it."""
    verdict = verdict_of(request("a", 1_000), reading(104_000))

    assert isinstance(verdict, Wait)
    assert "headroom -4,000 (remaining -4,000 of 100,000" in verdict.reason
    assert "5,000 must come free first, 5,000 of them by leaving the window." in verdict.reason


def test_all_limits_of_a_need_are_granted_or_none() -> None:
    """One limit short is enough to wait; the reason names that one, the figures tell all."""
    asked = request("a", {API_REQUESTS: 5_000, BATCHES: 200})
    requests, batches = reading(25_000), reading(14_900, limit=15_000, name=BATCHES)

    short = verdict_of(asked, requests, batches)
    enough = verdict_of(asked, requests, reading(14_800, limit=15_000, name=BATCHES))

    assert isinstance(short, Wait)
    assert short.reason.startswith("DailyBulkApiBatches: 200 needed, headroom 100")
    assert "DailyApiRequests" not in short.reason
    assert [each.name for each in short.figures] == [API_REQUESTS, BATCHES]
    assert isinstance(enough, Approve)
    assert "DailyApiRequests" in enough.reason
    assert "DailyBulkApiBatches" in enough.reason


def test_a_need_of_several_limits_opens_when_the_last_of_them_can() -> None:
    """The earliest instant at which all can be free is the latest of theirs."""
    asked = request("a", {API_REQUESTS: 5_000, BATCHES: 200})
    opens = {API_REQUESTS: NOW + minutes(30), BATCHES: NOW + minutes(20)}
    knowledge = knowing(
        reading(99_000), reading(14_900, limit=15_000, name=BATCHES), opens_at=lambda name, _calls: opens[name]
    )

    [(_, verdict)] = decide([asked], knowledge)

    assert isinstance(verdict, Wait)
    assert verdict.opens_at == NOW + minutes(30)


def test_an_exhausted_allowance_waits_even_if_its_limit_is_unknown() -> None:
    """The error that says so is a reading: nothing remains, whatever the limit and the reserve would be."""
    exhausted = reading(None, limit=None, remaining=0, source=ReadingSource.EXHAUSTED)

    verdict = verdict_of(request("a", 1_000, reserve=0.1), exhausted)

    assert isinstance(verdict, Wait)
    assert verdict.reason.startswith("DailyApiRequests: 1,000 needed, headroom 0 (remaining 0 - reserve 0 ")


@pytest.mark.parametrize(
    ("asked", "limit", "told"),
    [
        (request("a", 1), 0, "DailyApiRequests: the org's limit is 0, so a need of 1 can never fit."),
        (
            request("a", 1_000, reserve=20_000),
            15_000,
            "DailyApiRequests: the reserve of 20,000 is above the org's limit of 15,000; "
            "nothing could ever be granted.",
        ),
        (
            request("a", 95_000, reserve=0.1),
            100_000,
            "DailyApiRequests: 95,000 needed can never fit: the limit of 100,000 less the reserve of 10,000 leaves "
            "90,000 even with nothing used. Split the load, or lower the reserve.",
        ),
    ],
    ids=["no such allowance", "reserve above the limit", "need above what can be free"],
)
def test_what_can_never_fit_is_refused_with_the_arithmetic(asked: QuotaRequest, limit: int, told: str) -> None:
    """Waiting could not help, so the load fails at once and says what to change."""
    verdict = verdict_of(asked, reading(0, limit=limit))

    assert isinstance(verdict, Refuse)
    assert verdict.reason == told


def test_a_need_of_exactly_what_can_ever_be_free_is_not_refused() -> None:
    """It waits until nothing is used."""
    assert isinstance(verdict_of(request("a", 90_000, reserve=0.1), reading(1)), Wait)
    assert isinstance(verdict_of(request("a", 90_000, reserve=0.1), reading(0)), Approve)


def test_what_can_never_fit_is_refused_even_by_an_old_reading_of_another_limit() -> None:
    """One limit that can never do is enough, whatever is known of the others."""
    verdict = verdict_of(request("a", {API_REQUESTS: 1, BATCHES: 5}), reading(0, limit=0, name=BATCHES))

    assert isinstance(verdict, Refuse)


OLD = reading(0, NOW - MAX_AGE - timedelta(seconds=1))
NOTHING_SAID = reading(None)
UNKNOWN = [
    pytest.param((), "DailyApiRequests: nothing has been read of it yet; the org may not report it.", id="nothing"),
    pytest.param((OLD,), "the latest reading is 15 min old, more than max_age allows.", id="old"),
    pytest.param((NOTHING_SAID,), "DailyApiRequests: the org did not say how much is left.", id="silent"),
]


@pytest.mark.parametrize(("readings", "told"), UNKNOWN)
@pytest.mark.parametrize(
    ("on_unknown", "kind", "begins"),
    [
        (OnUnknown.WAIT, Wait, "Not known what is left. "),
        (OnUnknown.FAIL, Refuse, "Not known what is left (on_unknown='fail'). "),
        (OnUnknown.ALLOW, Approve, "Allowed without knowing (on_unknown='allow'). "),
    ],
)
def test_while_nobody_knows_what_is_left_the_user_says_what_happens(
    readings: tuple[LimitReading, ...], told: str, on_unknown: OnUnknown, kind: type, begins: str
) -> None:
    """Nothing read, too old, or not told: the gate waits, fails or opens, and says what it does not know."""
    verdict = verdict_of(request("a", 1_000, on_unknown=on_unknown), *readings)

    assert isinstance(verdict, kind)
    assert verdict.reason.startswith(begins)
    assert told in verdict.reason


def test_one_limit_that_is_not_known_is_enough_not_to_know() -> None:
    """A need of two limits is not granted on the one that was read."""
    verdict = verdict_of(request("a", {API_REQUESTS: 1_000, BATCHES: 5}), reading(0))

    assert isinstance(verdict, Wait)
    assert verdict.reason.startswith("Not known what is left. DailyBulkApiBatches: nothing has been read")


def test_a_reading_serves_until_it_is_older_than_max_age() -> None:
    """Age is told by our clock, since the org's may be off; at exactly max_age a reading still serves."""
    at_most = reading(0, NOW + minutes(60), received_at=NOW - MAX_AGE)
    older = reading(0, NOW + minutes(60), received_at=NOW - MAX_AGE - timedelta(microseconds=1))

    assert isinstance(verdict_of(request("a"), at_most), Approve)
    assert isinstance(verdict_of(request("a"), older), Wait)


def test_what_remains_is_worked_out_where_the_org_tells_limit_and_use() -> None:
    """A header tells used and limit only."""
    header = LimitReading("00DAA0000000001", API_REQUESTS, ReadingSource.HEADER, NOW, NOW, 100_000, None, 25_000)

    verdict = verdict_of(request("a", 75_000), header)

    assert isinstance(verdict, Approve)
    assert verdict.figures[0].remaining == 75_000


def test_without_a_reserve_the_limit_need_not_be_known() -> None:
    """What remains is enough to decide by where nothing is kept back."""
    half = reading(None, limit=None, remaining=500)

    assert isinstance(verdict_of(request("a", 500, reserve=0.0), half), Approve)
    assert isinstance(verdict_of(request("a", 501, reserve=0.0), half), Wait)
    assert isinstance(verdict_of(request("a", 400, reserve=100), half), Approve)


def test_a_share_of_an_unknown_limit_is_unknown() -> None:
    """Ten per cent of nobody knows what cannot be kept, so the gate does not know what it may grant, and says why."""
    verdict = verdict_of(request("a", 1, reserve=0.1), reading(None, limit=None, remaining=500))

    assert isinstance(verdict, Wait)
    assert "DailyApiRequests: the org did not say what the limit is, so a share of it cannot be kept" in verdict.reason


def ages(*moments: datetime) -> list[str]:
    """Return how old readings of these moments are said to be."""
    told = [verdict_of(request("a", max_age=timedelta(seconds=1)), reading(0, moment)).reason for moment in moments]
    return [reason.partition("reading is ")[2].partition(" old")[0] for reason in told]


def test_ages_are_told_in_seconds_or_minutes() -> None:
    """A person reads 45 s, 2 min, 1,440 min."""
    assert ages(NOW - timedelta(seconds=45), NOW - minutes(2), NOW - timedelta(days=1)) == [
        "45 s",
        "2 min",
        "1,440 min",
    ]


TYPO = "DailyBulkApiBatchez"


def having_read(at: datetime, *names: str) -> Knowledge:
    """Return what one turn knows that has read ``/limits``: nothing is used of the limits it told."""
    readings = {name: reading(0, at, name=name) for name in names}
    return Knowledge(readings, {}, NOW, RETRY_AT, reported=lambda: Reported(at, frozenset(names)))


@pytest.mark.parametrize("on_unknown", [OnUnknown.WAIT, OnUnknown.FAIL])
def test_a_limit_that_the_org_does_not_report_is_refused_with_the_names_next_to_it(on_unknown: OnUnknown) -> None:
    """A misspelt name is not waited for until the sensor times out."""
    asked = request("a", {API_REQUESTS: 1, TYPO: 1}, on_unknown=on_unknown)

    [(_, verdict)] = decide([asked], having_read(NOW - MAX_AGE, API_REQUESTS, BATCHES, "DataStorageMB"))

    assert isinstance(verdict, Refuse)
    assert verdict.reason == (
        "DailyBulkApiBatchez: the org reports no limit of this name to the connection's user; the nearest that it "
        "reports: DailyBulkApiBatches."
    )


def test_a_name_like_no_other_is_refused_without_a_guess() -> None:
    """Nothing is made up where no name is near."""
    [(_, verdict)] = decide([request("a", {"Xyzzy": 1})], having_read(NOW, API_REQUESTS))

    assert isinstance(verdict, Refuse)
    assert verdict.reason.endswith("none that it reports is called nearly so.")


def test_who_may_start_without_knowing_is_told_that_the_org_reports_no_such_limit() -> None:
    """With on_unknown='allow' the load starts, as its author said; the reason tells of the name."""
    [(_, verdict)] = decide([request("a", {TYPO: 1}, on_unknown=OnUnknown.ALLOW)], having_read(NOW, BATCHES))

    assert isinstance(verdict, Approve)
    assert "DailyBulkApiBatches" in verdict.reason


def test_an_old_reading_refuses_no_name() -> None:
    """What the org reported longer ago than max_age does not tell what it reports now."""
    old = having_read(NOW - MAX_AGE - timedelta(seconds=1), BATCHES)

    [(_, verdict)] = decide([request("a", {TYPO: 1})], old)

    assert isinstance(verdict, Wait)


def test_a_limit_known_by_a_header_needs_no_report() -> None:
    """Where the user may not see a limit in /limits, but a response told it, there is a figure to go by."""
    known = having_read(NOW, BATCHES)
    header = reading(0, source=ReadingSource.HEADER)
    known.readings[API_REQUESTS] = header  # type: ignore[index]

    [(_, verdict)] = decide([request("a", 10)], known)

    assert isinstance(verdict, Approve)
