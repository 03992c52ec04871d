"""Text of an exported report in its many local forms: bytes into text, text into days and counts."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from airflow_provider_apiusage.salesforce.usage_columns import OLDEST_DAY

_ASIDE = " \u00a0\u202f"
_GROUPED = rf"[0-9]{{1,3}}(?P<mark>[{_ASIDE},.'\u2019])[0-9]{{3}}(?:(?P=mark)[0-9]{{3}})*"
_INDIAN = r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}"
_CALLS = re.compile(rf"(?P<whole>{_GROUPED}|{_INDIAN}|[0-9]{{1,18}})(?:[.,]0{{1,2}})?")
# The time of day, if there is one, follows a blank, a comma or a T and is not looked at.
_DAY = re.compile(r"(\d{1,4})\s?([./-])\s?(\d{1,2})\s?\2\s?(\d{1,4})\.?(?:[ T,].*)?", re.ASCII | re.DOTALL)


def decode(content: bytes) -> tuple[str, bool]:
    """Return the text of a file, and whether its encoding was guessed.

    A byte order mark decides; then UTF-8, if the bytes are valid; then UTF-16 without a mark, told by its
    zero bytes; then Windows-1252, which is what spreadsheets in western languages write (Latin-1 for bytes it
    lacks).
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace"), False
    half = len(content[:400]) // 2
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if half and content[start:400:2].count(0) > half // 2:
            return content.decode(encoding, errors="replace"), True
    try:
        return content.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        pass
    try:
        return content.decode("cp1252"), True
    except UnicodeDecodeError:
        return content.decode("latin-1"), True


def calls_of(text: str) -> int | None:
    """Return a count written as ``20000``, ``20,000``, ``20.000``, ``20 000``, ``20'000`` or ``20000.00``.

    A mark before exactly three digits groups thousands, since a count has no fraction.

    :return: ``None`` for anything else, negative numbers and blanks included.
    """
    match = _CALLS.fullmatch(text.strip())
    return None if match is None else int(re.sub(r"[^0-9]", "", match["whole"]))


def is_day(text: str, date_format: str | None = None) -> bool:
    """Return whether a cell holds a date: of digits in whatever order, or of the given format."""
    if date_format is not None:
        return _formatted(text.strip(), date_format) is not None
    match = _DAY.fullmatch(text.strip())
    return match is not None and any(order(match) is not None for order in _ORDERS.values())


def _date(year: str, month: str, day: str) -> date | None:
    if len(year) not in (2, 4):
        return None
    try:
        return date(int(year) + (2000 if len(year) == 2 else 0), int(month), int(day))
    except ValueError:
        return None


def _year_first(match: re.Match[str]) -> date | None:
    return _date(match[1], match[3], match[4])


def _day_first(match: re.Match[str]) -> date | None:
    return _date(match[4], match[3], match[1]) if len(match[1]) <= 2 else None


def _month_first(match: re.Match[str]) -> date | None:
    # No locale writes the month first with points: 10.07.2026 is a day in July.
    return _date(match[4], match[1], match[3]) if len(match[1]) <= 2 and match[2] != "." else None


_ORDERS: dict[str, Callable[[re.Match[str]], date | None]] = {
    "year first": _year_first,
    "day first": _day_first,
    "month first": _month_first,
}


@dataclass(frozen=True, slots=True)
class Days:
    """The days of a column.

    :param days: one per cell, ``None`` where unreadable; none if the order is ambiguous.
    :param ambiguous: a cell that can be read in several ways, and these; ``None`` if the order is known.
    """

    days: tuple[date | None, ...]
    ambiguous: tuple[str, tuple[date, ...]] | None = None


def days_of(texts: Sequence[str], today: date, date_format: str | None = None) -> Days:
    """Read a column of days, all in one order of day, month and year.

    The order is the one that reads the most texts (a 13 or more is no month) and, among several, the one
    whose days all lie in the week up to ``today``, which is all the report can have.

    :param texts: the cells.
    :param today: the UTC day on which the report was exported.
    :param date_format: ``strptime`` format; then nothing is guessed. A time of day after it is not looked at.
    """
    if date_format is not None:
        return Days(tuple(_formatted(text.strip(), date_format) for text in texts))
    matches = [_DAY.fullmatch(text.strip()) for text in texts]
    readings = [tuple(order(m) if m is not None else None for m in matches) for order in _ORDERS.values()]
    most = max(sum(day is not None for day in reading) for reading in readings)
    best = [reading for reading in dict.fromkeys(readings) if sum(day is not None for day in reading) == most]
    if len(best) > 1:
        best = [reading for reading in best if _possible(reading, today)] or best
    if len(best) == 1:
        return Days(best[0])
    cells = zip(texts, *best, strict=True)
    text, *read = next(cell for cell in cells if len(set(cell[1:])) > 1)
    return Days((), (text, tuple(day for day in read if isinstance(day, date))))


def _possible(days: Sequence[date | None], today: date) -> bool:
    return all(today - OLDEST_DAY <= day <= today + timedelta(days=1) for day in days if day is not None)


def _formatted(text: str, date_format: str) -> date | None:
    words = text.split()
    without_time = (" ".join(words[:end]).rstrip(",") for end in range(len(words) - 1, 0, -1))
    for candidate in (text, *without_time, text.partition("T")[0]):
        try:
            return datetime.strptime(candidate, date_format).date()  # noqa: DTZ007 - only the day is kept
        except ValueError:
            continue
    return None
