"""Builders of evidence, shared by the tests of usage."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from airflow_provider_apiusage.usage.model import (
    API_REQUESTS,
    Coverage,
    DailyCount,
    LimitReading,
    ReadingSource,
)

ORG = "00DAA0000000001"
AT = datetime(2026, 10, 7, 14, 30, tzinfo=UTC)
"""A Wednesday afternoon."""
TODAY = date(2026, 10, 7)
YESTERDAY = date(2026, 10, 6)


def reading(
    used: int | None,
    at: datetime = AT,
    *,
    limit: int | None = 100_000,
    source: ReadingSource = ReadingSource.LIMITS,
    skew: timedelta = timedelta(0),
) -> LimitReading:
    """Return an org-wide reading of the allowance of API requests."""
    return LimitReading(
        org_id=ORG,
        name=API_REQUESTS,
        source=source,
        observed_at=at,
        received_at=at - skew,
        limit=limit,
        remaining=None if limit is None or used is None else limit - used,
        used=used,
    )


def counted(
    day: date,
    calls: int,
    *,
    coverage: Coverage = Coverage.ALL,
    user: str | None = "005AA0000000001",
    observed_at: datetime = AT,
    source: str = "report",
) -> DailyCount:
    """Return one user's count of one day."""
    return DailyCount(ORG, day, user, calls, coverage, source, observed_at)
