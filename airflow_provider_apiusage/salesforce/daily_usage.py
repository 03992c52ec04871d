"""The 7-day report from wherever the user has it: a saved report run in the org, or an exported CSV."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from airflow_provider_apiusage.salesforce.errors import (
    ConfigurationError,
    MalformedAnswerError,
    PermissionDeniedError,
)
from airflow_provider_apiusage.salesforce.org import Answer, OrgClient
from airflow_provider_apiusage.salesforce.report_runs import (
    MOST_LOOKS,
    PATIENCE,
    ReportRun,
    ReportRunner,
    of_one_day,
    refused_for_now,
)
from airflow_provider_apiusage.salesforce.usage_columns import DailyUsage, refused
from airflow_provider_apiusage.salesforce.usage_csv import daily_usage_from_csv
from airflow_provider_apiusage.salesforce.usage_report import (
    EMPTY,
    TRUNCATED,
    Glimpse,
    daily_usage_from_report,
    glimpse,
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
    :param patience: how long to wait for runs in the background, all together.
    :param most_looks: how often to look at them, likewise.
    :raises ValueError: if one of the last three is out of range.
    """

    daily_report: str
    coverage: Coverage = Coverage.SOAP
    date_column: str | None = None
    user_column: str | None = None
    count_column: str | None = None
    date_format: str | None = None
    run: str = ReportRun.AUTO
    patience: timedelta = PATIENCE
    most_looks: int = MOST_LOOKS

    def __post_init__(self) -> None:
        if self.run not in list(ReportRun):
            raise ValueError(f"run={self.run!r} is none of {', '.join(ReportRun)}.")
        if self.patience <= timedelta(0) or self.most_looks < 1:
            raise ValueError(
                f"patience={self.patience} and most_looks={self.most_looks} leave no time for a run in the background."
            )

    def read(self, org: OrgClient, open_path: OpenPath) -> DailyUsage:
        """Read it: 1 API call for a report, none for a CSV.

        A run in the background takes more: 1 to begin, and 1 for each look at it. A report of more than 2,000 detail
        rows takes another run for each of 8 days.

        :param org: the org that the report belongs to.
        :param open_path: opens the path of a CSV.
        :raises ApiUsageError: if the report cannot be run or the file cannot be read.
        """
        if REPORT_ID.fullmatch(self.daily_report):
            return self._run(org)
        return self._open(org, open_path)

    def _run(self, org: OrgClient) -> DailyUsage:
        runner = ReportRunner(
            org, self.daily_report, ReportRun(self.run), patience=self.patience, most_looks=self.most_looks
        )
        answer = runner.run()
        usage = self._decode(answer, org)
        if not any(finding.code == TRUNCATED for finding in usage.findings):
            return usage
        seen = self._glimpse(answer)
        return usage if seen is None else self._day_by_day(runner, answer, seen, org)

    def _day_by_day(self, runner: ReportRunner, whole: Answer, shown: Glimpse, org: OrgClient) -> DailyUsage:
        """Run a truncated report once for each day it covers; a day that is still truncated has no count.

        Groups of a truncated report may have whole sums, but nothing says so: ``allData`` is documented for all
        results, not for the rows alone. So they are not used.

        :param whole: the truncated answer.
        :param shown: what it tells nevertheless.
        """
        counts: list[DailyCount] = []
        findings: list[Finding] = []
        today = whole.observed_at.astimezone(UTC).date()
        for day in (today - timedelta(days=back) for back in range(DAYS, -1, -1)):
            try:
                answer = runner.run(of_one_day(whole.body["reportMetadata"], shown.date_column, day))
            except (MalformedAnswerError, ConfigurationError, PermissionDeniedError) as refused:
                if refused_for_now(refused):
                    raise
                return not_by_day(f"The org does not run it with a filter by day: {refused.what}")
            seen = self._glimpse(answer)
            if seen is not None and seen.days - {day}:
                others = ", ".join(map(str, sorted(seen.days - {day})[:3]))
                return not_by_day(f"The org does not heed a filter by day: asked for {day}, it told {others}.")
            usage = self._decode(answer, org)
            counts.extend(usage.counts)
            for finding in usage.findings:
                if finding.code != EMPTY or day in shown.days:
                    told = _of_day(finding, day, seen)
                    findings.extend([] if told in findings else [told])
        if not counts and all(finding.severity is not Severity.ERROR for finding in findings):
            return not_by_day("With a filter by day it has no rows at all.")
        said = Finding(
            "report-day-by-day",
            Severity.INFO,
            f"Report {self.daily_report} has more rows than one answer holds, so it was run for each of {DAYS + 1} "
            "days. An export as CSV holds all rows and spares these calls.",
            {"days": DAYS + 1},
        )
        return DailyUsage(tuple(counts), (said, *findings))

    def _glimpse(self, answer: Answer) -> Glimpse | None:
        return glimpse(answer.body, self.date_column, self.user_column, self.count_column)

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
        f"The report is truncated (the Analytics API returns at most 2,000 detail rows). {why} Export it as CSV, which "
        "holds all rows.",
    )


def _of_day(finding: Finding, day: date, seen: Glimpse | None) -> Finding:
    """Return what is odd about the run of one day; what leaves the day without a count names it.

    :param seen: what the run told.
    """
    if finding.code == EMPTY:
        return Finding(
            "report-day-empty",
            Severity.ERROR,
            f"{day} has rows in the whole report, but none when it is asked for alone, so it has no count. Export the "
            "report as CSV.",
            {"day": str(day)},
        )
    if finding.severity is not Severity.ERROR:
        return finding
    if finding.code != TRUNCATED:
        return replace(finding, message=f"{day}: {finding.message}", figures={**finding.figures, "day": str(day)})
    rows = None if seen is None else seen.rows
    shown = "more rows than one answer holds" if rows is None else f"more rows than the {rows:,} that one answer holds"
    return Finding(
        "report-day-truncated",
        Severity.ERROR,
        f"{day} alone has {shown}, so it has no count: a part of the rows would be a wrong sum. Export the report as "
        "CSV.",
        {"day": str(day), "rows": rows},
    )
