"""Event log files as values: what a file told, and what all files of an hour tell together.

Two rules, from Salesforce's description of event log files (Object reference, EventLogFile; Using Event Monitoring):

- An hourly file holds rows of one hour; late rows follow in further sequences, and rows may be repeated. So hourly
  files are *united*: a row that several files tell is one call.
- A daily file is the whole day, and a later one replaces it. So once a day's own daily file is read, the day is what
  the latest one tells, and nothing else is added to it.

Rows are told apart by *fingerprints*: 64-bit hashes of what identifies a request. They are compared only among rows
of one hour and caller, so that for 5,000,000 rows a day a false match is less likely than one in a million.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from airflow_provider_apiusage.usage.hourly import HOUR, Caller
from airflow_provider_apiusage.usage.model import Finding


class LogInterval(StrEnum):
    """What period a log covers, and so how it goes with others."""

    HOURLY = "hourly"
    """One sequence of an hour; united with the others."""
    DAILY = "daily"
    """A whole UTC day; the latest stands alone."""
    OBJECT = "object"
    """An hour as the queryable object ``ApiTotalUsageEventLog`` told it."""

    @property
    def length(self) -> timedelta:
        """How long the period is."""
        return timedelta(days=1) if self is LogInterval.DAILY else HOUR


@dataclass(frozen=True, slots=True, order=True)
class LogFile:
    """One event log file, as the org lists it.

    :param starts_at: first instant of its period (``LogDate``).
    :param sequence: 0 for a daily file; 1, 2... for the sequences of an hour.
    :param created_at: when the org made it; a daily file with a later one replaces an earlier one.
    :param id: 15-character record id.
    :param interval: hourly or daily.
    :param length: bytes uncompressed (``LogFileLength``); ``None`` if the org does not tell.
    """

    starts_at: datetime
    sequence: int
    created_at: datetime
    id: str
    interval: LogInterval
    length: int | None = None

    @property
    def ends_at(self) -> datetime:
        """The instant after its period."""
        return self.starts_at + self.interval.length

    def covers(self, instant: datetime) -> bool:
        """Whether an instant lies in its period."""
        return self.starts_at <= instant < self.ends_at

    @property
    def label(self) -> str:
        """A name for people, such as ``hourly 2026-10-07 05:00 sequence 2``."""
        if self.interval is LogInterval.DAILY:
            return f"daily {self.starts_at:%Y-%m-%d}"
        return f"hourly {self.starts_at:%Y-%m-%d %H:%M} sequence {self.sequence}"


def file_to_json(file: LogFile) -> dict[str, Any]:
    """Return a file as JSON-safe values, for an XCom."""
    values = {**asdict(file), "interval": file.interval.value}
    return values | {name: values[name].isoformat() for name in ("starts_at", "created_at")}


def file_from_json(values: Mapping[str, Any]) -> LogFile:
    """Return the file that :func:`file_to_json` wrote.

    :raises ValueError: if the values are no file; names what is missing or wrong.
    """
    try:
        return LogFile(
            starts_at=datetime.fromisoformat(values["starts_at"]),
            sequence=int(values["sequence"]),
            created_at=datetime.fromisoformat(values["created_at"]),
            id=str(values["id"]),
            interval=LogInterval(values["interval"]),
            length=None if values.get("length") is None else int(values["length"]),
        )
    except (KeyError, TypeError, ValueError) as wrong:
        raise ValueError(
            f"{values!r} is no event log file ({wrong!r}): give an item of what ApiUsageListEventLogsOperator returns."
        ) from None


@dataclass(frozen=True, slots=True)
class Part:
    """Calls of one caller in one hour, as one file told them.

    :param starts_at: the hour's first instant, by the rows' own time stamps.
    :param caller: who made them.
    :param told_apart: distinct rows that carry a request id.
    :param nameless: rows without one, which cannot be told from their repeats.
    :param fingerprints: of the distinct rows, 8 bytes each in machine order; ``b""`` where they are not needed.
    """

    starts_at: datetime
    caller: Caller
    told_apart: int
    nameless: int = 0
    fingerprints: bytes = b""

    @property
    def calls(self) -> int:
        """All calls of this part."""
        return self.told_apart + self.nameless


@dataclass(frozen=True, slots=True)
class FileUsage:
    """What one file told.

    :param file: which.
    :param parts: its calls by hour and caller.
    :param rows: rows that could be read.
    :param repeated: rows that repeat another of the same file.
    :param unread: rows that could not be read or placed in time; each may be a call.
    :param scheme: tells fingerprints of one making from those of another.
    :param findings: what was odd.
    """

    file: LogFile
    parts: tuple[Part, ...]
    rows: int
    repeated: int = 0
    unread: int = 0
    scheme: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """A part together with the kind of log that told it and the making of its fingerprints."""

    interval: LogInterval
    scheme: str
    part: Part


def unite(told: Iterable[Told]) -> dict[Caller, int]:
    """Return the calls of one hour by caller, from all that is told about it while its day has no daily file.

    Rows of files are united. The queryable object tells the same calls as the files: whichever of the two tells more
    calls in the hour is taken, because both may be late and neither tells calls that were not made.

    :param told: parts of one hour.
    """
    everything = list(told)
    files = _united(each for each in everything if each.interval is not LogInterval.OBJECT)
    queried = _united(each for each in everything if each.interval is LogInterval.OBJECT)
    return queried if sum(queried.values()) > sum(files.values()) else files


def _united(told: Iterable[Told]) -> dict[Caller, int]:
    by_caller: dict[Caller, list[Told]] = defaultdict(list)
    for each in told:
        by_caller[each.part.caller].append(each)
    return {caller: _distinct(same) for caller, same in by_caller.items()}


def _distinct(same: list[Told]) -> int:
    """Count the distinct rows of one hour and caller.

    Fingerprints of different making cannot be compared; the making that tells more is a lower bound of the union.
    """
    nameless = sum(each.part.nameless for each in same)
    if len(same) == 1:
        return same[0].part.calls
    by_scheme: dict[str, list[Part]] = defaultdict(list)
    for each in same:
        by_scheme[each.scheme].append(each.part)
    return nameless + max(_union_size(parts) for parts in by_scheme.values())


def _union_size(parts: list[Part]) -> int:
    if len(parts) == 1:
        return parts[0].told_apart
    return len(set().union(*(array("Q", part.fingerprints) for part in parts)))
