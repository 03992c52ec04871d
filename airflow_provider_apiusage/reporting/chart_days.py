"""Charts of days: the bridge, and the week."""

from __future__ import annotations

from itertools import pairwise

from airflow_provider_apiusage.reporting.bridge import Part, Step, steps
from airflow_provider_apiusage.reporting.chart_parts import Figure, layout, line, marker, scale, whiskers
from airflow_provider_apiusage.reporting.content import ReportContent
from airflow_provider_apiusage.reporting.words import MONTHS, bounds, number, weekday
from airflow_provider_apiusage.usage.day_line import DayLine
from airflow_provider_apiusage.usage.model import Interval

_PARTS = {
    Part.TAIL: ("readings", "/"),
    Part.TODAY: ("readings", ""),
    Part.REST: ("report", "."),
    Part.ROLLING: ("together", ""),
}
_SOURCES = (
    ("report", "Daily report", "/"),
    ("readings", "Readings", ""),
    ("logs", "Event logs", "."),
    ("together", "All together", "x"),
)
"""Colour, name and pattern of what sees a day."""

_HALF_BAR = 0.25


def bridge(content: ReportContent) -> Figure | None:
    """Draw the sum as steps; without a part of it only the whole, and nothing without that.

    :param content: of the report.
    """
    every = steps(content)
    known = every if all(step.calls is not None for step in every) else every[-1:]
    if known[-1].calls is None:
        return None
    starts = _starts(known)
    ends = [start + (step.calls or 0) for start, step in zip(starts, known, strict=True)]
    reach = [start + _most(step) for start, step in zip(starts, known, strict=True)]
    drawn = layout(360)
    drawn["bargap"] = 1 - 2 * _HALF_BAR
    drawn["xaxis"] |= {"type": "category", "showgrid": False}
    drawn["yaxis"] |= {"range": scale(max(reach), min(0, *ends, *starts))}
    drawn["shapes"] = [
        {
            "type": "line",
            "x0": index + _HALF_BAR,
            "x1": index + 1 - _HALF_BAR,
            "y0": ends[index],
            "y1": ends[index],
            "line": line("muted", "dot", 1),
        }
        for index, _ in enumerate(pairwise(known))
    ]
    return {"data": [_step(*each, content) for each in zip(known, starts, strict=True)], "layout": drawn}


def _starts(known: tuple[Step, ...]) -> list[int]:
    """Return the height at which each step begins; the sum begins at 0."""
    starts, height = [], 0
    for step in known:
        starts.append(0 if step.part is Part.ROLLING else height)
        height += step.calls or 0
    return starts


def _most(step: Step) -> int:
    """Return how far a step reaches, its whisker included."""
    high = None if step.allowed is None else step.allowed.high
    return max(step.calls or 0, high or 0)


def _step(step: Step, start: int, content: ReportContent) -> Figure:
    calls, allowed = step.calls or 0, step.allowed
    up = down = 0
    if allowed is not None and allowed.high is not None:
        up, down = max(0, allowed.high - calls), max(0, calls - allowed.low)
    return {
        "type": "bar",
        "x": [f"<b>{number(step.calls)}</b><br>{_label(step.part, content)}"],
        "y": [calls],
        "base": [start],
        "marker": marker(*_PARTS[step.part]),
        "error_y": whiskers([up], [down]),
        "hovertemplate": f"{step.label}: {calls:,}<br>the evidence allows {bounds(allowed)}<extra></extra>",
        "showlegend": False,
    }


def _label(part: Part, content: ReportContent) -> str:
    return {
        Part.TAIL: f"{weekday(content.yesterday)}<br>in window",
        Part.TODAY: f"{weekday(content.today)}<br>so far",
        Part.REST: "not in<br>daily counts",
        Part.ROLLING: "last<br>24 hours",
    }[part]


def week(days: tuple[DayLine, ...]) -> Figure | None:
    """Draw each day as each source sees it: what is sure as a bar, what is possible as a whisker.

    :param days: the day lines, oldest first.
    :returns: ``None`` if no source sees anything.
    """
    reach = [max(each.low, each.high or 0) for day in days for source, *_ in _SOURCES if (each := _seen(day, source))]
    if not reach:
        return None
    labels = [f"{weekday(each.day)[:3]}<br>{each.day.day} {MONTHS[each.day.month - 1]}" for each in days]
    traces: list[Figure] = []
    for source, name, pattern in _SOURCES:
        seen = [_seen(each, source) for each in days]
        more = [0 if each is None or each.high is None else each.high - each.low for each in seen]
        here = {"x": labels, "offsetgroup": source}
        bars = {
            "type": "bar",
            "name": name,
            "y": [None if each is None else each.low for each in seen],
            "marker": marker(source, pattern),
            "error_y": whiskers(more, [0] * len(more)),
            "customdata": [bounds(each) for each in seen],
            "hovertemplate": f"{name}: %{{customdata}}<extra></extra>",
        }
        sign = {"type": "scatter", "hoverinfo": "skip", "showlegend": False}
        open_ended = {
            "mode": "markers",
            "y": [None if each is None or each.high is not None else each.low for each in seen],
            "marker": {"symbol": "triangle-up-open", "size": 9, "color": f"@{source}", "line": {"width": 1.8}},
        }
        unknown = {
            "mode": "text",
            "y": [0 if each is None else None for each in seen],
            "text": ["?"] * len(seen),
            "textposition": "top center",
            "textfont": {"color": f"@{source}"},
        }
        traces += [here | bars, here | sign | open_ended, here | sign | unknown]
    drawn = layout(400)
    drawn |= {"barmode": "group", "scattermode": "group", "bargap": 0.22, "bargroupgap": 0.08, "hovermode": "x unified"}
    drawn["xaxis"] |= {"type": "category", "showgrid": False}
    drawn["yaxis"] |= {"range": scale(max(reach))}
    return {"data": traces, "layout": drawn}


def _seen(day: DayLine, source: str) -> Interval | None:
    """Return what a source sees of a day; ``None`` if that is nothing."""
    if source == "report":
        return None if day.report is None else Interval(day.report, day.report)
    seen = {"readings": day.by_readings, "logs": day.by_logs, "together": day.calls}[source]
    return None if seen == Interval(0) else seen
