"""The last reconciliations that tasks have kept, with their findings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_provider_apiusage.reporting.answer import VERDICTS
from airflow_provider_apiusage.reporting.document import Status
from airflow_provider_apiusage.ui import words
from airflow_provider_apiusage.ui.answers import Reconciled, Reconciliations
from airflow_provider_apiusage.ui.known import Known
from airflow_provider_apiusage.usage.model import Finding, Severity


def reconciliations(known: Known, org_id: str, before: tuple[datetime, int] | None, limit: int) -> Reconciliations:
    """Return a page of reconciliations, newest first."""
    rows = known.queries.reconciliations(org_id, before, limit + 1)
    shown = rows[:limit]
    return Reconciliations(
        reconciliations=[one(row.at, row.consistent, row.body) for row in shown],
        next=words.cursor(shown[-1].at, shown[-1].id) if len(rows) > limit else None,
        todo=None if shown or before is not None else words.NO_RECONCILIATION,
    )


def one(at: datetime, consistent: bool | None, body: Mapping[str, Any]) -> Reconciled:
    """Return one reconciliation as it was kept; older versions kept fewer figures."""
    status = Status.UNDECIDED if consistent is None else Status.AGREE if consistent else Status.CONTRADICT
    return Reconciled(
        at=at,
        status=status.value,
        verdict=VERDICTS[status],
        rolling=body.get("rolling"),
        limit=body.get("limit"),
        today=body.get("today"),
        yesterday=body.get("yesterday"),
        findings=words.findings(
            Finding(each["code"], Severity(each["severity"]), each["message"]) for each in body.get("findings", ())
        ),
    )
