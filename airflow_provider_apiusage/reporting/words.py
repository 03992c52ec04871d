"""Figures and instants in words, the same in every report. An unknown is the word, never 0."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from unicodedata import category

from airflow_provider_apiusage.usage.model import Interval

UNKNOWN = "unknown"

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
"""Names that do not depend on the worker's locale."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_REPLACED = "\N{REPLACEMENT CHARACTER}"
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Formatting characters that names are written with; others only turn text around or hide it."""

_LONGEST_NAME = 80


def number(calls: int | None) -> str:
    """Return a number of calls: ``1,200`` or ``unknown``."""
    return UNKNOWN if calls is None else f"{calls:,}"


def bounds(interval: Interval | None) -> str:
    """Return bounds: ``1,200``, ``1,200 to 3,400``, ``at least 1,200``, or ``unknown`` where they say nothing."""
    if interval is None or (interval.low == 0 and interval.high is None):
        return UNKNOWN
    if interval.high is None:
        return f"at least {interval.low:,}"
    return f"{interval.low:,}" if interval.exact else f"{interval.low:,} to {interval.high:,}"


def percent(part: float) -> str:
    """Return a share as ``25.0%``."""
    return f"{part:.1%}"


def weekday(day: date) -> str:
    """Return ``Wednesday``."""
    return WEEKDAYS[day.weekday()]


def long_day(day: date) -> str:
    """Return ``Wednesday 2026-10-07``."""
    return f"{weekday(day)} {day.isoformat()}"


def clock(at: datetime) -> str:
    """Return the time of day in UTC, with seconds only if there are any: ``14:30``."""
    utc = at.astimezone(UTC)
    return f"{utc:%H:%M:%S}" if utc.second else f"{utc:%H:%M}"


def moment(at: datetime | None) -> str:
    """Return ``Wednesday 2026-10-07 14:30 UTC``, or ``unknown``."""
    return UNKNOWN if at is None else f"{long_day(at.astimezone(UTC).date())} {clock(at)} UTC"


def short_moment(at: datetime | None) -> str:
    """Return ``Wed 14:30``, for instants near to one that is told in full; or ``unknown``."""
    return UNKNOWN if at is None else f"{weekday(at.astimezone(UTC).date())[:3]} {clock(at)}"


def span(duration: timedelta) -> str:
    """Return a duration in days or hours, whichever says it best."""
    hours = duration // timedelta(hours=1)
    if hours >= 48:
        return f"{hours // 24:,} days"
    return "1 hour" if hours == 1 else f"{hours:,} hours"


def counted(amount: int, what: str) -> str:
    """Return ``1 error`` or ``2 errors``."""
    return f"{amount:,} {what}" if amount == 1 else f"{amount:,} {what}s"


def clean(text: str, *, most: int | None = _LONGEST_NAME) -> str:
    """Return words of the org on one line, without what is not seen or turns text around.

    Line breaks and tabs become blanks; control characters, halves of surrogates, formatting characters and what is
    no character become a replacement sign, so that a reader sees that something was there.

    :param text: any.
    :param most: characters kept, then an ellipsis; ``None`` for all.
    """
    # The separators of lines and paragraphs are among what split() takes for blanks.
    line = " ".join("".join(" " if c.isspace() else _seen(c) for c in text).split())
    return line if most is None or len(line) <= most else f"{line[: most - 1].rstrip()}…"


def _seen(character: str) -> str:
    kind = category(character)
    hidden = kind in ("Cc", "Cs") or (kind == "Cf" and character not in _JOINERS)
    code = ord(character)
    nobody = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return _REPLACED if hidden or nobody else character
