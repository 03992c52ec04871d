"""The gate's policy: first come, first served; all of a request or nothing; never more than the headroom.

``headroom = remaining - reserve - outstanding``, for each limit that a request names. Pure: what is known comes in, a
verdict with its arithmetic goes out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches

from airflow_provider_apiusage.quota.model import LimitFigures, OnUnknown, QuotaRequest, Refuse, Wait
from airflow_provider_apiusage.usage.model import LimitReading, ReadingSource

OpensAt = Callable[[str, int], datetime | None]
"""(limit name, calls that must leave the window first) -> earliest instant, the org's time; ``None`` if not known."""


@dataclass(frozen=True, slots=True)
class Approve:
    """The request may be granted; the ledger turns this into a reservation."""

    reason: str
    figures: tuple[LimitFigures, ...]


Verdict = Approve | Wait | Refuse


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
    :param retry_at: when a request that waits should ask again (our clock).
    :param opens_at: see :data:`OpensAt`.
    :param reported: asked where a limit is unknown; ``None`` if ``/limits`` was never read.
    """

    readings: Mapping[str, LimitReading]
    outstanding: Mapping[str, int]
    now: datetime
    retry_at: datetime
    opens_at: OpensAt = lambda _name, _calls: None
    reported: Callable[[], Reported | None] = lambda: None


def decide(queue: Sequence[QuotaRequest], knowledge: Knowledge) -> list[tuple[QuotaRequest, Verdict]]:
    """Give every waiting request its verdict, as if they were granted in this order.

    A request that waits for room holds its place: whoever comes later and wants one of the same limits waits behind it,
    even if there is room for the smaller need. Nobody starves, and nobody overtakes. One that waits because a limit is
    unknown holds its place on that limit alone: it may stay unknown for ever.

    :param queue: waiting requests, first come first.
    :param knowledge: see :class:`Knowledge`.
    :returns: the requests in the same order, each with its verdict.
    """
    granted: dict[str, int] = defaultdict(int)
    ahead: dict[str, QuotaRequest] = {}
    doubtful: set[str] = set()
    verdicts: list[tuple[QuotaRequest, Verdict]] = []
    for request in queue:
        verdict, unknown = _verdict(request, knowledge, granted)
        in_doubt = bool(unknown)
        holds = unknown or list(request.needs)
        blocked = [name for name in request.needs if name in ahead]
        if blocked and not isinstance(verdict, Refuse):
            if isinstance(verdict, Approve) and doubtful.issuperset(blocked):
                in_doubt, holds = True, blocked
            reason = _behind(ahead[blocked[0]])
            verdict = Wait(knowledge.retry_at, reason, verdict.figures, getattr(verdict, "opens_at", None))
        if isinstance(verdict, Approve):
            for name, need in request.needs.items():
                granted[name] += need
        elif isinstance(verdict, Wait):
            doubtful = doubtful | (set(holds) - set(ahead)) if in_doubt else doubtful - set(holds)
            for name in holds:
                ahead.setdefault(name, request)
        verdicts.append((request, verdict))
    return verdicts


def _verdict(request: QuotaRequest, knowledge: Knowledge, granted: Mapping[str, int]) -> tuple[Verdict, Sequence[str]]:
    """Return the verdict of a request that nobody stands before, and the limits of which too little is known."""
    figures = tuple(
        _figures(request, name, need, knowledge.readings.get(name), knowledge.outstanding.get(name, 0) + granted[name])
        for name, need in request.needs.items()
    )
    impossible = [text for each in figures if (text := _never_fits(each)) is not None]
    if impossible:
        return Refuse(" ".join(impossible), figures), ()
    unknown = {each.name: text for each in figures if (text := _unknown(request, each, knowledge)) is not None}
    if unknown:
        missing = {name: text for name in unknown if (text := _missing(request, name, knowledge)) is not None}
        if missing and request.on_unknown is not OnUnknown.ALLOW:
            return Refuse(" ".join(missing.values()), figures), ()
        return _by_on_unknown(request, [*{**unknown, **missing}.values()], figures, knowledge), [*unknown]
    short = [each for each in figures if _deficit(each) > 0]
    if not short:
        return Approve(" ".join(_fits(each) for each in figures), figures), ()
    # A reservation may be given back at any moment; only what exceeds the reservations has to leave the window first.
    opens = [knowledge.opens_at(each.name, calls) for each in short if (calls := must_expire(each)) > 0]
    known = [instant for instant in opens if instant is not None]
    reason = " ".join(_short(each) for each in short)
    return Wait(knowledge.retry_at, reason, figures, max(known, default=None)), ()


def _figures(
    request: QuotaRequest, name: str, need: int, reading: LimitReading | None, outstanding: int
) -> LimitFigures:
    if reading is None:
        return LimitFigures(name, need, outstanding=outstanding)
    limit = reading.limit
    remaining = reading.remaining
    if remaining is None and limit is not None and reading.used is not None:
        remaining = limit - reading.used
    if limit is not None:
        reserve: int | None = request.reserve.of(name, limit)
    elif name in request.reserve.calls or not request.reserve.share or reading.source is ReadingSource.EXHAUSTED:
        reserve = request.reserve.calls.get(name, 0)
    else:
        reserve = None  # a share of nobody knows what
    known = remaining is not None and reserve is not None
    return LimitFigures(
        name=name,
        need=need,
        limit=limit,
        remaining=remaining,
        reserve=reserve,
        outstanding=outstanding,
        headroom=remaining - reserve - outstanding if known else None,  # type: ignore[operator]
        observed_at=reading.observed_at,
    )


def _deficit(figures: LimitFigures) -> int:
    """Calls that must come free before the need fits; 0 or fewer if it fits now."""
    return figures.need - (figures.headroom or 0)


def must_expire(figures: LimitFigures) -> int:
    """Return the calls that must leave the window before the need fits, even if every reservation is given back.

    :param figures: with a known headroom.
    """
    return max(0, _deficit(figures) - (figures.outstanding or 0))


def _never_fits(figures: LimitFigures) -> str | None:
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


def _unknown(request: QuotaRequest, figures: LimitFigures, knowledge: Knowledge) -> str | None:
    name = figures.name
    reading = knowledge.readings.get(name)
    if reading is None:
        return f"{name}: nothing has been read of it yet; the org may not report it."
    age = knowledge.now - reading.received_at
    if age > request.max_age:
        return f"{name}: the latest reading is {_minutes(age.total_seconds())} old, more than max_age allows."
    if figures.remaining is None:
        return f"{name}: the org did not say how much is left."
    if figures.headroom is None:
        return f"{name}: the org did not say what the limit is, so a share of it cannot be kept; give calls instead."
    return None


def _missing(request: QuotaRequest, name: str, knowledge: Knowledge) -> str | None:
    """Say that the org was read within ``max_age`` and told of no such limit, and which names come near."""
    reported = knowledge.reported()
    if reported is None or name in reported.names or knowledge.now - reported.at > request.max_age:
        return None
    near = get_close_matches(name, reported.names, n=3)
    rest = f"the nearest that it reports: {', '.join(near)}." if near else "none that it reports is called nearly so."
    return f"{name}: the org reports no limit of this name to the connection's user; {rest}"


def _by_on_unknown(
    request: QuotaRequest, unknown: Sequence[str], figures: tuple[LimitFigures, ...], knowledge: Knowledge
) -> Verdict:
    why = " ".join(unknown)
    if request.on_unknown is OnUnknown.ALLOW:
        return Approve(f"Allowed without knowing (on_unknown='allow'). {why}", figures)
    if request.on_unknown is OnUnknown.FAIL:
        return Refuse(f"Not known what is left (on_unknown='fail'). {why}", figures)
    return Wait(knowledge.retry_at, f"Not known what is left. {why}", figures)


def _arithmetic(figures: LimitFigures) -> str:
    of = f" of {figures.limit:,}" if figures.limit is not None else ""
    return (
        f"{figures.name}: {figures.need:,} needed, headroom {figures.headroom:,} (remaining {figures.remaining:,}{of} "
        f"- reserve {figures.reserve:,} - outstanding {figures.outstanding:,})"
    )


def _fits(figures: LimitFigures) -> str:
    return f"{_arithmetic(figures)}."


def _short(figures: LimitFigures) -> str:
    expire = must_expire(figures)
    how = f"{expire:,} of them by leaving the window" if expire else "reservations have to be given back"
    return f"{_arithmetic(figures)}; {_deficit(figures):,} must come free first, {how}."


def _behind(blocker: QuotaRequest) -> str:
    needs = ", ".join(f"{need:,} {name}" for name, need in blocker.needs.items())
    return f"In the queue behind {blocker.holder}, which waits for {needs}."


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
