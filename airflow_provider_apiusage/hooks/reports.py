"""A reconciliation as files: what they need is gathered through the hook, and written where the user wants them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_apiusage.usage.attribution import DIMENSIONS
from airflow_provider_apiusage.usage.forecast import SPAN, forecast
from airflow_provider_apiusage.usage.holdings import Holdings, holdings
from airflow_provider_apiusage.usage.hourly import HOUR, hour_of
from airflow_provider_apiusage.usage.model import WINDOW, Evidence

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
    from airflow_provider_apiusage.reporting.content import ReportContent
    from airflow_provider_apiusage.usage.reconciliation import Reconciliation


def write_reports(
    hook: ApiUsageHook,
    evidence: Evidence,
    reconciliation: Reconciliation,
    *,
    markdown: str | ObjectStoragePath | None = None,
    html: str | ObjectStoragePath | None = None,
) -> dict[str, str]:
    """Write the reports that are asked for. Spends no API call.

    :param hook: of the org.
    :param evidence: what was reconciled.
    :param reconciliation: the outcome.
    :param markdown: path, URL or ``ObjectStoragePath`` of the Markdown report; blank for none.
    :param html: likewise of the HTML report.
    :returns: where they are, by kind.
    :raises StoreError: if the store cannot be used.
    :raises OSError: if a report cannot be written.
    """
    if not (markdown or html):
        return {}
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_apiusage.reporting.files import write_report
    from airflow_provider_apiusage.reporting.html import as_html
    from airflow_provider_apiusage.reporting.markdown import as_markdown

    content = gather(hook, evidence, reconciliation)
    written = {}
    for kind, path, writer in (("markdown", markdown, as_markdown), ("html", html, as_html)):
        if path:
            target = path if isinstance(path, ObjectStoragePath) else ObjectStoragePath(str(path))
            write_report(target, writer(content))
            written[kind] = str(target)
            hook.log.info("The reconciliation is written to %s.", target)
    return written


def gather(hook: ApiUsageHook, evidence: Evidence, reconciliation: Reconciliation) -> ReportContent:
    """Gather what a report shows beside the reconciliation: readings, hours, forecast, who holds the calls."""
    from airflow_provider_apiusage.reporting.content import ReportContent

    org_id, at = reconciliation.org_id, reconciliation.at
    past = hook.store.evidence(org_id, at, span=SPAN) or evidence
    held: tuple[Holdings, ...] = ()
    if evidence.hours:
        logged = hook.event_store.usage(org_id, hour_of(at - WINDOW), hour_of(at) + HOUR)
        held = tuple(holdings(logged.counts, at=at, by=by, completeness=logged.completeness) for by in DIMENSIONS)
    return ReportContent(
        reconciliation=reconciliation,
        readings=evidence.readings,
        hours=evidence.hours,
        forecast=forecast(past),
        holders=None,
        made_at=datetime.now(UTC),
        holdings=held,
    )
