"""What ``doctor`` asks the org: a call for each question at most, and what a refusal breaks."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_apiusage.cli.finding import Check, State, failed
from airflow_provider_apiusage.cli.told import when
from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.hooks.connection_form import SalesforceUsageHook
from airflow_provider_apiusage.reporting.words import counted
from airflow_provider_apiusage.salesforce.credentials import Flow
from airflow_provider_apiusage.salesforce.daily_usage import REPORT_ID
from airflow_provider_apiusage.salesforce.errors import (
    AllowanceExhaustedError,
    ApiUsageError,
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
)
from airflow_provider_apiusage.salesforce.event_log import list_files
from airflow_provider_apiusage.salesforce.event_log_queries import OBJECT, OLDEST_VERSION, PERMISSION
from airflow_provider_apiusage.salesforce.report_runs import ReportRunner
from airflow_provider_apiusage.salesforce.usage_report import daily_usage_from_report
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, Severity

if TYPE_CHECKING:
    from airflow_provider_apiusage.salesforce.credentials import Credentials
    from airflow_provider_apiusage.salesforce.login import Login
    from airflow_provider_apiusage.salesforce.org import OrgClient

CONN_TYPES = ("salesforce", SalesforceUsageHook.conn_type)

SKEW, LOGIN_SKEW = timedelta(seconds=30), timedelta(minutes=3)
"""Clocks so far apart are worth setting; so far apart, Salesforce takes the signed assertion of a JWT for expired."""

MOSTLY, NEARLY = 0.8, 0.95

LOOKBACK = timedelta(days=2)
"""Event log files of so many days are listed: a daily file comes a day late."""

MOST_LOOKS = 5
"""At a report that runs in the background: each is an API call."""

_OFF = ("API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED", "FeatureNotEnabled")
_SHUT = "Nothing can be read, so snapshots fail and gates stay shut."


class DoctorHook(ApiUsageHook):
    """The hook with its insides open: it asks once, and keeps nothing."""

    def __init__(self, conn_id: str, store_conn_id: str | None) -> None:
        super().__init__(conn_id, store_conn_id, timeout=(5.0, 30.0), retries=0, keep_readings=False)

    @property
    def credentials(self) -> Credentials:
        """What the fields of the connection come to."""
        return self._credentials

    @property
    def login(self) -> Login:
        """The token."""
        return self._login

    @property
    def org(self) -> OrgClient:
        """The org."""
        return self._org

    @cached_property
    def type_of_connection(self) -> str:
        """What the connection says it is."""
        return str(self._connection(self.conn_id, "the org").conn_type)


class OrgChecks:
    """The checks of one connection, in order; where one fails, those that need it are skipped.

    :param hook: of the connection.
    :param wanted: the org that it should lead to; ``None`` for any.
    :param daily_report: id of a report, or path of a CSV; ``None`` to leave it out.
    """

    def __init__(self, hook: DoctorHook, wanted: str | None, daily_report: str | None) -> None:
        self._hook = hook
        self._wanted = wanted
        self._daily_report = daily_report
        self.org_id: str | None = wanted

    def run(self) -> list[Check]:
        """Check all. Spends 1 API call for ``/limits``, 1 for each of both event logs, and 1 for a report by id."""
        names = ("connection", "login", "api", "limits", "allowance", "clock", "org")
        sources = ("daily-report", "event-log-files", "event-log-object")
        checks = self._basics()
        if any(check.state is State.FAIL for check in checks if check.name not in ("limits", "org", "clock")):
            done = {check.name for check in checks}
            return checks + [_skipped(name, checks) for name in (*names, *sources) if name not in done]
        return [*checks, self._report(), *self._event_logs()]

    def _basics(self) -> list[Check]:
        means = "Every task that uses the connection fails before it asks the org anything."
        try:
            credentials = self._hook.credentials
        except ApiUsageError as error:
            return [failed("connection", error, means)]
        checks = [_connection(self._hook, credentials)]
        try:
            host = self._hook.login.instance_url
        except ApiUsageError as error:
            return [*checks, failed("login", error, _SHUT)]
        brought = credentials.flow is Flow.ACCESS_TOKEN
        by = "The connection brings its own token" if brought else f"Logged in by {credentials.flow}"
        checks.append(Check("login", State.OK, f"{by}, for {host}.", figures={"instance_url": host}))
        return checks + self._limits(checks)

    def _limits(self, before: list[Check]) -> list[Check]:
        try:
            readings = self._hook.get_limits()
        except AuthenticationError as error:
            before[-1] = failed("login", error, _SHUT)
            return _clock(error.observed_at, error.received_at)
        except AllowanceExhaustedError as error:
            clock = _clock(error.observed_at, error.received_at)
            return [*clock, failed("allowance", error, "No call gets through until calls have left the window.")]
        except PermissionDeniedError as error:
            clock = _clock(error.observed_at, error.received_at)
            if any(code in error.what for code in _OFF):
                fix = (
                    "Give the connection's user the permission 'API Enabled'. If it has it: the org's edition has no "
                    "API, or Salesforce has turned it off."
                )
                return [failed("api", error, _SHUT, fix), *clock]
            fix = "Give the connection's user the permission 'View Setup and Configuration'."
            means = "Snapshots fail, and gates know only what loads of ours are told by the way."
            return [_api(), failed("limits", error, means, fix), *clock, *self._org_check()]
        except ApiUsageError as error:
            return [failed("api", error, _SHUT), *_clock(error.observed_at, error.received_at)]
        reading = next((each for each in readings if each.name == API_REQUESTS and not each.scope), None)
        found = f"/limits tells {sum(not each.scope for each in readings)} limits."
        if reading is None or reading.limit is None:
            fix = "Ask Salesforce, or try another API version in the connection's 'version'."
            return [_api(), Check("limits", State.FAIL, f"{found} {API_REQUESTS} is not among them.", _SHUT, fix)]
        clock = _clock(reading.observed_at, reading.received_at)
        return [_api(), Check("limits", State.OK, found), _allowance(reading), *clock, *self._org_check()]

    def _org_check(self) -> list[Check]:
        try:
            org_id = self._hook.get_org_id()
        except ApiUsageError as error:
            return [failed("org", error, "Nothing can be kept without the org's id.")]
        self.org_id = self._wanted or org_id
        if self._wanted and org_id != self._wanted:
            found = f"The connection leads to org {org_id}, not to {self._wanted}."
            fix = "Correct the connection's host, or --org."
            return [Check("org", State.FAIL, found, "Another org is read than is meant.", fix, {"org_id": org_id})]
        return [Check("org", State.OK, f"Org {org_id}.", figures={"org_id": org_id})]

    def _report(self) -> Check:
        if not self._daily_report:
            found = "Not asked for: give --daily-report with the id of the saved report, or the path of its CSV."
            return Check("daily-report", State.SKIP, found)
        means = "Snapshots keep no daily counts, so reconciliations have no second source."
        try:
            if REPORT_ID.fullmatch(self._daily_report):
                answer = ReportRunner(self._hook.org, self._daily_report, most_looks=MOST_LOOKS).run()
                org_id = self._hook.get_org_id()
                usage = daily_usage_from_report(answer.body, org_id=org_id, observed_at=answer.observed_at)
            else:
                usage = self._hook.get_daily_usage(self._daily_report)
        except PermissionDeniedError as error:
            fix = (
                "Share the report and its folder with the connection's user; to run the original report, the user "
                "needs 'View Setup and Configuration', 'Manage All Users' and 'Modify All Data'."
            )
            return failed("daily-report", error, means, fix)
        except ApiUsageError as error:
            return failed("daily-report", error, means)
        except ValueError as error:
            return Check(
                "daily-report", State.FAIL, f"The report cannot be read: {error}", means, "Give another report."
            )
        days = sorted({count.day for count in usage.counts})
        figures = {"rows": len(usage.counts), "days": [day.isoformat() for day in days]}
        graves = [finding for finding in usage.findings if finding.severity is Severity.ERROR]
        if graves:
            fix = "See docs/usage.md, 'Reading the report'; an export as CSV holds all rows."
            if any(finding.code == "report-truncated" for finding in graves):
                means = "Each reading of it takes a run for each of 8 days, 9 calls, if the org filters by day at all."
                return Check("daily-report", State.WARN, graves[0].message, means, fix, figures)
            return Check("daily-report", State.FAIL, graves[0].message, means, fix, figures)
        if not days:
            return Check("daily-report", State.WARN, "The report has no rows.", means, "Check its filters.", figures)
        return Check("daily-report", State.OK, f"Tells {counted(len(days), 'day')}, up to {days[-1]}.", figures=figures)

    def _event_logs(self) -> list[Check]:
        files, there = self._files()
        return [files, self._object(there=there)]

    def _files(self) -> tuple[Check, bool]:
        name, means = "event-log-files", "Who spends the calls is not known by the hour."
        try:
            found, at = list_files(self._hook.org, since=self._hook.org.now() - LOOKBACK)
        except (NotFoundError, PermissionDeniedError) as error:
            fix = (
                "Give the connection's user 'View Event Log Files', and switch on 'Generate Event Log Files' in Setup, "
                "Event Monitoring Settings."
            )
            return failed(name, error, means, fix, State.WARN), False
        except ApiUsageError as error:
            return failed(name, error, means, state=State.WARN), False
        kinds = Counter(file.interval.value for file in found)
        figures = {"hourly": kinds["hourly"], "daily": kinds["daily"]}
        if not found:
            fix = (
                "Switch on 'Generate Event Log Files' in Setup, Event Monitoring Settings; the first file comes within "
                "a day."
            )
            return Check(name, State.WARN, "There are no files of the last two days.", means, fix, figures), False
        newest = max(found).starts_at
        words = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        hours = (at - newest) // timedelta(hours=1)
        told = f"{words} of the last two days; the newest is of {when(newest)}, {hours} h ago."
        if not kinds["hourly"]:
            more = "Only daily files: they come the next day (hourly ones take an Event Monitoring licence)."
            return Check(name, State.OK, f"{told} {more}", figures=figures), True
        return Check(name, State.OK, told, figures=figures), True

    def _object(self, *, there: bool) -> Check:
        """Try the queryable event log, which is needed only where there are no files."""
        name = "event-log-object"
        version = self._hook.credentials.version
        if float(version) < float(OLDEST_VERSION):
            found = f"Not asked for: it takes API version {OLDEST_VERSION} or newer, the connection's is {version}."
            return Check(name, State.SKIP, found)
        since = self._hook.org.now().astimezone(UTC) - LOOKBACK
        query = f"SELECT Timestamp FROM {OBJECT} WHERE Timestamp >= {since:%Y-%m-%dT%H:%M:%SZ} LIMIT 1"  # noqa: S608
        try:
            rows, _ = self._hook.org.query(query, f"asking for {OBJECT}")
        except ApiUsageError as error:
            if there:
                return Check(name, State.OK, f"Not readable, and not needed beside the files: {error.what}")
            fix = f"Give the connection's user '{PERMISSION}', if the org has Event Monitoring."
            return failed(name, error, "Who spends the calls is not known by the hour.", fix, State.WARN)
        told = "has rows of the last two days" if rows else "is readable, but has no rows of the last two days"
        return Check(name, State.OK, f"{OBJECT} {told}.")


def _connection(hook: DoctorHook, credentials: Credentials) -> Check:
    found = (
        f"Connection {hook.conn_id!r} of type {hook.type_of_connection!r} logs in by {credentials.flow}, API version "
        f"{credentials.version}."
    )
    figures = {"flow": credentials.flow.value, "version": credentials.version, "type": hook.type_of_connection}
    if hook.type_of_connection not in CONN_TYPES:
        means = "It works, but its form does not show the fields, nor does the test button test them."
        return Check("connection", State.WARN, found, means, f"Make it of type {CONN_TYPES[0]!r}.", figures)
    return Check("connection", State.OK, found, figures=figures)


def _api() -> Check:
    return Check("api", State.OK, "The org answers API calls.")


def _allowance(reading: LimitReading) -> Check:
    used, limit = reading.used, reading.limit
    if used is None or not limit:
        found = f"Not known how much is used of {limit if limit is None else format(limit, ',')} calls."
        return Check("allowance", State.WARN, found, _SHUT, "Look at Setup > System Overview.")
    share = used / limit
    found = f"{used:,} of {limit:,} calls used in 24 hours, {share:.1%}."
    figures = {"used": used, "limit": limit, "share": round(share, 4)}
    if share < MOSTLY:
        return Check("allowance", State.OK, found, figures=figures)
    fix = "See who spends them: 'airflow apiusage reconcile', or Setup > System Overview in the org."
    if share < NEARLY:
        return Check("allowance", State.WARN, found, "Large loads will wait.", fix, figures)
    return Check("allowance", State.FAIL, found, "Loads wait, and the org may refuse calls soon.", fix, figures)


def _clock(observed_at: datetime | None, received_at: datetime | None) -> list[Check]:
    """Compare the org's clock with ours; nothing to compare is no check."""
    if observed_at is None or received_at is None:
        return []
    skew = observed_at - received_at
    seconds = round(skew.total_seconds())
    figures = {"skew_seconds": seconds}
    if abs(skew) <= SKEW:
        return [Check("clock", State.OK, "Our clock and the org's agree.", figures=figures)]
    found = f"Our clock is {abs(seconds):,} s {'behind' if seconds > 0 else 'ahead of'} the org's."
    fix = "Let this host set its clock by NTP."
    means = "Readings carry the org's time and stay right, but DAGs start at other times than they say."
    if abs(skew) <= LOGIN_SKEW:
        return [Check("clock", State.WARN, found, means, fix, figures)]
    means += " Logins by JWT are refused."
    return [Check("clock", State.FAIL, found, means, fix, figures)]


def _skipped(name: str, checks: list[Check]) -> Check:
    cause = next(check.name for check in checks if check.state is State.FAIL and check.name not in ("clock", "limits"))
    return Check(name, State.SKIP, f"Not checked: {cause} comes first.")
