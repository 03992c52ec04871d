"""A run of the report "API Usage Last 7 Days" (Analytics JSON) -> daily counts.

Source: Reports and Dashboards REST API guide, "Decode the Fact Map". Facts are kept under ``down!across``,
where each side is the path of a group (``0_1``) or ``T``; cells follow ``reportMetadata.detailColumns``,
aggregates follow ``reportMetadata.aggregates`` (``s!X`` is the sum of ``X``). ``value`` is read, never the
localised ``label``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from airflow_provider_apiusage.salesforce.usage_columns import (
    Collector,
    Column,
    DailyUsage,
    Kind,
    choose,
    refused,
)
from airflow_provider_apiusage.usage.model import Coverage, Finding, Severity

__all__ = ["DailyUsage", "daily_usage_from_report"]

TRUNCATED = "report-truncated"
EMPTY = "report-empty"

_KINDS = {
    **dict.fromkeys(("date", "datetime"), Kind.DATE),
    **dict.fromkeys(("int", "integer", "long", "double", "currency", "number"), Kind.NUMBER),
}
_DAILY = {None, "", "NONE", "DAY"}


def daily_usage_from_report(
    body: Any,
    *,
    org_id: str,
    observed_at: datetime,
    coverage: Coverage = Coverage.SOAP,
    date_column: str | None = None,
    user_column: str | None = None,
    count_column: str | None = None,
) -> DailyUsage:
    """Read the result of a report run, tabular, summary or matrix.

    Detail rows are preferred, since they tell more about users; without them the sums of the innermost groups
    are read. Columns are found by their data type, then by their label. The sum of what was read is compared
    with the report's own grand total. A report that is truncated, unfinished or does not add up is refused:
    no counts, and an error finding.

    :param body: the parsed JSON of a synchronous run, or of a finished asynchronous instance.
    :param org_id: the 15-character id of the org.
    :param observed_at: the ``Date`` header of the response.
    :param coverage: which calls the report counts; as documented, SOAP only.
    :param date_column: API name or label of the column of days, if it is not found.
    :param user_column: API name or label of the column of users, if it is not found.
    :param count_column: API name or label of the column (or aggregate) of calls, if it is not found.
    :raises ValueError: if the body is not a JSON object.
    """
    if not isinstance(body, Mapping):
        raise ValueError(f"A JSON object was expected of a report run, not {type(body).__name__}: {str(body)[:200]}")
    problem = _unusable(body)
    if problem is not None:
        return problem
    findings = _about_completeness(body)
    tables = [table for table in (_table(body, details=True), _table(body, details=False)) if table.rows]
    if not tables:
        return _without_rows(body, findings)
    choices = [choose(table.columns, date_column, user_column, count_column) for table in tables]
    fitting = ((t, c) for t, c in zip(tables, choices, strict=True) if not isinstance(c, Finding))
    table, choice = next(fitting, (tables[0], choices[0]))
    if isinstance(choice, Finding):
        return DailyUsage((), (*findings, choice))
    grouped_by = table.granularity.get(choice.date)
    if grouped_by is not None:
        return refused(
            "report-not-by-day",
            f"The report groups {table.columns[choice.date].label!r} by {grouped_by.lower()}; group it by day.",
            granularity=grouped_by,
        )
    collector = Collector()
    for where, row in table.rows:
        if table.aggregated and row[choice.count] is None:
            continue  # a combination of groups without rows
        user = None if choice.user is None or row[choice.user] is None else str(row[choice.user])
        collector.add(where, _day(row[choice.date]), user, _calls(row[choice.count]))
    total, read = table.totals.get(table.columns[choice.count].name), sum(collector.calls.values())
    if total is not None and total != read and not (collector.without_day or collector.without_calls):
        return refused(
            "report-total-differs",
            f"The rows read add up to {read:,} calls but the report's grand total is {total:,}, so rows are "
            "missing or were misread. Run the report without row limits and filters.",
            read=read,
            total=total,
        )
    return collector.usage(findings, org_id=org_id, observed_at=observed_at, coverage=coverage, source="report")


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What even a truncated report tells.

    :param date_column: API name of the column of days.
    :param days: the days of the rows it has.
    :param rows: how many detail rows it has.
    """

    date_column: str
    days: frozenset[date]
    rows: int


def glimpse(
    body: Any, date_column: str | None = None, user_column: str | None = None, count_column: str | None = None
) -> Glimpse | None:
    """Return what a report tells, truncated or not; ``None`` if the column of days cannot be told.

    :param body: the parsed JSON of a run; the columns as for :func:`daily_usage_from_report`.
    """
    details, groups = _table(body, details=True), _table(body, details=False)
    for table in sorted((details, groups), key=lambda table: not table.rows):
        choice = choose(table.columns, date_column, user_column, count_column)
        if not isinstance(choice, Finding):
            days = frozenset(day for _, row in table.rows if (day := _day(row[choice.date])) is not None)
            return Glimpse(table.columns[choice.date].name, days, len(details.rows))
    return None


@dataclass(frozen=True, slots=True)
class _Table:
    """A report flattened: groups first, then cells (or aggregates), one row per detail row (or innermost
    group).

    :param granularity: of the date groups that are not by day, by position.
    :param totals: the report's grand total of a column, by its name.
    """

    columns: list[Column]
    rows: list[tuple[str, list[Any]]]
    granularity: dict[int, str]
    totals: dict[str, int]
    aggregated: bool


def _table(body: Mapping[str, Any], *, details: bool) -> _Table:
    metadata, extended = _object(body, "reportMetadata"), _object(body, "reportExtendedMetadata")
    groups = [*_objects(metadata, "groupingsDown"), *_objects(metadata, "groupingsAcross")]
    depth_down = len(_objects(metadata, "groupingsDown"))
    aggregates = [str(name) for name in _list(metadata, "aggregates")]
    names = [str(name) for name in _list(metadata, "detailColumns")] if details else aggregates
    facts = _object(body, "factMap")
    rows = []
    for down, down_values in _leaves(_objects(_object(body, "groupingsDown"), "groupings"), depth_down):
        for across, values in _leaves(
            _objects(_object(body, "groupingsAcross"), "groupings"), len(groups) - depth_down
        ):
            key = f"{down}!{across}"
            fact = _object(facts, key)
            if details:
                cells = [[_value(c) for c in _list(row, "dataCells")] for row in _list(fact, "rows")]
            else:
                cells = [[_value(a) for a in _list(fact, "aggregates")]] if key != "T!T" and fact else []
            for number, values_of_row in enumerate(cells, 1):
                filled = [*values_of_row, *[None] * len(names)][: len(names)]
                rows.append((f"row {number} of {key}", [*down_values, *values, *filled]))
    described = [
        *((str(group.get("name")), _object(extended, "groupingColumnInfo")) for group in groups),
        *((n, _object(extended, "detailColumnInfo" if details else "aggregateColumnInfo")) for n in names),
    ]
    columns = [
        _column(
            name,
            _object(info, name),
            [row[position] for _, row in rows],
            position >= len(groups) and not details,
        )
        for position, (name, info) in enumerate(described)
    ]
    sums = zip(aggregates, _list(_object(facts, "T!T"), "aggregates"), strict=False)
    totals = {name: total for name, cell in sums if (total := _calls(_value(cell))) is not None}
    return _Table(
        columns,
        rows,
        {
            position: str(group["dateGranularity"])
            for position, group in enumerate(groups)
            if str(group.get("dateGranularity") or "").upper() not in _DAILY
        },
        {name.removeprefix("s!"): total for name, total in totals.items() if name.startswith("s!")}
        if details
        else totals,
        not details,
    )


def _column(name: str, info: Mapping[str, Any], values: Sequence[Any], aggregate: bool) -> Column:
    """Describe a column by its data type or, where the report does not tell, by its values.

    Of aggregates only sums are numbers of calls: ``RowCount`` counts rows, and averages and extremes are no
    counts.
    """
    kind = _KINDS.get(str(info.get("dataType", "")).lower())
    if aggregate:
        kind = Kind.NUMBER if name.startswith("s!") else Kind.TEXT
    elif "dataType" not in info and (known := [value for value in values if value is not None]):
        if all(_day(value) is not None for value in known):
            kind = Kind.DATE
        elif all(_calls(value) is not None for value in known):
            kind = Kind.NUMBER
    return Column(name, str(info.get("label") or name), kind or Kind.TEXT)


def _leaves(groups: Sequence[Mapping[str, Any]], depth: int) -> Iterator[tuple[str, list[Any]]]:
    """Yield the path and the values of every innermost group; ``T`` if the report does not group this way."""
    if depth == 0:
        yield "T", []
        return
    for group in groups:
        children = _objects(group, "groupings")
        if children and depth > 1:
            for key, values in _leaves(children, depth - 1):
                yield key, [_value(group), *values]
        else:
            yield str(group.get("key")), [_value(group), *[None] * (depth - 1)]


def _unusable(body: Mapping[str, Any]) -> DailyUsage | None:
    """Refuse what is unfinished, truncated or of a format that is not read."""
    status = _object(body, "attributes").get("status")
    if status is not None and status != "Success":
        return refused("report-not-finished", f"The report run is {status!r}, so it has no result yet.", status=status)
    metadata = _object(body, "reportMetadata")
    limited = body.get("hasExceededTabularRowLimit") or metadata.get("hasExceededTabularRowLimit")
    if body.get("allData") is False or limited:
        return refused(
            TRUNCATED,
            "The report is truncated (the Analytics API returns at most 2,000 detail rows), so its sums "
            "would be too low. Export it as CSV, which holds all rows.",
        )
    report_format = metadata.get("reportFormat", "TABULAR")
    if report_format not in ("TABULAR", "SUMMARY", "MATRIX"):
        return refused(
            "report-format-unknown",
            f"A {report_format!r} report cannot be read; save it as tabular, summary or matrix.",
            format=report_format,
        )
    return None


def _about_completeness(body: Mapping[str, Any]) -> list[Finding]:
    if body.get("allData") is True:
        return []
    message = "The answer does not say whether it holds all rows (`allData`), so days may be counted too low."
    return [Finding("report-completeness-unknown", Severity.WARNING, message)]


def _without_rows(body: Mapping[str, Any], findings: Sequence[Finding]) -> DailyUsage:
    """Explain a report without rows: one whose rows are hidden, or one that found nothing."""
    if any(_calls(_value(cell)) for cell in _list(_object(_object(body, "factMap"), "T!T"), "aggregates")):
        return refused(
            "report-without-days",
            "The report shows totals but neither rows nor groups, so nothing tells the days. Run it with "
            "details, or group it by day.",
        )
    message = (
        "The report has no rows, which does not mean that there were no calls: the user may not see those of "
        "others (Manage All Users and Modify All Data), or its filter leaves none."
    )
    return DailyUsage((), (*findings, Finding(EMPTY, Severity.WARNING, message)))


def _day(value: Any) -> date | None:
    """Return the UTC day of an ISO date or instant."""
    if not isinstance(value, str) or len(value) < 10:
        return None
    try:
        if len(value) == 10:
            return date.fromisoformat(value)
        instant = datetime.fromisoformat(value)
    except ValueError:
        return None
    return instant.astimezone(UTC).date() if instant.utcoffset() is not None else instant.date()


def _calls(value: Any) -> int | None:
    """Return a whole number, however written (``20000.0``, ``{"amount": 20000}``), else ``None``."""
    if isinstance(value, Mapping):
        value = value.get("amount")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _value(cell: Any) -> Any:
    return cell.get("value") if isinstance(cell, Mapping) else None


def _object(parent: Any, key: str) -> Mapping[str, Any]:
    found = parent.get(key) if isinstance(parent, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list(parent: Any, key: str) -> list[Any]:
    found = parent.get(key) if isinstance(parent, Mapping) else None
    return found if isinstance(found, list) else []


def _objects(parent: Any, key: str) -> list[Mapping[str, Any]]:
    return [item for item in _list(parent, key) if isinstance(item, Mapping)]
