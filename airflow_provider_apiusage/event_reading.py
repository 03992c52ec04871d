"""From an org's event logs into the store: list if something new can exist, read what is new, each file once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_provider_apiusage.salesforce.errors import (
    ApiUsageError,
    NotFoundError,
    PermissionDeniedError,
)
from airflow_provider_apiusage.salesforce.event_log import denied, list_files
from airflow_provider_apiusage.salesforce.event_log_download import (
    LogFileGoneError,
    LogFileIncompleteError,
    downloaded,
)
from airflow_provider_apiusage.salesforce.event_log_object import read_hourly_from_object
from airflow_provider_apiusage.salesforce.event_log_rows import MEMORY_LIMIT, UnreadableLogError, usage_of_file
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.usage.event_log import FileUsage, LogFile, LogInterval, Part
from airflow_provider_apiusage.usage.event_log_plan import EventSource, day_of, files_to_read, listing_due
from airflow_provider_apiusage.usage.hourly import HOUR, SETTLED_AFTER, HourlyCount, hour_of
from airflow_provider_apiusage.usage.model import WINDOW, Finding, Severity

LOOKBACK = SETTLED_AFTER + timedelta(days=1)
"""How far back a snapshot looks for files: a day may still be replaced for three days after it ended."""

RETRY_AFTER = timedelta(hours=6)
"""A file that could not be read is left alone this long: four tries in the shortest retention."""

NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EventRead:
    """What one look at the event logs did.

    :param listed: whether the org was asked for its files.
    :param read: the files whose counts are in the store now and were not before.
    :param calls: calls that these files told.
    :param left: how many more are waiting.
    :param findings: what was odd.
    """

    listed: bool = False
    read: tuple[LogFile, ...] = ()
    calls: int = 0
    left: int = 0
    findings: tuple[Finding, ...] = ()


class EventReader:
    """Reads the event logs of one org into one store.

    :param org: the org.
    :param store: where counts are kept.
    :param folder: for temporary files, one uncompressed log file at a time; default: the system's.
    :param memory_limit: what aggregating may hold in memory.
    """

    def __init__(
        self, org: OrgClient, store: EventLogStore, *, folder: Path | None = None, memory_limit: str = MEMORY_LIMIT
    ) -> None:
        self._org = org
        self._store = store
        self._folder = folder
        self._memory_limit = memory_limit

    def refresh(self, source: EventSource, *, most: int = 200) -> EventRead:
        """Read what is new of the last four days. Spends 1 API call for a listing, if one is due, and 1 for each file.

        :param source: which logs.
        :param most: files to read at most; the newest first, the others the next time.
        :raises ApiUsageError: by kind, if the org cannot be read; permissions and single files become findings.
        """
        org_id, now = self._org.org_id(), self._org.now()
        if source is EventSource.OBJECT:
            return self._query(hour_of(now) - WINDOW, hour_of(now))
        start = day_of(now - LOOKBACK)
        states = self._store.states(org_id, start, NEVER)
        listed = listing_due(source, states, self._store.listings(org_id), now)
        if listed:
            try:
                self.find(start, None, source)
            except (NotFoundError, PermissionDeniedError) as refused:
                return EventRead(listed=True, findings=(denied(refused),))
            states = self._store.states(org_id, start, NEVER)
        wanted = files_to_read(source, states, now)
        return replace(self.read(wanted[:most]), listed=listed, left=max(0, len(wanted) - most))

    def find(self, start: datetime, end: datetime | None, source: EventSource) -> list[LogFile]:
        """List the files of a period and return those worth reading, newest first. Spends 1 API call per 2,000 files.

        :param start: first instant of the period.
        :param end: the instant after it; ``None`` for no end.
        :param source: which logs.
        :raises ApiUsageError: by kind; see :func:`~airflow_provider_apiusage.salesforce.event_log.list_files`.
        """
        org_id = self._org.org_id()
        files, at = list_files(self._org, since=day_of(start), until=end)
        watching = end is None and start <= day_of(at - LOOKBACK)
        self._store.record_listing(org_id, files, at, watching=watching)
        return files_to_read(source, self._store.states(org_id, day_of(start), end or NEVER), at)

    def read(self, files: Iterable[LogFile], *, strict: bool = False) -> EventRead:
        """Read files one after the other, each whole or not at all; those that the store has already cost nothing.

        Spends 1 API call for each other, up to 3 if the connection breaks.

        :param files: as listed.
        :param strict: raise what is wrong with a single file, so that a task can be retried; otherwise it is a finding
            and the file is left for later. A file that is gone is a finding either way.
        :raises ApiUsageError: by kind, if the org cannot be read at all; what was read before is kept.
        """
        org_id = self._org.org_id()
        read: list[LogFile] = []
        findings: list[Finding] = []
        calls = 0
        for file in files:
            if self._store.has_read(org_id, file):
                continue
            try:
                usage = self._usage_of(file)
            except LogFileGoneError as gone:
                findings.append(self._postpone(file, NEVER, "event-log-gone", gone))
            except (LogFileIncompleteError, UnreadableLogError) as unread:
                findings.append(self._postpone(file, self._org.now() + RETRY_AFTER, "event-log-unread", unread))
                if strict:
                    raise
            else:
                findings.extend(usage.findings)
                if self._store.add_file(org_id, usage, self._org.now()):
                    read.append(file)
                    calls += sum(part.calls for part in usage.parts)
        return EventRead(read=tuple(read), calls=calls, findings=tuple(findings))

    def fetch(self, start: datetime, end: datetime, source: EventSource) -> EventRead:
        """Read what is new of a period. Spends 1 API call for the listing and 1 for each new file.

        :param start: first instant of the period.
        :param end: the instant after it.
        :param source: which logs; the queryable object costs calls by hours or rows instead.
        :raises ApiUsageError: by kind; permissions and single files become findings.
        """
        if source is EventSource.OBJECT:
            return self._query(hour_of(start), min(hour_of(end), hour_of(self._org.now())))
        try:
            return replace(self.read(self.find(start, end, source)), listed=True)
        except (NotFoundError, PermissionDeniedError) as refused:
            return EventRead(listed=True, findings=(denied(refused),))

    def _query(self, start: datetime, end: datetime) -> EventRead:
        """Read from the queryable object the hours of ``[start, end)`` that were not read from it yet."""
        org_id = self._org.org_id()
        known = {
            state.file.starts_at
            for state in self._store.states(org_id, start, end)
            if state.file.interval is LogInterval.OBJECT
        }
        hours = [start + HOUR * n for n in range((end - start) // HOUR)]
        missing = [hour for hour in hours if hour not in known]
        if not missing:
            return EventRead()
        told = read_hourly_from_object(self._org, missing[0], missing[-1] + HOUR)
        at = self._org.now()
        read: list[LogFile] = []
        for hour in missing:
            if told.read_from <= hour and hour + HOUR <= told.read_until:
                usage = _queried(hour, at, told.counts)
                if self._store.add_file(org_id, usage, at):
                    read.append(usage.file)
        return EventRead(read=tuple(read), findings=told.findings)

    def _usage_of(self, file: LogFile) -> FileUsage:
        with downloaded(self._org, file, self._folder) as download:
            usage = usage_of_file(download.path, file, org_id=self._org.org_id(), memory_limit=self._memory_limit)
        return replace(usage, findings=(*download.findings, *usage.findings))

    def _postpone(self, file: LogFile, until: datetime, code: str, unread: Exception) -> Finding:
        message = str(unread)
        if not isinstance(unread, ApiUsageError):
            message = f"Event log {file.label} ({file.id}) cannot be read: {message}. [{self._org.where}]"
        finding = Finding(code, Severity.WARNING, message, {"file": file.id})
        self._store.postpone(self._org.org_id(), file, until, finding, self._org.now())
        return finding


def _queried(hour: datetime, at: datetime, counts: Iterable[HourlyCount]) -> FileUsage:
    """Return what the queryable object told of one hour as if it were a file of that hour."""
    parts = tuple(Part(hour, count.caller, count.calls) for count in counts if count.starts_at == hour)
    file = LogFile(hour, 0, at, f"object{hour:%y%m%d%H}", LogInterval.OBJECT)
    return FileUsage(file, parts, rows=sum(part.calls for part in parts))
