"""``ApiUsageHook``: the official Salesforce connection, metered, and everything an org tells about its API usage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.hooks.checkpoint import pause_while_low
from airflow_provider_apiusage.hooks.connection_trial import try_connection
from airflow_provider_apiusage.hooks.event_logs import EXHAUSTED
from airflow_provider_apiusage.hooks.metered_load import LoadHook
from airflow_provider_apiusage.salesforce.allowance import read_allowance
from airflow_provider_apiusage.salesforce.daily_usage import REPORT_ID, DailyUsageSource
from airflow_provider_apiusage.salesforce.errors import AllowanceExhaustedError, ApiUsageError
from airflow_provider_apiusage.usage.model import (
    Coverage,
    DailyCount,
    Finding,
    LimitReading,
    Severity,
    Snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_apiusage.quota.checkpoint import Pause
    from airflow_provider_apiusage.salesforce.usage_report import DailyUsage
    from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
    from airflow_provider_apiusage.store.usage_store import UsageStore
    from airflow_provider_apiusage.usage.allowance import Allowance


class ApiUsageHook(LoadHook):
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
    :param reservation: what ``ApiQuotaSensor`` returned, or a reservation id: what this hook spends is drawn from it
        (``docs/metered-loads.md``).
    :param on_overspend: what to do if that is more than was granted: ``"warn"``, ``"extend"``, or ``"fail"``.
    :param estimate: what ``estimate_cost`` said, if the gate asked for something else.
    """

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
        run: str = "auto",
        patience: timedelta = timedelta(minutes=10),
        most_looks: int = 60,
    ) -> DailyUsage:
        """Read calls by user and UTC day from the 7-day report. Spends 1 API call for a report, none for a CSV.

        A report of more than 2,000 detail rows is run for each of 8 days: 9 calls. One that the org cannot run at once
        is run in the background: 1 call more to begin it, and 1 for each look at it.

        :param daily_report: the id of a saved report (``00O...``), or the path or URL of an exported CSV, or an
            ``ObjectStoragePath``.
        :param coverage: which calls the report counts: ``soap`` as documented, or ``all``.
        :param date_column: API name or label of the column that holds the day, where it cannot be told by itself.
        :param user_column: likewise for the user.
        :param count_column: likewise for the number of calls.
        :param date_format: ``strptime`` format of the days in a CSV whose dates can be read in two ways.
        :param run: ``auto``, ``sync`` (at once) or ``async`` (in the background).
        :param patience: how long to wait for runs in the background, all together.
        :param most_looks: how often to look at them, likewise.
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
            run=run,
            patience=patience,
            most_looks=most_looks,
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
        """Say which org the connection reaches, as whom, and what it has used. Spends 1 API call; keeps nothing.

        The test button uses it for connections of type ``salesforce_usage`` (``docs/connections.md``).
        """
        if "_session" not in self.__dict__:
            self._keep_every = None  # Airflow tests under a passing connection id, which nobody should find in a store
        try:
            return True, try_connection(self, self._org)
        except ApiUsageError as failed:
            return False, str(failed)
        finally:
            self.close()

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

    def gate(self, poll_interval: timedelta) -> Gate:
        """Return the gate of this hook's org and store.

        :param poll_interval: the shortest time between two readings of the org, for all gates together.
        """
        return Gate(self.ledger, self.store, self._read_limits, poll_interval, self._session.now)

    def checkpoint(
        self,
        *,
        low: int | float | str = "5%",
        high: int | float | str = "10%",
        patience: timedelta | float = timedelta(hours=1),
        sleep: Callable[[float], None] | None = None,
    ) -> Pause:
        """Pause here while the org has few calls left; to be called between the parts of a long load.

        Below ``low`` the load waits until ``high`` are left, for ``patience`` at most; then it goes on, and says so.
        What is left is what the store has been told, by the answers to this load's own calls and by others. A load that
        waits asks the org itself when nobody has told anything for 5 minutes (1 call each time). A reading older than
        15 minutes, or a store that is away, stops nobody.

        :param low: calls of ``DailyApiRequests``, or a share of their limit (``0.05``, ``"5%"``).
        :param high: likewise, and not less.
        :param patience: ``timedelta`` or seconds.
        :param sleep: how to wait, in seconds.
        :returns: for how long it waited, what was left in the end, and whether it timed out.
        :raises ValueError: if a mark or the duration makes no sense.
        :raises ApiUsageError: if the org refuses us while the load waits, for a reason that waiting does not mend.
        """
        return pause_while_low(self, low, high, patience, sleep or self._session.pause)

    def _read_limits(self) -> tuple[LimitReading, ...]:
        """Read the limits; that the allowance is exhausted is a reading too."""
        try:
            return self.get_limits()
        except AllowanceExhaustedError as exhausted:
            return self.readings_of(exhausted)[0]


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
