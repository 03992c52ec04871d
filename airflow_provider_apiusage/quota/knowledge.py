"""What one turn of the gate knows, and what the policy may be told to do otherwise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from airflow_provider_apiusage.quota.backfill import BETA
from airflow_provider_apiusage.quota.order import PastGrant
from airflow_provider_apiusage.quota.outlook import Outlook
from airflow_provider_apiusage.quota.staleness import Figure
from airflow_provider_apiusage.usage.model import LimitReading

OpensAt = Callable[[str, int], datetime | None]
"""(limit name, calls that must leave the window first) -> earliest instant, the org's time; ``None`` if not known."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the policy may be told to do otherwise.

    :param beta: how much may pass a request that waits, as a share of its need; see :mod:`.backfill`.
    :param kept_at_peak: share of the reserve that stays free even at the highest use forecast; ``None`` to look at no
        outlook at all.
    :param burst: calls that others may make in an hour beyond what is expected, as a share of the limit.
    :param patience: how long a request is held back for what is not certain, such as a peak ahead; from then on that
        fades, within a day, so that nobody waits for ever.
    """

    beta: float = BETA
    kept_at_peak: float | None = 0.25
    burst: float = 0.02
    patience: timedelta = timedelta(days=3)


DEFAULT_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Reported:
    """Which limits the org told when ``/limits`` was last read.

    :param at: when the answer arrived (our clock).
    :param names: of all limits in it.
    """

    at: datetime
    names: Collection[str]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What one turn knows.

    :param readings: the latest org-wide reading of each limit; absent if there never was one.
    :param outstanding: by limit name, what is granted and may not show in that reading yet.
    :param now: our clock; the age of a reading is told by it.
    :param retry_at: when a request that waits should ask again, if nothing better is known (our clock).
    :param opens_at: see :data:`OpensAt`.
    :param reported: asked where a limit is unknown; ``None`` if ``/limits`` was never read.
    :param outlooks: by limit name; ``None`` where one would be of use, but too little of the past is known.
    :param expired: how many calls of a limit have surely left the window since its reading.
    :param before: the last reading of a limit before an instant (the org's time), if there was one shortly before.
    :param staleness: how old the org's figures may be when they are read.
    :param figures: by limit name, what is known of how old that of its reading was.
    :param grants: what was granted lately, since those that wait remember who passed them.
    :param rules: see :class:`Rules`.
    """

    readings: Mapping[str, LimitReading]
    outstanding: Mapping[str, int]
    now: datetime
    retry_at: datetime
    opens_at: OpensAt = lambda _name, _calls: None
    reported: Callable[[], Reported | None] = lambda: None
    outlooks: Mapping[str, Outlook | None] = field(default_factory=dict)
    expired: Callable[[str], int] = lambda _name: 0
    before: Callable[[str, datetime], LimitReading | None] = lambda _name, _instant: None
    staleness: timedelta = timedelta(0)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    grants: Sequence[PastGrant] = ()
    rules: Rules = DEFAULT_RULES

    def figure(self, name: str) -> Figure:
        """Return what is known of how old the figure of a limit was when it was read."""
        return self.figures.get(name) or Figure(self.staleness)
