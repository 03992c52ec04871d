"""What comes of one turn of the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from airflow_provider_apiusage.quota.model import Decision, Grant, Holder


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one who waits, as a turn left it.

    :param held_until: when the request leaves the queue unless it asks again (our clock).
    :param kept_at: when the last decision about it that is kept was made (our clock); ``None`` if there is none yet.
    """

    held_until: datetime
    kept_at: datetime | None


@dataclass(frozen=True, slots=True)
class Turned:
    """What came of a turn.

    :param decisions: by holder.
    :param places: of those who wait.
    :param next_at: when the next turn can make sense, ``poll_interval`` from now at the latest (our clock).
    :param signs: what the store knew when it was asked; see ``QuotaLedger.signs``.
    :param remark: a sentence about the turn itself, which stands in the reasons as well.
    """

    decisions: Mapping[Holder, Decision]
    places: Mapping[Holder, Place]
    next_at: datetime
    signs: tuple[datetime | None, ...]
    remark: str = ""

    def with_remark(self, remark: str) -> Turned:
        """Return it with a sentence more for everybody who was not granted."""
        return replace(
            self,
            decisions={
                holder: one if isinstance(one, Grant) else replace(one, reason=f"{one.reason} {remark}")
                for holder, one in self.decisions.items()
            },
            remark=remark,
        )
