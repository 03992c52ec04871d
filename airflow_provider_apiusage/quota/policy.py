"""The gate's policy: in the order of coming, all of a request or nothing, never more than the headroom.

Who waits for room holds its place: whoever comes later and wants one of the same limits waits behind it, except small
loads within a budget (:mod:`.backfill`). Pure: what is known comes in, a verdict with its arithmetic goes out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from airflow_provider_apiusage.quota.backfill import Budget
from airflow_provider_apiusage.quota.headroom import View, deficit, figures_of, fits, never_fits, short
from airflow_provider_apiusage.quota.headroom import must_expire as must_expire
from airflow_provider_apiusage.quota.knowledge import DEFAULT_RULES as DEFAULT_RULES
from airflow_provider_apiusage.quota.knowledge import Knowledge as Knowledge
from airflow_provider_apiusage.quota.knowledge import OpensAt as OpensAt
from airflow_provider_apiusage.quota.knowledge import Reported as Reported
from airflow_provider_apiusage.quota.knowledge import Rules as Rules
from airflow_provider_apiusage.quota.model import LimitFigures, OnUnknown, QuotaRequest, Refuse, Wait
from airflow_provider_apiusage.quota.order import in_order
from airflow_provider_apiusage.quota.waking import OLDEST, waking

DEPTH = 32
"""So many of those behind one that waits are told when they may pass; the rest come back when that one does."""


@dataclass(frozen=True, slots=True)
class Approve:
    """The request may be granted; the ledger turns this into a reservation."""

    reason: str
    figures: tuple[LimitFigures, ...]


Verdict = Approve | Wait | Refuse


def decide(queue: Sequence[QuotaRequest], knowledge: Knowledge) -> list[tuple[QuotaRequest, Verdict]]:
    """Give every waiting request its verdict, as if they were granted in this order.

    A request that waits for room holds its place on all the limits it names. One that waits because a limit is unknown
    holds its place on that limit alone: it may stay unknown for ever, and nobody passes it there.

    :param queue: waiting requests; of those of one place, the first one goes first.
    :param knowledge: see :class:`Knowledge`.
    :returns: the requests in the order in which they are served, each with its verdict.
    """
    turn = _Turn(knowledge)
    return [(request, turn.verdict(request)) for request in in_order(queue)]


class _Turn:
    """The queue while it is gone through."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._views = {name: View(reading, knowledge) for name, reading in knowledge.readings.items()}
        self._budget = Budget(knowledge.grants, knowledge.rules.beta)
        self._granted: dict[str, int] = defaultdict(int)
        self._ahead: dict[str, QuotaRequest] = {}
        self._woken: dict[str, Wait] = {}
        self._doubtful: set[str] = set()
        self._told = 0

    def verdict(self, request: QuotaRequest) -> Verdict:
        """Return the verdict of the next one."""
        blocked = [name for name in request.needs if name in self._ahead]
        verdict, unknown = self._alone(request, head=not blocked)
        in_doubt, holds = bool(unknown), unknown or list(request.needs)
        if blocked and not isinstance(verdict, Refuse):
            if isinstance(verdict, Approve) and self._doubtful.issuperset(blocked):
                in_doubt, holds = True, blocked
            passes = not unknown and not self._doubtful.intersection(blocked) and self._may_pass(request, blocked)
            if not (passes and isinstance(verdict, Approve)):
                unread = unknown and not self._doubtful.intersection(blocked) and self._may_pass(request, blocked)
                verdict = self._behind(verdict, blocked, passes=passes, unread=bool(unread))
            else:
                self._budget.passes(request)
                verdict = Approve(f"{verdict.reason} {self._passing(blocked)}", verdict.figures)
        if isinstance(verdict, Approve):
            for name, need in request.needs.items():
                self._granted[name] += need
        elif isinstance(verdict, Wait):
            before = set(self._ahead)
            self._doubtful = self._doubtful | (set(holds) - before) if in_doubt else self._doubtful - set(holds)
            for name in holds:
                self._ahead.setdefault(name, request)
                self._woken.setdefault(name, verdict)
        return verdict

    def _may_pass(self, request: QuotaRequest, blocked: Sequence[str]) -> bool:
        return self._budget.allows(request, {name: self._ahead[name] for name in blocked})

    def _passing(self, blocked: Sequence[str]) -> str:
        name = blocked[0]
        head = self._ahead[name]
        return (
            f"It passes {head.holder}, which waits for {head.needs[name]:,}; after it, "
            f"{self._budget.left(name, head):,} more may."
        )

    def _behind(self, verdict: Verdict, blocked: Sequence[str], *, passes: bool, unread: bool) -> Wait:
        """Return the wait of one that stands behind another, with or without leave to pass it.

        :param unread: whether it might pass, if only the figures were newer: then it waits for a reading of its own.
        """
        woken = self._woken[blocked[0]]
        figures, until, look = verdict.figures, woken.until, woken.look
        reason = _behind(self._ahead[blocked[0]])
        if passes and isinstance(verdict, Wait):
            reason = f"{reason} It may pass when there is room. {verdict.reason}"
            until, look = min(until, verdict.until), woken.look or verdict.look
        if unread:
            until, look = min(until, self._knowledge.retry_at), None
        return Wait(until, reason, figures, getattr(verdict, "opens_at", None), look)

    def _alone(self, request: QuotaRequest, *, head: bool) -> tuple[Verdict, Sequence[str]]:
        """Return the verdict of a request that nobody stands before, and the limits of which too little is known."""
        knowledge = self._knowledge
        figures = tuple(
            figures_of(request, name, self._views.get(name), knowledge.outstanding.get(name, 0) + self._granted[name])
            for name in request.needs
        )
        impossible = [text for each in figures if (text := never_fits(each)) is not None]
        if impossible:
            return Refuse(" ".join(impossible), figures), ()
        unknown = {
            each.name: text
            for each in figures
            if (text := _unknown(request, each, knowledge)) is not None and not self._surely_short(request, each)
        }
        if unknown:
            missing = {name: text for name in unknown if (text := _missing(request, name, knowledge)) is not None}
            if missing and request.on_unknown is not OnUnknown.ALLOW:
                return Refuse(" ".join(missing.values()), figures), ()
            return _by_on_unknown(request, [*{**unknown, **missing}.values()], figures, knowledge), [*unknown]
        lacking = [each for each in figures if deficit(each) > 0]
        if not lacking:
            return Approve(" ".join(fits(each) for each in figures) + self._blind(figures), figures), ()
        return self._wait(figures, lacking, head=head), ()

    def _surely_short(self, request: QuotaRequest, figures: LimitFigures) -> bool:
        """Tell whether a figure that is too old to grant on still tells that too little is free."""
        view = self._views.get(figures.name)
        if view is None or view.outlook is None or figures.headroom is None or request.on_unknown is not OnUnknown.WAIT:
            return False
        return self._knowledge.now - view.reading.received_at <= OLDEST and deficit(figures) > view.may_be_more

    def _wait(self, figures: tuple[LimitFigures, ...], lacking: Sequence[LimitFigures], *, head: bool) -> Wait:
        reason = " ".join(short(each) for each in lacking) + self._blind(figures)
        if not head and self._told >= DEPTH:
            return Wait(self._knowledge.retry_at, reason, figures)
        self._told += not head
        # A reservation may be given back at any moment; only what exceeds them has to leave the window first.
        opens = [self._knowledge.opens_at(each.name, calls) for each in lacking if (calls := must_expire(each)) > 0]
        opens_at = max((instant for instant in opens if instant is not None), default=None)
        woken = waking([(each, self._views[each.name]) for each in lacking])
        if woken is None:
            return Wait(self._knowledge.retry_at, reason, figures, opens_at)
        return Wait(woken.at, reason, figures, opens_at, woken.look)

    def _blind(self, figures: Sequence[LimitFigures]) -> str:
        """Say of which limits nothing can be expected yet, so that no peak ahead is looked at."""
        if self._knowledge.rules.kept_at_peak is None:
            return ""
        outlooks = self._knowledge.outlooks
        names = [each.name for each in figures if each.name in outlooks and outlooks[each.name] is None]
        return f" {' and '.join(names)}: too little is known of the past to see a peak ahead." if names else ""


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


def _behind(blocker: QuotaRequest) -> str:
    needs = ", ".join(f"{need:,} {name}" for name, need in blocker.needs.items())
    return f"In the queue behind {blocker.holder}, which waits for {needs}."


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
