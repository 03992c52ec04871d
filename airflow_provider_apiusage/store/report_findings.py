"""What was odd about the reading of the daily report, as the snapshots kept it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from airflow_provider_apiusage.store.schema import snapshot
from airflow_provider_apiusage.usage.model import Finding, Severity

LATELY = timedelta(hours=25)
"""How long a report that could not be read explains that its counts are missing."""

_ABOUT_THE_REPORT = ("report-", "csv-", "days-", "columns-", "daily-report-")


def report_findings(
    connection: Connection, org_id: str, at: datetime, snapshots: Collection[int]
) -> tuple[Finding, ...]:
    """Return the findings about the report, of the snapshots that the counts come from and of the latest that failed.

    :param connection: in a transaction.
    :param org_id: the 15-character org id.
    :param at: the org's instant; what was read later does not count.
    :param snapshots: the ids of those that the counts come from.
    """
    rows = connection.execute(
        select(snapshot.c.id, snapshot.c.findings)
        .where(snapshot.c.org_id == org_id, snapshot.c.observed_at.between(at - LATELY, at))
        .order_by(snapshot.c.observed_at.desc(), snapshot.c.id.desc())
    ).all()
    bodies: list[Mapping[str, Any]] = []
    for row in rows:
        if row.id in snapshots:
            break
        found = list(_about_the_report(row.findings))
        if any(body["severity"] == Severity.ERROR for body in found) or _unread(found):
            bodies += found
            break
    if snapshots:
        kept = connection.execute(select(snapshot.c.findings).where(snapshot.c.id.in_(sorted(snapshots)))).scalars()
        bodies += [body for findings in kept for body in _about_the_report(findings)]
    told = {(body["code"], body["message"]): body for body in bodies}
    return tuple(
        Finding(body["code"], Severity(body["severity"]), body["message"], body["figures"]) for body in told.values()
    )


def _about_the_report(findings: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    return (body for body in findings if body["code"].startswith(_ABOUT_THE_REPORT))


def _unread(findings: Iterable[Mapping[str, Any]]) -> bool:
    return any(body["code"] == "daily-report-unread" for body in findings)
