"""Evidence -> :class:`Reconciliation`: do the rolling figure and the daily counts leave room for one another?

The arithmetic is Salesforce's own (knowledge article 000003706)::

    rolling = today so far + window tail (the part of yesterday in the window) + what the days leave out

A mismatch is a value: the verdict, the residual and the findings say what does not fit; nothing is raised. A
piece that is missing makes bounds wider and the verdict undecided, never a zero.

How the verdict is reached. The estimate of the window tail is ``rolling - today``. Daily counts allow it
``[0, yesterday]``; earlier readings may narrow that, through the one curve. The verdict compares the estimate
with what the daily counts allow; what earlier readings say enters it through the curve, whose statements know
that figures may be five minutes late, so lateness alone never makes an inconsistency. The reading reconciled,
and any within five minutes of it, is left out of the window tail's bounds, so that the comparison is a check
and not a tautology.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_apiusage.usage import reconciliation_findings as explain
from airflow_provider_apiusage.usage.day_line import DayLine
from airflow_provider_apiusage.usage.day_lines import day_lines
from airflow_provider_apiusage.usage.evidence_curve import UNKNOWN, fit
from airflow_provider_apiusage.usage.explanations import explanations, ordinary_rise
from airflow_provider_apiusage.usage.model import STALENESS, WINDOW, Coverage, Evidence, Finding, Interval
from airflow_provider_apiusage.usage.reconciliation_pieces import gather
from airflow_provider_apiusage.usage.window import iso_utc, utc_day
from airflow_provider_apiusage.usage.window_tail import tail_of_source, unlogged

NEAR = 2 * WINDOW + timedelta(hours=1)
"""How far back a piece bears on the present window, and so on the verdict: two windows and an hour."""


@dataclass(frozen=True, slots=True)
class WindowTail:
    """The part of yesterday that is still inside the window.

    :param low: at least so many calls, from everything but the reading reconciled.
    :param high: at most so many; ``None`` if nothing limits them.
    :param estimate: what the rolling figure leaves for it, sign kept; ``None`` if unknown.
    """

    low: int
    high: int | None
    estimate: int | None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The rolling figure and the daily counts side by side.

    :param org_id: the 15-character id of the org.
    :param at: the instant asked about.
    :param rolling: calls used in ``(at - 24 h, at]`` as the org reported them; ``None`` if unknown.
    :param limit: the allocation; ``None`` if unknown.
    :param today: calls of the UTC day of ``at``, as counted nearest to ``at``; ``None`` if unknown.
    :param yesterday: calls of the UTC day before, counted after its end; ``None`` if unknown.
    :param window_tail: the part of yesterday that is still inside the window.
    :param residual: reported minus accounted for, sign kept; ``None`` if unknown. For coverage ``soap``:
        calls in the window that the daily source does not show.
    :param coverage: which calls the daily counts hold; ``None`` without any.
    :param consistent: whether the sources leave room for one another; ``None`` if that cannot be decided.
    :param findings: everything odd or missing, in words.
    :param window: calls truly made in ``(at - 24 h, at]`` that count, by all the evidence.
    :param unlogged: calls in the window as reported minus those that event logs show, sign kept; ``None`` unless the
        logs show every hour of it.
    :param days: the UTC day of ``at`` and the six before it, oldest first.
    """

    org_id: str
    at: datetime
    rolling: int | None
    limit: int | None
    today: int | None
    yesterday: int | None
    window_tail: WindowTail
    residual: Interval | None
    coverage: Coverage | None
    consistent: bool | None
    findings: tuple[Finding, ...]
    window: Interval = UNKNOWN
    unlogged: Interval | None = None
    days: tuple[DayLine, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return a small JSON-safe form, with ``None`` for every unknown."""
        residual = self.residual
        return {
            "org_id": self.org_id,
            "at": iso_utc(self.at),
            "rolling": self.rolling,
            "limit": self.limit,
            "today": self.today,
            "yesterday": self.yesterday,
            "window_tail": {
                "low": self.window_tail.low,
                "high": self.window_tail.high,
                "estimate": self.window_tail.estimate,
            },
            "residual": {"low": residual and residual.low, "high": residual and residual.high},
            "coverage": self.coverage and self.coverage.value,
            "window": {"low": self.window.low, "high": self.window.high},
            "unlogged": {"low": self.unlogged and self.unlogged.low, "high": self.unlogged and self.unlogged.high},
            "consistent": self.consistent,
            "findings": [
                {"code": finding.code, "severity": finding.severity.value, "message": finding.message}
                for finding in self.findings
            ],
        }

    def as_record(self) -> dict[str, Any]:
        """Return what the store keeps: the small form, the days, and the figures of the findings."""
        return {
            **self.as_dict(),
            "days": [line.as_dict() for line in self.days],
            "figures": [dict(finding.figures) for finding in self.findings],
        }


def reconcile(evidence: Evidence, *, tolerance: int = 0) -> Reconciliation:
    """Put the rolling figure beside the daily counts.

    ``rolling`` is the latest reading, if it is at most five minutes older than ``evidence.at``: an older one
    speaks of another window. A day without a row counts 0 if the observation nearest to ``at`` has rows of
    other days and covers the day; an observation without any row proves nothing. For coverage ``all``,
    ``consistent`` says whether the estimate ``rolling - today`` fits what the daily counts allow; for
    ``soap``, whose counts are lower bounds, whether the counts are not more than the rolling figure. Counts of today
    that exceed the figure by no more than came between two snapshots lately are taken as a late figure. A
    contradiction among the pieces, through the curve, is inconsistent in either case.

    :param evidence: what is known; a reading later than ``at`` is not looked at.
    :param tolerance: calls by which the estimate may miss its bounds, at least 0.
    :return: the verdict with its figures; unknowns are ``None``.
    :raises ValueError: if ``tolerance`` is negative or ``at`` is naive.
    """
    if tolerance < 0:
        raise ValueError(f"A tolerance is a number of calls, at least 0: {tolerance}")
    pieces = gather(evidence)
    everything = pieces.by_kind
    present = everything.between(evidence.at - NEAR, evidence.at)
    near = fit(present)
    whole = near if present == everything else fit(everything)
    tail = tail_of_source(pieces, near)
    agree = not near.conflict
    rolling = None if pieces.reading is None else pieces.reading.used
    today = None if pieces.today is None else pieces.today.calls
    figures = Reconciliation(
        org_id=evidence.org_id,
        at=evidence.at,
        rolling=rolling,
        limit=pieces.limit,
        today=today,
        yesterday=pieces.whole_yesterday,
        window_tail=WindowTail(tail.low, tail.high, None),
        residual=None,
        coverage=pieces.coverage,
        consistent=None if agree else False,
        findings=(),
        window=near.curve.bounds(evidence.at - WINDOW, evidence.at),
        unlogged=unlogged(pieces, near.assumptions),
        days=day_lines(pieces, whole),
    )
    if rolling is not None and today is not None:
        lateness = ordinary_rise(pieces.near(NEAR))
        oldest = evidence.at - WINDOW - STALENESS - near.assumptions.release_lag
        early = utc_day(oldest) < utc_day(evidence.at - WINDOW)
        figures = _compare(figures, rolling - today, pieces.gap, tolerance + lateness, agree, early)
        pieces.findings += explain.comparison(figures, rolling - today, tolerance)
    if near.conflict and not explain.told_already(near.conflict, pieces.findings, pieces.earlier):
        pieces.findings.append(explain.evidence_conflict(near.conflict))
    if rolling is not None and figures.limit is not None and rolling > figures.limit:
        pieces.findings.append(explain.over_the_limit(rolling, figures.limit))
    pieces.findings += explanations(figures, pieces, near, whole)
    return replace(figures, findings=tuple(pieces.findings))


def _compare(
    figures: Reconciliation, left: int, gap: timedelta, tolerance: int, agree: bool, early: bool
) -> Reconciliation:
    """Fill in estimate, residual and verdict from ``left``, which is ``rolling - today``.

    :param gap: how much later than the reading today was counted; a count from elsewhere in time explains a
        miss in its direction, which is then undecided.
    :param agree: whether the curve has room for all pieces.
    :param tolerance: calls that may be missed: what the caller allows, and what a late figure may well miss.
    :param early: whether the figure may still hold calls of the day before yesterday.
    """
    low, high, yesterday = figures.window_tail.low, figures.window_tail.high, figures.yesterday
    below = left < -tolerance
    soap = figures.coverage is Coverage.SOAP
    above = not soap and yesterday is not None and left > yesterday + tolerance
    unfair = (below and gap > STALENESS) or (above and (early or -gap > STALENESS))
    consistent: bool | None = not (below or above)
    if unfair or (consistent and yesterday is None):
        consistent = None
    if soap:
        estimate = left if high is None else min(left, high)
        hidden = left - low
        residual: Interval | None = Interval(min(hidden, 0 if high is None else max(0, left - high)), hidden)
    else:
        estimate = left
        unexplained = left - low if left < low else left - high if high is not None and left > high else 0
        residual = None if unexplained == 0 and high is None else Interval(unexplained, unexplained)
    return replace(
        figures,
        window_tail=replace(figures.window_tail, estimate=estimate),
        residual=residual,
        consistent=consistent if agree else False,
    )
