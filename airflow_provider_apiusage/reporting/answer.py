"""The answer first: do the sources agree, how much is used, when does it come back, is there enough."""

from __future__ import annotations

from airflow_provider_apiusage.reporting.content import ReportContent, findings
from airflow_provider_apiusage.reporting.document import (
    Block,
    Code,
    Fact,
    Facts,
    Foreign,
    Paragraph,
    Run,
    Section,
    Status,
    Strong,
)
from airflow_provider_apiusage.reporting.holders import attributions
from airflow_provider_apiusage.reporting.outlook import back, expectation, in_words
from airflow_provider_apiusage.reporting.words import (
    UNKNOWN,
    bounds,
    clean,
    counted,
    moment,
    number,
    percent,
    short_moment,
)
from airflow_provider_apiusage.usage.forecast import runs_out_at, when_free
from airflow_provider_apiusage.usage.forecast_model import Forecast
from airflow_provider_apiusage.usage.model import WINDOW, Severity

VERDICTS = {
    Status.AGREE: "The sources agree.",
    Status.CONTRADICT: "The sources contradict one another.",
    Status.UNDECIDED: "Whether the sources agree cannot be told: a piece is missing or was read at another time.",
}


def status(content: ReportContent) -> Status:
    """Return the verdict."""
    consistent = content.reconciliation.consistent
    if consistent is None:
        return Status.UNDECIDED
    return Status.AGREE if consistent else Status.CONTRADICT


def section(content: ReportContent) -> Section:
    """Return the part of the report that a reader in a hurry reads."""
    words: list[Run] = [Strong(VERDICTS[status(content)]), f" {_used(content)} {_back(content)}"]
    if content.forecast is not None:
        words.append(f" {expectation(content.forecast)}".rstrip())
    words += [*_most(content), *_findings(content)]
    blocks: tuple[Block, ...] = (Paragraph(tuple(words)), _facts(content))
    return Section("answer", "The answer", blocks)


def _used(content: ReportContent) -> str:
    told, limit, remaining = content.reconciliation, content.limit, content.remaining
    when = f"in the 24 hours up to {moment(content.at)}"
    if told.rolling is None:
        of = "the limit is unknown" if limit is None else f"the limit is {limit:,}"
        known = bounds(told.window)
        evidence = "" if known == UNKNOWN else f"; the evidence allows {known}"
        return f"How many calls were used {when} is unknown{evidence}; {of}."
    share = "" if content.share is None else f" ({percent(content.share)})"
    if remaining is None:
        words = f"{told.rolling:,} API calls were used {when}; the limit is unknown."
    else:
        left = f"{remaining:,} remain" if remaining >= 0 else f"that is {-remaining:,} over the limit"
        words = f"{told.rolling:,} of {limit:,} API calls{share} were used {when}; {left}."
    known = bounds(told.window)
    if told.window.high is not None and not told.window.exact:
        words += f" Figures may be five minutes late; by all the evidence it is {known}."
    return words


def _back(content: ReportContent) -> str:
    if content.reconciliation.rolling == 0:
        return "Nothing has to come back."
    end = short_moment(content.at + WINDOW)
    if content.forecast is None:
        return f"What is used now comes back 24 hours after it was made, so all of it by {end} or within an hour after."
    words = f"{in_words(content.forecast)} All of them by {end} or within an hour after.".lstrip()
    return f"{words}{_over(content, content.forecast)}"


def _over(content: ReportContent, forecast: Forecast) -> str:
    """Say when usage falls below the limit again, if it is above."""
    if content.remaining is None or content.remaining > 0:
        return ""
    free = when_free(forecast, 1)
    if free.earliest_at is None:
        return " No call is free again within 24 hours."
    words = f" A call is free at {short_moment(free.earliest_at)} at the earliest"
    if all(point.used is None for point in forecast.points):
        return f"{words}; what to expect is unknown."
    if free.expected_at is None:
        return f"{words}, but that is not expected within 24 hours."
    sure = "" if free.likely_at is None else f", with 90% confidence by {short_moment(free.likely_at)}"
    return f"{words}, as expected at {short_moment(free.expected_at)}{sure}."


def _most(content: ReportContent) -> list[Run]:
    """Name who holds the most calls of the window, as event logs tell."""
    told = next(iter(attributions(content).values()), None)
    if told is None or not told.entries:
        return []
    first = told.entries[0]
    who = clean(first.name or "") or clean(first.key)
    return [
        " Most of what the logs show is held by ",
        Foreign(who),
        f": {bounds(first.calls)}, {percent(first.share)}.",
    ]


def _findings(content: ReportContent) -> list[Run]:
    """Name what is grave."""
    told = findings(content)
    grave = [finding for finding in told if finding.severity is not Severity.INFO]
    if not grave:
        return []
    counts = [
        counted(amount, severity.value)
        for severity in (Severity.ERROR, Severity.WARNING)
        if (amount := sum(1 for finding in grave if finding.severity is severity))
    ]
    words: list[Run] = [f" {' and '.join(counts)}, explained below: "]
    for code in dict.fromkeys(finding.code for finding in grave):
        words += [Code(code), ", "]
    return [*words[:-1], "."]


def _facts(content: ReportContent) -> Facts:
    told, forecast = content.reconciliation, content.forecast
    of = "limit unknown" if content.limit is None else f"of {content.limit:,}"
    share = "" if content.share is None else f", {percent(content.share)}"
    left = content.remaining
    remain = (
        Fact("Over the limit", f"{-left:,}", "calls may be refused at any time")
        if left is not None and left < 0
        else Fact(
            "Remaining", number(left), "calls that may be made now" if left is not None else "limit or usage unknown"
        )
    )
    facts = [Fact("Used in 24 hours", number(told.rolling), f"{of}{share}"), remain]
    if forecast is not None:
        half = back(forecast, 0.5)
        early = f"not before {short_moment(half.earliest_at)} UTC" if half.earliest_at else "UTC"
        facts += [Fact("Half is back by", short_moment(half.latest_at), early), _runs_out(forecast)]
    else:
        facts.append(Fact("All is back by", short_moment(content.at + WINDOW), "UTC, or within an hour after"))
    return Facts(tuple(facts), content.share)


def _runs_out(forecast: Forecast) -> Fact:
    name, runs_out = "Allowance runs out", runs_out_at(forecast)
    if forecast.limit is None or all(point.used is None for point in forecast.points):
        return Fact(name, UNKNOWN, "no limit, or nothing to forecast from")
    if runs_out.expected_at is not None and runs_out.expected_at <= forecast.at:
        return Fact("Allowance", "used up", "as of now")
    if runs_out.expected_at is not None:
        return Fact(name, short_moment(runs_out.expected_at), "UTC, at this pace")
    if runs_out.earliest_at is not None:
        return Fact(name, "not expected", f"1 in 20: from {short_moment(runs_out.earliest_at)} UTC")
    return Fact(name, "not expected", "in the next 24 hours")
