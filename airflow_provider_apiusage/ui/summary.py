"""Where an org stands: each limit with its headroom, and the answer in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_apiusage.quota.model import LimitFigures
from airflow_provider_apiusage.reporting.outlook import expectation
from airflow_provider_apiusage.reporting.words import clock, short_moment
from airflow_provider_apiusage.store.org_connections import OrgConnection
from airflow_provider_apiusage.store.page_queries import Limit
from airflow_provider_apiusage.ui import orgs, words
from airflow_provider_apiusage.ui.answers import Figure, FreeAt, LimitLine, State, Summary, Term
from airflow_provider_apiusage.ui.headroom import headroom
from airflow_provider_apiusage.ui.known import Known
from airflow_provider_apiusage.usage import forecast_model
from airflow_provider_apiusage.usage.forecast import runs_out_at, when_free
from airflow_provider_apiusage.usage.forecast_model import Forecast
from airflow_provider_apiusage.usage.model import API_REQUESTS, ReadingSource

LATELY = 50
"""Decisions in which it is looked up what gates keep back, and which limits they ask for."""

SOURCES = {
    ReadingSource.LIMITS: "the org's limits",
    ReadingSource.HEADER: "header of an answer to a load",
    ReadingSource.EXHAUSTED: "a refused call",
}


@dataclass(frozen=True)
class Kept:
    """What a gate keeps back of a limit, as it said last: calls, and when that was."""

    calls: int
    at: datetime


def summary(known: Known, org_id: str, through: tuple[OrgConnection, ...]) -> Summary:
    """Return where an org stands.

    :param through: the connections through which the caller may see it.
    """
    now = known.now()
    kept = reserves(known, org_id)
    limits = {each.reading.name: each for each in known.queries.limits(org_id, {API_REQUESTS, *kept})}
    main = limits.get(API_REQUESTS)
    newest = None if main is None else main.reading
    asked = {name: kept[name].calls if name in kept else 0 for name in {API_REQUESTS, *kept} if name in limits}
    figures = headroom(known, org_id, asked, now) if asked else {}
    known_ahead = known.ahead(org_id)
    ahead = None if known_ahead is None else known_ahead.forecast
    state = known.state_of(newest)
    figure = figures.get(API_REQUESTS)
    grantable = None if figure is None or figure.headroom is None else max(0, figure.headroom)
    at = now if newest is None else max(now + newest.skew, newest.observed_at)
    soon = None if figure is None else next_free(ahead, figure, grantable, at)
    out = None if ahead is None else runs_out_at(ahead)
    return Summary(
        org=orgs.org(known, org_id, through),
        at=at,
        state=state,
        observed_at=None if newest is None else newest.observed_at,
        sentence=sentence(figure, grantable, soon, at),
        more=more(state, None if newest is None else now - newest.received_at, ahead),
        grantable=grantable,
        next=soon,
        runs_out_expected_at=None if out is None else out.expected_at,
        runs_out_earliest_at=None if out is None else out.earliest_at,
        limits=in_order(line(known, each, figures.get(name), kept.get(name), now) for name, each in limits.items()),
        todo={State.NONE: words.NO_READING, State.STALE: words.OLD_READING}.get(state),
    )


def reserves(known: Known, org_id: str) -> dict[str, Kept]:
    """Return what gates keep back of each limit that they asked for lately."""
    found: dict[str, Kept] = {}
    for row, _ in known.queries.decisions(org_id, limit=LATELY):
        for figures in row.figures:
            reserve: Any = figures.get("reserve")
            if reserve is not None and figures["name"] not in found:
                found[figures["name"]] = Kept(int(reserve), row.decided_at)
    return found


def line(known: Known, limit: Limit, figures: LimitFigures | None, kept: Kept | None, now: datetime) -> LimitLine:
    """Return what is known of one limit."""
    reading = limit.reading
    source = SOURCES[reading.source] + (", read by a snapshot" if limit.in_snapshot else "")
    used, remaining = reading.used, reading.remaining
    if remaining is None and reading.limit is not None and used is not None:
        remaining = reading.limit - used

    def told(calls: int | None, note: str | None = None) -> Figure:
        return Figure(calls=calls, at=reading.observed_at, source=source, note=note)

    over = "More is used than is allowed; the org may refuse calls at any time." if (remaining or 0) < 0 else None
    return LimitLine(
        name=reading.name,
        main=reading.name == API_REQUESTS,
        guarded=kept is not None,
        state=known.state_of(reading),
        used=told(used),
        limit=told(reading.limit),
        remaining=told(remaining, over),
        share=used / reading.limit if used is not None and reading.limit else None,
        reserve=Figure(
            calls=None if kept is None else kept.calls,
            at=None if kept is None else kept.at,
            source="no gate has asked for it lately" if kept is None else "the latest decision of a gate",
        ),
        outstanding=Figure(
            calls=None if figures is None else figures.outstanding,
            at=None if figures is None else now,
            source="no gate has asked for it lately" if figures is None else "reservations",
        ),
        headroom=Figure(
            calls=None if figures is None else figures.headroom,
            at=None if figures is None else now,
            source="no gate has asked for it lately" if figures is None else "the gate's own sum",
        ),
        terms=terms(figures),
    )


def terms(figures: LimitFigures | None) -> list[Term]:
    """Return the sum that makes a headroom; terms of 0 are left out, unless they always belong to it."""
    if figures is None or figures.headroom is None:
        return []
    always = (
        ("remaining", figures.remaining),
        ("reserve", -(figures.reserve or 0)),
        ("outstanding", -(figures.outstanding or 0)),
    )
    sometimes = (
        ("left the window since", figures.expired or 0),
        ("expected of others since", -(figures.expected or 0)),
        ("margin for a burst", -(figures.margin or 0)),
        ("peak within 24 hours", -(figures.peak or 0)),
    )
    return [
        *(Term(label=label, calls=calls or 0) for label, calls in always),
        *(Term(label=label, calls=calls) for label, calls in sometimes if calls),
    ]


def in_order(lines: Iterable[LimitLine]) -> list[LimitLine]:
    """Return the allowance of API calls first, then what gates ask for, then the fullest."""
    return sorted(lines, key=lambda each: (not each.main, not each.guarded, -(each.share or 0), each.name))


def free_at(found: forecast_model.FreeAt) -> FreeAt:
    """Return when calls are free as the page takes it."""
    return FreeAt(
        calls=found.calls, earliest_at=found.earliest_at, expected_at=found.expected_at, likely_at=found.likely_at
    )


def next_free(ahead: Forecast | None, figures: LimitFigures, grantable: int | None, at: datetime) -> FreeAt | None:
    """Return when a round number of calls more than now can be had: about half way to all that can ever be free.

    :param at: the org's present instant; what was possible before is possible now.
    """
    if ahead is None or grantable is None or figures.limit is None:
        return None
    kept_back = (figures.reserve or 0) + (figures.outstanding or 0)
    most = figures.limit - kept_back
    for calls in round_numbers(grantable, most):
        found = when_free(ahead, calls, kept_back=kept_back)
        if found.earliest_at is not None and found.earliest_at > at:
            return free_at(found)
    return None


def round_numbers(above: int, most: int) -> list[int]:
    """Return numbers with one digit that is not 0, between two numbers, nearest to half way first.

    :param above: each is more than that.
    :param most: each is at most that.
    """
    steps = [digit * 10**power for power in range(9) for digit in range(1, 10)]
    middle = (above + most) / 2
    return sorted((step for step in steps if above < step <= most), key=lambda step: abs(step - middle))


def sentence(figures: LimitFigures | None, grantable: int | None, soon: FreeAt | None, at: datetime) -> str:
    """Return the answer first.

    :param at: the org's present instant: of another day, the day is told.
    """
    if figures is None or grantable is None:
        return "How many calls can be granted now is unknown."
    now = f"{grantable:,} calls can be granted now" if grantable else "No call can be granted now"
    if soon is None or soon.earliest_at is None:
        return f"{now}."
    when = clock(soon.earliest_at) if soon.earliest_at.date() == at.date() else short_moment(soon.earliest_at)
    return f"{now}; {soon.calls:,} at {when} UTC at the earliest."


def more(state: State, old: timedelta | None, ahead: Forecast | None) -> list[str]:
    """Return further sentences: what is expected, and how old the figures are."""
    told = []
    if state is State.STALE and old is not None:
        told.append(f"The newest reading is {words.age(old)} old: a gate reads the org anew before it grants anything.")
    if ahead is not None:
        told.append(f"As of {short_moment(ahead.at)} UTC: {expectation(ahead)}".rstrip(": "))
    return told
