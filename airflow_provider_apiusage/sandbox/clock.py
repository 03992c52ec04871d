"""The clock of the sandbox org: every date the org ever tells comes from here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class VirtualClock:
    """A UTC clock that can stand still, run at real speed, or run faster.

    :param start: the instant shown at the beginning; aware.
    :param speed: virtual seconds per real second. ``0`` stands still until advanced, ``1`` is real speed.
    :param monotonic: source of real seconds; replaced in tests.
    :raises ValueError: if ``start`` is naive or ``speed`` is negative.
    """

    def __init__(self, start: datetime, speed: float = 0.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._monotonic = monotonic
        self._shown = _aware(start)
        self._since = monotonic()
        self._speed = _speed(speed)

    @property
    def speed(self) -> float:
        """Virtual seconds per real second."""
        return self._speed

    def now(self) -> datetime:
        """Return the instant shown, in UTC."""
        with self._lock:
            return self._read()

    def advance(self, step: timedelta) -> datetime:
        """Move forward by ``step`` and return the new instant.

        :raises ValueError: if ``step`` is negative; calls already counted cannot be unmade.
        """
        if step < timedelta(0):
            raise ValueError("the clock only goes forward")
        with self._lock:
            self._rebase(self._read() + step)
            return self._shown

    def set(self, instant: datetime) -> datetime:
        """Move forward to ``instant`` and return it.

        :raises ValueError: if ``instant`` is naive or earlier than the instant shown.
        """
        wanted = _aware(instant)
        with self._lock:
            if wanted < self._read():
                raise ValueError("the clock only goes forward")
            self._rebase(wanted)
            return self._shown

    def set_speed(self, speed: float) -> None:
        """Run at ``speed`` virtual seconds per real second from now on.

        :raises ValueError: if ``speed`` is negative.
        """
        checked = _speed(speed)
        with self._lock:
            self._rebase(self._read())
            self._speed = checked

    def _read(self) -> datetime:
        if self._speed == 0:
            return self._shown
        return self._shown + timedelta(seconds=(self._monotonic() - self._since) * self._speed)

    def _rebase(self, instant: datetime) -> None:
        self._shown = instant
        self._since = self._monotonic()


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"an instant needs a time zone: {instant.isoformat()}")
    return instant.astimezone(UTC)


def _speed(speed: float) -> float:
    if not speed >= 0:
        raise ValueError(f"speed must not be negative: {speed}")
    return float(speed)
