"""When the calls come back, and what is expected of the next 24 hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_provider_apiusage.reporting.content import ReportContent, usable
from airflow_provider_apiusage.reporting.document import (
    Block,
    Chart,
    Code,
    Column,
    Missing,
    Paragraph,
    Section,
    Table,
    Text,
)
from airflow_provider_apiusage.reporting.words import UNKNOWN, bounds, long_day, moment, number, short_moment, span
from airflow_provider_apiusage.usage.forecast import runs_out_at
from airflow_provider_apiusage.usage.forecast_model import Basis, Forecast, ForecastPoint, Range
from airflow_provider_apiusage.usage.model import WINDOW

HOUR = timedelta(hours=1)
PAST = timedelta(days=7)
_FORECAST_STEP = 3 * HOUR

FORECAST_GIVEN_BY: Text = (
    "A forecast is made from what snapshots have kept: run ",
    Code("ApiUsageSnapshotOperator"),
    " every 15 minutes, or read event logs with it (",
    Code('events="auto"'),
    "), and ",
    Code("hook.forecast()"),
    " tells.",
)

_BASIS = {
    Basis.SLOTS: "the same time of day on earlier days",
    Basis.RATE: "the mean rate of what little is known",
    Basis.NOTHING: "nothing: what others will spend is unknown, which is not zero",
}


@dataclass(frozen=True, slots=True)
class Back:
    """By when a part of the calls in the window is back.

    :param earliest_at: not before; ``None`` if unknown.
    :param latest_at: at the latest; ``None`` if the evidence gives no such instant.
    """

    earliest_at: datetime | None
    latest_at: datetime | None


def back(forecast: Forecast, share: float) -> Back:
    """Say by when a share of the calls in the window is back, to a quarter of an hour.

    :param forecast: with its expiry curve.
    :param share: above 0, up to 1.
    """
    used = forecast.used
    earliest = latest = None
    for before, point in zip((None, *forecast.points), forecast.points, strict=False):
        high = point.expired.high
        # What has left by one point may have left right after the one before.
        if earliest is None and (high is None or high >= used.low * share):
            earliest = (before or point).at
        if latest is None and used.high is not None and point.expired.low >= used.high * share:
            latest = point.at
    return Back(earliest, latest)


def every(forecast: Forecast, step: timedelta) -> Iterator[ForecastPoint]:
    """Yield the points that are whole steps ahead."""
    return (p for p in forecast.points if p.at > forecast.at and not (p.at - forecast.at) % step)


def returns(content: ReportContent) -> Section:
    """Return the part of the report that tells when the calls come back."""
    title = "When the calls come back"
    forecast = content.forecast
    end = content.at + WINDOW
    rule = (
        "A call comes back 24 hours after it was made, so whatever is used now is back by "
        f"{moment(end)}; an org that gives back on the hour may take up to an hour longer."
    )
    if forecast is None:
        return Section(
            "returns", title, (Paragraph((rule,)), Missing(("By when how many is unknown. ", *FORECAST_GIVEN_BY)))
        )
    rows = tuple(((short_moment(point.at),), (bounds(point.expired),)) for point in every(forecast, HOUR))
    columns = (Column("By (UTC)"), Column("Back by then", numeric=True))
    table = Table("Calls of the present window that are back", columns, rows)
    used = bounds(forecast.used)
    caption = f"Calls that have left the window by then, of the {used} in it now: between the lower line and the upper."
    if used == UNKNOWN:
        caption = "How many calls are in the window is unknown, so how many come back is bounded from below alone."
    text = f"{rule} {in_words(forecast)}".strip()
    return Section("returns", title, (Paragraph((text,)), Chart("returns", (caption,), (table,))))


def in_words(forecast: Forecast) -> str:
    """Say when half of the calls are back; nothing if no call is in the window."""
    if forecast.used.high == 0:
        return ""
    half = back(forecast, 0.5)
    if half.latest_at is None:
        return "When half of them are back is unknown."
    if half.earliest_at is None or half.earliest_at == half.latest_at:
        return f"Half of them are back by {short_moment(half.latest_at)}."
    return f"Half of them are back by {short_moment(half.latest_at)}, not before {short_moment(half.earliest_at)}."


def section(content: ReportContent) -> Section:
    """Return the part of the report that shows the last seven days and the next."""
    forecast = content.forecast
    blocks: list[Block] = []
    if forecast is None:
        blocks.append(Missing(("There is no forecast. ", *FORECAST_GIVEN_BY)))
    elif forecast.basis is Basis.NOTHING:
        blocks.append(Missing(("What will be used is unknown: nothing is known of earlier days. ", *FORECAST_GIVEN_BY)))
    else:
        blocks.append(Paragraph((expectation(forecast),)))
        blocks.append(
            Paragraph(
                (
                    f"Made from {_BASIS[forecast.basis]}, over {span(forecast.history)} of history. In nine cases of "
                    "ten what is used lies in the range; loads that never ran before are in no forecast.",
                )
            )
        )
    tables = [_past(content)]
    if forecast is not None:
        tables.append(_future(forecast))
    blocks.append(Chart("curve", _caption(content), tuple(tables)))
    return Section("forecast", "The last seven days and the next", tuple(blocks))


def expectation(forecast: Forecast) -> str:
    """Say what is expected in the next 24 hours, and when the allowance runs out; nothing if nothing is known."""
    known = [(point.at, point.used) for point in forecast.points if point.used is not None]
    if not known:
        return ""
    at, peak = max(known, key=lambda each: each[1].expected)
    end = known[-1][1]
    runs_out = runs_out_at(forecast)
    if forecast.limit is None:
        words = "Whether the allowance runs out is unknown without the limit."
    elif runs_out.expected_at is not None and runs_out.expected_at <= forecast.at:
        words = "The allowance is used up now."
    elif runs_out.expected_at is not None:
        words = f"At this pace the allowance runs out at {short_moment(runs_out.expected_at)}."
    elif runs_out.earliest_at is not None:
        words = (
            f"The allowance is not expected to run out; in one case of twenty it may, from "
            f"{short_moment(runs_out.earliest_at)} on."
        )
    else:
        words = "The allowance is not expected to run out in the next 24 hours."
    top = "never more than now until then" if at <= forecast.at else f"most at {short_moment(at)}: {_range(peak)}"
    return f"{words} Expected in use 24 hours from now: {_range(end)}; {top}."


def _range(used: Range | None) -> str:
    """Return ``22,000 (18,000 to 30,000)``, or ``unknown``."""
    if used is None:
        return UNKNOWN
    return f"{used.expected:,}" if used.low == used.high else f"{used.expected:,} ({used.low:,} to {used.high:,})"


def _caption(content: ReportContent) -> Text:
    points = usable(content.readings, content.at - PAST, content.at)
    if not points:
        past = "No reading of these days is known."
    else:
        low, high = min(used for _, used in points), max(used for _, used in points)
        past = (
            f"Between {low:,} and {high:,} calls were used in any 24 hours of the last seven days, by "
            f"{len(points):,} readings."
        )
    ahead = content.forecast is not None and any(point.used is not None for point in content.forecast.points)
    future = " Right of now: the median of the forecast, and its range of nine cases in ten." if ahead else ""
    limit = "unknown" if content.limit is None else f"{content.limit:,}"
    return (f"{past} The limit is {limit}.{future}",)


def _past(content: ReportContent) -> Table:
    columns = (
        Column("Day (UTC)"),
        Column("Readings", numeric=True),
        Column("Lowest used", numeric=True),
        Column("Highest used", numeric=True),
        Column("Last", numeric=True),
    )
    points = usable(content.readings, content.at - PAST, content.at)
    rows: list[tuple[Text, ...]] = []
    for back_days in range(7, -1, -1):
        day = content.today - timedelta(days=back_days)
        used = [calls for at, calls in points if at.date() == day]
        if back_days == 7 and not used:
            continue
        low, high, last = (min(used), max(used), used[-1]) if used else (None, None, None)
        rows.append(((long_day(day),), (f"{len(used):,}",), (number(low),), (number(high),), (number(last),)))
    return Table("Used in the 24 hours before each reading", columns, tuple(rows))


def _future(forecast: Forecast) -> Table:
    columns = (
        Column("At (UTC)"),
        Column("Expected in use", numeric=True),
        Column("In nine cases of ten", numeric=True),
        Column("Expected to remain", numeric=True),
    )
    rows: list[tuple[Text, ...]] = []
    for point in every(forecast, _FORECAST_STEP):
        used = point.used
        remain = None if used is None or forecast.limit is None else forecast.limit - used.expected
        wide = UNKNOWN if used is None else f"{used.low:,} to {used.high:,}"
        expected = number(None if used is None else used.expected)
        rows.append(((short_moment(point.at),), (expected,), (wide,), (number(remain),)))
    return Table("Forecast", columns, tuple(rows))
