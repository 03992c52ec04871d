"""How long what was seen is kept, and in which detail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

KEEP_DETAILS = timedelta(days=35)
"""The forecast learns from five weeks."""

KEEP = timedelta(days=400)
"""A year to compare with, and a month to notice."""

SHORTEST_DETAILS = timedelta(days=7)
"""A reconciliation covers the last seven days, and a gate the last day: less would take from under their feet."""

APART = timedelta(days=10)
"""``keep`` is at least this much longer than ``keep_details``: evidence for an instant reaches back over eight days."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept.

    :param keep_details: every answer about an instant of the last so many days stays what it was, to the call and the
        caller; what those answers rest on is kept for eight days more. Leases that ended and decisions are kept this
        long and then go.
    :param keep: what is older than the details is kept thinned out for so long, and then dropped.
    :raises ValueError: if ``keep_details`` is under 7 days, or ``keep`` not at least 10 days longer.
    """

    keep_details: timedelta = KEEP_DETAILS
    keep: timedelta = KEEP

    def __post_init__(self) -> None:
        if self.keep_details < SHORTEST_DETAILS:
            raise ValueError(
                f"keep_details is {self.keep_details}, but reconciliations and gates need at least {SHORTEST_DETAILS}."
            )
        if self.keep < self.keep_details + APART:
            raise ValueError(
                f"keep is {self.keep}; it must be at least {APART} longer than keep_details ({self.keep_details})."
            )
