"""The nouns of a forecast, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from airflow_provider_apiusage.usage.model import Finding, Interval


class Basis(StrEnum):
    """What the expected calls of others are made from."""

    SLOTS = "slots"
    """The same time of day on earlier days."""
    RATE = "rate"
    """The mean rate of what little is known: the last day or less."""
    NOTHING = "nothing"
    """Nothing is known: no calls are forecast, which is not zero calls."""


@dataclass(frozen=True, slots=True)
class Range:
    """A forecast of a number of calls.

    :param low: 5 % quantile: fewer are expected in one case of twenty.
    :param expected: median.
    :param high: 95 % quantile; from ``low`` to ``high`` holds in nine cases of ten.
    """

    low: int
    expected: int
    high: int


@dataclass(frozen=True, slots=True)
class ForecastPoint:
    """One instant of the next 24 hours.

    :param at: the org's instant.
    :param expired: bounds of the calls inside the window at the forecast's instant that have left it by then.
    :param new: counted calls made since the forecast's instant; ``None`` if nothing is known.
    :param used: calls in the window then; ``None`` if nothing is known.
    """

    at: datetime
    expired: Interval
    new: Range | None
    used: Range | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will be used in the next 24 hours.

    :param org_id: the 15-character id of the org.
    :param at: the org's instant from which it looks ahead.
    :param limit: the allocation as last reported; ``None`` if unknown.
    :param used: bounds of the calls in the window at ``at``.
    :param points: every 15 minutes, ``at`` and ``at + 24 h`` included.
    :param basis: what the expected calls are made from.
    :param history: how much of the past they are made from.
    :param findings: what is missing or odd, in words.
    """

    org_id: str
    at: datetime
    limit: int | None
    used: Interval
    points: tuple[ForecastPoint, ...]
    basis: Basis
    history: timedelta
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class FreeAt:
    """When a number of calls is free (``limit - used`` at least that many, after what is kept back).

    :param calls: how many.
    :param earliest_at: not before this instant, whatever others do: the expiry curve alone.
    :param expected_at: as expected; ``None`` if not within 24 hours or not known.
    :param likely_at: with 90 % confidence; ``None`` if not within 24 hours or not known.
    """

    calls: int
    earliest_at: datetime | None
    expected_at: datetime | None
    likely_at: datetime | None
