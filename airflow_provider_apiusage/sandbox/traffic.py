"""Calls of others: seeded traffic by users, connected apps and API families."""

from __future__ import annotations

import random
from dataclasses import dataclass

from airflow_provider_apiusage.sandbox.identity import APPS, USERS
from airflow_provider_apiusage.sandbox.ledger import Caller, Calls, to_instant
from airflow_provider_apiusage.sandbox.tally import HOUR

#: Share of an average weekday's calls that falls into each UTC hour, times 24.
_HOUR_WEIGHTS = (
    0.5, 0.4, 1.6, 1.6, 0.6, 0.5, 0.6, 0.8, 1.2, 1.5, 1.6, 1.5,
    1.3, 1.5, 1.6, 1.6, 1.5, 1.2, 0.9, 0.7, 0.6, 0.5, 0.5, 0.5,
)  # fmt: skip
_MEAN_WEIGHT = sum(_HOUR_WEIGHTS) / 24
_WEEKEND_FACTOR = 0.35
_BURSTS_PER_HOUR = 60


@dataclass(frozen=True, slots=True)
class Source:
    """A program or person that makes a share of the org's calls."""

    share: float
    caller: Caller


def _source(share: float, user: int, app: int | None, client: str, *call: str, counted: bool = True) -> Source:
    family, resource, method, entity = call
    return Source(
        share,
        Caller(
            USERS[user].id,
            "" if app is None else APPS[app].id,
            client,
            family,
            resource,
            method,
            entity,
            counted=counted,
        ),
    )


SOURCES = (
    _source(0.24, 1, 1, "nightly-elt", "REST", "/v67.0/query", "GET", "Account"),
    _source(0.12, 1, 1, "nightly-elt", "REST", "/v67.0/query", "GET", "Opportunity"),
    _source(0.08, 1, 1, "nightly-elt", "REST", "/v67.0/sobjects/Account/describe", "GET", "Account"),
    _source(0.16, 3, 3, "marketing-sync", "REST", "/v64.0/sobjects/Lead", "PATCH", "Lead"),
    _source(0.08, 3, 3, "marketing-sync", "REST", "/v64.0/composite/sobjects", "POST", "Lead"),
    _source(0.10, 4, None, "support-desk", "SOAP", "query", "", "Case"),
    _source(0.08, 4, None, "support-desk", "SOAP", "update", "", "Case"),
    _source(0.06, 2, None, "", "SOAP", "queryMore", "", "Opportunity"),
    _source(0.05, 1, 2, "dataloader", "Bulk", "/v62.0/job/batch", "POST", "Contact"),
    _source(0.02, 1, 2, "dataloader", "Bulk", "/v62.0/job/batch", "GET", "Contact"),
    _source(0.007, 4, None, "support-desk", "SOAP", "login", "", "", counted=False),
    _source(0.003, 2, None, "", "REST", "/services/data", "GET", "", counted=False),
)


def hour_of_calls(seed: int, hour: int, calls_per_day: int) -> list[Calls]:
    """Return the calls others make in one UTC hour, in order of time.

    The same arguments give the same calls, however the clock got there.

    :param seed: the org's seed.
    :param hour: first second of the hour, since 1970.
    :param calls_per_day: counted calls on an average weekday; weekends have about a third.
    """
    if calls_per_day <= 0:
        return []
    chance = random.Random(f"{seed}/{hour}")  # noqa: S311 (traffic, not secrets)
    start = to_instant(hour)
    pace = calls_per_day * _HOUR_WEIGHTS[start.hour] / _MEAN_WEIGHT / 24
    if start.weekday() >= 5:
        pace *= _WEEKEND_FACTOR
    calls = []
    for source in SOURCES:
        count = int(pace * source.share * chance.uniform(0.8, 1.2) + chance.random())
        bursts = min(count, _BURSTS_PER_HOUR)
        for number, second in enumerate(sorted(chance.sample(range(HOUR), bursts))):
            share = count * (number + 1) // bursts - count * number // bursts
            calls.append(Calls(hour + second, source.caller, share))
    return sorted(calls)


class Traffic:
    """The calls of others that are due, as the clock goes on.

    :param seed: the org's seed.
    :param since: second after which calls are made.
    """

    def __init__(self, seed: int, since: int) -> None:
        self._seed = seed
        self._until = since
        self._cached: tuple[int, int] = (-1, 0)
        self._rows: list[Calls] = []

    def due(self, now: int, calls_per_day: int) -> list[Calls]:
        """Return the calls made since the last time, up to and including second ``now``."""
        due: list[Calls] = []
        while self._until < now:
            hour = (self._until + 1) // HOUR * HOUR
            if (hour, calls_per_day) != self._cached:
                self._cached = hour, calls_per_day
                self._rows = hour_of_calls(self._seed, hour, calls_per_day)
            until = min(now, hour + HOUR - 1)
            due.extend(calls for calls in self._rows if self._until < calls.second <= until)
            self._until = until
        return due
