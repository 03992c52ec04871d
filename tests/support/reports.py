"""A reader of the sandbox org's 7-day report, for tests without Airflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import Any

from airflow_provider_apiusage.salesforce.daily_usage import DailyUsageSource
from airflow_provider_apiusage.salesforce.errors import Where
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.salesforce.usage_columns import DailyUsage
from airflow_provider_apiusage.sandbox import Caller, SandboxServer

WEDNESDAY, TUESDAY = date(2026, 10, 7), date(2026, 10, 6)


class Reader:
    """Reads the sandbox org's report, and knows what that cost and how long it would have waited.

    :param retries: of the session.
    :param timeout: of the session, in seconds.
    """

    def __init__(self, sandbox: SandboxServer, *, retries: int = 0, timeout: float = 30.0) -> None:
        self.sandbox = sandbox
        self.pauses: list[float] = []
        self.on_pause: Callable[[], object] = lambda: None
        where = Where("sf_test", "sandbox org")
        session = MeteredSession(where, sleep=self._sleep, retries=retries, timeout=(timeout, timeout))
        self.org = OrgClient(
            session,
            instance_url=sandbox.url,
            token=sandbox.connection("access_token")["extra"]["access_token"],
            version="62.0",
            where=where,
        )

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.on_pause()

    @property
    def calls(self) -> int:
        """API calls sent."""
        return self.org.session.calls

    def read(self, run: str = "auto", *, options: dict[str, Any] | None = None, **settings: Any) -> DailyUsage:
        """Change the org's settings, then read its report.

        :param options: further fields of the source.
        """
        self.sandbox.org.change(settings)
        source = DailyUsageSource(self.sandbox.org.settings.report_id, run=run, **(options or {}))
        return source.read(self.org, open_path=lambda path: (b"", None))


def totals(usage: DailyUsage) -> dict[date, int]:
    """Return calls by day."""
    days: Counter[date] = Counter()
    for count in usage.counts:
        days[count.day] += count.calls
    return dict(days)


def codes(usage: DailyUsage) -> list[str]:
    """Return the codes of the findings."""
    return [finding.code for finding in usage.findings]


def soap(client: str) -> Caller:
    """Return a client that makes SOAP calls, which the report counts."""
    return Caller(user="005SB0000000002", client=client, family="SOAP")
