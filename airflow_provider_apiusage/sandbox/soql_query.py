"""A parsed SOQL query, and how SOQL finds, compares and orders values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Row = Mapping[str, Any]
Condition = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Count:
    """``COUNT(field)``: how many rows have a value there, shown as ``name``."""

    field: str
    name: str


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query.

    ``count`` is true for ``SELECT COUNT()``. With ``counts`` or ``group`` it is an aggregate query, whose ``fields``
    are shown as ``names``. ``compared`` are the fields of its conditions. ``bounds`` are the comparisons with instants
    that every row must pass, by field in lower case.
    """

    fields: tuple[str, ...]
    object_name: str
    condition: Condition
    order: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None
    offset: int = 0
    count: bool = False
    names: tuple[str, ...] = ()
    counts: tuple[Count, ...] = ()
    group: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    bounds: tuple[tuple[str, str, datetime], ...] = ()

    @property
    def is_aggregate(self) -> bool:
        """Whether it gives groups or counts instead of records."""
        return bool(self.counts or self.group)

    def between(self, field: str) -> tuple[datetime | None, datetime | None]:
        """Return the instants between which a field must lie, both included; ``None`` where it is not bounded."""
        bounds = [(sign, instant) for name, sign, instant in self.bounds if name == field.lower()]
        lows = [instant for sign, instant in bounds if sign in (">", ">=", "=")]
        highs = [instant for sign, instant in bounds if sign in ("<", "<=", "=")]
        return max(lows, default=None), min(highs, default=None)

    def apply(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows that the query selects, in its order."""
        return self._arranged([row for row in rows if self.condition(row)])

    def aggregate(self, rows: Iterable[Row]) -> list[dict[str, Any]]:
        """Return the groups of an aggregate query, in its order; without ``GROUP BY`` all rows are one group."""
        totals: dict[tuple[Any, ...], list[int]] = {} if self.group else {(): [0] * len(self.counts)}
        for row in rows:
            if self.condition(row):
                key = tuple(value_of(row, name) for name in self.group)
                numbers = totals.setdefault(key, [0] * len(self.counts))
                for place, count in enumerate(self.counts):
                    numbers[place] += value_of(row, count.field) is not None
        found: list[Row] = [
            dict(zip(self.group, key, strict=True))
            | {count.name: number for count, number in zip(self.counts, numbers, strict=True)}
            for key, numbers in totals.items()
        ]
        shown = [*zip(self.names, self.fields, strict=True), *((count.name, count.name) for count in self.counts)]
        return [{name: value_of(row, field) for name, field in shown} for row in self._arranged(found)]

    def _arranged(self, rows: list[Row]) -> list[Row]:
        for name, descending in reversed(self.order):
            rows.sort(key=lambda row, name=name: sortable(value_of(row, name)), reverse=descending)  # type: ignore[misc]
        end = None if self.limit is None else self.offset + self.limit
        return rows[self.offset : end]


def value_of(row: Row, name: str) -> Any:
    """Return a field's value, the field's name in any case; ``None`` if the row has none."""
    if name in row:
        return row[name]
    return next((value for key, value in row.items() if key.lower() == name.lower()), None)


def _comparable(left: Any, right: Any) -> tuple[Any, Any]:
    if isinstance(right, datetime) and isinstance(left, str):
        parsed = datetime.fromisoformat(left)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)), right
    if isinstance(left, str) and isinstance(right, str):
        if len(left) in (15, 18) and len(right) in (15, 18) and len(left) != len(right):
            return left[:15], right[:15]
        return left.lower(), right.lower()
    return left, right


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal: text in any case, ids by their first 15 characters, dates by instant."""
    first, second = _comparable(left, right)
    return bool(first == second)


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        if left is None or right is None:
            return False
        try:
            return test(*_comparable(left, right))
        except (TypeError, ValueError):
            return False

    return compare


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": same,
    "!=": lambda left, right: not same(left, right),
    "<>": lambda left, right: not same(left, right),
    "<": _ordered(lambda left, right: bool(left < right)),
    "<=": _ordered(lambda left, right: bool(left <= right)),
    ">": _ordered(lambda left, right: bool(left > right)),
    ">=": _ordered(lambda left, right: bool(left >= right)),
}


def sortable(value: Any) -> tuple[int, Any]:
    """Return a key that orders values of any kind, null first."""
    if value is None:
        return 0, ""
    if isinstance(value, bool | int | float):
        return 1, value
    return 2, str(value)
