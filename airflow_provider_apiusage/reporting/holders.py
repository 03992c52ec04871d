"""Who holds the calls that are in the window now."""

from __future__ import annotations

from airflow_provider_apiusage.reporting.content import ReportContent
from airflow_provider_apiusage.reporting.document import (
    Block,
    Column,
    Folded,
    Foreign,
    Missing,
    Paragraph,
    Section,
    Table,
    Text,
)
from airflow_provider_apiusage.reporting.week import LOGS_GIVEN_BY
from airflow_provider_apiusage.reporting.words import UNKNOWN, bounds, clean, counted, percent, short_moment
from airflow_provider_apiusage.usage.attribution import DIMENSIONS, Attribution, Dimension, Entry
from airflow_provider_apiusage.usage.holdings import Holding, Holdings
from airflow_provider_apiusage.usage.model import Completeness

_TITLE = "Who holds the calls of the last 24 hours"

_ONE: dict[Dimension, str] = {
    "user": "User",
    "app": "Connected app",
    "client": "Client",
    "family": "API",
    "resource": "Resource",
}
_MANY: dict[Dimension, str] = {
    "user": "users",
    "app": "connected apps",
    "client": "clients",
    "family": "APIs",
    "resource": "kinds of resources",
}
_STATE = {
    Completeness.SETTLED: "They are settled.",
    Completeness.PROVISIONAL: "They may still grow.",
    Completeness.NONE: "They are not complete.",
    None: "How complete they are is unknown.",
}


def attributions(content: ReportContent) -> dict[Dimension, Attribution]:
    """Return what is known of each dimension, users first; nothing without event logs."""
    held, told = _held(content), {}
    for by in DIMENSIONS:
        if by in held:
            told[by] = held[by].attribution
        elif content.holders is not None:
            told[by] = getattr(content.holders, by)
    return told


def _held(content: ReportContent) -> dict[Dimension, Holdings]:
    return {each.attribution.by: each for each in content.holdings}


def section(content: ReportContent) -> Section:
    """Return the part of the report that attributes the window."""
    held, told = _held(content), attributions(content)
    if not told:
        missing = Missing(("Who made the calls is unknown: only event logs tell. ", *LOGS_GIVEN_BY))
        return Section("holders", _TITLE, (missing,))
    tables = [_table(each, held.get(by)) for by, each in told.items()]
    first = next(iter(told.values()))
    blocks: list[Block] = [Paragraph((_completeness(first, content),)), tables[0]]
    if tables[1:]:
        others = ", ".join(_MANY[by] for by in list(told)[1:])
        blocks.append(Folded(f"The same calls by {others}", tuple(tables[1:])))
    return Section("holders", _TITLE, tuple(blocks))


def _completeness(told: Attribution, content: ReportContent) -> str:
    """Say how much of the window the event logs show."""
    total = content.reconciliation.rolling
    of = "" if total is None else f" of the {total:,} used"
    words = [f"Event logs show {bounds(told.total)} calls{of} in this window that count. {_STATE[told.completeness]}"]
    if told.hours_without_data is None:
        words.append(f"Of how many of the {told.hours:,} hours there is no log is unknown.")
    elif told.hours_without_data:
        words.append(
            f"Of {told.hours_without_data:,} of its {told.hours:,} hours there is no log yet: who made those "
            "calls is unknown."
        )
    if told.unknown.high:
        words.append(f"Of {bounds(told.unknown)} more the log does not say whether they count.")
    if told.uncounted.high:
        words.append(f"{bounds(told.uncounted)} do not count and are left out.")
    words.append("A call comes back 24 hours after it was made; some orgs give back on the hour.")
    return " ".join(words)


def _table(told: Attribution, held: Holdings | None) -> Table:
    columns = [Column(_ONE[told.by]), Column("Calls", numeric=True), Column("Share", numeric=True)]
    returns = {each.key: each for each in held.holders} if held else {}
    if held:
        columns += [Column("Half back by (UTC)"), Column("All back by (UTC)")]
    rows = [(*_entry(entry), *(_back(returns.get(entry.key)) if held else ())) for entry in told.entries]
    blank: tuple[Text, ...] = (("",), ("",)) if held else ()
    if told.others.keys:
        rows.append(((f"{counted(told.others.keys, 'other')}",), (bounds(told.others.calls),), ("",), *blank))
    if told.unattributed.high != 0:
        rows.append((("not named by the log",), (bounds(told.unattributed),), ("",), *blank))
    rows.append((("all that the logs show",), (bounds(told.total),), ("",), *blank))
    return Table(
        f"Calls in the window by {_ONE[told.by].lower() if told.by != 'family' else 'API'}", tuple(columns), tuple(rows)
    )


def _entry(entry: Entry) -> tuple[Text, ...]:
    name, key = clean(entry.name or ""), clean(entry.key)
    who: Text = (Foreign(key),) if not name or name == key else (Foreign(name), " (", Foreign(key), ")")
    return who, (bounds(entry.calls),), (percent(entry.share),)


def _back(holding: Holding | None) -> tuple[Text, ...]:
    if holding is None:
        return (UNKNOWN,), (UNKNOWN,)
    return (short_moment(holding.back_by(0.5)),), (short_moment(holding.back_by(1.0)),)
