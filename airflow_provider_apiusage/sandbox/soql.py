"""As much of SOQL as clients ask the sandbox org for: one object, filters, groups, order, limit, ``COUNT``."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from airflow_provider_apiusage.sandbox.http import ApiError
from airflow_provider_apiusage.sandbox.soql_query import COMPARISONS, Condition, Count, same
from airflow_provider_apiusage.sandbox.soql_query import Query as Query
from airflow_provider_apiusage.sandbox.soql_query import Row as Row
from airflow_provider_apiusage.sandbox.soql_query import value_of as value_of

T = TypeVar("T")

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


def parse(text: str, now: datetime) -> Query:
    """Return the query that ``text`` says.

    :param now: the instant that date literals such as ``TODAY`` or ``LAST_N_DAYS:7`` refer to.
    :raises ApiError: 400 ``MALFORMED_QUERY`` if the text is not understood.
    """
    return _Parser(text, now).query()


class _Columns(NamedTuple):
    """What ``SELECT`` names: fields, the names they are shown by, and counts."""

    fields: list[str]
    names: list[str]
    counts: list[Count]


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
        self._compared: list[str] = []
        self._bounds: list[tuple[str, str, datetime]] = []
        self._all_must_hold = True

    def query(self) -> Query:
        self._keyword("select")
        if self._peek("count", "(", ")"):
            self._next += 3
            count, columns = True, _Columns([], [], [])
        else:
            count, columns = False, self._columns()
        self._keyword("from")
        name = self._word()
        condition: Condition = _always
        if self._accept("where"):
            condition = self._any()
        group = self._listed(self._word) if self._accept_by("group") else []
        order = self._listed(self._order) if self._accept_by("order") else []
        limit = self._integer() if self._accept("limit") else None
        offset = self._integer() if self._accept("offset") else 0
        if self._next < len(self._tokens):
            raise _malformed(self._tokens[self._next][1])
        query = Query(
            tuple(columns.fields),
            name,
            condition,
            tuple(order),
            limit,
            offset,
            count,
            tuple(columns.names),
            tuple(columns.counts),
            tuple(group),
            tuple(self._compared),
            tuple(self._bounds) if self._all_must_hold else (),
        )
        _check_groups(query)
        return query

    def _columns(self) -> _Columns:
        columns = _Columns([], [], [])
        while True:
            word = self._word()
            if word.lower() in ("count", "fields") and self._sign("("):
                field = self._word()
                self._require(")")
                if word.lower() == "count":
                    columns.counts.append(Count(field, self._alias(f"expr{len(columns.counts)}")))
                else:
                    columns.fields.append("FIELDS()")
                    columns.names.append("FIELDS()")
            else:
                columns.fields.append(word)
                columns.names.append(self._alias(word.rpartition(".")[2]))
            if not self._sign(","):
                return columns

    def _alias(self, default: str) -> str:
        kind, text = self._tokens[self._next] if self._next < len(self._tokens) else ("", "")
        if kind != "word" or text.lower() == "from":
            return default
        return self._word()

    def _listed(self, item: Callable[[], T]) -> list[T]:
        items = [item()]
        while self._sign(","):
            items.append(item())
        return items

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
            self._all_must_hold = False
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda row: any(part(row) for part in parts)

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._accept("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)

    def _one(self) -> Condition:
        if self._accept("not"):
            self._all_must_hold = False
            inverted = self._one()
            return lambda row: not inverted(row)
        if self._sign("("):
            inner = self._any()
            self._require(")")
            return inner
        name = self._word()
        self._compared.append(name)
        if self._accept("not"):
            self._keyword("in")
            values = self._list()
            return lambda row: not any(same(value_of(row, name), value) for value in values)
        if self._accept("in"):
            values = self._list()
            return lambda row: any(same(value_of(row, name), value) for value in values)
        if self._accept("like"):
            pattern = re.escape(str(self._value())).replace("%", ".*").replace("_", ".")
            return lambda row: bool(re.fullmatch(pattern, str(value_of(row, name) or ""), re.IGNORECASE))
        kind, sign = self._take()
        if kind != "sign" or sign not in COMPARISONS:
            raise _malformed(sign)
        value = self._value()
        if isinstance(value, datetime):
            self._bounds.append((name.lower(), sign, value))
        compare = COMPARISONS[sign]
        return lambda row: compare(value_of(row, name), value)

    def _list(self) -> list[Any]:
        self._require("(")
        values = self._listed(self._value)
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

    def _accept_by(self, keyword: str) -> bool:
        if not self._accept(keyword):
            return False
        self._keyword("by")
        return True

    def _peek(self, *texts: str) -> bool:
        ahead = self._tokens[self._next : self._next + len(texts)]
        return [text.lower() for _kind, text in ahead] == list(texts)

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


def _check_groups(query: Query) -> None:
    """Refuse what an aggregate query cannot show or order by, and aliases in any other."""
    if query.count and query.group:
        raise ApiError(400, "MALFORMED_QUERY", "Grouped query cannot use COUNT(); use COUNT(fieldname)")
    if not query.is_aggregate:
        aliases = [
            name for name, field in zip(query.names, query.fields, strict=True) if field.rpartition(".")[2] != name
        ]
        if aliases:
            raise _malformed(aliases[0])
        return
    known = {name.lower() for name in (*query.group, *(count.name for count in query.counts))}
    for name in (*query.fields, *(name for name, _descending in query.order)):
        if name.lower() not in known:
            raise ApiError(400, "MALFORMED_QUERY", f"Field must be grouped or aggregated: {name}")
