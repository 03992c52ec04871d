"""Colours of the HTML report, in light and dark.

Text has a contrast of 4.5 to its ground at least, lines and bars one of 3 (WCAG 2.2, AA). The hues are blue, orange,
green and violet, which readers with any of the common colour deficiencies tell apart by lightness too; bars differ by
pattern as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LIGHT: Mapping[str, str] = MappingProxyType(
    {
        "page": "#f5f7fa",
        "card": "#ffffff",
        "ink": "#1a2028",
        "muted": "#525d69",
        "line": "#d5dce4",
        "readings": "#1b5fa8",
        "report": "#b4540a",
        "logs": "#0a7461",
        "together": "#6b3fa0",
        "limit": "#b3261e",
        "band": "rgba(27, 95, 168, 0.18)",
        "good": "#0a6b4b",
        "good-ground": "#e3f4ec",
        "warn": "#7d4600",
        "warn-ground": "#fdf0d9",
        "bad": "#a11d17",
        "bad-ground": "#fce8e6",
        "note": "#1b4f8a",
        "note-ground": "#e6f0fb",
    }
)

DARK: Mapping[str, str] = MappingProxyType(
    {
        "page": "#0e1319",
        "card": "#171e26",
        "ink": "#e8edf2",
        "muted": "#a3afbb",
        "line": "#323c47",
        "readings": "#6fb3f5",
        "report": "#f2a156",
        "logs": "#4bcdb0",
        "together": "#c3a0f0",
        "limit": "#ff8a80",
        "band": "rgba(111, 179, 245, 0.22)",
        "good": "#6fdcae",
        "good-ground": "#12312a",
        "warn": "#f6c579",
        "warn-ground": "#38290f",
        "bad": "#ffa69e",
        "bad-ground": "#411a18",
        "note": "#9ccbfb",
        "note-ground": "#14293f",
    }
)


def variables(palette: Mapping[str, str]) -> str:
    """Return a palette as declarations of CSS variables."""
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items())
