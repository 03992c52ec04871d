"""Filters of the usage report: its own, those that a run asks for, and the logic that combines them.

Shapes from the Reports and Dashboards REST API guide, "Filter Reports on Demand".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_provider_apiusage.sandbox.http import ApiError
from airflow_provider_apiusage.sandbox.report_csv import UsageRow

_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "equals": lambda text, value: text in value.split(","),
    "notEqual": lambda text, value: text not in value.split(","),
    "greaterThan": lambda text, value: text > value,
    "greaterOrEqual": lambda text, value: text >= value,
    "lessThan": lambda text, value: text < value,
    "lessOrEqual": lambda text, value: text <= value,
}

Test = Callable[[UsageRow], bool]


def filtered(rows: Sequence[UsageRow], metadata: Mapping[str, Any], columns: Sequence[str]) -> list[UsageRow]:
    """Return the rows that the date range and the filters of a ``reportMetadata`` leave.

    :param metadata: may have ``standardDateFilter`` (a range of its own: ``CUSTOM``), ``reportFilters`` on day, user or
        client, and ``reportBooleanFilter``, which must name each filter by its number.
    :param columns: API names of day, user, client and calls.
    :raises ApiError: 400, if column, operator or logic is not understood.
    """
    period = metadata.get("standardDateFilter") or {}
    if period.get("durationValue") == "CUSTOM":
        rows = [row for row in rows if period["startDate"] <= row.day.isoformat() <= period["endDate"]]
    tests = [_test(each, columns) for each in metadata.get("reportFilters") or []]
    logic = metadata.get("reportBooleanFilter") or " AND ".join(str(n) for n in range(1, len(tests) + 1))
    if not logic:
        return list(rows)
    passes = _Logic(logic, tests).test()
    return [row for row in rows if passes(row)]


def _test(condition: Mapping[str, Any], columns: Sequence[str]) -> Test:
    column, operator, value = condition.get("column"), condition.get("operator"), str(condition.get("value", ""))
    if column not in columns[:3]:
        raise ApiError(400, "BAD_REQUEST", f"The filter column {column} is invalid.")
    holds = _OPERATORS.get(str(operator))
    if holds is None:
        raise ApiError(400, "BAD_REQUEST", f"The filter operator {operator} is invalid.")
    index = columns.index(column)
    return lambda row: holds((row.day.isoformat(), row.user, row.client)[index], value)


class _Logic:
    """Filter logic such as ``(1 OR 2) AND NOT 3``; AND binds more tightly than OR."""

    def __init__(self, text: str, tests: Sequence[Test]) -> None:
        self._wrong = ApiError(400, "BAD_REQUEST", f"The filter logic {text} is invalid.")
        self._tokens = re.findall(r"\d+|[()]|[A-Za-z]+|\S", text.upper())
        self._tests = tests
        if {int(token) for token in self._tokens if token.isdigit()} != set(range(1, len(tests) + 1)):
            raise self._wrong

    def test(self) -> Test:
        """Return what the whole text says."""
        found = self._any()
        if self._tokens:
            raise self._wrong
        return found

    def _next(self, *expected: str) -> bool:
        """Take the next token if it is one of these."""
        if self._tokens and self._tokens[0] in expected:
            self._tokens.pop(0)
            return True
        return False

    def _any(self) -> Test:
        parts = [self._all()]
        while self._next("OR"):
            parts.append(self._all())
        return lambda row: any(part(row) for part in parts)

    def _all(self) -> Test:
        parts = [self._one()]
        while self._next("AND"):
            parts.append(self._one())
        return lambda row: all(part(row) for part in parts)

    def _one(self) -> Test:
        if self._next("NOT"):
            inner = self._one()
            return lambda row: not inner(row)
        if self._next("("):
            inner = self._any()
            if not self._next(")"):
                raise self._wrong
            return inner
        if not self._tokens or not self._tokens[0].isdigit():
            raise self._wrong
        return self._tests[int(self._tokens.pop(0)) - 1]
