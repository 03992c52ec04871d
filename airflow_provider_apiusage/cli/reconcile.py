"""``airflow apiusage reconcile``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable

from airflow_provider_apiusage.cli.subject import Subject
from airflow_provider_apiusage.cli.told import FINE, NO, NotKnownError, Told, command
from airflow_provider_apiusage.hooks.reports import write_reports
from airflow_provider_apiusage.usage.arguments import instant
from airflow_provider_apiusage.usage.model import Severity
from airflow_provider_apiusage.usage.reconciliation import reconcile
from airflow_provider_apiusage.usage.report_text import as_table

TOP = 5
"""Holders in the JSON; the reports show more."""


@command
def run(args: Namespace) -> Told:
    """Reconcile what the store knows; nothing of it is kept."""
    at = instant("at", args.at)
    subject = Subject(args)
    spent = subject.refresh(args.daily_report) if args.refresh else 0
    hook = subject.stored()
    evidence = hook.store.evidence(hook.get_org_id(), at)
    if evidence is None:
        raise NotKnownError(
            f"Nothing has been read of org {hook.get_org_id()} up to {at or 'now'}: run 'airflow apiusage snapshot "
            f"--conn-id {subject.conn_id}', or give --refresh."
        )
    result = reconcile(evidence, tolerance=args.tolerance)
    written = write_reports(hook, evidence, result, markdown=args.markdown, html=args.html)
    held = hook.get_holdings(result.at) if evidence.hours else None
    data = {
        **result.as_dict(),
        "holders": [holder.as_dict() for holder in held.holders[:TOP]] if held else [],
        "reports": written,
        "api_calls": spent,
    }
    lines = [as_table(result), *(f"Written: {path}" for path in written.values())]
    return Told(data, lines, NO if grave(args.fail_on, (finding.severity for finding in result.findings)) else FINE)


def grave(fail_on: str, severities: Iterable[Severity]) -> bool:
    """Tell whether a finding is as severe as ``--fail-on`` says."""
    order = list(Severity)
    return fail_on != "never" and any(order.index(each) >= order.index(Severity(fail_on)) for each in severities)
