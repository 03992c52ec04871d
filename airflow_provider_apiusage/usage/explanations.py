"""Why figures that look alike differ: what the evidence as a whole says, in words.

Each finding has the figures, the likely cause and what to do. A cause is told only where the evidence shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from airflow_provider_apiusage.usage import log_explanations as logs
from airflow_provider_apiusage.usage.curve import Statement
from airflow_provider_apiusage.usage.model import (
    STALENESS,
    WINDOW,
    Finding,
    LimitReading,
    ReadingSource,
    Severity,
)
from airflow_provider_apiusage.usage.reconciliation_findings import pieces_in_words, released_late
from airflow_provider_apiusage.usage.window import iso_utc

if TYPE_CHECKING:
    from airflow_provider_apiusage.usage.evidence_curve import Fit
    from airflow_provider_apiusage.usage.reconciliation import Reconciliation
    from airflow_provider_apiusage.usage.reconciliation_pieces import Pieces

BESIDE = timedelta(minutes=15)
"""Two readings so near to each other show what is ordinary traffic between snapshots."""

_BACK_AND_FORTH = 4
"""So many allocations in a row, fewer of them different, are not one org's: A, B, A, B."""


def explanations(figures: Reconciliation, pieces: Pieces, near: Fit, whole: Fit) -> list[Finding]:
    """Say what the evidence shows beside the comparison of the rolling figure with the daily counts.

    :param figures: the reconciliation, with its verdict and day lines.
    :param pieces: the evidence.
    :param near: what fits of the pieces that bear on the present window.
    :param whole: what fits of all pieces.
    """
    found = list(_window_shift(figures))
    if whole.late or near.late:
        found.append(released_late(near.late or whole.late))
    if whole.unlogged or near.unlogged:
        found.append(logs.not_in_event_logs(near.unlogged or whole.unlogged))
    if whole.conflict and not near.conflict:
        found.append(_past_days_disagree(whole.conflict))
    found += logs.of_hours(pieces.at, pieces.hours)
    found += logs.of_days(figures.days, pieces.hours)
    found += limit_changes(pieces.near(WINDOW), pieces.readings)
    return found


def _window_shift(figures: Reconciliation) -> Iterable[Finding]:
    tail = figures.window_tail
    if figures.rolling is None or figures.today is None or figures.consistent is False or not tail.estimate:
        return
    if tail.estimate <= 0:
        return
    yield Finding(
        "window-shift",
        Severity.INFO,
        f"The rolling figure counts 24 hours and today's count starts at 00:00 UTC, so they differ by what is left of "
        f"yesterday in the window: {tail.estimate:,} of the {figures.rolling:,} calls. Nothing to do.",
        {"estimate": tail.estimate, "rolling": figures.rolling, "today": figures.today},
    )


def _past_days_disagree(conflict: Sequence[Statement]) -> Finding:
    return Finding(
        "past-days-disagree",
        Severity.WARNING,
        f"The present window is not touched, but no history of calls fits all of these: {pieces_in_words(conflict)}. "
        "The bounds of each past day are made from the pieces near to it. Likely causes: a count that the source "
        "corrected later, a `coverage` that was wrong then, or figures of another org.",
        {"statements": [statement.source for statement in conflict]},
    )


def limit_changes(recent: Iterable[LimitReading], readings: Iterable[LimitReading]) -> list[Finding]:
    """Explain an allocation that changed in the last 24 hours, or one that goes back and forth.

    :param recent: readings of the last 24 hours, oldest first.
    :param readings: all readings, oldest first.
    """
    limits = [limit for _, limit in _limits(readings)]
    if len(limits) >= _BACK_AND_FORTH and len(set(limits)) < len(limits) - 1:
        return [_orgs_mixed_up(_limits(readings))]
    changes = _limits(recent)
    if len(changes) < 2:
        return []
    (before_at, before), (after_at, after) = changes[-2:]
    raised = after > before
    way, cause = ("up", "bought or assigned") if raised else ("down", "ended or taken")
    return [
        Finding(
            "limit-raised" if raised else "limit-lowered",
            Severity.INFO if raised else Severity.WARNING,
            f"The allocation went {way} from {before:,} (last read before {iso_utc(after_at)}) to {after:,} calls: "
            f"licences or add-on calls were {cause}. Check thresholds that are set in absolute calls.",
            {"before": before, "after": after, "since": iso_utc(after_at), "before_since": iso_utc(before_at)},
        )
    ]


def _limits(readings: Iterable[LimitReading]) -> list[tuple[datetime, int]]:
    """Return each allocation with the instant since which it was read, in order."""
    changes: list[tuple[datetime, int]] = []
    for reading in readings:
        if reading.limit is not None and (not changes or changes[-1][1] != reading.limit):
            changes.append((reading.observed_at, reading.limit))
    return changes


def _orgs_mixed_up(changes: Sequence[tuple[datetime, int]]) -> Finding:
    limits = sorted({limit for _, limit in changes})
    named = " and ".join(f"{limit:,}" for limit in limits)
    return Finding(
        "orgs-mixed-up",
        Severity.ERROR,
        f"The allocation went back and forth {len(changes) - 1} times between {named}: "
        "an org's does not, so readings of two orgs are kept as one. Likely causes: a connection that was pointed at "
        "another org while its session went on, or a copy of the org that answers under the same id. Give each org a "
        "connection of its own.",
        {"limits": limits, "changes": len(changes) - 1, "last_at": iso_utc(changes[-1][0])},
    )


def ordinary_rise(readings: Sequence[LimitReading]) -> int:
    """Return the largest rise of the rolling figure between two readings near to each other.

    What a figure that is five minutes late may miss is not more than what is ordinary in such a time.

    :param readings: oldest first.
    :returns: 0 if no two readings are near to each other.
    """
    known = [r for r in readings if r.used is not None and r.source is not ReadingSource.EXHAUSTED]
    rises = [
        (after.used or 0) - (before.used or 0)
        for before, after in pairwise(known)
        if STALENESS <= after.observed_at - before.observed_at <= BESIDE
    ]
    return max(0, *rises) if rises else 0
