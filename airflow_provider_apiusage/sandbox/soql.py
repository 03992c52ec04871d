"""As much of SOQL as clients ask the sandbox org for: one object, filters, order, limit, ``COUNT()``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_apiusage.sandbox.http import ApiError

Row = Mapping[str, Any]
Condition = Callable[[Row], bool]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^'\\]|\\.)*')
    | (?P<instant>\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d))
    | (?P<date>\d{4}-\d\d-\d\d)
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<word>[A-Za-z_][\w.]*(?::\d+)?)
    | (?P<sign><=|>=|!=|<>|[=<>(),])
    )""",
    re.VERBOSE,
)
_KEYWORDS = frozenset(
    (
        "select",
        "from",
        "where",
        "and",
        "or",
        "not",
        "in",
        "like",
        "order",
        "by",
        "asc",
        "desc",
        "nulls",
        "limit",
        "offset",
    )
)


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query. ``count`` is true for ``SELECT COUNT()``."""

    fields: tuple[str, ...]
    object_name: str
    condition: Condition
    order: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None
    offset: int = 0
    count: bool = False

    def apply(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows that the query selects, in its order."""
        kept = [row for row in rows if self.condition(row)]
        for name, descending in reversed(self.order):
            kept.sort(key=lambda row, name=name: _sortable(value_of(row, name)), reverse=descending)  # type: ignore[misc]
        end = None if self.limit is None else self.offset + self.limit
        return kept[self.offset : end]


def value_of(row: Row, name: str) -> Any:
    """Return a field's value, the field's name in any case; ``None`` if the row has none."""
    if name in row:
        return row[name]
    return next((value for key, value in row.items() if key.lower() == name.lower()), None)


def parse(text: str, now: datetime) -> Query:
    """Return the query that ``text`` says.

    :param now: the instant that date literals such as ``TODAY`` or ``LAST_N_DAYS:7`` refer to.
    :raises ApiError: 400 ``MALFORMED_QUERY`` if the text is not understood.
    """
    return _Parser(text, now).query()


class _Parser:
    def __init__(self, text: str, now: datetime) -> None:
        self._now = now
        self._tokens: list[tuple[str, str]] = []
        position = 0
        text = text.strip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None or found.lastgroup is None:
                raise _malformed(text[position:].split()[0])
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()
        self._next = 0

    def query(self) -> Query:
        self._keyword("select")
        fields, count = self._fields()
        self._keyword("from")
        name = self._word()
        condition: Condition = _always
        if self._accept("where"):
            condition = self._any()
        order: list[tuple[str, bool]] = []
        if self._accept("order"):
            self._keyword("by")
            order.append(self._order())
            while self._sign(","):
                order.append(self._order())
        limit = self._integer() if self._accept("limit") else None
        offset = self._integer() if self._accept("offset") else 0
        if self._next < len(self._tokens):
            raise _malformed(self._tokens[self._next][1])
        return Query(fields, name, condition, tuple(order), limit, offset, count)

    def _fields(self) -> tuple[tuple[str, ...], bool]:
        first = self._word()
        if first.lower() == "count" and self._sign("("):
            if not self._sign(")"):
                self._word()
                self._require(")")
            return (), True
        if first.lower() == "fields" and self._sign("("):
            self._word()
            self._require(")")
            return ("FIELDS()",), False
        fields = [first]
        while self._sign(","):
            fields.append(self._word())
        return tuple(fields), False

    def _order(self) -> tuple[str, bool]:
        name = self._word()
        descending = self._accept("desc")
        if not descending:
            self._accept("asc")
        if self._accept("nulls"):
            self._word()
        return name, descending

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._accept("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda row: any(part(row) for part in parts)

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._accept("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)

    def _one(self) -> Condition:
        if self._accept("not"):
            inverted = self._one()
            return lambda row: not inverted(row)
        if self._sign("("):
            inner = self._any()
            self._require(")")
            return inner
        name = self._word()
        if self._accept("not"):
            self._keyword("in")
            values = self._list()
            return lambda row: not any(_same(value_of(row, name), value) for value in values)
        if self._accept("in"):
            values = self._list()
            return lambda row: any(_same(value_of(row, name), value) for value in values)
        if self._accept("like"):
            pattern = re.escape(str(self._value())).replace("%", ".*").replace("_", ".")
            return lambda row: bool(re.fullmatch(pattern, str(value_of(row, name) or ""), re.IGNORECASE))
        kind, sign = self._take()
        if kind != "sign" or sign not in _COMPARISONS:
            raise _malformed(sign)
        value = self._value()
        compare = _COMPARISONS[sign]
        return lambda row: compare(value_of(row, name), value)

    def _list(self) -> list[Any]:
        self._require("(")
        values = [self._value()]
        while self._sign(","):
            values.append(self._value())
        self._require(")")
        return values

    def _value(self) -> Any:
        kind, text = self._take()
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        if kind == "number":
            return float(text)
        if kind == "instant":
            return datetime.fromisoformat(text)
        if kind == "date":
            return text
        word = text.lower()
        if word in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[word]
        midnight = self._now.replace(hour=0, minute=0, second=0, microsecond=0)
        if word in ("today", "yesterday"):
            return midnight - timedelta(days=word == "yesterday")
        if word.startswith(("last_n_days:", "n_days_ago:")):
            return midnight - timedelta(days=int(word.partition(":")[2]))
        raise _malformed(text)

    def _take(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            raise _malformed("<EOF>")
        self._next += 1
        return self._tokens[self._next - 1]

    def _word(self) -> str:
        kind, text = self._take()
        if kind != "word" or text.lower() in _KEYWORDS:
            raise _malformed(text)
        return text

    def _integer(self) -> int:
        kind, text = self._take()
        if kind != "number" or not text.isdigit():
            raise _malformed(text)
        return int(text)

    def _accept(self, keyword: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next] in (
            ("word", keyword),
            ("word", keyword.upper()),
            ("word", keyword.capitalize()),
        ):
            self._next += 1
            return True
        return False

    def _keyword(self, keyword: str) -> None:
        if not self._accept(keyword):
            raise _malformed(self._take()[1])

    def _sign(self, sign: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next] == ("sign", sign):
            self._next += 1
            return True
        return False

    def _require(self, sign: str) -> None:
        if not self._sign(sign):
            raise _malformed(self._take()[1])


def _always(_row: Row) -> bool:
    return True


def _malformed(token: str) -> ApiError:
    return ApiError(400, "MALFORMED_QUERY", f"unexpected token: '{token}'")


def _comparable(left: Any, right: Any) -> tuple[Any, Any]:
    if isinstance(right, datetime) and isinstance(left, str):
        parsed = datetime.fromisoformat(left)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)), right
    if isinstance(left, str) and isinstance(right, str):
        if len(left) in (15, 18) and len(right) in (15, 18) and len(left) != len(right):
            return left[:15], right[:15]
        return left.lower(), right.lower()
    return left, right


def _same(left: Any, right: Any) -> bool:
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


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": _same,
    "!=": lambda left, right: not _same(left, right),
    "<>": lambda left, right: not _same(left, right),
    "<": _ordered(lambda left, right: bool(left < right)),
    "<=": _ordered(lambda left, right: bool(left <= right)),
    ">": _ordered(lambda left, right: bool(left > right)),
    ">=": _ordered(lambda left, right: bool(left >= right)),
}


def _sortable(value: Any) -> tuple[int, Any]:
    if value is None:
        return 0, ""
    if isinstance(value, bool | int | float):
        return 1, value
    return 2, str(value)
