"""``ApiUsageHook``: the official Salesforce connection, metered, and everything an org tells about its API usage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.providers.salesforce.hooks.salesforce import SalesforceHook
from airflow.sdk.log import mask_secret

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.hooks.free_readings import interval_from, listener_for, session_heard_by
from airflow_provider_apiusage.hooks.store import configured_store, engine_of, get_connection, no_connection
from airflow_provider_apiusage.salesforce.allowance import read_allowance
from airflow_provider_apiusage.salesforce.credentials import Credentials, credentials_from
from airflow_provider_apiusage.salesforce.daily_usage import REPORT_ID, DailyUsageSource
from airflow_provider_apiusage.salesforce.errors import (
    AllowanceExhaustedError,
    ApiUsageError,
    Where,
)
from airflow_provider_apiusage.salesforce.header_readings import HeaderReadings
from airflow_provider_apiusage.salesforce.login import Login, log_in
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.salesforce.session import CLIENT_NAME, MeteredSession
from airflow_provider_apiusage.usage.event_log_plan import EventSource
from airflow_provider_apiusage.usage.hourly import HOUR, EventUsage, hour_of
from airflow_provider_apiusage.usage.model import (
    API_REQUESTS,
    Coverage,
    DailyCount,
    Finding,
    LimitReading,
    Severity,
    Snapshot,
)

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath
    from requests import Session
    from simple_salesforce.api import Salesforce

    from airflow_provider_apiusage.event_reading import EventRead, EventReader
    from airflow_provider_apiusage.salesforce.usage_report import DailyUsage
    from airflow_provider_apiusage.store.event_log_store import EventLogStore
    from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
    from airflow_provider_apiusage.store.usage_store import UsageStore
    from airflow_provider_apiusage.usage.allowance import Allowance
    from airflow_provider_apiusage.usage.event_log import LogFile

EXHAUSTED = "allowance-exhausted"
"""Code of the finding that the org refused a call because none is left."""


class ApiUsageHook(SalesforceHook):
    """Reads what one org has used and has left, over a connection of type ``salesforce``.

    ``conn`` is the same simple-salesforce client as the official hook's, so loads can run through it; every response
    it gets is metered, and what it says about the allowance is kept in the store for no call
    (``docs/free-readings.md``); :meth:`close`, or using the hook in a ``with`` block, keeps the last of it.

    :param salesforce_conn_id: the Airflow connection; ``docs/connections.md`` lists which fields choose which login.
    :param store_conn_id: where readings and reservations are kept; default ``[apiusage] store_conn_id``, else a
        SQLite file under ``AIRFLOW_HOME``.
    :param session_id: an access token to use instead of the connection's credentials.
    :param session: a session whose proxies, TLS settings and headers are taken over.
    :param timeout: connect and read time-outs in seconds.
    :param retries: repeats of an idempotent request after 5xx, 420 or a broken connection.
    :param client_name: the name under which our calls show in the org's event logs.
    :param keep_readings: whether answers to any call are kept as readings: once a minute and when it matters, as often
        as a ``timedelta`` says, or never (``False``).
    """

    def __init__(
        self,
        salesforce_conn_id: str = SalesforceHook.default_conn_name,
        store_conn_id: str | None = None,
        session_id: str | None = None,
        session: Session | None = None,
        *,
        timeout: tuple[float, float] = (10.0, 60.0),
        retries: int = 3,
        client_name: str = CLIENT_NAME,
        keep_readings: bool | timedelta = True,
    ) -> None:
        super().__init__(salesforce_conn_id=salesforce_conn_id, session_id=session_id, session=session)
        self.store_conn_id = store_conn_id
        self._timeout = timeout
        self._retries = retries
        self._client_name = client_name
        self._keep_every = interval_from(keep_readings)
        self._connections: dict[str, Any] = {}

    def close(self) -> None:
        """Keep the last reading (waits for it 5 seconds at most) and close the connections to the org."""
        if "_session" in self.__dict__:
            self._session.close()

    def __enter__(self) -> Self:
        """Return the hook, to be closed at the end of the block."""
        return self

    def __exit__(self, *_failure: object) -> None:
        """Close the hook."""
        self.close()

    @property
    def api_calls(self) -> int:
        """API calls this hook has spent so far, retries and failures included."""
        return self._session.calls if "_session" in self.__dict__ else 0

    async def prepare(self) -> None:
        """Look both connections up without blocking; a trigger does this before it uses the hook in a thread.

        :raises ConfigurationError: if there is none of that name.
        """
        from airflow.providers.common.compat.connection import get_async_connection

        wanted = {self.conn_id: "the org", configured_store(self.store_conn_id): "the store"}
        for conn_id, what in wanted.items():
            if conn_id is not None:
                try:
                    self._connections[conn_id] = await get_async_connection(conn_id)
                except AirflowNotFoundException:
                    raise no_connection(conn_id, what) from None

    # --- the org -------------------------------------------------------------------------------------------------

    @cached_property
    def conn(self) -> Salesforce:
        """The simple-salesforce client over the metered session. Logging in costs no call of the allowance."""
        from simple_salesforce.api import Salesforce

        return Salesforce(
            session_id=self._login.token,
            instance_url=self._login.instance_url,
            version=self._credentials.version,
            session=self._session,
            domain=self._credentials.domain,
        )

    def get_conn(self) -> Salesforce:
        """Return :attr:`conn`."""
        return self.conn

    def metered_session(self, org_id: str | None = None) -> Session:
        """Return a session for code that logs in by itself, such as ``SalesforceHook(session=...)``; spends no call.

        It has the proxies of the connection, and our time-outs and retries; its answers are kept as readings.

        :param org_id: the org's 15-character id. Needed only where access tokens do not begin with it; without it
            the readings of such an org cannot be kept.
        """
        if org_id is not None and self._readings is not None:
            self._readings.org_is(org_id[:15])
        return self._session

    def get_org_id(self) -> str:
        """Return the org's 15-character id; free where the token tells it, one call otherwise."""
        org_id = self._org.org_id()
        if self._readings is not None:
            self._readings.org_is(org_id)
        return org_id

    def get_limits(self) -> tuple[LimitReading, ...]:
        """Read every limit of ``/limits``. Spends 1 API call.

        :raises ApiUsageError: a subclass by kind; see ``salesforce/errors.py``.
        """
        readings, findings, _ = self._org.limits()
        self.get_org_id()  # known by now, so free: readings that wait for it can be kept
        self._tell(findings)
        return readings

    def get_daily_usage(
        self,
        daily_report: str | ObjectStoragePath,
        *,
        coverage: Coverage | str = Coverage.SOAP,
        date_column: str | None = None,
        user_column: str | None = None,
        count_column: str | None = None,
        date_format: str | None = None,
    ) -> DailyUsage:
        """Read calls by user and UTC day from the 7-day report. Spends 1 API call for a report, none for a CSV.

        :param daily_report: the id of a saved report (``00O...``), or the path or URL of an exported CSV, or an
            ``ObjectStoragePath``.
        :param coverage: which calls the report counts: ``soap`` as documented, or ``all``.
        :param date_column: API name or label of the column that holds the day, where it cannot be told by itself.
        :param user_column: likewise for the user.
        :param count_column: likewise for the number of calls.
        :param date_format: ``strptime`` format of the days in a CSV whose dates can be read in two ways.
        :raises ApiUsageError: if the report cannot be run.
        :raises ConfigurationError: if the CSV cannot be read.
        """
        source = DailyUsageSource(
            daily_report=str(daily_report),
            coverage=Coverage(coverage),
            date_column=date_column,
            user_column=user_column,
            count_column=count_column,
            date_format=date_format,
        )
        usage = source.read(self._org, open_path=_open)
        self._tell(usage.findings)
        return usage

    def get_allowance(self) -> Allowance:
        """Read edition, licences, limit and monthly entitlement, and say whether they fit. Spends 4 API calls.

        What the user may not see is a finding (``docs/allowance.md``).

        :raises ApiUsageError: if the org cannot be read, or refuses because its allowance is used up.
        """
        allowance = read_allowance(self._org)
        self._tell(allowance.findings)
        return allowance

    def take_snapshot(
        self,
        *,
        daily_report: str | ObjectStoragePath | None = None,
        report_interval: timedelta | None = None,
        taken_by: str | None = None,
        **report_options: Any,
    ) -> Snapshot:
        """Fetch the limits, and the 7-day report where asked for. Spends 1 API call, 2 with a report by id.

        An org that refuses because its allowance is gone gives a snapshot with 0 remaining; a report that cannot be
        read becomes a finding, and the limits are kept.

        :param daily_report: see :meth:`get_daily_usage`.
        :param report_interval: run a report by id only if :meth:`report_due` says so; ``None`` for always.
        :param taken_by: the name under which the store keeps this snapshot once.
        :param report_options: further arguments of :meth:`get_daily_usage`.
        :raises ApiUsageError: if ``/limits`` cannot be read for any other reason.
        """
        calls_before = self.api_calls
        try:
            readings, findings, answer = self._org.limits()
            observed_at = answer.observed_at
        except AllowanceExhaustedError as exhausted:
            readings, findings, observed_at = self.readings_of(exhausted)
        self._tell(findings)
        daily_counts: tuple[DailyCount, ...] = ()
        if daily_report and self._wanted(str(daily_report), report_interval):
            try:
                usage = self.get_daily_usage(daily_report, **report_options)
                daily_counts = usage.counts
                findings = (*findings, *usage.findings)
            except ApiUsageError as unread:
                lost = Finding("daily-report-unread", Severity.WARNING, str(unread), {"kind": unread.kind})
                self._tell((lost,))
                findings = (*findings, lost)
        return Snapshot(
            org_id=self.get_org_id(),
            observed_at=observed_at,
            readings=readings,
            daily_counts=daily_counts,
            findings=findings,
            api_calls=self.api_calls - calls_before,
            taken_by=taken_by,
        )

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

    def report_due(self, interval: timedelta) -> bool:
        """Tell whether running the daily report again can tell more than the store knows.

        :param interval: the shortest time between two runs; a UTC midnight in between makes it due as well, because
            the finished day is worth knowing.
        """
        last = self.store.latest_report_at(self.get_org_id())
        now = self._org.now()
        return last is None or now - last >= interval or last.astimezone(UTC).date() != now.astimezone(UTC).date()

    def _wanted(self, daily_report: str, interval: timedelta | None) -> bool:
        if interval is None or not REPORT_ID.fullmatch(daily_report) or self.report_due(interval):
            return True
        self.log.info("The daily report was run less than %s ago; its counts are in the store.", interval)
        return False

    def readings_of(
        self, exhausted: AllowanceExhaustedError
    ) -> tuple[tuple[LimitReading, ...], tuple[Finding, ...], Any]:
        """Turn "allowance exhausted" into the reading it is: (readings, findings, the org's instant)."""
        observed_at = exhausted.observed_at or self._session.now()
        reading = self._org.reading_of_refusal(
            observed_at, exhausted.received_at or self._session.now(), exhausted.limit_info
        )
        finding = Finding(EXHAUSTED, Severity.ERROR, str(exhausted), {"used": reading.used})
        return (reading,), (finding,), observed_at

    def test_connection(self) -> tuple[bool, str]:
        """Say which org the connection reaches and what it has used. Spends 1 API call."""
        try:
            readings = self.get_limits()
            org_id = self.get_org_id()
        except ApiUsageError as failed:
            return False, str(failed)
        reading = next((r for r in readings if r.name == API_REQUESTS and not r.scope), None)
        if reading is None or reading.used is None or reading.limit is None:
            return True, f"Connected to org {org_id}, but it does not report {API_REQUESTS}."
        return True, (
            f"Connected to org {org_id}: {reading.used:,} of {reading.limit:,} API calls used in the 24 hours up to "
            f"{reading.observed_at:%Y-%m-%d %H:%M:%S} UTC."
        )

    # --- the store -----------------------------------------------------------------------------------------------

    @cached_property
    def store(self) -> UsageStore:
        """Readings and counts.

        :raises StoreError: if the store cannot be reached or is of a newer schema.
        """
        from airflow_provider_apiusage.store.usage_store import UsageStore

        return UsageStore(self._engine)

    @cached_property
    def ledger(self) -> QuotaLedger:
        """Requests, reservations and decisions.

        :raises StoreError: if the store cannot be reached or is of a newer schema.
        """
        from airflow_provider_apiusage.store.quota_ledger import QuotaLedger

        return QuotaLedger(self._engine)

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

    def gate(self, poll_interval: timedelta) -> Gate:
        """Return the gate of this hook's org and store.

        :param poll_interval: the shortest time between two readings of the org, for all gates together.
        """
        return Gate(self.ledger, self.store, self._read_limits, poll_interval, self._session.now)

    def _read_limits(self) -> tuple[LimitReading, ...]:
        """Read the limits; that the allowance is exhausted is a reading too."""
        try:
            return self.get_limits()
        except AllowanceExhaustedError as exhausted:
            return self.readings_of(exhausted)[0]

    # --- the parts -----------------------------------------------------------------------------------------------

    @cached_property
    def _engine(self) -> Any:
        return engine_of(self._store_connection())

    @cached_property
    def _readings(self) -> HeaderReadings | None:
        return None if self._keep_every is None else listener_for(self._store_connection, self._keep_every)

    def _store_connection(self) -> Any | None:
        store_conn_id = configured_store(self.store_conn_id)
        return self._connection(store_conn_id, "the store") if store_conn_id else None

    def _connection(self, conn_id: str, what: str) -> Any:
        if conn_id not in self._connections:
            self._connections[conn_id] = get_connection(conn_id, what)
        return self._connections[conn_id]

    @cached_property
    def _credentials(self) -> Credentials:
        connection = self._connection(self.conn_id, "the org")
        return credentials_from(
            login=connection.login,
            password=connection.password,
            extras=connection.extra_dejson,
            where=Where(self.conn_id),
            session_id=self.session_id,
        )

    @cached_property
    def _session(self) -> MeteredSession:
        where = Where(self.conn_id, self._credentials.instance_url or "org not known yet")
        session = session_heard_by(
            self._readings, where, timeout=self._timeout, retries=self._retries, client_name=self._client_name
        )
        if self.session is not None:
            session.adopt(self.session)
        if self._credentials.proxies:
            session.proxies = dict(self._credentials.proxies)
        return session

    @cached_property
    def _login(self) -> Login:
        login = log_in(self._credentials, self._session, self._session.where)
        mask_secret(login.token)
        if self._readings is not None:
            self._readings.host_is(urlsplit(login.instance_url).netloc)
        self._session.authorize(login.token, self._log_in_again if self._credentials.renewable else None)
        return login

    def _log_in_again(self) -> str:
        self.log.info("The org no longer accepts the token of connection %s; logging in again.", self.conn_id)
        login = log_in(self._credentials, self._session, self._session.where, renew=True)
        mask_secret(login.token)
        if "conn" in self.__dict__:
            self.conn.session_id = login.token
            self.conn.headers["Authorization"] = f"Bearer {login.token}"
        return login.token

    @cached_property
    def _org(self) -> OrgClient:
        login = self._login
        where = Where(self.conn_id, login.instance_url)
        self._session.where = where
        return OrgClient(
            self._session,
            instance_url=login.instance_url,
            token=login.token,
            version=self._credentials.version,
            where=where,
        )

    def _tell(self, findings: tuple[Finding, ...]) -> None:
        levels = {Severity.INFO: self.log.info, Severity.WARNING: self.log.warning, Severity.ERROR: self.log.error}
        for finding in findings:
            levels[finding.severity]("%s: %s", finding.code, finding.message)


def _open(path: str) -> tuple[bytes, Any]:
    """Return the bytes of a file anywhere and its modification time (aware UTC), or ``None`` where none is told."""
    from airflow.sdk import ObjectStoragePath

    file = ObjectStoragePath(path)
    content = file.read_bytes()
    try:
        modified_at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except (AttributeError, TypeError, ValueError, NotImplementedError, OSError):
        modified_at = None
    return content, modified_at
