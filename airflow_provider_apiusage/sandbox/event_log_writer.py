"""Large ``ApiTotalUsage`` files for tests and benchmarks, with their truth: made up, and the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_provider_apiusage.sandbox.event_log_rows import COLUMNS
from airflow_provider_apiusage.sandbox.tally import HOUR

DAY_WRITTEN = datetime(2026, 10, 6, tzinfo=UTC)
APPS, CLIENTS = 15, 25

_CALLERS, _TURNS, _ROWS_PER_BATCH = 400, 9_973, 20_000
_UNCOUNTED = 0.01
#: Share of calls, family, resource ("#": a record's or job's id), entity, method.
_KINDS = (
    (0.30, "REST", "/v64.0/sobjects/Account/001SB#", "Account", "GET"),
    (0.14, "REST", "/v64.0/sobjects/Contact/003SB#", "Contact", "PATCH"),
    (0.16, "REST", "/v67.0/query", "Opportunity", "GET"),
    (0.08, "REST", "/v64.0/composite/sobjects", "Lead", "POST"),
    (0.02, "REST", "/v67.0/limits", "", "GET"),
    (0.08, "Bulk", "/v62.0/jobs/ingest/750SB#", "Contact", "PUT"),
    (0.04, "Bulk", "/v62.0/jobs/query/750SB#/results", "Account", "GET"),
    (0.10, "SOAP", "query", "Case", ""),
    (0.06, "SOAP", "update", "Case", ""),
    (0.02, "ApexREST", "/v60.0/apexrest/orders/#", "", "POST"),
)


@dataclass(frozen=True, slots=True)
class EventLogTruth:
    """What was written.

    :param rows: all rows below the header.
    :param distinct: calls; the other rows repeat one of them, identically.
    :param counted: those of the calls that count against the allocation.
    :param hourly: calls of each hour, from the file's first on.
    """

    rows: int
    distinct: int
    counted: int
    hourly: tuple[int, ...]


def write_event_log(
    path: str | Path, *, rows: int, hours: int = 24, seed: int = 1, users: int = 40, repeats: float = 0.0
) -> EventLogTruth:
    """Write a daily file of 2026-10-06, about 300 bytes a row, in order of time; memory stays small.

    :param path: the file; it is overwritten.
    :param rows: rows below the header, repeated ones included.
    :param hours: over how many hours from midnight the calls are spread, 1 to 24.
    :param seed: the same seed gives the same file.
    :param users: how many users make calls, at most 10,000.
    :param repeats: share of ``rows`` that repeat one written some thousand rows before, 0 to less than 1.
    :raises ValueError: if an argument is out of its range.
    :raises OSError: if the file cannot be written.
    """
    if rows < 0 or not 1 <= hours <= 24 or not 1 <= users <= 10_000 or not 0 <= repeats < 1:
        raise ValueError("rows must not be negative, hours be 1-24, users 1-10,000, repeats at least 0 and below 1")
    chance = random.Random(seed)  # noqa: S311 (made-up traffic, not secrets)
    distinct = rows - int(rows * repeats)
    turns = _turns(chance, users)
    flags = [counted for counted, _ in turns]
    written = 0
    with Path(path).open("wb") as stream:
        stream.write((",".join(f'"{name}"' for name in COLUMNS) + "\n").encode())
        again: list[str] = []
        for batch in _batches(distinct, hours * HOUR, [pieces for _, pieces in turns]):
            stream.write("".join(batch + again).encode())
            due = (rows - distinct) * (written + len(batch)) // distinct - (rows - distinct) * written // distinct
            again = chance.choices(batch, k=due)
            written += len(batch)
        stream.write("".join(again).encode())
    counted = distinct // _TURNS * sum(flags) + sum(flags[: distinct % _TURNS])
    starts = [distinct * hour // hours for hour in range(hours + 1)]
    return EventLogTruth(rows, distinct, counted, tuple(starts[hour + 1] - starts[hour] for hour in range(hours)))


def _turns(chance: random.Random, users: int) -> list[tuple[bool, tuple[str, str, str]]]:
    """Return who calls in turn: whether the call counts, and the text of its row around what differs by call."""
    callers = []
    for number in range(_CALLERS):
        _, family, resource, entity, method = chance.choices(_KINDS, [kind[0] for kind in _KINDS])[0]
        user, app, client = number % users, chance.randrange(APPS), chance.randrange(CLIENTS)
        name = 'Loader ""nightly"", v2' if client == 0 else "" if client == 1 else f"client-{client}"
        app_id, app_name = (f"0H4SB{app:010d}", f"Connected App {app}") if app else ("", "")
        version = resource[2:].partition("/")[0] if resource.startswith("/v") else "64.0"
        target, has_id, rest = resource.partition("#")
        before = f'","00DSB0000000042","005SB{user:010d}","{family}","{version}","{target}'
        after = f'{rest}","{name}","{method}","192.0.2.{user % 250}","'
        behind = f'","{app_id}","{entity}","200","{app_name}","user{user}@sandbox-org.example","'
        callers.append((before, bool(has_id), after, behind))
    turns = []
    for _ in range(_TURNS):
        before, with_id, after, behind = chance.choice(callers)
        counted = chance.random() >= _UNCOUNTED
        turns.append((counted, (before, "1" if with_id else "", f"{after}{int(counted)}{behind}")))
    return turns


def _batches(distinct: int, seconds: int, turns: list[tuple[str, str, str]]) -> Iterator[list[str]]:
    """Yield the rows, evenly spread over the seconds, some thousand at a time."""
    batch: list[str] = []
    number = 0
    for second in range(seconds):
        until = distinct * (second + 1) // seconds
        if until == number:
            continue
        instant = DAY_WRITTEN + timedelta(seconds=second)
        begin, derived = f'"ApiTotalUsage","{instant:%Y%m%d%H%M%S}.', f"{instant:%Y-%m-%dT%H:%M:%S}."
        count = until - number
        for place in range(count):
            thousandth = f"{place * 1_000 // count:03d}"
            before, with_id, after = turns[number % _TURNS]
            record = f"{number:010d}" if with_id else ""
            batch.append(f'{begin}{thousandth}","TID:{number:019d}{before}{record}{after}{derived}{thousandth}Z"\n')
            number += 1
        if len(batch) >= _ROWS_PER_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
