"""What all charts have in common."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

Figure = dict[str, Any]
"""A part of a Plotly figure, JSON-safe."""


_ROOM = 1.08


def layout(height: int) -> Figure:
    """Return a layout in the page's colours that a finger on it does not move.

    :param height: in pixels; the page gives the width.
    """
    axis = {"fixedrange": True, "gridcolor": "@line", "linecolor": "@line", "zerolinecolor": "@line", "ticks": ""}
    axis |= {"automargin": True, "tickangle": 0}
    return {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 24, "b": 8},
        "paper_bgcolor": "@card",
        "plot_bgcolor": "@card",
        "font": {"color": "@ink", "family": "system-ui, sans-serif", "size": 13},
        "hoverlabel": {"bgcolor": "@card", "bordercolor": "@muted", "font": {"color": "@ink"}},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.18, "yanchor": "top"},
        "dragmode": False,
        "separators": ".,",
        "annotations": [],
        "shapes": [],
        "xaxis": dict(axis),
        "yaxis": axis | {"tickformat": "~s", "nticks": 6},
    }


def marker(colour: str, pattern: str) -> Figure:
    """Return the look of a bar: colour and pattern, so that either tells it apart."""
    look: Figure = {"color": f"@{colour}", "line": {"color": f"@{colour}", "width": 1}}
    if pattern:
        look["pattern"] = {"shape": pattern, "fillmode": "overlay", "fgcolor": "@card", "size": 6, "solidity": 0.25}
    return look


def whiskers(up: Sequence[int], down: Sequence[int]) -> Figure:
    """Return error bars: how much more, and how much less, is possible. Where nothing is, none are drawn."""
    if not any(up) and not any(down):
        return {"visible": False}
    return {
        "type": "data",
        "symmetric": False,
        "array": list(up),
        "arrayminus": list(down),
        "color": "@ink",
        "thickness": 2.5,
        "width": 0,
    }


def scale(highest: int, lowest: int = 0) -> list[float]:
    """Return the range of an axis of calls, with some room; never so short that a mark would be part of a call."""
    return [lowest * _ROOM, max(5, highest) * _ROOM]


def line(colour: str, dash: str = "solid", width: float = 2.2) -> Figure:
    """Return the look of a line."""
    return {"color": f"@{colour}", "dash": dash, "width": width}


def note(text: str, colour: str = "muted", **place: Any) -> Figure:
    """Return words above the drawing.

    :param place: ``x``, and whatever else Plotly knows of an annotation.
    """
    return {
        "text": text,
        "y": 1,
        "xref": "paper",
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"color": f"@{colour}"},
        **place,
    }


def at_utc(instant: datetime) -> str:
    """Return an instant as Plotly reads it: it knows no zones."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
