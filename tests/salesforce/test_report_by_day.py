"""A 7-day report of more rows than one answer holds, run day by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.salesforce.errors import PermissionDeniedError
from airflow_provider_apiusage.salesforce.report_runs import of_one_day
from airflow_provider_apiusage.sandbox import Fault, SandboxOrg, SandboxServer, UsageLedger
from airflow_provider_apiusage.usage.model import Severity
from tests.support.reports import TUESDAY, Reader, codes, soap, totals

SHAPES = ["TABULAR", "SUMMARY", "MATRIX"]


@pytest.fixture
def reader(sandbox: SandboxServer) -> Reader:
    """A reader of the seed's example org."""
    return Reader(sandbox)


def many_clients(sandbox: SandboxServer, clients: int = 6) -> dict[date, int]:
    """Let several clients call on four days; return what the org counted by day."""
    org = sandbox.org
    for n in range(clients):
        for back in range(4):
            org.ledger.record(org.now() - timedelta(days=back), soap(f"client-{n}"), 10 + n)
    days: Counter[date] = Counter()
    for period in org.ledger.daily():
        if period.caller.counted and period.caller.family == "SOAP":
            days[period.start.date()] += period.count
    return dict(days)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("date_range", [False, True])
@pytest.mark.parametrize(("run", "calls"), [("sync", 9), ("async", 18), ("auto", 9)])
def test_a_truncated_report_is_run_day_by_day(
    reader: Reader, shape: str, date_range: bool, run: str, calls: int
) -> None:
    """Nine runs tell every day whole, by a filter or by the report's own date range."""
    truth = many_clients(reader.sandbox)
    usage = reader.read(run, report_shape=shape, report_row_cap=12, report_date_range=date_range, report_polls=0)

    assert totals(usage) == truth
    assert codes(usage) == ["report-day-by-day"]
    assert reader.calls == calls


def test_one_refusal_at_once_is_enough(reader: Reader) -> None:
    """What cannot run at once is not tried at once for each of the days: one call lost, not nine."""
    truth = many_clients(reader.sandbox)
    usage = reader.read("auto", report_sync="limit", report_row_cap=12, report_polls=0)

    assert totals(usage) == truth
    assert reader.calls == 1 + 9 * 2


def test_a_day_that_is_truncated_by_itself_has_no_count(reader: Reader) -> None:
    """A partial sum is no count; the other days are kept, and the finding names the day and its rows."""
    truth = many_clients(reader.sandbox)
    org = reader.sandbox.org
    for n in range(9):
        org.ledger.record(org.now() - timedelta(days=1), soap(f"more-{n}"))
    usage = reader.read(report_shape="TABULAR", report_row_cap=12)

    assert totals(usage) == {day: calls for day, calls in truth.items() if day != TUESDAY}
    (lost,) = [finding for finding in usage.findings if finding.code == "report-day-truncated"]
    assert (lost.severity.value, lost.figures) == ("error", {"day": "2026-10-06", "rows": 12})
    assert reader.calls == 9


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("filters", "why"), [("refused", "not run it with"), ("ignored", "does not heed")])
def test_an_org_that_does_not_filter_gets_the_report_refused(
    reader: Reader, shape: str, filters: str, why: str
) -> None:
    """After one try: no count is made up from a part of the rows, nor from the sums of truncated groups."""
    many_clients(reader.sandbox)
    usage = reader.read(report_shape=shape, report_row_cap=12, report_filters=filters)

    assert usage.counts == ()
    (finding,) = usage.findings
    assert (finding.code, finding.severity) == ("report-truncated", Severity.ERROR)
    assert why in finding.message
    assert reader.calls == 2


def test_a_filter_that_is_not_heeded_is_noticed_where_the_answer_is_whole(reader: Reader) -> None:
    """Only the days that come show it: asked for a day without calls, it told others."""
    many_clients(reader.sandbox)
    reader.sandbox.org.change({"report_row_cap": 12, "report_filters": "ignored", "report_polls": 0})
    reader.on_pause = lambda: reader.sandbox.org.change({"report_row_cap": 2_000})
    usage = reader.read("async", report_shape="TABULAR")

    assert usage.counts == ()
    assert "asked for 2026-09-30, it told 2026-10-04" in usage.findings[0].message
    assert reader.calls == 4


def test_a_user_who_may_not_change_the_filter_gets_the_report_refused(reader: Reader) -> None:
    """A 403 to the changed run alone is about the change."""
    many_clients(reader.sandbox)
    refused = [{"errorCode": "FORBIDDEN", "message": "Filters are locked."}]
    reader.sandbox.org.faults.order(Fault("status", status=403, body=refused, method="POST", count=1))
    usage = reader.read("sync", report_row_cap=12)

    assert usage.counts == ()
    assert codes(usage) == ["report-truncated"]
    assert "Filters are locked" in usage.findings[0].message


def test_an_hourly_limit_in_the_middle_is_no_fault_of_the_filter(reader: Reader) -> None:
    """With ``sync`` it is raised as what it is."""
    many_clients(reader.sandbox)
    refused = [{"errorCode": "FORBIDDEN", "message": "You can't run more than 500 reports synchronously."}]
    reader.sandbox.org.faults.order(Fault("status", status=403, body=refused, method="POST", count=1))
    with pytest.raises(PermissionDeniedError, match="500 reports"):
        reader.read("sync", report_row_cap=12)


def test_a_day_that_cannot_be_read_is_named(reader: Reader) -> None:
    """Rows that do not add up to the day's total: no count for that day, and the others are kept."""
    truth = many_clients(reader.sandbox)
    row = {"dataCells": [{"value": "2026-09-30"}, {"value": "ada"}, {"value": 3}]}
    body = {
        "allData": True,
        "reportMetadata": {"aggregates": ["s!N"], "detailColumns": ["DAY", "USER", "N"]},
        "factMap": {"T!T": {"aggregates": [{"value": 5}], "rows": [row]}},
    }
    reader.sandbox.org.faults.order(Fault("status", status=200, body=body, method="POST", count=1))
    usage = reader.read("sync", report_row_cap=12, report_shape="TABULAR")

    assert totals(usage) == truth
    (odd,) = [finding for finding in usage.findings if finding.severity is Severity.ERROR]
    assert (odd.code, odd.figures["day"]) == ("report-total-differs", "2026-09-30")
    assert odd.message.startswith("2026-09-30: ")


def test_a_day_whose_rows_are_gone_has_no_count_and_is_named(reader: Reader) -> None:
    """At midnight the oldest day leaves the report: it was in the whole answer and is not told by itself."""
    org = reader.sandbox.org
    many_clients(reader.sandbox)
    org.ledger.record(org.now() - timedelta(days=6), soap("old"), 50)
    org.clock.set(datetime(2026, 10, 7, 23, 59, 59, tzinfo=UTC))
    reader.on_pause = lambda: org.clock.advance(timedelta(seconds=2))
    usage = reader.read("async", report_row_cap=12, report_polls=0)

    assert date(2026, 10, 1) not in totals(usage)
    assert [finding.figures for finding in usage.findings if finding.code == "report-day-empty"] == [
        {"day": "2026-10-01"}
    ]


@given(
    filters=st.lists(st.fixed_dictionaries({"column": st.sampled_from(["A", "B"]), "value": st.text(max_size=3)})),
    logic=st.sampled_from([None, "", "1 OR 2"]),
    range_on=st.sampled_from([None, "DAY", "OTHER"]),
)
def test_a_report_keeps_its_own_filters(filters: list[dict[str, str]], logic: str | None, range_on: str | None) -> None:
    """The day is added to them, and to the logic that combines them; or the date range is narrowed."""
    metadata = {
        "reportFilters": filters,
        "reportBooleanFilter": logic,
        "standardDateFilter": range_on and {"column": range_on, "durationValue": "LAST_7_DAYS"},
    }
    change = of_one_day(metadata, "DAY", TUESDAY)

    if range_on == "DAY":
        assert set(change) == {"standardDateFilter"}
        assert change["standardDateFilter"]["startDate"] == change["standardDateFilter"]["endDate"] == "2026-10-06"
        return
    added = {"column": "DAY", "operator": "equals", "value": "2026-10-06"}
    assert change["reportFilters"] == [*filters, added]
    expected = f"({logic}) AND {len(filters) + 1}" if logic else None
    assert change.get("reportBooleanFilter") == expected


@pytest.fixture(scope="module")
def shared() -> Iterator[Reader]:
    """A reader of an org whose calls each example makes anew."""
    with SandboxServer(SandboxOrg.seed_example(report_polls=0)) as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
        yield Reader(server)


def client_is(name: str, operator: str = "equals") -> dict[str, str]:
    return {"column": "APIU_CLIENT", "operator": operator, "value": name}


SAVED: list[tuple[dict[str, Any] | None, set[str]]] = [
    (None, {"c0", "c1", "c2", "c3"}),
    ({"reportFilters": [client_is("c0", "notEqual")]}, {"c1", "c2", "c3"}),
    ({"reportFilters": [client_is("c0"), client_is("c1")], "reportBooleanFilter": "1 OR 2"}, {"c0", "c1"}),
]


@settings(max_examples=60, deadline=None)
@given(
    calls=st.dictionaries(
        st.tuples(st.integers(0, 6), st.sampled_from(["c0", "c1", "c2", "c3"])), st.integers(1, 500), min_size=1
    ),
    cap=st.integers(1, 5), shape=st.sampled_from(SHAPES), run=st.sampled_from(["sync", "async"]),
    date_range=st.booleans(), saved=st.sampled_from(SAVED),
)  # fmt: skip
def test_every_count_is_whole_or_there_is_none(
    shared: Reader, calls: dict[tuple[int, str], int], cap: int, shape: str, run: str, date_range: bool,
    saved: tuple[dict[str, Any] | None, set[str]],
) -> None:  # fmt: skip
    """Whatever the traffic, the cap and the report's own filters: each day as the org counted it, or named as lost."""
    org = shared.sandbox.org
    org.ledger = UsageLedger()
    own, shown = saved
    rows: Counter[date] = Counter()
    truth: Counter[date] = Counter()
    for (back, client), number in calls.items():
        at = org.now() - timedelta(days=back)
        org.ledger.record(at, soap(client), number)
        if client in shown:
            rows[at.date()] += 1
            truth[at.date()] += number
    before = shared.calls
    usage = shared.read(
        run, report_row_cap=cap, report_shape=shape, report_date_range=date_range, report_saved_filters=own
    )

    lost = {day for day, number in rows.items() if number > cap}
    assert totals(usage) == {day: number for day, number in truth.items() if day not in lost}
    named = {finding.figures["day"] for finding in usage.findings if finding.code == "report-day-truncated"}
    assert named == {str(day) for day in lost}
    runs = 9 if rows.total() > cap else 1
    assert shared.calls - before == runs * (1 if run == "sync" else 2)
