"""What a load will spend of each limit, before it runs: arithmetic on rows, by API.

How sure each figure is: *documented* means Salesforce's documentation says so, *measured* that simple-salesforce 1.12
was seen to do so, *inferred* that neither settles it. ``docs/cost.md`` has them in one table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

from airflow_provider_apiusage.usage.model import API_REQUESTS

BULK_BATCHES = "DailyBulkApiBatches"
"""Batches of Bulk API 1.0, and 10,000 rows begun of Bulk API 2.0 ingest, per rolling 24 hours."""

BULK_QUERY_JOBS = "DailyBulkV2QueryJobs"
"""Query jobs of Bulk API 2.0 per rolling 24 hours."""

BULK_QUERY_MEGABYTES = "DailyBulkV2QueryFileStorageMB"
"""Results of Bulk API 2.0 queries per rolling 24 hours, in megabytes."""

WRITING = ("rest", "collections", "composite", "composite_batch", "bulk1", "bulk2")
READING = ("query", "bulk2_query")

JOB_MINUTES = 1
"""How long a Bulk job is taken to run if nobody says: a guess, and a small one."""

POLL_SECONDS = 5
"""How often simple-salesforce reads a Bulk job that runs (measured)."""

_MOST_ROWS = {
    "rest": 1,
    "collections": 200,
    "composite": 1_000,
    "composite_batch": 200,
    "bulk1": 10_000,
    "query": 2_000,
}
_USUAL_ROWS = _MOST_ROWS | {"composite_batch": 1, "bulk2_query": 50_000}
_USUAL_FILES = {"bulk1": 1, "bulk2": 2}
_USUAL_EXTRA = {"bulk2": 1}
_BATCH_ROWS = 10_000
_BATCH_BYTES = 10_000_000
_JOB_BYTES = 100_000_000
_MEGABYTE = 1_000_000


class Cost(dict[str, int]):
    """Needs by Salesforce's limit name, each at least 1: what ``ApiQuotaSensor(calls=...)`` takes.

    It is a ``dict``, so it goes through XCom as one. As text it is JSON, so that a template which renders to it
    (``"{{ estimate_cost(...) }}"``) is read back as the same needs. ``a + b`` is what both loads spend together.
    """

    def __str__(self) -> str:
        return json.dumps(self)

    def __add__(self, other: Mapping[str, int]) -> Cost:
        return Cost({name: self.get(name, 0) + other.get(name, 0) for name in {**self, **other}})


def estimate_cost(
    *,
    records: int | str,
    api: str,
    bytes_per_record: int | str = 500,
    batch_size: int | str | None = None,
    polls: int | str | None = None,
    job_minutes: float | str | None = None,
    poll_seconds: float | str | None = None,
    result_files: int | str | None = None,
    extra_calls: int | str | None = None,
    retry_share: float | str = 0.0,
) -> Cost:
    """Estimate what writing or reading ``records`` rows takes of each limit.

    Calls of ``DailyApiRequests`` for N rows, all divisions rounded up, with P = polls, F = ``result_files`` and
    X = ``extra_calls``; every HTTP request is one call:

    * ``rest``: N, one row a call.
    * ``collections``: N / 200 (documented: REST guide, sObject Collections).
    * ``composite``: N / 1,000. Of 25 parts 5 may be Collections of 200 rows, and parts do not count (documented: REST
      guide, Composite).
    * ``composite_batch``: N, since every part counts (documented: REST guide, Composite Batch). That the request around
      them does not count besides is inferred from a vendor's bill.
    * ``bulk1``: 2 + B (1 + P + F) + X. A job is created and closed; each of its B batches, of 10,000 rows and 10 MB at
      most, is sent, read P times, and has F results (documented: Bulk API 1.0 limits; measured).
    * ``bulk2``: J (3 + P + F + X). Each of J jobs, of 100 MB at most, is created, sent and closed (documented: Bulk API
      2.0 guide). That each request counts, as it does in 1.0, is inferred.
    * ``query``: N / 2,000, at least 1: a call a page (documented: REST guide, Query). The org may make pages shorter:
      then give ``batch_size``.
    * ``bulk2_query``: 1 + P + N / 50,000 + X: create, then pages of ``maxRecords`` rows, at least one (measured; that
      each request counts is inferred).

    Besides: ``bulk1`` takes 1 of ``DailyBulkApiBatches`` a batch, ``bulk2`` 1 for each 10,000 rows begun in a job,
    ``bulk2_query`` 1 of ``DailyBulkV2QueryJobs`` and its results of ``DailyBulkV2QueryFileStorageMB`` (all documented:
    App Limits cheat sheet, Bulk API). Whether a megabyte there is 1,000,000 bytes or more is not said; the smaller one
    is taken, so that the need is not too small.

    Whole numbers may come as text, as templates make them. What an API does not use is ignored.

    :param records: rows that the load writes or reads. An ingest of none spends nothing; since a gate takes no need of
        0, the answer is 1 call.
    :param api: one of the names above.
    :param bytes_per_record: how long a row is when sent or received, in bytes; the default of 500 is a guess. It bounds
        the rows of a Bulk batch or job, and gives the megabytes of a ``bulk2_query``.
    :param batch_size: rows of one call, Composite Batch part, Bulk 1.0 batch, Bulk 2.0 job, or page. Default: as many
        as fit; a Composite Batch part has one row. For a Composite of single records write 25.
    :param polls: how often a Bulk 1.0 batch or a Bulk 2.0 job is read until it is done, the last time included.
    :param job_minutes: instead of ``polls``: how long a batch or job takes, 1 minute by default.
    :param poll_seconds: instead of ``polls``: seconds between two reads, 5 by default.
    :param result_files: results read of each Bulk 1.0 batch (default 1; 0 with ``bypass_results``, 2 with
        ``include_detailed_results``) or Bulk 2.0 job (0 to 3: successful, failed, unprocessed; default 2).
    :param extra_calls: calls of the client beyond these for each Bulk job. simple-salesforce reads a finished Bulk 2.0
        ingest job once more, so the default is 1 there and 0 elsewhere; write 0 for a client that does not.
    :param retry_share: share (0 to 1) of the rows that is sent or read a second time, by calls and jobs of its own.
    :raises ValueError: if an argument makes no sense; says which, and what to write.
    """
    if api not in (*WRITING, *READING):
        raise ValueError(f"api={api!r} is unknown; write one of {', '.join((*WRITING, *READING))}.")
    rows = _whole("records", records, least=0)
    load = _Load(
        api,
        _rows("batch_size", batch_size, api),
        _whole("bytes_per_record", bytes_per_record, least=1),
        _polls(polls, job_minutes, poll_seconds),
        _files(result_files, api),
        _USUAL_EXTRA.get(api, 0) if extra_calls is None else _whole("extra_calls", extra_calls, least=0),
    )
    share = _number("retry_share", retry_share)
    if not 0 <= share <= 1:
        raise ValueError(f"retry_share={retry_share!r} must be a share from 0 to 1; write 0.05 for 5 %.")
    spent = load.spends(rows)
    again = ceil(rows * share)
    if again:
        spent = spent + load.spends(again)
    return spent or Cost({API_REQUESTS: 1})


def cheapest(*, records: int | str, reading: bool = False, **options: Any) -> dict[str, Cost]:
    """Estimate every API that writes (or reads) ``records`` rows, the one with the fewest API calls first.

    Advice, not a verdict: Bulk jobs run when Salesforce gets to them, Composite is rolled back as a whole if told so,
    and Bulk takes from limits of its own, which are named in each estimate. Among equals the simpler one comes first.

    :param records: rows to write or read.
    :param reading: whether the rows are read.
    :param options: arguments of ``estimate_cost``, but ``api`` and ``batch_size``: each API is taken at its best.
    :returns: ``{api: estimate}`` in that order.
    :raises ValueError: as ``estimate_cost`` does, or if ``batch_size`` is given.
    """
    if "batch_size" in options:
        raise ValueError("batch_size means something else to each API; leave it out, or call estimate_cost(api=...).")
    costs = {api: estimate_cost(records=records, api=api, **options) for api in (READING if reading else WRITING)}
    return dict(sorted(costs.items(), key=lambda item: (item[1][API_REQUESTS], len(item[1]))))


@dataclass(frozen=True, slots=True)
class _Load:
    """One way to move rows; ``size`` rows go at a time, ``None`` for as many as fit."""

    api: str
    size: int | None
    row_bytes: int
    polls: int
    files: int
    extra: int

    def spends(self, rows: int) -> Cost:
        """Return what one pass over ``rows`` rows spends; nothing if an ingest has none."""
        if self.api == "bulk2_query":
            pages = max(1, _parts(rows, self._fitting(None)))
            return Cost(
                {
                    API_REQUESTS: 1 + self.polls + self.extra + pages,
                    BULK_QUERY_JOBS: 1,
                    BULK_QUERY_MEGABYTES: max(1, _parts(rows * self.row_bytes, _MEGABYTE)),
                }
            )
        if self.api == "query":
            return Cost({API_REQUESTS: max(1, _parts(rows, self._fitting(None)))})
        if rows == 0:
            return Cost()
        if self.api == "bulk1":
            batches = _parts(rows, self._fitting(_BATCH_BYTES))
            calls = 2 + batches * (1 + self.polls + self.files) + self.extra
            return Cost({API_REQUESTS: calls, BULK_BATCHES: batches})
        if self.api == "bulk2":
            size = min(rows, self._fitting(_JOB_BYTES))
            full, rest = divmod(rows, size)
            jobs = full + (rest > 0)
            batches = full * _parts(size, _BATCH_ROWS) + _parts(rest, _BATCH_ROWS)
            return Cost({API_REQUESTS: jobs * (3 + self.polls + self.files + self.extra), BULK_BATCHES: batches})
        return Cost({API_REQUESTS: _parts(rows, self._fitting(None))})

    def _fitting(self, most_bytes: int | None) -> int:
        """Return how many rows go at a time."""
        fitting = [] if self.size is None else [self.size]
        if most_bytes is not None:
            if self.row_bytes > most_bytes:
                raise ValueError(
                    f"bytes_per_record={self.row_bytes} is more than the {most_bytes:,} bytes that one {self.api} "
                    "batch or job takes; write the length of one row."
                )
            fitting.append(most_bytes // self.row_bytes)
        return min(fitting)


def _parts(whole: int, size: int) -> int:
    return -(-whole // size)


def _rows(field: str, size: Any, api: str) -> int | None:
    if size is None:
        return _USUAL_ROWS.get(api)
    rows = _whole(field, size, least=1)
    most = _MOST_ROWS.get(api)
    if most is not None and rows > most:
        raise ValueError(f"{field}={size!r} is more than {api} takes at a time; write {most} or less.")
    return rows


def _files(files: Any, api: str) -> int:
    if files is None:
        return _USUAL_FILES.get(api, 0)
    number = _whole("result_files", files, least=0)
    if number > 3:
        raise ValueError(f"result_files={files!r} counts the results of one batch or job, of which there are 0 to 3.")
    return number


def _polls(polls: Any, minutes: Any, seconds: Any) -> int:
    """Return the reads of one batch or job: at once, and then until the first read after its end."""
    if polls is not None:
        if minutes is not None or seconds is not None:
            raise ValueError("polls says how often a job is read; leave out job_minutes and poll_seconds, or polls.")
        return _whole("polls", polls, least=0)
    lasts = _number("job_minutes", JOB_MINUTES if minutes is None else minutes)
    pause = _number("poll_seconds", POLL_SECONDS if seconds is None else seconds)
    if lasts < 0:
        raise ValueError(f"job_minutes={minutes!r} must be 0 or more; write how long a batch or job takes.")
    if pause <= 0:
        raise ValueError(f"poll_seconds={seconds!r} must be more than 0; write the seconds between two reads of a job.")
    return 1 + ceil(lasts * 60 / pause)


def _whole(field: str, value: Any, *, least: int) -> int:
    written = value
    if isinstance(value, str):
        grouped = re.fullmatch(r"[0-9]+|[0-9]{1,3}(,[0-9]{3})+", value.strip())
        value = value.replace(",", "") if grouped else "none"
    try:
        number = _number(field, value)
    except ValueError:
        number = Fraction(1, 2)
    if number.denominator != 1:
        raise ValueError(f"{field}={written!r} is no whole number; write it like {field}=30000.")
    if number < least:
        raise ValueError(f"{field}={written!r} must be at least {least}.")
    return int(number)


def _number(field: str, value: Any) -> Fraction:
    """Read a number as written: 0.07 is seven hundredths, though the nearest float is a little more."""
    try:
        if isinstance(value, bool):
            raise ValueError
        return Fraction(str(value).strip())
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{field}={value!r} is no number; write it like {field}=0.5.") from None
