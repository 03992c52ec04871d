"""Runs of the 7-day report as the Analytics API gives them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.salesforce.usage_report import DailyUsage, daily_usage_from_report
from airflow_provider_apiusage.usage.model import Coverage, Severity

ORG = "00DAA0000000001"
AT = datetime(2026, 10, 7, 14, 30, tzinfo=UTC)
ADA, BO = "ada@example.invalid", "bo@example.invalid"
Row = tuple[date, str | None, int]

ROWS: list[Row] = [
    (date(2026, 10, 6), ADA, 12_000),
    (date(2026, 10, 6), BO, 8_000),
    (date(2026, 10, 7), ADA, 15_000),
]
INFO = {
    "DAY": {"label": "Datum", "dataType": "date"},
    "USER": {"label": "Benutzername", "dataType": "string"},
    "CLIENT": {"label": "Client-ID", "dataType": "string"},
    "CALLS": {"label": "Anzahl Aufrufe", "dataType": "int"},
}
SUMS = {
    "s!CALLS": {"label": "Summe von Anzahl Aufrufe", "dataType": "int"},
    "RowCount": {"label": "Datensatzanzahl", "dataType": "int"},
}


def value(content: Any) -> dict[str, Any]:
    """Render a cell whose label is in a locale that must not be read."""
    return {"label": f"[{content}]", "value": content.isoformat() if isinstance(content, date) else content}


def fact(rows: Sequence[Row], details: Sequence[str] | None) -> dict[str, Any]:
    """Render the facts of one group."""
    rendered: dict[str, Any] = {"aggregates": [value(sum(calls for *_, calls in rows)), value(len(rows))]}
    if details is not None:
        rendered["rows"] = [
            {
                "dataCells": [
                    value({"DAY": day, "USER": user, "CLIENT": "nightly-elt", "CALLS": calls}[c]) for c in details
                ]
            }
            for day, user, calls in rows
        ]
    return rendered


def body(
    report_format: str, down: Sequence[str], across: Sequence[str], details: Sequence[str] | None
) -> dict[str, Any]:
    """Render a report run without any fact."""
    groups = [*down, *across]
    return {
        "attributes": {"type": "Report", "reportId": "00OAA0000000001"},
        "allData": True,
        "hasDetailRows": details is not None,
        "reportMetadata": {
            "reportFormat": report_format,
            "aggregates": list(SUMS),
            "detailColumns": list(details or ["CALLS"]),
            "groupingsDown": [{"name": name, "dateGranularity": "Day" if name == "DAY" else None} for name in down],
            "groupingsAcross": [{"name": name, "dateGranularity": None} for name in across],
        },
        "reportExtendedMetadata": {
            "detailColumnInfo": {name: INFO[name] for name in details or ["CALLS"]},
            "groupingColumnInfo": {name: INFO[name] for name in groups},
            "aggregateColumnInfo": SUMS,
        },
        "groupingsDown": {"groupings": []},
        "groupingsAcross": {"groupings": []},
        "factMap": {},
    }


def key_of(row: Row, group: str) -> Any:
    """Return a row's value in a group."""
    return row[0] if group == "DAY" else row[1]


def group_rows(
    rows: Sequence[Row], names: Sequence[str], prefix: str = ""
) -> tuple[list[Any], list[tuple[str, list[Row]]]]:
    """Render nested groups, and return the rows of each innermost and outer group by its path."""
    if not names:
        return [], []
    groups, parts = [], []
    for index, content in enumerate(dict.fromkeys(key_of(row, names[0]) for row in rows)):
        path = f"{prefix}{index}"
        inside = [row for row in rows if key_of(row, names[0]) == content]
        children, nested = group_rows(inside, names[1:], f"{path}_")
        groups.append({"key": path, **value(content), "groupings": children})
        parts += [(path, inside), *nested]
    return groups, parts


def tabular(rows: Sequence[Row], details: Sequence[str] = ("DAY", "USER", "CLIENT", "CALLS")) -> dict[str, Any]:
    """Render a tabular report."""
    report = body("TABULAR", [], [], details)
    report["factMap"] = {"T!T": fact(rows, details)}
    return report


def summary(rows: Sequence[Row], down: Sequence[str], details: Sequence[str] | None = None) -> dict[str, Any]:
    """Render a summary report with all subtotals."""
    report = body("SUMMARY", down, [], details)
    report["groupingsDown"]["groupings"], parts = group_rows(rows, down)
    report["factMap"] = {f"{path}!T": fact(inside, details) for path, inside in [("T", list(rows)), *parts]}
    return report


def matrix(rows: Sequence[Row], down: Sequence[str] = ("DAY",), across: Sequence[str] = ("USER",)) -> dict[str, Any]:
    """Render a matrix report, with an empty cell where a combination has no rows."""
    report = body("MATRIX", down, across, None)
    report["groupingsDown"]["groupings"], downs = group_rows(rows, down)
    report["groupingsAcross"]["groupings"], acrosses = group_rows(rows, across)
    for (d, inside), (a, other) in itertools.product([("T", list(rows)), *downs], [("T", list(rows)), *acrosses]):
        both = [row for row in inside if row in other]
        report["factMap"][f"{d}!{a}"] = (
            fact(both, None) if both else {"aggregates": [{"label": "-", "value": None}, value(0)]}
        )
    return report


def read(report: Any, **options: Any) -> DailyUsage:
    """Read a report observed at ``AT``."""
    return daily_usage_from_report(report, org_id=ORG, observed_at=AT, **options)


def rows_of(usage: DailyUsage) -> list[Row]:
    """Return what was counted, by day and user."""
    return [(count.day, count.user, count.calls) for count in usage.counts]


def codes(usage: DailyUsage) -> list[str]:
    """Return the codes of the findings."""
    return [finding.code for finding in usage.findings]


SHAPES: dict[str, Callable[[Sequence[Row]], dict[str, Any]]] = {
    "tabular": tabular,
    "by-day-then-user": lambda rows: summary(rows, ["DAY", "USER"]),
    "by-user-then-day": lambda rows: summary(rows, ["USER", "DAY"]),
    "by-day-with-details": lambda rows: summary(rows, ["DAY"], ["USER", "CALLS"]),
    "by-user-with-details": lambda rows: summary(rows, ["USER"], ["CLIENT", "DAY", "CALLS"]),
    "matrix": matrix,
    "matrix-transposed": lambda rows: matrix(rows, ["USER"], ["DAY"]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_counts(shape: str) -> None:
    """Tabular, summary and matrix reports of the same calls are read alike, in any locale."""
    usage = read(SHAPES[shape](ROWS))

    assert rows_of(usage) == ROWS
    assert usage.findings == ()


DAYS = st.sampled_from([AT.date() - timedelta(days=days) for days in range(7)])
USERS = st.sampled_from([ADA, BO, 'Ça & "Co"', None])


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.tuples(DAYS, USERS), st.integers(0, 10**9), min_size=1, max_size=12))
def test_what_is_rendered_is_read_back(shape: str, calls: dict[tuple[date, str | None], int]) -> None:
    """Any counts by day and user survive every shape of report."""
    rows = [(day, user, n) for (day, user), n in calls.items()]

    usage = read(SHAPES[shape](rows))
    assert rows_of(usage) == sorted(rows, key=lambda row: (row[0], row[1] or ""))
    assert usage.findings == ()


def test_counts_carry_where_they_are_from() -> None:
    """Org, coverage, source and instant are those of the run; a report is SOAP only unless told otherwise."""
    first = read(tabular(ROWS)).counts[0]

    assert (first.org_id, first.coverage, first.source, first.observed_at) == (
        ORG,
        Coverage.SOAP,
        "report",
        AT,
    )
    assert read(tabular(ROWS), coverage=Coverage.ALL).counts[0].coverage is Coverage.ALL


def test_several_clients_of_a_user_are_added_up() -> None:
    """Rows of the same day and user are different clients."""
    assert rows_of(read(tabular([*ROWS, (date(2026, 10, 7), ADA, 500)])))[-1] == (
        date(2026, 10, 7),
        ADA,
        15_500,
    )


def test_a_report_by_day_only_does_not_tell_the_user() -> None:
    """A summary of days, even without described columns, is counted with an unknown user."""
    report = {
        "attributes": {"type": "Report", "reportId": "00OAA0000000001"},
        "allData": True,
        "hasDetailRows": False,
        "reportMetadata": {
            "reportFormat": "SUMMARY",
            "aggregates": ["s!CALLS"],
            "detailColumns": ["USER", "CALLS"],
            "groupingsDown": [{"name": "DAY"}],
        },
        "groupingsDown": {
            "groupings": [
                {"key": "0", "label": "6/10/2026", "value": "2026-10-06", "groupings": []},
                {"key": "1", "label": "7/10/2026", "value": "2026-10-07", "groupings": []},
            ]
        },
        "groupingsAcross": {"groupings": []},
        "factMap": {
            "0!T": {"aggregates": [{"label": "20,000", "value": 20000}]},
            "1!T": {"aggregates": [{"label": "15,000", "value": 15000}]},
            "T!T": {"aggregates": [{"label": "35,000", "value": 35000}]},
        },
    }

    usage = read(report)
    assert rows_of(usage) == [(date(2026, 10, 6), None, 20_000), (date(2026, 10, 7), None, 15_000)]
    assert usage.findings == ()


def test_numbers_and_instants_in_their_other_forms() -> None:
    """Floats, amounts and instants with an offset are read; undescribed cells are known by their values."""
    report = tabular([], ["DAY", "USER", "CALLS"])
    del report["reportExtendedMetadata"]
    report["reportMetadata"]["aggregates"] = ["RowCount"]
    report["factMap"]["T!T"] = {
        "aggregates": [value(2)],
        "rows": [
            {"dataCells": [value("2026-10-06T23:00:00.000-0200"), value(ADA), value(20_000.0)]},
            {"dataCells": [value("2026-10-07"), value(None), value({"amount": 5, "currency": None})]},
        ],
    }

    assert rows_of(read(report)) == [(date(2026, 10, 7), None, 5), (date(2026, 10, 7), ADA, 20_000)]


@pytest.mark.parametrize(
    "change",
    [
        {"allData": False},
        {"hasExceededTabularRowLimit": True},
        {"attributes": {"status": "Running"}},
        {"reportMetadata": {"reportFormat": "MULTI_BLOCK"}},
    ],
    ids=["cut-at-2000", "row-limit", "running", "joined"],
)
def test_an_incomplete_report_is_refused(change: dict[str, Any]) -> None:
    """What is truncated, unfinished or of an unknown format gives no counts and one error."""
    usage = read({**tabular(ROWS), **change})

    assert usage.counts == ()
    assert [finding.severity for finding in usage.findings] == [Severity.ERROR]
    expected = {"report-truncated", "report-not-finished", "report-format-unknown"}
    assert codes(usage)[0] in expected


def test_a_finished_asynchronous_run_is_read() -> None:
    """The instance of a successful run is like a synchronous answer."""
    assert rows_of(read({**tabular(ROWS), "attributes": {"status": "Success"}})) == ROWS


def test_a_report_that_does_not_say_it_is_complete_is_read_with_a_warning() -> None:
    """Without allData nobody knows."""
    report = tabular(ROWS)
    del report["allData"]

    assert rows_of(read(report)) == ROWS
    assert codes(read(report)) == ["report-completeness-unknown"]


def test_a_report_that_does_not_add_up_is_refused() -> None:
    """If rows and grand total differ, something is missing."""
    report = tabular(ROWS)
    report["factMap"]["T!T"]["rows"].pop()

    assert read(report).counts == ()
    assert codes(read(report)) == ["report-total-differs"]


@pytest.mark.parametrize("report", [tabular([]), summary([], ["DAY", "USER"]), matrix([])])
def test_an_empty_report_is_not_zero_calls(report: dict[str, Any]) -> None:
    """No rows is told, and nothing is counted."""
    usage = read(report)

    assert usage.counts == ()
    assert codes(usage) == ["report-empty"]


def test_a_grand_total_alone_is_refused() -> None:
    """A tabular report without details has a total but no days."""
    report = tabular(ROWS)
    del report["factMap"]["T!T"]["rows"]

    assert codes(read(report)) == ["report-without-days"]


def test_counting_rows_is_not_counting_calls() -> None:
    """A report whose only aggregate is RowCount has no number of calls."""
    report = summary(ROWS, ["DAY", "USER"])
    report["reportMetadata"]["aggregates"] = ["RowCount"]

    usage = read(report)
    assert usage.counts == ()
    assert codes(usage) == ["columns-unknown"]
    assert "'Datensatzanzahl' (RowCount)" in usage.findings[0].message
    assert "count_column" in usage.findings[0].message


def test_weeks_are_not_days() -> None:
    """A report grouped by week cannot be told apart by day."""
    report = summary(ROWS, ["DAY"])
    report["reportMetadata"]["groupingsDown"][0]["dateGranularity"] = "WEEK"

    assert codes(read(report)) == ["report-not-by-day"]


def two_numbers() -> dict[str, Any]:
    """Render a tabular report with a second number that is not told by its label."""
    report = tabular(ROWS)
    info = report["reportExtendedMetadata"]["detailColumnInfo"]
    info["CLIENT"] = {"label": "Fehler", "dataType": "int"}
    info["CALLS"] = {"label": "Gesamt", "dataType": "int"}
    for row in report["factMap"]["T!T"]["rows"]:
        row["dataCells"][2] = value(1)
    return report


def test_two_columns_of_numbers_need_a_name() -> None:
    """Columns that cannot be told apart are listed; naming one, by label or API name, settles it."""
    unnamed = read(two_numbers())
    assert unnamed.counts == ()
    assert codes(unnamed) == ["columns-unknown"]
    for name in ("gesamt", "CALLS"):
        assert rows_of(read(two_numbers(), count_column=name)) == ROWS


def test_two_columns_of_calls_are_ambiguous() -> None:
    """If both labels speak of calls, neither is taken."""
    report = two_numbers()
    for name in ("CLIENT", "CALLS"):
        report["reportExtendedMetadata"]["detailColumnInfo"][name]["label"] = f"{name} Aufrufe"

    assert codes(read(report)) == ["columns-ambiguous"]


def test_a_label_of_calls_is_preferred_among_numbers() -> None:
    """Of two numbers the one whose label speaks of calls is taken."""
    report = two_numbers()
    report["reportExtendedMetadata"]["detailColumnInfo"]["CALLS"]["label"] = "API calls"

    assert rows_of(read(report)) == ROWS


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    """A wrong name is an error that lists the right ones."""
    usage = read(tabular(ROWS), user_column="Owner")

    assert codes(usage) == ["column-not-found"]
    assert "'Owner'" in usage.findings[0].message
    assert "'Benutzername' (USER)" in usage.findings[0].message


def test_rows_without_day_or_count_are_left_out_and_told() -> None:
    """A row that cannot be placed is a warning, and the others stay."""
    report = tabular(ROWS)
    report["factMap"]["T!T"]["rows"][0]["dataCells"][0] = value(None)
    report["factMap"]["T!T"]["rows"][1]["dataCells"][3] = value(None)

    usage = read(report)
    assert rows_of(usage) == ROWS[2:]
    assert codes(usage) == ["row-without-day", "row-without-calls"]


def test_days_no_7_day_report_can_have_are_told() -> None:
    """Days of last month are kept and named."""
    usage = read(tabular([(date(2026, 9, 1), ADA, 5)]))

    assert len(usage.counts) == 1
    assert codes(usage) == ["days-outside-report"]


@pytest.mark.parametrize("answer", [None, [], "<html>", [{"errorCode": "NOT_FOUND"}]])
def test_what_is_no_object_is_no_report(answer: Any) -> None:
    """An error list or a page is not an empty report."""
    with pytest.raises(ValueError, match="JSON object"):
        read(answer)


@pytest.mark.parametrize(
    "broken", [{}, {"factMap": []}, {"reportMetadata": {"groupingsDown": [7]}, "factMap": {"T!T": 3}}]
)
def test_a_broken_body_is_an_empty_report(broken: dict[str, Any]) -> None:
    """Objects without the documented parts have no rows and break nothing."""
    assert "report-empty" in codes(read(broken))
