"""The usage ledger: every call the org has served, and the true figures that follow from it.

Pure arithmetic on counts. Instants are aware datetimes outside and whole seconds since 1970 inside: a call made
at 12:36:07.9 is kept under 12:36:07.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from airflow_provider_apiusage.sandbox.tally import DAY, HOUR, Tally, window_start

#: How long single calls are kept: the seven-day report and late log files need a little more than a week.
KEPT_SECONDS = 10 * DAY


class Caller(NamedTuple):
    """Who made a call, with what, and whether it counts against the allocation."""

    user: str
    app: str = ""
    client: str = ""
    family: str = "REST"
    resource: str = ""
    method: str = ""
    entity: str = ""
    status: int = 200
    counted: bool = True
    logged: bool = True


class Calls(NamedTuple):
    """Calls alike, made in one second."""

    second: int
    caller: Caller
    number: int


@dataclass(frozen=True, slots=True)
class PeriodCount:
    """Calls of one caller in one period, which begins at ``start`` and is an hour or a UTC day long."""

    start: datetime
    caller: Caller
    count: int


@dataclass(frozen=True, slots=True)
class Expiry:
    """Used calls that leave the window at ``at``; ``cumulative`` includes those that left before."""

    at: datetime
    count: int
    cumulative: int


def to_second(instant: datetime) -> int:
    """Return whole seconds since 1970-01-01 UTC, rounded down.

    :raises ValueError: if ``instant`` is naive.
    """
    if instant.tzinfo is None:
        raise ValueError(f"an instant needs a time zone: {instant.isoformat()}")
    return (instant - _EPOCH) // timedelta(seconds=1)


def to_instant(second: int) -> datetime:
    """Return the UTC instant at which ``second`` begins."""
    return _EPOCH + timedelta(seconds=second)


class UsageLedger:
    """Counts calls and tells rolling, daily and hourly counts and the expiry curve. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._calls: dict[int, dict[Caller, int]] = {}
        self._hours: dict[int, dict[Caller, int]] = {}
        self._counted = Tally()
        self._newest = 0

    @property
    def total_counted(self) -> int:
        """All counted calls ever recorded."""
        return self._counted.total

    def record(self, at: datetime, caller: Caller, count: int = 1) -> None:
        """Record ``count`` calls made at ``at``.

        :raises ValueError: if ``count`` is negative or ``at`` is naive.
        """
        if count < 0:
            raise ValueError("a call cannot be unmade")
        if count == 0:
            return
        second = to_second(at)
        with self._lock:
            for period, calls in ((second, self._calls), (second // HOUR * HOUR, self._hours)):
                alike = calls.setdefault(period, {})
                alike[caller] = alike.get(caller, 0) + count
            if caller.counted:
                self._counted.add(second, count)
            if second >= self._newest + DAY:
                self._newest = second
                self._forget_before((second - KEPT_SECONDS) // DAY * DAY)

    def rolling(self, at: datetime, bucket: timedelta = timedelta(seconds=1)) -> int:
        """Return the counted calls in the window that ends at ``at``.

        :param bucket: granularity of expiry; one second is exact. See ``tally.window_start``.
        """
        second = to_second(at)
        with self._lock:
            return self._counted.between(window_start(second, _seconds(bucket)), second)

    def surely_below(self, at: datetime, ceiling: int, bucket: timedelta = timedelta(seconds=1)) -> bool:
        """Return True if a coarse bound already shows that fewer than ``ceiling`` calls are in the window."""
        second = to_second(at)
        with self._lock:
            return self._counted.at_most(window_start(second, _seconds(bucket)), second) < ceiling

    def rolling_by_app(self, at: datetime, app: str, bucket: timedelta = timedelta(seconds=1)) -> int:
        """Return the counted calls of one connected app in the window that ends at ``at``."""
        second = to_second(at)
        calls = self.between(window_start(second, _seconds(bucket)) + 1, second + 1)
        return sum(alike.number for alike in calls if alike.caller.app == app and alike.caller.counted)

    def expiry(self, at: datetime, horizon: timedelta, bucket: timedelta = timedelta(seconds=1)) -> list[Expiry]:
        """Return when the calls now in the window leave it, for departures in ``(at, at + horizon]``."""
        second, size = to_second(at), _seconds(bucket)
        until = second + _seconds(horizon)
        with self._lock:
            leaving = self._counted.seconds(window_start(second, size), min(second, window_start(until, size)))
        by_departure: dict[int, int] = {}
        for made, count in leaving:
            departure = -(-made // size) * size + DAY
            by_departure[departure] = by_departure.get(departure, 0) + count
        curve, cumulative = [], 0
        for departure, count in sorted(by_departure.items()):
            cumulative += count
            curve.append(Expiry(to_instant(departure), count, cumulative))
        return curve

    def hourly(self) -> list[PeriodCount]:
        """Return the counts by UTC hour and caller, in order of time."""
        with self._lock:
            return [
                PeriodCount(to_instant(hour), caller, count)
                for hour, alike in sorted(self._hours.items())
                for caller, count in sorted(alike.items())
            ]

    def daily(self) -> list[PeriodCount]:
        """Return the counts by UTC day and caller, in order of time."""
        days: dict[tuple[int, Caller], int] = {}
        with self._lock:
            for hour, alike in self._hours.items():
                for caller, count in alike.items():
                    key = hour // DAY * DAY, caller
                    days[key] = days.get(key, 0) + count
        return [PeriodCount(to_instant(day), caller, days[day, caller]) for day, caller in sorted(days)]

    def day_total(self, day: date, family: str | None = None) -> int:
        """Return the counted calls of one UTC day, of one API family or of all."""
        return sum(
            period.count
            for period in self.daily()
            if period.start.date() == day and period.caller.counted and family in (None, period.caller.family)
        )

    def hours_with_logged_calls(self) -> list[int]:
        """Return the start second of every UTC hour that has calls which event logs show, in order."""
        with self._lock:
            return sorted(hour for hour, alike in self._hours.items() if any(caller.logged for caller in alike))

    def calls_in_hours(self, start: int, end: int) -> int:
        """Return all calls, counted or not, of the whole hours in ``[start, end)``."""
        with self._lock:
            return sum(sum(self._hours.get(hour, {}).values()) for hour in range(start, end, HOUR))

    def between(self, start: int, end: int) -> Iterator[Calls]:
        """Yield the calls made in ``[start, end)``, in order of second and caller."""
        with self._lock:
            if end - start < len(self._calls):
                seconds = [second for second in range(start, end) if second in self._calls]
            else:
                seconds = sorted(second for second in self._calls if start <= second < end)
            rows = [
                Calls(second, caller, count)
                for second in seconds
                for caller, count in sorted(self._calls[second].items())
            ]
        yield from rows

    def _forget_before(self, second: int) -> None:
        self._counted.forget_before(second)
        for periods in (self._calls, self._hours):
            for period in [period for period in periods if period < second]:
                del periods[period]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _seconds(duration: timedelta) -> int:
    return max(1, duration // timedelta(seconds=1))
