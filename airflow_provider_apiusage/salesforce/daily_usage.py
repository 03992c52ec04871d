"""The 7-day report from wherever the user has it: a saved report run in the org, or an exported CSV."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from airflow_provider_apiusage.salesforce.errors import ConfigurationError, MalformedAnswerError
from airflow_provider_apiusage.salesforce.org import Answer, OrgClient
from airflow_provider_apiusage.salesforce.report_runs import ReportRun, ReportRunner, of_one_day
from airflow_provider_apiusage.salesforce.usage_columns import DailyUsage, refused
from airflow_provider_apiusage.salesforce.usage_csv import daily_usage_from_csv
from airflow_provider_apiusage.salesforce.usage_report import (
    EMPTY,
    TRUNCATED,
    daily_usage_from_report,
    date_column_of,
)
from airflow_provider_apiusage.usage.model import Coverage, DailyCount, Finding, Severity

DAYS = 7
"""Days before today that the report covers."""

OpenPath = Callable[[str], tuple[bytes, datetime | None]]
"""Reads a file anywhere: its bytes and when it was last written (aware UTC), ``None`` where that is not told."""

REPORT_ID = re.compile(r"00O[A-Za-z0-9]{12}([A-Za-z0-9]{3})?")


@dataclass(frozen=True, slots=True)
class DailyUsageSource:
    """Where the report is and how to read it.

    :param daily_report: a report id (``00O...``), or a path or URL of a CSV.
    :param coverage: which calls it counts.
    :param date_column: API name or label of the column of days, where type and label do not tell.
    :param user_column: likewise for users.
    :param count_column: likewise for counts.
    :param date_format: ``strptime`` format of the days in a CSV that can be read in two ways.
    :param run: how a report is run: ``auto``, ``sync`` or ``async``.
    """

    daily_report: str
    coverage: Coverage = Coverage.SOAP
    date_column: str | None = None
    user_column: str | None = None
    count_column: str | None = None
    date_format: str | None = None
    run: str = "auto"

    def read(self, org: OrgClient, open_path: OpenPath) -> DailyUsage:
        """Read it: 1 API call for a report, none for a CSV.

        A run in the background takes more, and so does a report of more than 2,000 detail rows: 1 for each of 8 days.

        :param org: the org that the report belongs to.
        :param open_path: opens the path of a CSV.
        :raises ApiUsageError: if the report cannot be run or the file cannot be read.
        """
        if REPORT_ID.fullmatch(self.daily_report):
            return self._run(org)
        return self._open(org, open_path)

    def _run(self, org: OrgClient) -> DailyUsage:
        runner = ReportRunner(org, self.daily_report, ReportRun(self.run))
        answer = runner.run()
        usage = self._decode(answer, org)
        if not any(finding.code == TRUNCATED for finding in usage.findings):
            return usage
        column = date_column_of(answer.body, self.date_column, self.user_column, self.count_column)
        if column is None:
            return usage
        return self._day_by_day(runner, answer, column, org)

    def _day_by_day(self, runner: ReportRunner, whole: Answer, column: str, org: OrgClient) -> DailyUsage:
        """Run a truncated report once for each day it covers; a day that is still truncated has no count."""
        counts: list[DailyCount] = []
        findings: list[Finding] = []
        today = whole.observed_at.astimezone(UTC).date()
        for day in (today - timedelta(days=back) for back in range(DAYS, -1, -1)):
            try:
                answer = runner.run(of_one_day(whole.body["reportMetadata"], column, day))
            except (MalformedAnswerError, ConfigurationError) as refused:
                return not_by_day(f"The org does not run it with a filter by day: {refused.what}")
            usage = self._decode(answer, org)
            if any(count.day != day for count in usage.counts):
                return not_by_day(f"The org does not heed a filter by day: asked for {day}, it told other days.")
            counts.extend(usage.counts)
            told = [_of_day(finding, day) for finding in usage.findings if finding.code != EMPTY]
            findings.extend(finding for finding in told if finding not in findings)
        if not counts:
            return not_by_day("With a filter by day no day of it can be read either.")
        said = Finding(
            "report-day-by-day",
            Severity.INFO,
            f"Report {self.daily_report} has more rows than one answer holds, so it was run for each of {DAYS + 1} "
            "days. Summarise it by day and user to spare these calls.",
            {"days": DAYS + 1},
        )
        return DailyUsage(tuple(counts), (said, *findings))

    def _decode(self, answer: Answer, org: OrgClient) -> DailyUsage:
        try:
            return daily_usage_from_report(
                answer.body,
                org_id=org.org_id(),
                observed_at=answer.observed_at,
                coverage=self.coverage,
                date_column=self.date_column,
                user_column=self.user_column,
                count_column=self.count_column,
            )
        except ValueError as malformed:
            raise MalformedAnswerError(f"Report {self.daily_report}: {malformed}", org.where) from None

    def _open(self, org: OrgClient, open_path: OpenPath) -> DailyUsage:
        try:
            content, written_at = open_path(self.daily_report)
        except (OSError, ValueError, ImportError) as unreadable:
            raise ConfigurationError(
                f"The daily report {self.daily_report!r} is no report id, and no file can be read there: "
                f"{type(unreadable).__name__}: {unreadable}.",
                org.where,
                "Give the id of a saved report (00O...), or the path or URL of its CSV export.",
            ) from None
        # The file was written by our clock; a reading's instant is the org's.
        now = org.now()
        observed_at = now if written_at is None else min(written_at + org.skew, now)
        usage = daily_usage_from_csv(
            content,
            org_id=org.org_id(),
            observed_at=observed_at,
            coverage=self.coverage,
            date_column=self.date_column,
            user_column=self.user_column,
            count_column=self.count_column,
            date_format=self.date_format,
        )
        if written_at is not None:
            return usage
        undated = Finding(
            "csv-without-date",
            Severity.INFO,
            f"The storage of {self.daily_report!r} does not tell when the file was written; its counts are taken as of "
            "now. Export it shortly before the snapshot.",
        )
        return replace(usage, findings=(*usage.findings, undated))


def not_by_day(why: str) -> DailyUsage:
    """Refuse a report that is truncated and cannot be run day by day."""
    return refused(
        TRUNCATED,
        f"The report is truncated (the Analytics API returns at most 2,000 detail rows). {why} Summarise it by day and "
        "user without details, or export it as CSV.",
    )


def _of_day(finding: Finding, day: date) -> Finding:
    """Return what is odd about one day as a finding that names it."""
    if finding.code != TRUNCATED:
        return finding
    return Finding(
        "report-day-truncated",
        Severity.ERROR,
        f"{day} alone has more rows in the report than one answer holds, so it has no count. Summarise the report by "
        "day and user, or export it as CSV.",
        {"day": day.isoformat()},
    )
