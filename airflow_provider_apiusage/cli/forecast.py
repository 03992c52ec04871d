"""``airflow apiusage forecast``."""

from __future__ import annotations

from argparse import Namespace

from airflow_provider_apiusage.cli.subject import Subject
from airflow_provider_apiusage.cli.told import FINE, NO, Told, command
from airflow_provider_apiusage.hooks.forecasting import as_text
from airflow_provider_apiusage.usage.arguments import instant


@command
def run(args: Namespace) -> Told:
    """Look 24 hours ahead, from the store."""
    at = instant("at", args.at)
    subject = Subject(args)
    spent = subject.refresh() if args.refresh else 0
    answer = subject.stored().forecast(args.needs, kept_back=args.reserve, at=at)
    data = {**answer.as_dict(), "api_calls": spent}
    lines = [as_text(answer)]
    lines += [f"{finding.severity.value}: {finding.code}: {finding.message}" for finding in answer.forecast.findings]
    return Told(data, lines, NO if args.needs is not None and not data["free_now"] else FINE)
