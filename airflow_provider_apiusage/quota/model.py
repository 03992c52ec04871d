"""What a load asks of an org's allowance, and what the gate answers.

Leases (``requested_at``, ``granted_at``, ``held_until``) are told in our own clock, since they say whether one of
our processes is still there; a reading's ``observed_at`` and everything derived from the 24-hour window are the org's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from math import ceil

from airflow_provider_apiusage.usage.model import API_REQUESTS


@dataclass(frozen=True, slots=True, order=True)
class Holder:
    """Who asks: one task instance, whatever the try."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def __str__(self) -> str:
        suffix = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}{suffix}"


class OnUnknown(StrEnum):
    """What a gate does while nobody knows what is left."""

    WAIT = "wait"
    FAIL = "fail"
    ALLOW = "allow"


class LeaseState(StrEnum):
    """Where a request stands; ``waiting`` and ``granted`` are live, the others are history."""

    WAITING = "waiting"
    GRANTED = "granted"
    RELEASED = "released"
    LAPSED = "lapsed"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Reserve:
    """Calls that the policy never grants, kept for people and for what cannot wait.

    :param calls: absolute amounts by limit name.
    :param share: a share (0..1) of every limit asked for that has no absolute amount.
    """

    calls: Mapping[str, int] = field(default_factory=dict)
    share: float = 0.0

    def of(self, name: str, limit: int) -> int:
        """Return the reserve of one limit in calls, rounded up.

        :param name: Salesforce's limit name.
        :param limit: the allocation, in calls.
        """
        if name in self.calls:
            return self.calls[name]
        return ceil(limit * Fraction(str(self.share)))  # 7 % of 100,000 is 7,000, though 0.07 is a little more


@dataclass(frozen=True, slots=True)
class QuotaRequest:
    """What one load asks for: all of it or nothing.

    :param org_id: the 15-character id of the org.
    :param holder: who asks.
    :param needs: calls (or batches, jobs ...) by limit name, each at least 1.
    :param reserve: what must stay free beside them.
    :param lease: how long a grant holds unless it is released or renewed.
    :param max_age: how old a reading may be to grant on it.
    :param on_unknown: what to do while there is no such reading.
    :param requested_at: when it joined the queue (our clock); earlier goes first.
    :param priority: steps of head start in the queue, of two hours each; negative ones yield.
    :param estimate: what the needs were before earlier runs corrected them; ``None`` if nothing has.
    """

    org_id: str
    holder: Holder
    needs: Mapping[str, int]
    requested_at: datetime
    reserve: Reserve = field(default_factory=Reserve)
    lease: timedelta = timedelta(hours=2)
    max_age: timedelta = timedelta(minutes=15)
    on_unknown: OnUnknown = OnUnknown.WAIT
    priority: int = 0
    estimate: Mapping[str, int] | None = None

    @property
    def calls(self) -> int:
        """The need of ``DailyApiRequests``, the usual one; 0 if the request is about other limits only."""
        return self.needs.get(API_REQUESTS, 0)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a load was granted, until it is released or lapses.

    :param reservation_id: a random id, safe to show.
    :param needs: what is held, by limit name.
    :param granted_at: when (our clock).
    :param held_until: when it lapses unless renewed (our clock).
    """

    reservation_id: str
    org_id: str
    holder: Holder
    needs: Mapping[str, int]
    granted_at: datetime
    held_until: datetime


@dataclass(frozen=True, slots=True)
class LimitFigures:
    """The figures one decision was made from, for one limit.

    ``headroom = remaining - reserve - outstanding + expired - expected - margin - peak``; of the last four, those that
    are not known are left out, and are ``None``.

    :param expired: calls that have surely left the window since the reading.
    :param expected: calls that others are expected to have made since what the reading shows.
    :param margin: what a burst in that time may have added.
    :param peak: by how much the highest use forecast within 24 hours reaches into the part of the reserve that is kept
        even then.
    """

    name: str
    need: int
    limit: int | None = None
    remaining: int | None = None
    reserve: int | None = None
    outstanding: int | None = None
    headroom: int | None = None
    observed_at: datetime | None = None
    expired: int | None = None
    expected: int | None = None
    margin: int | None = None
    peak: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """The load may start; ``reservation`` is its part of the allowance."""

    reservation: Reservation
    reason: str
    figures: tuple[LimitFigures, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now.

    :param until: the earliest instant at which asking again can make sense (our clock).
    :param reason: why, in words, with the arithmetic.
    :param opens_at: the earliest instant at which enough can be free (the org's time), if the past tells it.
    :param look: whether a reading made now may well open the gate; ``None`` if no outlook tells.
    """

    until: datetime
    reason: str
    figures: tuple[LimitFigures, ...] = ()
    opens_at: datetime | None = None
    look: bool | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Never: the need cannot fit, or nothing is known and the user said to fail."""

    reason: str
    figures: tuple[LimitFigures, ...] = ()


Decision = Grant | Wait | Refuse
