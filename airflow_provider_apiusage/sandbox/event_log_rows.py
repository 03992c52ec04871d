"""The rows of a log file as text: columns, quotes, ids and flags as set, and rows that cannot be read.

Columns and their order from the object reference, EventLogFile, ApiTotalUsage. Everything about a row follows from
the call it stands for, so that the same call is the same text in every file that holds it.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from airflow_provider_apiusage.sandbox.identity import Identity, long_id
from airflow_provider_apiusage.sandbox.ledger import Caller, Calls, to_instant
from airflow_provider_apiusage.sandbox.settings import EventLogStyle, OrgSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COLUMNS = (
    "EVENT_TYPE", "TIMESTAMP", "REQUEST_ID", "ORGANIZATION_ID", "USER_ID", "API_FAMILY", "API_VERSION",
    "API_RESOURCE", "CLIENT_NAME", "HTTP_METHOD", "CLIENT_IP", "COUNTS_AGAINST_API_LIMIT", "CONNECTED_APP_ID",
    "ENTITY_NAME", "STATUS_CODE", "CONNECTED_APP_NAME", "USER_NAME", "TIMESTAMP_DERIVED",
)  # fmt: skip
_PER_CALL = ("TIMESTAMP", "REQUEST_ID", "TIMESTAMP_DERIVED")
_MISSING = ("CONNECTED_APP_NAME", "CLIENT_NAME")
#: Texts of COUNTS_AGAINST_API_LIMIT, not counted and counted, which rows take in turn.
_FLAGS = {
    "1/0": (("0",), ("1",)),
    "true/false": (("false",), ("true",)),
    "TRUE/FALSE": (("FALSE",), ("TRUE",)),
    "blank": (("",), ("",)),
    "mixed": (("0", "false", "False"), ("1", "true", "TRUE")),
}
_MALFORMED_FIELDS = 5


def columns_of(style: EventLogStyle) -> tuple[str, ...]:
    """Return the columns of a log file in the order of its header."""
    if style == "reordered":
        return COLUMNS[::-1]
    if style == "missing":
        return tuple(name for name in COLUMNS if name not in _MISSING)
    if style == "extra":
        after = COLUMNS.index("CLIENT_NAME") + 1
        return (*COLUMNS[:after], "API_CLIENT_CATEGORY", *COLUMNS[after:], "BOT_IDENTIFIER")
    return COLUMNS


class Layout:
    """Writes rows as one org's settings want them.

    :param identity: the org's users and apps.
    :param settings: its settings, which must not change while a file is written.
    """

    def __init__(self, identity: Identity, settings: OrgSettings) -> None:
        self._identity, self._settings = identity, settings
        self._columns = columns_of(settings.event_log_style)
        self._separator = ", " if settings.event_log_style == "spaced" else ","
        self._quote = "" if settings.event_log_style == "unquoted" else '"'
        self._flags = _FLAGS[settings.event_log_counted_style]
        self._id_turns = {"15": (15,), "18": (18,), "mixed": (15, 18)}[settings.event_log_ids]
        self._pieces: dict[tuple[Caller, str, int, str], list[str]] = {}

    @property
    def header(self) -> str:
        """The first line."""
        return self._line(self._columns)

    def rows(self, calls: Calls, numbers: Iterable[tuple[int, int]]) -> Iterator[str]:
        """Yield rows of calls alike.

        :param calls: the calls, all of one second.
        :param numbers: of each row wanted, its place among ``calls`` and its running number within the UTC hour.
        """
        instant, backwards = to_instant(calls.second), self._columns[0] != COLUMNS[0]
        stamp, derived = f"{instant:%Y%m%d%H%M%S}", f"{instant:%Y-%m-%dT%H:%M:%S}"
        for place, number in numbers:
            one, two, three, four = self._pieces_for(calls.caller, number)
            thousandth = f"{place * 1_000 // calls.number % 1_000:03d}"
            first, last = f"{stamp}.{thousandth}", f"{derived}.{thousandth}Z"
            if backwards:
                first, last = last, first
            yield f"{one}{first}{two}TID:{calls.second:010d}{number:09d}{three}{last}{four}"

    def size(self, caller: Caller) -> int:
        """Return the bytes of a row of this caller, where all are equally long."""
        (row,) = self.rows(Calls(0, caller, 1), [(0, 0)])
        return len(row.encode())

    def with_malformed(self, rows: Iterable[str], start: int) -> Iterator[str]:
        """Yield the rows, and after every so many one that stands for no call: too few fields, no time, too many.

        :param rows: good rows.
        :param start: first second of the file.
        """
        every, kinds = self._settings.event_log_malformed_every, count()
        for number, row in enumerate(rows, 1):
            yield row
            if every and number % every == 0:
                yield self._malformed(next(kinds), start)

    def _malformed(self, number: int, start: int) -> str:
        instant = to_instant(start)
        values = dict.fromkeys(COLUMNS, "") | {
            "EVENT_TYPE": "ApiTotalUsage",
            "TIMESTAMP": f"{instant:%Y%m%d%H%M%S}.000",
            "REQUEST_ID": f"TID:malformed{start:010d}{number:09d}",
            "ORGANIZATION_ID": self._identity.org_id,
            "USER_ID": self._identity.users[0].id,
            "API_FAMILY": "REST",
            "COUNTS_AGAINST_API_LIMIT": "1",
            "TIMESTAMP_DERIVED": f"{instant:%Y-%m-%dT%H:%M:%S}.000Z",
        }
        if number % 3 == 1:
            values |= {"TIMESTAMP": "not\0a time", "TIMESTAMP_DERIVED": "nor this"}
        fields = [values.get(name, "") for name in self._columns]
        if number % 3 == 0:
            fields = fields[:_MALFORMED_FIELDS]
        return self._line(fields if number % 3 < 2 else [*fields, "one", "two", "three"])

    def _line(self, values: Iterable[str]) -> str:
        return self._separator.join(self._field(value) for value in values) + "\n"

    def _field(self, value: str) -> str:
        """Return the text of a field (RFC 4180): quoted always, or only where it must be."""
        if self._quote or any(letter in value for letter in ',"\r\n'):
            return '"' + value.replace('"', '""') + '"'
        return value

    def _pieces_for(self, caller: Caller, number: int) -> list[str]:
        """Return what stands before, between and behind the three fields that differ from call to call."""
        texts, every = self._flags[caller.counted], self._settings.event_log_nul_every
        with_nul = ""
        if every and number % every == every - 1:
            with_nul = "CLIENT_NAME" if number // every % 2 and "CLIENT_NAME" in self._columns else "API_RESOURCE"
        key = caller, texts[number % len(texts)], self._id_turns[number % len(self._id_turns)], with_nul
        if key not in self._pieces:
            values = self._values(*key)
            self._pieces[key] = pieces = [""]
            for place, name in enumerate(self._columns):
                pieces[-1] += self._separator if place else ""
                if name in _PER_CALL:
                    pieces[-1] += self._quote
                    pieces.append(self._quote)
                else:
                    pieces[-1] += self._field(values[name])
            pieces[-1] += "\n"
        return self._pieces[key]

    def _values(self, caller: Caller, counted: str, id_letters: int, with_nul: str) -> dict[str, str]:
        user = self._identity.user(caller.user)
        app = next((app.name for app in self._identity.apps if app.id == caller.app), "")
        version = caller.resource.removeprefix("/v").partition("/")[0] if caller.resource.startswith("/v") else "64.0"
        values = {
            "EVENT_TYPE": "ApiTotalUsage",
            "ORGANIZATION_ID": self._identity.org_id,
            "USER_ID": _id(caller.user, id_letters),
            "API_FAMILY": caller.family,
            "API_VERSION": version,
            "API_RESOURCE": caller.resource,
            "CLIENT_NAME": caller.client,
            "API_CLIENT_CATEGORY": "EXTERNAL_APPLICATION",
            "HTTP_METHOD": caller.method,
            "CLIENT_IP": "192.0.2.10",
            "COUNTS_AGAINST_API_LIMIT": counted,
            "CONNECTED_APP_ID": _id(caller.app, id_letters),
            "ENTITY_NAME": caller.entity,
            "STATUS_CODE": str(caller.status),
            "CONNECTED_APP_NAME": app,
            "USER_NAME": user.username if user else "",
            "BOT_IDENTIFIER": "",
        }
        if with_nul:
            half = len(values[with_nul]) // 2
            values[with_nul] = values[with_nul][:half] + "\0" + values[with_nul][half:]
        return values


def _id(value: str, letters: int) -> str:
    """Return an id with 15 or 18 characters, as wanted; what is shorter stays as it is."""
    short = value[:15]
    return long_id(short) if letters == 18 and len(short) == 15 else short
