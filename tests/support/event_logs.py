"""Event log files made by hand: rows, what a file tells of them, and the truth to hold against."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from airflow_provider_apiusage.usage.event_log import FileUsage, LogFile, LogInterval, Part
from airflow_provider_apiusage.usage.event_log_plan import day_of
from airflow_provider_apiusage.usage.hourly import Caller, EventUsage

DAY0 = datetime(2026, 10, 6, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """One call, as a row of a log: hour (counted from ``DAY0``), number of the caller, number of the request."""

    hour: int
    who: int
    request: int

    @property
    def starts_at(self) -> datetime:
        return DAY0 + HOUR * self.hour

    @property
    def caller(self) -> Caller:
        return Caller(user=f"005AA000000000{self.who}", family="REST", counted=(True, False, None)[self.who % 3])

    @property
    def fingerprint(self) -> int:
        digest = hashlib.blake2b(f"{self.hour} {self.who} {self.request}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little")


@dataclass(frozen=True, slots=True)
class File:
    """A log file with its rows; ``number`` tells it from others of its period, later ones having higher numbers."""

    interval: LogInterval
    period: int
    number: int
    rows: tuple[Row, ...]

    @property
    def listed(self) -> LogFile:
        starts_at = DAY0 + self.interval.length * self.period
        created_at = starts_at + self.interval.length + HOUR * (1 + self.number)
        sequence = self.number if self.interval is LogInterval.HOURLY else 0
        name = f"0AT{self.interval.value[0]}{self.period:03d}{self.number}"
        return LogFile(starts_at, sequence, created_at, name, self.interval, 100)

    @property
    def usage(self) -> FileUsage:
        file = self.listed
        rows: dict[tuple[datetime, Caller], set[int]] = defaultdict(set)
        for row in self.rows:
            rows[row.starts_at, row.caller].add(row.fingerprint)
        parts = tuple(
            Part(hour, caller, len(found), 0, b"" if _own(file, hour) else array("Q", sorted(found)).tobytes())
            for (hour, caller), found in rows.items()
        )
        return FileUsage(file, parts, len(self.rows), scheme="test")


def _own(file: LogFile, hour: datetime) -> bool:
    return file.interval is LogInterval.DAILY and file.covers(hour)


def truth_of(files: Iterable[File]) -> Counter[tuple[datetime, Caller]]:
    """What these files tell together, by the two rules: a day's latest daily file alone, else the union of all."""
    known = list(files)
    latest: dict[datetime, File] = {}
    for file in known:
        if file.interval is LogInterval.DAILY:
            day = file.listed.starts_at
            latest[day] = max(latest.get(day, file), file, key=lambda each: each.listed.created_at)
    rows: set[Row] = set()
    for file in known:
        for row in file.rows:
            day = day_of(row.starts_at)
            if day not in latest or latest[day] == file:
                rows.add(row)
    return Counter((row.starts_at, row.caller) for row in rows)


def counts_of(usage: EventUsage) -> Counter[tuple[datetime, Caller]]:
    """Hourly counts as a mapping."""
    return Counter({(count.starts_at, count.caller): count.calls for count in usage.counts})
