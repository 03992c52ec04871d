"""A large ``ApiTotalUsage`` file of made-up calls, always the same for the same number of rows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

COLUMNS = (
    "EVENT_TYPE", "TIMESTAMP", "REQUEST_ID", "ORGANIZATION_ID", "USER_ID", "API_FAMILY", "API_VERSION",
    "API_RESOURCE", "CLIENT_NAME", "HTTP_METHOD", "CLIENT_IP", "COUNTS_AGAINST_API_LIMIT", "CONNECTED_APP_ID",
    "ENTITY_NAME", "STATUS_CODE", "CONNECTED_APP_NAME", "USER_NAME", "TIMESTAMP_DERIVED",
)  # fmt: skip
USERS, APPS, CLIENTS, CALLERS = 40, 15, 25, 300
KINDS = (
    ("REST", "/v64.0/sobjects/Account/001AA{n:010d}", "Account", "GET"),
    ("REST", "/v64.0/query", "Contact", "GET"),
    ("REST", "/v64.0/composite/sobjects", "Opportunity", "POST"),
    ("BULK_V2", "/v64.0/jobs/ingest/750AA{n:010d}", "Lead", "PUT"),
    ("SOAP", "query", "Case", ""),
)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: all rows, and how many of them are distinct."""

    rows: int
    distinct: int


def write_log_file(path: Path, rows: int, repeats: float = 0.01) -> Written:
    """Write a daily file of 2026-10-06; ``repeats`` is the share of rows that repeat one written before, identically.

    :returns: rows written and distinct ones.
    """
    distinct = rows - int(rows * repeats)
    generated = _rows(distinct)
    with path.open("w", encoding="utf-8") as stream:
        stream.write(",".join(f'"{name}"' for name in COLUMNS) + "\n")
        left = rows - distinct
        while batch := list(islice(generated, 50_000)):
            again = batch[: min(left, -(-len(batch) * (rows - distinct) // distinct))]
            left -= len(again)
            stream.write("".join(batch))
            stream.write("".join(again))
        stream.write("".join(batch[:left]))
    return Written(rows, distinct)


def _rows(number: int) -> Iterator[str]:
    chance = random.Random(1)
    callers = []
    for _ in range(CALLERS):
        family, resource, entity, method = chance.choice(KINDS)
        user, app, client = chance.randrange(USERS), chance.randrange(APPS), chance.randrange(CLIENTS)
        counted = "1" if chance.random() < 0.99 else "0"
        before = f'"00DAA0000000001","005AA000000{user:04d}","{family}","64.0","'
        after = (
            f'","client-{client}","{method}","192.0.2.10","{counted}","0H4AA000000{app:04d}","{entity}","200",'
            f'"App number {app}","user{user}@example.invalid","2026-10-06T'
        )
        callers.append((before, resource, after))
    picks = [chance.randrange(CALLERS) for _ in range(9_973)]
    for n in range(number):
        second, thousandths = divmod(n * 86_400_000 // number, 1_000)
        hour, rest = divmod(second, 3_600)
        minute, second = divmod(rest, 60)
        before, resource, after = callers[picks[n % 9_973]]
        yield (
            f'"ApiTotalUsage","20261006{hour:02d}{minute:02d}{second:02d}.{thousandths:03d}","TID:{n:019d}ab",{before}'
            f'{resource.format(n=n)}{after}{hour:02d}:{minute:02d}:{second:02d}.{thousandths:03d}Z"\n'
        )
