"""A report's parts in their order: what both writers write."""

from __future__ import annotations

from airflow_provider_apiusage.reporting import answer, bridge, guide, holders, outlook, week
from airflow_provider_apiusage.reporting.content import ReportContent
from airflow_provider_apiusage.reporting.document import Report
from airflow_provider_apiusage.reporting.words import clean


def compose(content: ReportContent) -> Report:
    """Return the report: the answer, how it comes about, what is ahead, what is odd, and how to read it.

    :param content: of the report.
    """
    org_id = clean(content.reconciliation.org_id)
    return Report(
        title="API usage of Salesforce org",
        org_id=org_id,
        at=content.at,
        made_at=content.made_at,
        status=answer.status(content),
        sections=(
            answer.section(content),
            bridge.section(content),
            week.section(content),
            holders.section(content),
            outlook.returns(content),
            outlook.section(content),
            guide.findings_section(content),
            guide.reading_section(content),
        ),
    )
