"""Running the 7-day report at once or in the background, at a known cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_apiusage.salesforce.daily_usage import DailyUsageSource
from airflow_provider_apiusage.salesforce.errors import (
    AllowanceExhaustedError,
    ApiUsageError,
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from airflow_provider_apiusage.salesforce.report_runs import PATIENCE
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from tests.support.reports import TUESDAY, WEDNESDAY, Reader, codes, soap, totals

EXAMPLE = {TUESDAY: 20_000, WEDNESDAY: 15_000}
TOO_OFTEN = "You can't run more than 500 reports synchronously every 60 minutes. Try again later."


@pytest.fixture
def reader(sandbox: SandboxServer) -> Reader:
    """A reader of the seed's example org."""
    return Reader(sandbox)


@pytest.mark.parametrize("shape", ["TABULAR", "SUMMARY", "MATRIX"])
def test_a_run_in_the_background_tells_the_same_as_one_at_once(reader: Reader, shape: str) -> None:
    """One call at once; in the background one to begin and one for each look, after 2, 4, 8 seconds."""
    at_once = reader.read("sync", report_shape=shape)
    assert reader.calls == 1
    background = reader.read("async", report_polls=2)

    assert totals(at_once) == totals(background) == EXAMPLE
    assert reader.calls == 1 + 4
    assert reader.pauses == [2, 4, 8]


def test_what_the_meter_says_is_what_the_org_counts(reader: Reader) -> None:
    """Beginning, looking and running are calls like any other."""
    before = reader.sandbox.org.used
    reader.read("sync")
    reader.read("async", report_polls=3)
    reader.read("auto", report_sync="limit", report_polls=0)

    assert reader.sandbox.org.used - before == reader.calls == 1 + 5 + 3


@pytest.mark.parametrize("sync", ["timeout", "limit"])
def test_what_cannot_run_at_once_runs_in_the_background(reader: Reader, sync: str) -> None:
    """By itself with ``auto``; with ``sync`` the refusal is the answer."""
    usage = reader.read("auto", report_sync=sync)

    assert totals(usage) == EXAMPLE
    assert reader.calls == 1 + 3
    with pytest.raises((UnavailableError, PermissionDeniedError)):
        reader.read("sync")
    assert reader.calls == 1 + 3 + 1


def refusal(status: int, code: str, message: str) -> Fault:
    """Refuse the first run."""
    return Fault("status", status=status, body=[{"errorCode": code, "message": message}], count=1)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("concurrency", count=1), id="concurrency"),
        pytest.param(refusal(429, "TOO_MANY_REQUESTS", "Slow down."), id="429"),
        pytest.param(Fault("status", status=504, body="<html>Gateway</html>", count=1), id="504"),
        pytest.param(Fault("reset", count=1), id="reset"),
        pytest.param(refusal(400, "BAD_REQUEST", TOO_OFTEN), id="limit-as-400"),
        pytest.param(refusal(403, "FORBIDDEN", TOO_OFTEN), id="limit-as-403"),
        pytest.param(refusal(403, "REQUEST_LIMIT_EXCEEDED", TOO_OFTEN), id="limit-as-allowance"),
        pytest.param(refusal(500, "UNKNOWN_EXCEPTION", TOO_OFTEN), id="limit-as-500"),
        pytest.param(refusal(403, "REQUEST_LIMIT_EXCEEDED", "HourlySyncReportRuns exceeded."), id="limit-by-name"),
    ],
)
def test_every_way_to_say_not_now_leads_to_the_background(reader: Reader, fault: Fault) -> None:
    """Which status and code the hourly limit has is not documented, so its words tell."""
    reader.sandbox.org.faults.order(fault)
    usage = reader.read("auto", report_polls=0)

    assert totals(usage) == EXAMPLE
    assert reader.calls == 1 + 2


def test_a_run_that_takes_too_long_is_begun_again_in_the_background(sandbox: SandboxServer) -> None:
    """An answer that does not come in time."""
    reader = Reader(sandbox, timeout=0.3)
    sandbox.org.faults.order(Fault("delay", seconds=0.9, count=1))
    usage = reader.read("auto", report_polls=0)

    assert totals(usage) == EXAMPLE
    assert reader.calls == 1 + 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(Fault("exhausted", count=1), AllowanceExhaustedError, id="allowance"),
        pytest.param(Fault("unauthorized", count=1), AuthenticationError, id="token"),
        pytest.param(refusal(403, "INSUFFICIENT_ACCESS", "No access."), PermissionDeniedError, id="permission"),
        pytest.param(refusal(410, "UNSUPPORTED_API_VERSION", "Gone."), ConfigurationError, id="version"),
        pytest.param(refusal(404, "NOT_FOUND", "No synchronous such."), NotFoundError, id="missing"),
        pytest.param(
            refusal(403, "FORBIDDEN", "You can't run more than 1200 reports asynchronously."),
            PermissionDeniedError,
            id="another-limit",
        ),
    ],
)
def test_what_is_refused_for_good_is_not_tried_again_in_the_background(
    reader: Reader, fault: Fault, kind: type[ApiUsageError]
) -> None:
    """A used-up allowance, a missing permission or report is no reason to spend more calls."""
    reader.sandbox.org.faults.order(fault)
    with pytest.raises(kind):
        reader.read("auto")
    assert reader.calls == 1


def test_what_is_no_report_costs_at_most_one_call(reader: Reader) -> None:
    """An id that is not there, and text that is no id."""
    with pytest.raises(NotFoundError, match="custom report"):
        DailyUsageSource("00OAA0000009999").read(reader.org, open_path=lambda path: (b"", None))
    assert reader.calls == 1
    with pytest.raises(ConfigurationError, match="no report id"):
        DailyUsageSource("00OAA00000.9999")._run(reader.org)
    assert reader.calls == 1


def test_a_run_that_does_not_end_is_given_up(reader: Reader) -> None:
    """After ten minutes; the looks grow rare, because each is a call."""
    with pytest.raises(UnavailableError, match="'Running' when the time to wait was used up"):
        reader.read("async", report_polls=1_000)

    assert sum(reader.pauses) == PATIENCE.total_seconds()
    assert max(reader.pauses) == 30
    assert reader.calls == 1 + len(reader.pauses) < 30


@pytest.mark.parametrize(
    ("options", "pauses"),
    [({"patience": timedelta(seconds=10)}, [2, 4, 4]), ({"most_looks": 2}, [2, 4]), ({"most_looks": 1}, [2])],
)
def test_how_long_to_wait_and_how_often_to_look_can_be_set(
    reader: Reader, options: dict[str, Any], pauses: list[float]
) -> None:
    """Neither is exceeded, and the error names both."""
    with pytest.raises(UnavailableError, match="'patience', 'most_looks'"):
        reader.read("async", options=options, report_polls=1_000)

    assert reader.pauses == pauses
    assert reader.calls == 1 + len(pauses)


def test_both_bounds_hold_for_all_runs_together(reader: Reader) -> None:
    """A report that is run day by day begins no run for which no look is left."""
    for n in range(6):
        reader.sandbox.org.ledger.record(reader.sandbox.org.now(), soap(f"client-{n}"))
    with pytest.raises(UnavailableError, match="'not begun' when the number of looks was used up"):
        reader.read("async", options={"most_looks": 5}, report_polls=0, report_row_cap=4)

    assert reader.calls == 5 * 2


@pytest.mark.parametrize(
    "options", [{"run": "later"}, {"patience": timedelta(0)}, {"most_looks": 0}], ids=["run", "patience", "looks"]
)
def test_options_that_make_no_sense_are_refused_at_once(options: dict[str, Any]) -> None:
    """Before any call, with the name of the option."""
    with pytest.raises(ValueError, match=next(iter(options))):
        DailyUsageSource("00OAA0000000001", **options)


def test_a_run_that_fails_says_so(reader: Reader) -> None:
    """An ``Error`` in the background, or an answer that names no run."""
    reader.sandbox.org.faults.order(
        Fault("status", status=200, path="/instances/", body={"attributes": {"status": "Error"}}, count=1)
    )
    with pytest.raises(UnavailableError, match="failed"):
        reader.read("async")
    assert reader.calls == 2
    reader.sandbox.org.faults.order(Fault("status", status=200, path="/instances", body={"id": None}, count=1))
    with pytest.raises(ApiUsageError, match="names no run"):
        reader.read("async")
    assert reader.calls == 3


def test_a_look_that_fails_is_repeated_and_counted(sandbox: SandboxServer) -> None:
    """The session repeats it like any other reading."""
    reader = Reader(sandbox, retries=1)
    sandbox.org.faults.order(Fault("status", status=503, path="/instances/", count=1))

    assert totals(reader.read("async", report_polls=0)) == EXAMPLE
    assert reader.calls == 1 + 2


def test_an_earlier_run_is_never_taken_for_a_new_one(reader: Reader) -> None:
    """The org keeps results for a day; what was called since is in the next run."""
    assert totals(reader.read("async")) == EXAMPLE
    reader.sandbox.org.ledger.record(reader.sandbox.org.now(), soap("late"), 7)

    assert totals(reader.read("async")) == {**EXAMPLE, WEDNESDAY: 15_007}
    assert len(reader.sandbox.org.report_instances) == 2


def test_a_run_begun_before_midnight_does_not_tell_the_whole_day(reader: Reader) -> None:
    """Its counts are as of its beginning: calls made while it ran are not in them, although it ended on Thursday."""
    org = reader.sandbox.org
    org.clock.set(datetime(2026, 10, 7, 23, 59, 50, tzinfo=UTC))

    def calls_until_after_midnight() -> None:
        org.clock.advance(timedelta(seconds=5))
        org.ledger.record(org.now(), soap("late"), 500)
        org.clock.advance(timedelta(seconds=25))

    reader.on_pause = calls_until_after_midnight
    usage = reader.read("async", report_polls=0)

    assert totals(usage) == EXAMPLE
    assert {count.observed_at for count in usage.counts} == {datetime(2026, 10, 7, 23, 59, 50, tzinfo=UTC)}
    assert org.now().date() > WEDNESDAY
    assert codes(usage) == []
