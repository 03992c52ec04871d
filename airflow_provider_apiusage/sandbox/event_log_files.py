"""Which log files there are, and which calls are in each: made from the counted calls when they are asked for.

Lags, sequences and replacement from the object reference, EventLogFile, and "Using Event Monitoring".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING

from airflow_provider_apiusage.sandbox.event_log_noise import Pick, count_of, picked, repeated, sequence_of
from airflow_provider_apiusage.sandbox.event_log_rows import Layout
from airflow_provider_apiusage.sandbox.ledger import Calls, to_instant, to_second
from airflow_provider_apiusage.sandbox.settings import OrgSettings
from airflow_provider_apiusage.sandbox.tally import DAY, HOUR

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

_ROWS_PER_CHUNK = 500
_NAMES = tuple(field.name for field in fields(OrgSettings) if field.name.startswith("event_log_"))


@dataclass(frozen=True, slots=True)
class LogFile:
    """One log file.

    ``part`` of ``parts`` says which of the rows of ``[start, start + length)`` it holds: in part 1 are those of
    ``share``, in the later ones the others. ``sequence`` is what Salesforce calls it, 0 for a daily file.
    """

    id: str
    start: int
    length: int
    sequence: int
    part: int
    parts: int
    share: float
    created_at: datetime


def files(org: SandboxOrg, now: datetime) -> list[LogFile]:
    """Return the log files that exist at ``now``, oldest first."""
    oldest = now - timedelta(days=org.settings.event_log_retention_days)
    return sorted(
        (
            file
            for file in chain(_hourly(org, now), _daily(org, now))
            if oldest < file.created_at <= now
            and (file.id, file.created_at) not in org.vanished_log_files
            and length(org, file) > 0
        ),
        key=lambda file: (file.created_at, file.start),
    )


def _hourly(org: SandboxOrg, now: datetime) -> Iterator[LogFile]:
    settings = org.settings
    if not settings.event_log_hourly:
        return
    share = settings.event_log_hourly_first_share
    parts = settings.event_log_sequences if share < 1 else 1
    lag = timedelta(hours=1, minutes=settings.event_log_hourly_lag_minutes, seconds=40)
    for start in _starts(org, now, HOUR, strays=settings.event_log_stray_share > 0):
        for part in range(1, parts + 1):
            late = timedelta(minutes=settings.event_log_hourly_late_minutes) * (part - 1)
            letter = "A" if share >= 1 else "F" if part == 1 else "L"
            name = f"0ATH{letter}{part}{start // HOUR:09d}"
            yield LogFile(name, start, HOUR, part, part, parts, share, to_instant(start) + lag + late)


def _daily(org: SandboxOrg, now: datetime) -> Iterator[LogFile]:
    settings = org.settings
    share = settings.event_log_daily_first_share
    for start in _starts(org, now, DAY, strays=settings.event_log_stray_daily and settings.event_log_stray_share > 0):
        end = to_instant(start + DAY)
        created = end + timedelta(hours=settings.event_log_daily_lag_hours, minutes=13)
        replaced = end + timedelta(hours=settings.event_log_daily_replaced_hours, minutes=13)
        first = share < 1 and now < replaced
        letter = "F" if first and not settings.event_log_daily_same_id else "A"
        name = f"0ATD{letter}0{start // HOUR:09d}"
        created_at = created if first or share >= 1 else replaced
        yield LogFile(name, start, DAY, 0, 1, 1, share if first else 1.0, created_at)


def _starts(org: SandboxOrg, now: datetime, size: int, *, strays: bool) -> list[int]:
    """Return the first seconds of the hours or days that may have a file."""
    hours = org.ledger.hours_with_logged_calls()
    starts = {hour // size * size for hour in hours}
    if strays:
        starts |= {(hour + HOUR) // size * size for hour in hours}
    if hours and org.settings.event_log_empty_files:
        starts |= set(range(hours[0] // size * size, to_second(now), size))
    return sorted(starts)


def length(org: SandboxOrg, file: LogFile) -> int:
    """Return the file's size in bytes; 0 if there is no such file, because it would have no row."""
    calls = org.ledger.calls_in_hours(file.start - HOUR, file.start + file.length)
    key = (file, calls, *(getattr(org.settings, name) for name in _NAMES))
    if key not in org.log_file_lengths:
        layout = Layout(org.identity, org.settings)
        size = _size_by_counts(org, file, layout) if _evenly_long(org.settings) else _size_by_rows(org, file, layout)
        empty = org.settings.event_log_empty_files and file.part == 1
        org.log_file_lengths[key] = size + len(layout.header) if size or empty else 0
    return org.log_file_lengths[key]


def _evenly_long(settings: OrgSettings) -> bool:
    """Whether all rows of a caller are equally long and in one file each, so that lengths follow from counts."""
    return not (
        settings.event_log_repeat_share
        or settings.event_log_repeat_within
        or settings.event_log_stray_share
        or settings.event_log_malformed_every
        or settings.event_log_nul_every
        or "mixed" in (settings.event_log_counted_style, settings.event_log_ids)
    )


def _size_by_counts(org: SandboxOrg, file: LogFile, layout: Layout) -> int:
    sizes: dict[object, int] = {}
    position = total = 0
    for _, calls in _numbered(org, file.start, file.start + file.length):
        if calls.caller not in sizes:
            sizes[calls.caller] = layout.size(calls.caller)
        total += sizes[calls.caller] * count_of(file.part, position, calls.number, file.share, file.parts)
        position += calls.number
    return total


def _size_by_rows(org: SandboxOrg, file: LogFile, layout: Layout) -> int:
    return sum(len(row.encode()) for row in _rows(org, org.settings, file, layout))


def chunks(org: SandboxOrg, file: LogFile) -> Iterator[bytes]:
    """Return the file's content, some hundred rows at a time; settings are those of now."""
    layout = Layout(org.identity, org.settings)
    return _chunks(chain([layout.header], _rows(org, org.settings, file, layout)))


def _chunks(lines: Iterator[str]) -> Iterator[bytes]:
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) >= _ROWS_PER_CHUNK:
            yield "".join(chunk).encode()
            chunk = []
    if chunk:
        yield "".join(chunk).encode()


def _rows(org: SandboxOrg, settings: OrgSettings, file: LogFile, layout: Layout) -> Iterator[str]:
    held = _held(org, settings, file, layout)
    return layout.with_malformed(repeated(held), file.start)


def _held(org: SandboxOrg, settings: OrgSettings, file: LogFile, layout: Layout) -> Iterator[tuple[str, bool]]:
    """Yield the rows of the calls that are in the file, and whether they are in it twice."""
    period, position, within = file.start // HOUR, 0, settings.event_log_repeat_within
    for number, calls, wanted in _candidates(org, settings, file):
        chosen: list[tuple[int, int]] = []
        twice: list[bool] = []
        hour = calls.second // HOUR
        for place in range(calls.number):
            if wanted is not None and wanted != picked(
                number + place, hour, settings.event_log_stray_share, Pick.STRAY
            ):
                continue
            if _is_in(file, position, settings.event_log_repeat_share):
                chosen.append((place, number + place))
                twice.append(within > 0 and picked(position, period, within, Pick.TWICE))
            position += 1
        yield from zip(layout.rows(calls, chosen), twice, strict=True)


def _is_in(file: LogFile, position: int, repeat_share: float) -> bool:
    """Whether the file holds this row of its period: because it comes first there, or once more."""
    first = sequence_of(position, file.share, file.parts)
    if first == file.part:
        return True
    again = repeat_share > 0 and 0 < first < file.part
    return again and picked(position, file.start // HOUR + file.part, repeat_share, Pick.FROM_EARLIER)


def _candidates(org: SandboxOrg, settings: OrgSettings, file: LogFile) -> Iterator[tuple[int, Calls, bool | None]]:
    """Yield calls of which some are in the files of this period: running number, calls, and which of them.

    ``None``: all; true: those that stray into the next hour's files; false: those that do not.
    """
    end, strays = file.start + file.length, settings.event_log_stray_share > 0
    own = False if strays and file.length == HOUR else None
    for number, calls in _numbered(org, file.start, end):
        yield number, calls, own
    if strays and (file.length == HOUR or settings.event_log_stray_daily):
        for number, calls in _numbered(org, file.start - HOUR, file.start):
            yield number, calls, True


def _numbered(org: SandboxOrg, start: int, end: int) -> Iterator[tuple[int, Calls]]:
    """Yield the logged calls of ``[start, end)`` with the running number of the first within its UTC hour."""
    hour, number = start, 0
    for calls in org.ledger.between(start, end):
        if calls.caller.logged:
            if calls.second // HOUR * HOUR != hour:
                hour, number = calls.second // HOUR * HOUR, 0
            yield number, calls
            number += calls.number
