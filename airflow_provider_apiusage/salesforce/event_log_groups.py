"""The groups that DuckDB makes of a log's rows -> parts by hour and caller, and what was odd about them."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.usage.event_log import LogFile, LogInterval, Part
from airflow_provider_apiusage.usage.hourly import Caller, resource_class, short_id
from airflow_provider_apiusage.usage.model import Finding, Severity

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ATTRIBUTES = (
    "USER_ID", "CONNECTED_APP_ID", "CLIENT_NAME", "API_FAMILY", "API_RESOURCE", "COUNTS_AGAINST_API_LIMIT",
    "REQUEST_ID", "ORGANIZATION_ID", "USER_NAME", "CONNECTED_APP_NAME",
)  # fmt: skip
"""What an hourly count is made of; one that is missing is a finding."""

PLAUSIBLE = timedelta(days=1)
"""A row's hour is at most this far from the beginning of its file's period; what tells another time is unread."""

_COUNTED = {"1": True, "true": True, "0": False, "false": False}
_PER_FETCH = 64


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows of one file by what became of them."""

    rows: int
    repeated: int
    undated: int
    outside: int
    foreign: int
    nameless: int
    unknown: int


class Groups:
    """Collects the groups of one file, in as many passes as it takes.

    :param file: the file.
    :param org_id: rows of another org are left out.
    """

    def __init__(self, file: LogFile, org_id: str) -> None:
        self._file = file
        self._org_id = org_id
        self._numbers: dict[tuple[datetime, Caller], int] = {}
        self._rows: Counter[int] = Counter()
        self._nameless: Counter[int] = Counter()
        self._distinct: Counter[int] = Counter()
        self._fingerprints: defaultdict[int, bytearray] = defaultdict(bytearray)
        self._undated = self._foreign = 0

    def add(self, duck: DuckDBPyConnection) -> None:
        """Take in table ``told``: raw values, numbers of rows, and lists of fingerprints.

        No fingerprint may come in two passes.
        """
        groups: list[tuple[int, int]] = []
        found = duck.execute(
            "SELECT rowid, hour, org, user_id, app, client, family, resource, counted, user_name, app_name, total,"
            " nameless FROM told ORDER BY ALL"
        )
        while batch := found.fetchmany(1_000):
            for group, hour, org, *caller, total, nameless in batch:
                part = self._part_of(hour, org, caller, total)
                if part is not None:
                    groups.append((group, part))
                    self._rows[part] += total
                    self._nameless[part] += nameless
        self._count(duck, groups)

    def parts(self) -> tuple[Part, ...]:
        """Return what all passes told."""
        return tuple(
            Part(hour, caller, self._distinct[n], self._nameless[n], bytes(self._fingerprints.get(n, b"")))
            for (hour, caller), n in self._numbers.items()
        )

    def tally(self) -> Tally:
        """Return what became of the rows."""
        parts = self.parts()
        placed = self._rows.total()
        return Tally(
            rows=placed + self._undated + self._foreign,
            repeated=placed - sum(part.calls for part in parts),
            undated=self._undated,
            outside=sum(part.calls for part in parts if not self._file.covers(part.starts_at)),
            foreign=self._foreign,
            nameless=self._nameless.total(),
            unknown=sum(part.calls for part in parts if part.caller.counted is None),
        )

    def _part_of(self, hour: str | None, org: str | None, caller: Sequence[Any], total: int) -> int | None:
        """Return the number of the part that a group belongs to, or ``None`` if its rows are left out."""
        starts_at = _hour(hour)
        if starts_at is None or abs(starts_at - self._file.starts_at) > PLAUSIBLE:
            self._undated += total
            return None
        if (short_id(org) or self._org_id)[:15] != self._org_id:
            self._foreign += total
            return None
        return self._numbers.setdefault((starts_at, _caller(*caller)), len(self._numbers))

    def _count(self, duck: DuckDBPyConnection, groups: list[tuple[int, int]]) -> None:
        """Count the distinct fingerprints of each part; keep those that may be united with other files'."""
        duck.execute(
            "CREATE TEMP TABLE part_of AS"
            " SELECT unnest($groups::BIGINT[]) AS told_id, unnest($parts::INTEGER[]) AS part",
            {"groups": [group for group, _ in groups], "parts": [part for _, part in groups]},
        )
        rows = "(SELECT part, unnest(fingerprints) AS fingerprint FROM told JOIN part_of ON told_id = told.rowid)"
        counts = duck.execute(f"SELECT part, count(DISTINCT fingerprint) FROM {rows} GROUP BY part")  # noqa: S608
        self._distinct.update(dict(counts.fetchall()))
        wanted = [n for (hour, _), n in self._numbers.items() if self._unites(hour)]
        if not wanted:
            return
        found = duck.execute(
            f"SELECT part, list(DISTINCT fingerprint) FROM {rows}"  # noqa: S608
            " WHERE part IN (SELECT unnest($parts::INTEGER[])) GROUP BY part",
            {"parts": wanted},
        )
        while batch := found.fetchmany(_PER_FETCH):
            for part, values in batch:
                self._fingerprints[part] += array("Q", values).tobytes()

    def _unites(self, hour: datetime) -> bool:
        """Whether rows of an hour may be united with those of other files: all but a daily file's own day."""
        return self._file.interval is not LogInterval.DAILY or not self._file.covers(hour)


def _caller(
    user: str | None,
    app: str | None,
    client: str | None,
    family: str | None,
    resource: str | None,
    counted: str | None,
    user_name: str | None,
    app_name: str | None,
) -> Caller:
    return Caller(
        user=short_id(user),
        app=short_id(app),
        client=_blank(client),
        family=_blank(family),
        resource=resource_class(resource),
        counted=_COUNTED.get((counted or "").strip().lower()),
        user_name=_blank(user_name),
        app_name=_blank(app_name),
    )


@cache
def _hour(text: str | None) -> datetime | None:
    try:
        return datetime.strptime((text or "").strip(), "%Y%m%d%H").replace(tzinfo=UTC)
    except ValueError:
        return None


def _blank(text: str | None) -> str | None:
    return (text or "").strip() or None


def findings_of(file: LogFile, header: Sequence[str], rejected: int, tally: Tally) -> Iterator[Finding]:
    """Say what was odd about a file.

    :param file: the file.
    :param header: its column names.
    :param rejected: rows that could not be read at all.
    :param tally: what became of the others.
    """
    log = f"Event log {file.label} ({file.id})"
    if missing := [name for name in ATTRIBUTES if name not in header]:
        yield Finding(
            "event-log-columns-missing",
            Severity.WARNING,
            f"{log} has no column {', '.join(missing)}: what they tell is unknown for its calls.",
            {"file": file.id, "columns": missing},
        )
    told = (
        ("event-log-rows-malformed", Severity.WARNING, rejected,
         "could not be read; each may be a call, and none is counted"),
        ("event-log-rows-undated", Severity.WARNING, tally.undated,
         "tell no time near the file's period; each may be a call, and none is counted"),
        ("event-log-other-org", Severity.ERROR, tally.foreign, "are of another org and left out"),
        ("event-log-rows-outside", Severity.INFO, tally.outside,
         "lie outside the file's period; they are counted in the hour that they tell"),
        ("event-log-rows-repeated", Severity.INFO, tally.repeated, "repeat others of the file and are counted once"),
        ("event-log-rows-nameless", Severity.WARNING, tally.nameless,
         "have no REQUEST_ID: repeats among them cannot be told, so the count is an upper bound"),
        ("event-log-counted-unknown", Severity.INFO, tally.unknown,
         "do not say whether they count against the allowance"),
    )  # fmt: skip
    for code, severity, number, what in told:
        if number:
            yield Finding(code, severity, f"{log}: {number:,} row(s) {what}.", {"file": file.id, "rows": number})
