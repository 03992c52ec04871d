"""Running a saved report: at once or in the background, whole or day by day.

Source: Reports and Dashboards REST API guide, "Run Reports Synchronously or Asynchronously": a run at once ends after
two minutes at the latest, one in the background need not. Each request is an API call. Results of earlier runs, which
the org keeps for 24 hours, are never taken for new ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from airflow_provider_apiusage.salesforce.errors import (
    ApiUsageError,
    AuthenticationError,
    ConcurrencyLimitError,
    ConfigurationError,
    MalformedAnswerError,
    NotFoundError,
    UnavailableError,
)
from airflow_provider_apiusage.salesforce.org import Answer, OrgClient

PATIENCE = timedelta(minutes=10)
"""How long to wait for runs in the background, all runs of one reading together."""

MOST_LOOKS = 60
"""How often to look at runs in the background, likewise."""

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 30.0
"""Seconds between two looks at a run; each look is an API call, so the pause doubles."""

_SYNC_LIMIT = re.compile(r"\bsynchronous|SyncReportRuns|report runs|too many reports", re.IGNORECASE)
"""The refusal of a run at once, by its words ("You can't run more than 500 reports synchronously every 60 minutes", as
people quote it): which status and code it comes with is not documented."""


class ReportRun(StrEnum):
    """How a report is run."""

    AUTO = "auto"
    """At once; in the background if the org cannot do it at once."""
    SYNC = "sync"
    """At once: 1 API call; Salesforce allows 500 such runs an hour."""
    ASYNC = "async"
    """In the background: 1 API call, and 1 for each look at it, after 2, 4, 8... 30 seconds."""


class ReportRunner:
    """Runs one saved report in one org.

    :param org: the org.
    :param report_id: 15 or 18 characters, ``00O...``.
    :param run: how.
    :param patience: how long to wait in the background, all runs of this runner together.
    :param most_looks: how often to look at runs in the background, likewise.
    """

    def __init__(
        self,
        org: OrgClient,
        report_id: str,
        run: ReportRun = ReportRun.AUTO,
        *,
        patience: timedelta = PATIENCE,
        most_looks: int = MOST_LOOKS,
    ) -> None:
        if not (report_id.startswith("00O") and len(report_id) in (15, 18) and report_id.isalnum()):
            raise ConfigurationError(
                f"{report_id!r} is no report id.", org.where, "Take the id from the report's URL: 00O..."
            )
        self._org = org
        self._path = f"analytics/reports/{report_id}"
        self._doing = f"running report {report_id}"
        self._run = run
        self._seconds_left = patience.total_seconds()
        self._looks_left = most_looks

    def run(self, metadata: Mapping[str, Any] | None = None) -> Answer:
        """Run it with details.

        :param metadata: what to change in the report's own ``reportMetadata`` for this run; ``None`` for nothing.
        :raises NotFoundError: if there is no such report, or the user may not see it.
        :raises ApiUsageError: by kind, if it cannot be run.
        """
        try:
            if self._run is ReportRun.ASYNC:
                return self._in_background(metadata)
            try:
                return self._at_once(metadata)
            except ApiUsageError as refused:
                if self._run is ReportRun.SYNC or not refused_for_now(refused):
                    raise
                # From now on: what was too much once is too much for the other days as well.
                self._run = ReportRun.ASYNC
                return self._in_background(metadata)
        except NotFoundError as missing:
            raise NotFoundError(
                missing.what,
                self._org.where,
                "The standard report 'API Usage Last 7 Days' cannot be run through the API in every org: save a "
                "copy as a custom report and use its id, or export it as CSV and give the path.",
            ) from None

    def _at_once(self, metadata: Mapping[str, Any] | None) -> Answer:
        details = {"includeDetails": "true"}
        if metadata is None:
            return self._org.get(self._path, self._doing, params=details)
        return self._org.post(self._path, self._doing, {"reportMetadata": dict(metadata)}, params=details)

    def _in_background(self, metadata: Mapping[str, Any] | None) -> Answer:
        """Begin a run and wait for it; the answer is as of the instant at which it began.

        When exactly the org counted is not told: counts of a run that began before midnight may lack the day's last
        calls, however late it ended.
        """
        self._wait_no_longer_if_used_up("not begun")
        body = {} if metadata is None else {"reportMetadata": dict(metadata)}
        asked = self._org.post(f"{self._path}/instances", self._doing, body, params={"includeDetails": "true"})
        instance = asked.body.get("id") if isinstance(asked.body, Mapping) else None
        if not isinstance(instance, str) or not instance.isalnum():
            raise MalformedAnswerError(f"The answer while {self._doing} names no run.", self._org.where)
        pause, status = FIRST_PAUSE, "New"
        while True:
            self._wait_no_longer_if_used_up(status)
            self._pause(min(pause, self._seconds_left))
            pause = min(2 * pause, LONGEST_PAUSE)
            answer = self._org.get(f"{self._path}/instances/{instance}", self._doing)
            status = _status(answer.body)
            if status == "Success":
                return Answer(answer.body, asked.observed_at, asked.received_at)
            if status == "Error":
                raise UnavailableError(
                    f"The org failed while {self._doing} in the background (run {instance}).", self._org.where
                )

    def _pause(self, seconds: float) -> None:
        """Wait before the next look, and take both from what is left."""
        self._org.session.pause(seconds)
        self._seconds_left -= seconds
        self._looks_left -= 1

    def _wait_no_longer_if_used_up(self, status: str) -> None:
        if self._seconds_left > 0 and self._looks_left > 0:
            return
        used_up = "the time to wait" if self._seconds_left <= 0 else "the number of looks"
        raise UnavailableError(
            f"A run in the background was {status!r} when {used_up} was used up while {self._doing}.",
            self._org.where,
            "Give it more (report_options: 'patience', 'most_looks'), or export the report as CSV.",
        )


def _status(body: Any) -> str:
    attributes = body.get("attributes") if isinstance(body, Mapping) else None
    return str(attributes.get("status")) if isinstance(attributes, Mapping) else "unknown"


def refused_for_now(refused: ApiUsageError) -> bool:
    """Return whether a run in the background can succeed where one at once was refused."""
    if isinstance(refused, UnavailableError | ConcurrencyLimitError):
        return True
    for_good = isinstance(refused, AuthenticationError | ConfigurationError | NotFoundError)
    return not for_good and bool(_SYNC_LIMIT.search(refused.what))


def of_one_day(metadata: Mapping[str, Any], date_column: str, day: date) -> dict[str, Any]:
    """Return the change to a report's metadata that leaves only the rows of one day.

    The report's own date range is narrowed where it is one on the same column; otherwise a filter is added to those it
    has, and to the logic that combines them.

    :param metadata: ``reportMetadata`` of an earlier answer.
    :param date_column: API name of the column of days.
    :param day: the day.
    """
    text = day.isoformat()
    standard = metadata.get("standardDateFilter")
    if isinstance(standard, Mapping) and standard.get("column") == date_column:
        return {
            "standardDateFilter": {
                "column": date_column,
                "durationValue": "CUSTOM",
                "startDate": text,
                "endDate": text,
            }
        }
    filters = [each for each in metadata.get("reportFilters") or [] if isinstance(each, Mapping)]
    change: dict[str, Any] = {"reportFilters": [*filters, {"column": date_column, "operator": "equals", "value": text}]}
    if logic := metadata.get("reportBooleanFilter"):
        change["reportBooleanFilter"] = f"({logic}) AND {len(filters) + 1}"
    return change
