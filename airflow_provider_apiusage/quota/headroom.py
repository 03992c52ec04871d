"""The headroom of a limit: what may be granted of it now, and what a new reading could change about that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from math import ceil, sqrt

from airflow_provider_apiusage.quota.knowledge import Knowledge
from airflow_provider_apiusage.quota.model import LimitFigures, QuotaRequest
from airflow_provider_apiusage.quota.outlook import CUT, NOISE, Ahead, Outlook
from airflow_provider_apiusage.usage.model import LimitReading, ReadingSource

HOUR = timedelta(hours=1)

SHOWN = 0.5
"""What is due to leave together has left if the use has fallen by such a share of it."""

FADING = timedelta(days=1)
"""How long it takes the peak guard to fade once the patience of a request is over."""


@dataclass(frozen=True)
class View:
    """What is known of one limit in one turn; what does not depend on who asks is worked out once.

    :param reading: the latest.
    :param knowledge: of the turn.
    """

    reading: LimitReading
    knowledge: Knowledge

    @property
    def now(self) -> datetime:
        """The org's present instant."""
        return self.knowledge.now + self.reading.skew

    @cached_property
    def outlook(self) -> Outlook | None:
        """How the use goes on, if that is known."""
        return self.knowledge.outlooks.get(self.reading.name)

    @cached_property
    def since(self) -> datetime:
        """The org's instant that the figure is of, at the earliest."""
        return self.reading.observed_at - self.knowledge.figure(self.reading.name).age

    @cached_property
    def expired(self) -> int:
        """Calls that have surely left the window since the reading."""
        return max(0, self.knowledge.expired(self.reading.name))

    @cached_property
    def expected(self) -> int:
        """Calls that others are expected to have made since what the reading shows."""
        if self.outlook is None:
            return 0
        return ceil(self.outlook.new_between(self.since, self.now))

    @cached_property
    def margin(self) -> int:
        """What a burst may have added since what the reading shows."""
        if self.outlook is None or self.reading.limit is None:
            return 0
        age = max(timedelta(0), self.now - self.since)
        return ceil(self.knowledge.rules.burst * self.reading.limit * (age / HOUR))

    @cached_property
    def rise(self) -> float:
        """By how much the use may exceed the present one at its peak within a day."""
        return 0.0 if self.outlook is None else self.outlook.highest(self.now)

    @cached_property
    def ahead(self) -> Ahead | None:
        """How the use goes on from the reading."""
        return None if self.outlook is None else self.outlook.ahead(self.reading.observed_at, self.now)

    @cached_property
    def may_be_more(self) -> float:
        """How much more than worked out may be free: what is due to leave, and what others may not have made."""
        if self.outlook is None:
            return 0.0
        due = self.outlook.gone_between(self.since, self.now)
        return max(0.0, due - self.expired) + CUT * self.expected + NOISE * sqrt(self.expected) + self.margin

    def released(self, mark: datetime) -> bool:
        """Tell whether the reading shows that what was due to leave together at a mark has left.

        :param mark: the org's instant; not for those that release each call by itself.
        """
        before = self.knowledge.before(self.reading.name, mark)
        if self.outlook is None or before is None or before.used is None or self.reading.used is None:
            return False
        if self.since < mark:
            return False
        came = self.outlook.new_between(before.observed_at, self.reading.observed_at)
        left = self.outlook.gone_by_mark_before(mark, before.observed_at)
        return before.used + came - left - self.reading.used >= SHOWN * self.outlook.gone_at(mark)

    def doubts(self, request: QuotaRequest, reserve: int) -> tuple[int, int, int | None]:
        """Return what is held back from a request for what is not certain: expected calls, margin, and peak ahead.

        None of it may hold a request for ever: they fade when its patience is over, and expected calls and margin never
        make impossible what is possible, a need of all that can ever be free.

        :returns: the peak is ``None`` if no outlook tells of one.
        """
        limit, rules = self.reading.limit, self.knowledge.rules
        if self.outlook is None or limit is None:
            return 0, 0, None
        overdue = self.knowledge.now - request.requested_at - rules.patience
        strength = 1 - min(1.0, max(0.0, overdue / FADING))
        room = max(0, limit - reserve - request.needs[self.reading.name])
        expected = min(ceil(strength * self.expected), room)
        margin = min(ceil(strength * self.margin), room - expected)
        beyond = self.rise - (1 - (rules.kept_at_peak or 0.0)) * reserve
        return expected, margin, max(0, ceil(strength * beyond))


def figures_of(request: QuotaRequest, name: str, view: View | None, outstanding: int) -> LimitFigures:
    """Return the figures that decide about one limit of a request.

    :param view: ``None`` if the limit was never read.
    :param outstanding: what is granted of it and not seen yet, in this turn included.
    """
    need = request.needs[name]
    if view is None:
        return LimitFigures(name, need, outstanding=outstanding)
    reading = view.reading
    limit, remaining = reading.limit, reading.remaining
    if remaining is None and limit is not None and reading.used is not None:
        remaining = limit - reading.used
    if limit is not None:
        reserve: int | None = request.reserve.of(name, limit)
    elif name in request.reserve.calls or not request.reserve.share or reading.source is ReadingSource.EXHAUSTED:
        reserve = request.reserve.calls.get(name, 0)
    else:
        reserve = None  # a share of nobody knows what
    if remaining is None or reserve is None:
        return LimitFigures(name, need, limit, remaining, reserve, outstanding, observed_at=reading.observed_at)
    headroom = remaining - reserve - outstanding
    if view.outlook is None or limit is None:
        return LimitFigures(name, need, limit, remaining, reserve, outstanding, headroom, reading.observed_at)
    expected, margin, peak = view.doubts(request, reserve)
    return LimitFigures(
        name, need, limit, remaining, reserve, outstanding,
        headroom + view.expired - expected - margin - (peak or 0),
        reading.observed_at, view.expired, expected, margin, peak,
    )  # fmt: skip


def deficit(figures: LimitFigures) -> int:
    """Return the calls that must come free before the need fits; 0 or fewer if it fits now."""
    return figures.need - (figures.headroom or 0)


def must_expire(figures: LimitFigures) -> int:
    """Return the calls that must leave the window before the need fits, even if every reservation is given back.

    :param figures: with a known headroom.
    """
    return max(0, figures.need + (figures.reserve or 0) - (figures.remaining or 0))


def never_fits(figures: LimitFigures) -> str | None:
    """Say why a need can never be met, with the arithmetic; ``None`` if it can."""
    name, need, limit, reserve = figures.name, figures.need, figures.limit, figures.reserve
    if limit is None or reserve is None or need <= limit - reserve:
        return None
    if limit <= 0:
        return f"{name}: the org's limit is {limit:,}, so a need of {need:,} can never fit."
    if reserve > limit:
        return (
            f"{name}: the reserve of {reserve:,} is above the org's limit of {limit:,}; nothing could ever be granted."
        )
    return (
        f"{name}: {need:,} needed can never fit: the limit of {limit:,} less the reserve of {reserve:,} leaves "
        f"{limit - reserve:,} even with nothing used. Split the load, or lower the reserve."
    )


def arithmetic(figures: LimitFigures) -> str:
    """Return the headroom in words; terms that are 0 or unknown are left out, unless they always belong to it."""
    of = f" of {figures.limit:,}" if figures.limit is not None else ""
    more = "".join(
        f" {sign} {words} {value:,}"
        for sign, words, value in (
            ("+", "expired since", figures.expired),
            ("-", "expected since", figures.expected),
            ("-", "margin", figures.margin),
            ("-", "peak ahead", figures.peak),
        )
        if value
    )
    return (
        f"{figures.name}: {figures.need:,} needed, headroom {figures.headroom:,} (remaining {figures.remaining:,}{of} "
        f"- reserve {figures.reserve:,} - outstanding {figures.outstanding:,}{more})"
    )


def fits(figures: LimitFigures) -> str:
    """Say why a need is met."""
    return f"{arithmetic(figures)}."


def short(figures: LimitFigures) -> str:
    """Say what must happen before a need is met."""
    missing, expire = deficit(figures), must_expire(figures)
    if not expire and missing <= (figures.peak or 0):
        return f"{arithmetic(figures)}; {missing:,} too many beside the highest use expected within 24 hours."
    how = f"{min(expire, missing):,} of them by leaving the window" if expire else "reservations have to be given back"
    return f"{arithmetic(figures)}; {missing:,} must come free first, {how}."
