"""Charts over time: what is used and expected, and what comes back."""

from __future__ import annotations

from datetime import datetime

from airflow_provider_apiusage.reporting.chart_parts import Figure, at_utc, layout, line, note, scale
from airflow_provider_apiusage.reporting.content import ReportContent, curve_of_readings, limits, usable
from airflow_provider_apiusage.reporting.outlook import PAST
from airflow_provider_apiusage.reporting.words import number
from airflow_provider_apiusage.usage.forecast_model import Range
from airflow_provider_apiusage.usage.model import WINDOW

_LIMIT_IN_VIEW = 0.2
"""A limit of which less is used than this share would press the curve to the ground."""

_FEW = 60
"""So few readings are shown one by one."""

_DAY_MS = 86_400_000


def curve(content: ReportContent) -> Figure | None:
    """Draw what was used in the last seven days and what is expected in the next, against the limit.

    :param content: of the report.
    :returns: ``None`` if nothing of either is known.
    """
    since = content.at - PAST
    points = usable(content.readings, since, content.at)
    ahead = [(p.at, p.used) for p in (content.forecast.points if content.forecast else ()) if p.used is not None]
    if not points and not ahead:
        return None
    highest = max([calls for _, calls in points] + [used.high for _, used in ahead])
    drawn = layout(400)
    allowed = [(at, limit) for at, limit in limits(content, since) if highest >= limit * _LIMIT_IN_VIEW]
    traces = [*(_expected(ahead) if ahead else ()), *(_used(points) if points else ())]
    if allowed:
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "Limit",
                "x": [at_utc(at) for at, _ in allowed],
                "y": [limit for _, limit in allowed],
                "line": line("limit", "dash", 1.8) | {"shape": "hv"},
                "hovertemplate": "limit %{y:,}<extra></extra>",
            }
        )
    elif content.limit is not None:
        drawn["annotations"].append(note(f"limit {number(content.limit)}, above this picture", x=0, xanchor="left"))
    first = min(content.at - WINDOW, *(at for at, _ in points[:1])) if points else content.at - WINDOW
    drawn["hovermode"] = "x unified"
    drawn["xaxis"] |= {
        "type": "date",
        "range": [at_utc(first), at_utc(content.at + WINDOW)],
        "tickformat": "%a<br>%-d %b",
        "hoverformat": "%a %-d %b, %H:%M UTC",
        "tick0": "2026-01-05",
        "dtick": _DAY_MS,
    }
    drawn["yaxis"] |= {"range": scale(max(highest, *(limit for _, limit in allowed), 0))}
    drawn["shapes"].append(
        {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": line("ink", "dot", 1.2)}
        | dict.fromkeys(("x0", "x1"), at_utc(content.at))
    )
    drawn["annotations"].append(note("now", "ink", x=at_utc(content.at), xref="x"))
    return {"data": traces, "layout": drawn}


def _used(points: list[tuple[datetime, int]]) -> list[Figure]:
    known = curve_of_readings(points)
    return [
        {
            "type": "scatter",
            "mode": "lines+markers" if len(known) < _FEW else "lines",
            "name": "Used",
            "x": [at_utc(at) for at, _ in known],
            "y": [calls for _, calls in known],
            "line": line("readings"),
            "marker": {"size": 5},
            "connectgaps": False,
            "hovertemplate": "used %{y:,}<extra></extra>",
        }
    ]


def _expected(ahead: list[tuple[datetime, Range]]) -> list[Figure]:
    at = [at_utc(instant) for instant, _ in ahead]
    edge = {"type": "scatter", "mode": "lines", "x": at, "line": line("readings", width=0)}
    return [
        edge
        | {
            "y": [used.low for _, used in ahead],
            "showlegend": False,
            "hovertemplate": "1 in 20: below %{y:,}<extra></extra>",
        },
        edge
        | {
            "name": "Nine cases in ten",
            "y": [used.high for _, used in ahead],
            "fill": "tonexty",
            "fillcolor": "@band",
            "hovertemplate": "1 in 20: above %{y:,}<extra></extra>",
        },
        edge
        | {
            "name": "Expected",
            "y": [used.expected for _, used in ahead],
            "line": line("readings", "dot"),
            "hovertemplate": "expected %{y:,}<extra></extra>",
        },
    ]


def returns(content: ReportContent) -> Figure | None:
    """Draw how many calls of the window are back by each instant of the next 24 hours, at least and at most.

    :param content: of the report.
    :returns: ``None`` without a forecast, or if it knows no upper bound.
    """
    points = content.forecast.points if content.forecast else ()
    highs = [point.expired.high for point in points if point.expired.high is not None]
    if not highs:
        return None
    at = [at_utc(point.at) for point in points]
    trace = {"type": "scatter", "mode": "lines", "x": at}
    drawn = layout(320)
    drawn["hovermode"] = "x unified"
    drawn["xaxis"] |= {"type": "date", "tickformat": "%H:%M<br>%a", "hoverformat": "%a %-d %b, %H:%M UTC", "nticks": 7}
    drawn["yaxis"] |= {"range": scale(max(highs))}
    return {
        "data": [
            trace
            | {
                "name": "At least",
                "y": [point.expired.low for point in points],
                "line": line("logs"),
                "hovertemplate": "at least %{y:,}<extra></extra>",
            },
            trace
            | {
                "name": "At most",
                "y": [point.expired.high for point in points],
                "line": line("readings", "dash"),
                "fill": "tonexty",
                "fillcolor": "@band",
                "hovertemplate": "at most %{y:,}<extra></extra>",
            },
        ],
        "layout": drawn,
    }
