"""``airflow apiusage snapshot``."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from airflow_provider_apiusage.cli.subject import Subject
from airflow_provider_apiusage.cli.told import Told, command
from airflow_provider_apiusage.operators.snapshot import events_summary, in_words, summary
from airflow_provider_apiusage.usage.event_log_plan import EventSource
from airflow_provider_apiusage.usage.hourly import hour_of
from airflow_provider_apiusage.usage.model import WINDOW

MOST_FILES = 200
"""Event log files read in one go; the others come the next time."""


@command
def run(args: Namespace) -> Told:
    """Read the limits, and report and event logs if asked for; keep them."""
    subject = Subject(args)
    source = EventSource(args.events) if args.events else None
    with subject.hook() as hook:
        subject.check(hook.get_org_id())
        snapshot = hook.take_snapshot(daily_report=args.daily_report)
        read = None
        if source is not None:
            read, found = hook.try_events(source, snapshot, most=MOST_FILES)
            snapshot = replace(snapshot, findings=(*snapshot.findings, *found))
        snapshot = replace(
            snapshot, findings=(*snapshot.findings, *hook.check_report(snapshot)), api_calls=hook.api_calls
        )
        hook.store.add(snapshot)
        data = summary(snapshot, api_calls=hook.api_calls)
        lines = [in_words(snapshot)]
        if source is not None:
            until = hour_of(snapshot.observed_at)
            data["events"] = events_summary(hook.event_store.usage(snapshot.org_id, until - WINDOW, until), read)
            told = data["events"]
            lines.append(
                f"{told['files_read']} event log files read, {told['files_left']} left; {told['counted']:,} counted "
                "calls known of the last 24 full hours."
            )
    lines += [f"{finding.severity.value}: {finding.code}: {finding.message}" for finding in snapshot.findings]
    return Told(data, lines)
