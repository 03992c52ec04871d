"""From yesterday and today to the last 24 hours, with what reports say of it."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_apiusage.reporting import answer
from airflow_provider_apiusage.reporting import bridge as report
from airflow_provider_apiusage.reporting.content import ReportContent, findings
from airflow_provider_apiusage.reporting.document import Chart
from airflow_provider_apiusage.reporting.words import bounds as in_words
from airflow_provider_apiusage.reporting.words import long_day
from airflow_provider_apiusage.ui import words
from airflow_provider_apiusage.ui.answers import Bounds, Bridge, Day, State, Step
from airflow_provider_apiusage.ui.known import Known
from airflow_provider_apiusage.usage.day_line import DayLine
from airflow_provider_apiusage.usage.model import Completeness, Coverage, Interval

HOUR = timedelta(hours=1)

NOTHING = Bridge(
    state=State.NONE, at=None, starts_at=None, status=None, verdict="Nothing was read yet.",
    title="From yesterday and today to the last 24 hours", lines=[], steps=[], caption="Nothing was read yet.",
    coverage=None, blind="No daily source was read.", unlogged=None, missing=[], days=[], findings=[],
    todo=words.NO_READING,
)  # fmt: skip


def bridge(known: Known, org_id: str) -> Bridge:
    """Return the bridge of an org, as of its newest reading."""
    content = known.content(org_id)
    if content is None:
        return NOTHING
    told = content.reconciliation
    section = report.section(content)
    status = answer.status(content)
    state = known.state_of(known.store.latest_reading(org_id), HOUR)
    return Bridge(
        state=state,
        at=content.at,
        starts_at=content.starts_at,
        status=status.value,
        verdict=answer.VERDICTS[status],
        title=section.title,
        lines=list(report.lines(content)),
        steps=[
            Step(
                part=step.part.value,
                label=step.label,
                calls=step.calls,
                allowed=words.bounds(step.allowed),
                source=step.source,
            )
            for step in report.steps(content)
        ],
        caption="".join(
            run.text for block in section.blocks if isinstance(block, Chart) for run in words.runs(block.caption)
        ),
        coverage=None if told.coverage is None else told.coverage.value,
        blind=blind(content),
        unlogged=words.bounds(told.unlogged),
        missing=[words.runs(text) for text in report.missing(content)],
        days=[day(line, content) for line in told.days],
        findings=words.findings(findings(content)),
        todo={State.NONE: words.NO_READING, State.STALE: words.OLD_READING}.get(state),
    )


def day(line: DayLine, content: ReportContent) -> Day:
    """Return one day of the week."""
    logged = None if line.completeness is Completeness.NONE and line.by_logs == Interval(0) else line.by_logs
    return Day(
        day=line.day,
        label=long_day(line.day),
        running=line.day == content.today,
        calls=Bounds(low=line.calls.low, high=line.calls.high),
        reported=line.report,
        logged=words.bounds(logged),
        estimate=line.estimate,
        agree=line.agree,
    )


def blind(content: ReportContent) -> str:
    """Say what the daily source does not see."""
    told = content.reconciliation
    if told.coverage is None:
        return "No daily source was read, so nothing is known by day but what readings and event logs tell."
    if told.coverage is Coverage.ALL:
        return "The daily source counts every call that counts against the allowance."
    unseen = in_words(told.residual) if told.residual is not None and told.residual.low >= 0 else "how many is unknown"
    return (
        "The daily source counts SOAP calls only: REST, Bulk and other calls are not in it "
        f"(in the last 24 hours: {unseen})."
    )
