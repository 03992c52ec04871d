"""Event logs of an org through its hook: into the store, and out of it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_apiusage.hooks.connection import MeteredSalesforceHook
from airflow_provider_apiusage.salesforce.errors import ApiUsageError
from airflow_provider_apiusage.usage.coverage_check import CONFIRMED, check_coverage
from airflow_provider_apiusage.usage.event_log_plan import EventSource
from airflow_provider_apiusage.usage.holdings import Holdings, holdings
from airflow_provider_apiusage.usage.hourly import HOUR, EventUsage, hour_of
from airflow_provider_apiusage.usage.model import WINDOW, Finding, Severity, Snapshot

if TYPE_CHECKING:
    from airflow_provider_apiusage.event_reading import EventRead, EventReader
    from airflow_provider_apiusage.store.event_log_store import EventLogStore
    from airflow_provider_apiusage.usage.attribution import Dimension
    from airflow_provider_apiusage.usage.event_log import LogFile

EXHAUSTED = "allowance-exhausted"
"""Code of the finding that the org refused a call because none is left."""


class EventLogHook(MeteredSalesforceHook):
    """What :class:`~airflow_provider_apiusage.hooks.api_usage.ApiUsageHook` knows of event logs."""

    @cached_property
    def event_store(self) -> EventLogStore:
        """Event log files and hourly counts.

        :raises StoreError: if the store cannot be reached or is of a newer schema.
        """
        from airflow_provider_apiusage.store.event_log_store import EventLogStore

        return EventLogStore(self._engine)

    @cached_property
    def event_reader(self) -> EventReader:
        """Reads event logs of this hook's org into its store."""
        from airflow_provider_apiusage.event_reading import EventReader

        return EventReader(self._org, self.event_store)

    def get_event_usage(
        self, start: datetime, end: datetime, *, events: EventSource | str | None = EventSource.AUTO
    ) -> EventUsage:
        """Return calls by UTC hour, user, app, client, family and resource class, as the event logs tell them.

        What is in the store already is not read again. Spends 1 API call to list the files of the period and 1 for
        each new one; with ``events=None`` none. Files come whole or not at all; what cannot be read is a finding.

        :param start: first instant of the period (aware); cut down to the hour.
        :param end: the instant after it (aware); filled up to the hour.
        :param events: ``auto``, ``hourly``, ``daily``, ``object``; ``None`` for what is kept.
        :raises ApiUsageError: if the org cannot be read.
        :raises StoreError: if the store cannot be used.
        """
        calls_before = self.api_calls
        start, end = hour_of(start), hour_of(end - timedelta(microseconds=1)) + HOUR
        findings: tuple[Finding, ...] = ()
        if events is not None:
            findings = self.event_reader.fetch(start, end, EventSource(events)).findings
            self._tell(findings)
        usage = self.event_store.usage(self.get_org_id(), start, end)
        missed = tuple(finding for finding in findings if finding not in usage.findings)
        return replace(usage, findings=(*usage.findings, *missed), api_calls=self.api_calls - calls_before)

    def get_holdings(self, at: datetime, *, by: Dimension = "user", top: int = 10) -> Holdings:
        """Tell who holds the calls of the 24 hours before an instant, and when they come back. Spends no call.

        :param at: the org's instant (aware).
        :param by: ``user``, ``app``, ``client``, ``family`` or ``resource``.
        :param top: holders at most.
        :raises StoreError: if the store cannot be used.
        """
        usage = self.event_store.usage(self.get_org_id(), hour_of(at - WINDOW), hour_of(at) + HOUR)
        return holdings(usage.counts, at=at, by=by, top=top, completeness=usage.completeness)

    def read_events(self, events: EventSource | str = EventSource.AUTO, *, most: int = 200) -> EventRead:
        """Read what is new in the event logs of the last days into the store; a snapshot does this.

        Asks the org for its files only when something new can exist: about once an hour. Spends 1 API call then, and
        1 for each new file.

        :param events: ``auto``, ``hourly``, ``daily`` or ``object``.
        :param most: files to read at most; the others come the next time.
        :raises ApiUsageError: if the org cannot be read.
        :raises StoreError: if the store cannot be used.
        """
        read = self.event_reader.refresh(EventSource(events), most=most)
        self._tell(read.findings)
        return read

    def read_event_logs(self, files: Iterable[LogFile]) -> EventRead:
        """Read event log files into the store. Spends 1 API call for each that is not there yet, up to 3 if it breaks.

        :param files: as ``event_reader.find`` lists them.
        :raises ApiUsageError: if the org cannot be read, or a file did not arrive whole.
        :raises StoreError: if the store cannot be used.
        """
        read = self.event_reader.read(files, strict=True)
        self._tell(read.findings)
        return read

    def check_report(self, snapshot: Snapshot) -> tuple[Finding, ...]:
        """Hold the days of a snapshot's report against the event logs in the store. Spends no call.

        :param snapshot: with daily counts, or nothing is checked.
        :returns: what contradicts the report's coverage, or else the latest day that confirms it.
        :raises StoreError: if the store cannot be used.
        """
        if not snapshot.daily_counts:
            return ()
        start = datetime.combine(min(count.day for count in snapshot.daily_counts), time(), UTC)
        usage = self.event_store.usage(snapshot.org_id, start, hour_of(snapshot.observed_at) + HOUR)
        found = check_coverage(snapshot.daily_counts, usage.counts, usage.completeness)
        warnings = tuple(finding for finding in found if finding.severity is not Severity.INFO)
        confirmed = tuple(finding for finding in found if finding.code == CONFIRMED)
        self._tell(warnings or confirmed[-1:])
        return warnings or confirmed[-1:]

    def try_events(
        self, events: EventSource, snapshot: Snapshot, *, most: int
    ) -> tuple[EventRead | None, tuple[Finding, ...]]:
        """Read event logs beside a snapshot: what goes wrong is a finding, and the snapshot goes on.

        :param events: which logs.
        :param snapshot: taken just now; if it says that no call is left, none is tried.
        :param most: files to read at most.
        :returns: what was read (``None`` if nothing could be), and the findings.
        :raises StoreError: if the store cannot be used.
        """
        if any(finding.code == EXHAUSTED for finding in snapshot.findings):
            return None, ()
        try:
            read = self.read_events(events, most=most)
        except ApiUsageError as unread:
            lost = Finding("event-logs-unread", Severity.WARNING, str(unread), {"kind": unread.kind})
            self._tell((lost,))
            return None, (lost,)
        return read, read.findings
