"""The week behind and the day ahead: what was used, what gates decided, what leaves the window, what is expected."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from airflow_provider_apiusage.reporting.content import curve_of_readings, usable
from airflow_provider_apiusage.reporting.outlook import PAST, expectation, in_words
from airflow_provider_apiusage.reporting.words import span
from airflow_provider_apiusage.ui import words
from airflow_provider_apiusage.ui.answers import Band, Edges, Line, Mark, Series, State
from airflow_provider_apiusage.ui.known import Ahead, Known
from airflow_provider_apiusage.usage.forecast_model import Basis, Forecast
from airflow_provider_apiusage.usage.model import WINDOW

HOUR = timedelta(hours=1)
NEAR = timedelta(hours=1)
"""A mark is drawn on the line if a reading was made so shortly before it."""

NO_LINE = Line(at=[], calls=[])
NOTHING = Series(
    state=State.NONE, at=None, since=None, until=None, used=NO_LINE, snapshots=NO_LINE, limit=NO_LINE, decisions=[],
    expiry=Edges(at=[], low=[], high=[]), forecast=Band(at=[], low=[], expected=[], high=[]),
    basis="There is no forecast yet.", caption="Nothing was read yet.", findings=[], todo=words.NO_READING,
)  # fmt: skip

BASIS = {
    Basis.SLOTS: "The forecast is made from the same time of day on earlier days, over {} of history; in nine cases of "
    "ten what is used lies in the range.",
    Basis.RATE: "The forecast is made from the mean rate of what little is known, over {} of history; in nine cases of "
    "ten what is used lies in the range.",
    Basis.NOTHING: "There is no forecast: nothing is known of earlier days. Snapshots every 15 minutes give one.",
}


def series(known: Known, org_id: str) -> Series:
    """Return the lines of an org, as of its newest reading."""
    found = known.ahead(org_id)
    newest = known.store.latest_reading(org_id)
    if found is None or newest is None:
        return NOTHING
    ahead = found.forecast
    at = ahead.at.astimezone(UTC)
    since = at - PAST
    points = usable(found.readings, since, at)
    state = known.state_of(newest, HOUR)
    return Series(
        state=state,
        at=at,
        since=since,
        until=at + WINDOW,
        used=line(curve_of_readings(points)),
        snapshots=line(known.queries.snapshot_readings(org_id, since, at)),
        limit=line(limits(found, since)),
        decisions=marks(known, org_id, points, since, newest.skew),
        expiry=expiry(ahead),
        forecast=band(ahead),
        basis=BASIS[ahead.basis].format(span(ahead.history)),
        caption=caption(points, ahead),
        findings=words.findings(ahead.findings),
        todo={State.NONE: words.NO_READING, State.STALE: words.OLD_READING}.get(state),
    )


def line(points: Iterable[tuple[datetime, int | None]]) -> Line:
    """Return points as the page takes them."""
    kept = list(points)
    return Line(at=[at.astimezone(UTC) for at, _ in kept], calls=[calls for _, calls in kept])


def limits(found: Ahead, since: datetime) -> list[tuple[datetime, int]]:
    """Return the limit over time: where it was first read, where it changed, now, and at the end of the day ahead."""
    at, limit = found.forecast.at, found.forecast.limit
    steps: list[tuple[datetime, int]] = []
    for each in found.readings:
        if each.limit is not None and since <= each.observed_at <= at and (not steps or steps[-1][1] != each.limit):
            steps.append((each.observed_at, each.limit))
    return [*steps, (at, limit), (at + WINDOW, limit)] if limit is not None else steps


def marks(
    known: Known, org_id: str, points: Sequence[tuple[datetime, int]], since: datetime, skew: timedelta
) -> list[Mark]:
    """Return decisions on the line of what was used.

    :param since: the org's instant.
    :param skew: the org's clock minus ours: decisions are told by ours.
    """
    instants = [at for at, _ in points]
    found = []
    for mark in known.queries.marks(org_id, since - skew, known.now()):
        at = (mark.at + skew).astimezone(UTC)
        place = bisect_right(instants, at) - 1
        near = place >= 0 and at - instants[place] <= NEAR
        found.append(Mark(at=at, kind=mark.kind, decisions=mark.decisions, used=points[place][1] if near else None))
    return found


def expiry(ahead: Forecast) -> Edges:
    """Return the calls of the present window that have left it by each quarter of an hour."""
    return Edges(
        at=[point.at for point in ahead.points],
        low=[point.expired.low for point in ahead.points],
        high=[point.expired.high for point in ahead.points],
    )


def band(ahead: Forecast) -> Band:
    """Return what is expected to be in use, where anything is."""
    told = [(point.at, point.used) for point in ahead.points if point.used is not None]
    return Band(
        at=[at for at, _ in told],
        low=[used.low for _, used in told],
        expected=[used.expected for _, used in told],
        high=[used.high for _, used in told],
    )


def caption(points: Sequence[tuple[datetime, int]], ahead: Forecast) -> str:
    """Return all of it in words."""
    if points:
        low, high = min(used for _, used in points), max(used for _, used in points)
        past = f"Between {low:,} and {high:,} calls were used in any 24 hours of the last seven days."
    else:
        past = "No reading of the last seven days is known."
    return " ".join(part for part in (past, in_words(ahead), expectation(ahead)) if part)
