"""Who goes before whom: first come, first served, with a bounded head start for priority.

A request's place is fixed when it joins: nothing that comes later than its own head start allows can be put before it,
so nobody starves, and no two turns see two orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from airflow_provider_apiusage.quota.model import QuotaRequest

HEAD_START = timedelta(hours=2)
"""How much earlier each step of priority lets a request count as having come."""


class Placed(Protocol):
    """Whatever joined the queue once."""

    @property
    def requested_at(self) -> datetime:
        """When it joined."""

    @property
    def priority(self) -> int:
        """Steps of head start."""


@dataclass(frozen=True, slots=True)
class PastGrant:
    """A request that was granted, as the queue remembers it.

    :param requested_at: when it joined the queue (our clock).
    :param priority: steps of head start that it had.
    :param granted_at: when it was granted (our clock).
    :param needs: what it asked for, by limit name.
    """

    requested_at: datetime
    priority: int
    granted_at: datetime
    needs: Mapping[str, int]


def place(placed: Placed) -> datetime:
    """Return the instant that a request is ordered by: when it joined, less its head start."""
    return placed.requested_at - placed.priority * HEAD_START


def in_order(requests: Iterable[QuotaRequest]) -> list[QuotaRequest]:
    """Return requests in the order in which they are served; those of one place stay as they are."""
    return sorted(requests, key=place)
