"""The 7-day report from wherever the user has it: a saved report run in the org, or an exported CSV."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from airflow_provider_apiusage.salesforce.errors import ConfigurationError, MalformedAnswerError
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.salesforce.usage_csv import daily_usage_from_csv
from airflow_provider_apiusage.salesforce.usage_report import DailyUsage, daily_usage_from_report
from airflow_provider_apiusage.usage.model import Coverage, Finding, Severity

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
    """

    daily_report: str
    coverage: Coverage = Coverage.SOAP
    date_column: str | None = None
    user_column: str | None = None
    count_column: str | None = None
    date_format: str | None = None

    def read(self, org: OrgClient, open_path: OpenPath) -> DailyUsage:
        """Read it: 1 API call for a report, none for a CSV.

        :param org: the org that the report belongs to.
        :param open_path: opens the path of a CSV.
        :raises ApiUsageError: if the report cannot be run or the file cannot be read.
        """
        if REPORT_ID.fullmatch(self.daily_report):
            return self._run(org)
        return self._open(org, open_path)

    def _run(self, org: OrgClient) -> DailyUsage:
        answer = org.run_report(self.daily_report)
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
