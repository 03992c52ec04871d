"""A pause inside a long load, while the org has few calls left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_apiusage.gate import PASSING
from airflow_provider_apiusage.quota.arguments import duration_from, reserve_from
from airflow_provider_apiusage.quota.checkpoint import Marks, Pause, Step, step
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading

if TYPE_CHECKING:
    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

LOOK_EVERY = timedelta(seconds=30)
"""How often a load that waits looks at what others have told the store."""


def pause_while_low(
    hook: ApiUsageHook,
    low: int | float | str,
    high: int | float | str,
    patience: timedelta | float,
    sleep: Callable[[float], None],
) -> Pause:
    """Wait while little is left; see ``ApiUsageHook.checkpoint``.

    :param hook: of the org.
    :param sleep: how to wait, in seconds.
    """
    longest = duration_from("patience", patience)
    now = hook._session.now
    watch = _Watch(hook)
    began, waited = now(), None
    while True:
        reading = watch.latest(flush=waited is None)
        marks = None if reading is None or reading.limit is None else _marks(low, high, reading.limit)
        remaining = None if reading is None else _remaining(reading)
        done = waited or timedelta(0)
        what = step(remaining, watch.age(now()), marks, waited=waited, patience=longest)
        if what is Step.GO:
            if waited is not None:
                hook.log.info("The load goes on after %s: %s calls are left.", done, _count(remaining))
            return Pause(done, remaining)
        if what is Step.GIVE_UP:
            hook.log.warning(
                "The load goes on after %s, though %s calls are left: its patience is at an end.",
                done,
                _count(remaining),
            )
            return Pause(done, remaining, timed_out=True)
        if waited is None and marks is not None:
            hook.log.info(
                "The load pauses: %s calls are left, fewer than %s. It goes on when %s are left, or after %s.",
                _count(remaining),
                _count(marks.low),
                _count(marks.high),
                longest,
            )
        if what is Step.ASK:
            watch.ask(now())
        else:
            sleep(min(LOOK_EVERY, longest - done).total_seconds())
        waited = now() - began


class _Watch:
    """What is known of the calls that are left: what the store has been told, and what was asked for here."""

    def __init__(self, hook: ApiUsageHook) -> None:
        self._hook = hook
        self._latest: LimitReading | None = None
        self._asked_at: datetime | None = None
        self._warned = False

    def latest(self, *, flush: bool) -> LimitReading | None:
        """Return the latest reading, of whoever told it.

        :param flush: whether what this load's own answers said is to be kept first.
        """
        from airflow_provider_apiusage.store.errors import StoreError

        hook = self._hook
        try:
            if flush and hook._readings is not None:
                hook._readings.flush()
            told = hook.store.latest_reading(hook.get_org_id())
        except StoreError as away:
            told = None
            if not self._warned:
                hook.log.warning("What others have told of the calls left cannot be looked up. %s", away)
            self._warned = True
        known = [reading for reading in (self._latest, told) if reading is not None]
        self._latest = max(known, key=lambda reading: (reading.observed_at, reading.received_at), default=None)
        return self._latest

    def age(self, now: datetime) -> timedelta | None:
        """Return how long ago something was told, or asked in vain."""
        told = None if self._latest is None else self._latest.received_at
        known = [instant for instant in (told, self._asked_at) if instant is not None]
        return now - max(known) if known else None

    def ask(self, now: datetime) -> None:
        """Read the limits; an org that cannot be read now is asked again later."""
        from airflow_provider_apiusage.store.errors import StoreError

        self._asked_at = now
        try:
            readings = self._hook._read_limits()
            self._latest = next((r for r in readings if r.name == API_REQUESTS and not r.scope), self._latest)
            self._hook.store.add_readings(readings)
        except PASSING as away:
            self._hook.log.info("The org cannot be asked what is left. %s", away)
        except StoreError:
            pass  # told already, when it was looked into


def _marks(low: int | float | str, high: int | float | str, limit: int) -> Marks:
    needs = {API_REQUESTS: 1}
    return Marks(*(reserve_from(mark, needs=needs).of(API_REQUESTS, limit) for mark in (low, high)))


def _remaining(reading: LimitReading) -> int | None:
    if reading.remaining is not None or reading.limit is None or reading.used is None:
        return reading.remaining
    return reading.limit - reading.used


def _count(number: int | None) -> str:
    return "an unknown number of" if number is None else f"{number:,}"
