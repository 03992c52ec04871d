"""When alerts are kept quiet: at certain times of day, on certain weekdays, or until an instant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_apiusage.usage.arguments import instant

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Mute:
    """One time in which nobody is told.

    :param start: local time at which it begins; with ``end``, or neither for the whole day.
    :param end: local time at which it ends, on the next day if that is not after ``start``.
    :param weekdays: on which it begins, 0 for Monday; empty for every day.
    :param timezone: of ``start``, ``end`` and ``weekdays``.
    :param until: an instant: everything before it is muted, and the other fields do not matter.
    """

    start: time | None = None
    end: time | None = None
    weekdays: tuple[int, ...] = ()
    timezone: str = "UTC"
    until: datetime | None = None

    def covers(self, at: datetime) -> bool:
        """Tell whether an instant is muted. Times are those that a clock on the wall shows, also when it is changed.

        :param at: aware instant.
        """
        if self.until is not None:
            return at < self.until
        local = at.astimezone(ZoneInfo(self.timezone))
        clock, today = local.time(), local.weekday()
        if self.start is None or self.end is None:
            return self._begins_on(today)
        if self.start < self.end:
            return self.start <= clock < self.end and self._begins_on(today)
        yesterday = (local.date() - DAY).weekday()
        return (clock >= self.start and self._begins_on(today)) or (clock < self.end and self._begins_on(yesterday))

    def _begins_on(self, weekday: int) -> bool:
        return not self.weekdays or weekday in self.weekdays


def mute_between(start: str | time, end: str | time, *, weekdays: Iterable[str] = (), timezone: str = "UTC") -> Mute:
    """Mute a part of every day, or of some weekdays.

    :param start: local time such as ``"22:00"``.
    :param end: likewise; if it is not after ``start``, on the next day.
    :param weekdays: on which it begins, such as ``("sat", "sun")``; none for every day.
    :param timezone: IANA name such as ``"Europe/Paris"``.
    :raises ValueError: if a time, weekday or zone is none, or the two times are the same.
    """
    begins, ends = time_of_day("start", start), time_of_day("end", end)
    if begins == ends:
        raise ValueError(f"A mute from {begins:%H:%M} to {ends:%H:%M} is empty; for whole days use mute_on.")
    return Mute(begins, ends, _weekdays(weekdays), zone("timezone", timezone))


def mute_on(weekdays: Iterable[str], *, timezone: str = "UTC") -> Mute:
    """Mute whole days.

    :param weekdays: such as ``("sat", "sun")``.
    :param timezone: IANA name.
    :raises ValueError: if a weekday or the zone is none, or there is no weekday.
    """
    days = _weekdays(weekdays)
    if not days:
        raise ValueError("mute_on needs at least one weekday, such as ('sat', 'sun').")
    return Mute(weekdays=days, timezone=zone("timezone", timezone))


def mute_until(until: str | datetime) -> Mute:
    """Mute everything before an instant, such as the end of a migration.

    :param until: ISO text or ``datetime``; without a zone it is UTC.
    :raises ValueError: if it is no instant.
    """
    read = instant("until", until)
    if read is None:
        raise ValueError("mute_until needs an instant, such as 2026-10-07T14:30:00+00:00.")
    return Mute(until=read)


def mute_from_json(body: Mapping[str, Any]) -> Mute:
    """Return a mute from plain JSON: the arguments of one of the three functions above.

    :raises ValueError: if they fit none, or make no sense.
    """
    keys = set(body)
    try:
        if keys == {"until"}:
            return mute_until(body["until"])
        if {"start", "end"} <= keys:
            return mute_between(**body)
        return mute_on(**body)
    except TypeError:
        raise ValueError(
            f"A mute is {{'until'}}, {{'start', 'end'}} or {{'weekdays'}}, the last two with 'timezone' if wanted; "
            f"not {sorted(keys)}."
        ) from None


def muted(mutes: Iterable[Mute], at: datetime) -> bool:
    """Tell whether any of them covers an instant."""
    return any(mute.covers(at) for mute in mutes)


def time_of_day(field: str, value: str | time) -> time:
    """Read a local time.

    :param field: its name, for the message.
    :param value: ``"18:00"``, ``"18:00:30"``, or a ``time`` without a zone.
    :raises ValueError: if it is none.
    """
    try:
        read = time.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(read, time) and read.tzinfo is None:
            return read
    except ValueError:
        pass
    raise ValueError(f"{field}={value!r} is no time of day; write it like '18:00', and the zone as 'timezone'.")


def zone(field: str, name: str) -> str:
    """Check the name of a time zone, and return it.

    :param field: its name, for the message.
    :raises ValueError: if there is none of that name.
    """
    try:
        return ZoneInfo(name).key
    except (KeyError, ValueError, TypeError, OSError):
        raise ValueError(f"{field}={name!r} is no time zone; write it like 'Europe/Paris' or 'UTC'.") from None


def _weekdays(names: Iterable[str]) -> tuple[int, ...]:
    found = set()
    for name in [names] if isinstance(names, str) else names:
        short = str(name).strip().lower()[:3]
        if short not in WEEKDAYS:
            raise ValueError(f"{name!r} is no weekday; write one of {', '.join(WEEKDAYS)}.")
        found.add(WEEKDAYS.index(short))
    return tuple(sorted(found))
