"""What loads have spent of a reservation, and how much of it a reading must show: running totals, no increments.

Each load that draws (a *drawer*: one hook, one script) tells the total it has spent so far. A total that is told twice,
late or out of order changes nothing.
"""

from __future__ import annotations

from ast import literal_eval
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

FINEST = timedelta(seconds=30)
"""How close two kept totals are at least; what is drawn in between shows with the next one."""

COARSENING = 4
"""Of an older past less is kept: totals lie at least a quarter of their age apart, so a day takes some 60 of them."""

MOST_CLOSED = 64
"""Drawers that have ended and are still told apart; the rest are one sum, whose totals nobody will tell again."""

FOLDED = "*"

Course = tuple[tuple[datetime, Mapping[str, int]], ...]
"""Totals of all drawers by instant (our clock), oldest first: by then, so much had been spent."""


@dataclass(frozen=True, slots=True)
class Drawer:
    """One load that draws.

    :param spent: its total so far, by limit name; what it does not count is left out.
    :param closed: whether this is its final total.
    :param failed: whether it ended before its work was done.
    """

    spent: Mapping[str, int]
    closed: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Draws:
    """Everything drawn from one reservation.

    :param by: drawers by their ids, in the order in which they came, or closed.
    :param course: see :data:`Course`.
    """

    by: Mapping[str, Drawer] = field(default_factory=dict)
    course: Course = ()

    @property
    def spent(self) -> dict[str, int]:
        """What all drawers have spent, by limit name; a limit that none of them counts is left out."""
        return _sum(drawer.spent for drawer in self.by.values())

    @property
    def closed(self) -> bool:
        """Whether all totals are final; not while nobody has drawn: an unknown is no 0."""
        return bool(self.by) and all(drawer.closed for drawer in self.by.values())

    @property
    def failed(self) -> bool:
        """Whether any drawer ended before its work was done."""
        return any(drawer.failed for drawer in self.by.values())

    def drawn(
        self, by: str, spent: Mapping[str, int], at: datetime, *, closed: bool = False, failed: bool = False
    ) -> Draws:
        """Take in what a drawer tells.

        :param by: its id.
        :param spent: its total, by limit name; a total that is lower than an earlier one came late.
        :param at: when it took that total (our clock).
        :param closed: whether this is its final total; once final, always final.
        :param failed: whether it ended before its work was done.
        """
        before = self.by.get(by, Drawer({}))
        total = {name: max(spent.get(name, 0), before.spent.get(name, 0)) for name in {**before.spent, **spent}}
        now = Drawer(total, closed or before.closed, failed or before.failed)
        others = {name: drawer for name, drawer in self.by.items() if name != by or not now.closed}
        draws = Draws(_folded({**others, by: now}), self.course)
        if draws.spent == (self.course[-1][1] if self.course else {}):
            return draws
        # Drawers on other hosts have other clocks; a later instant only shows later.
        at = max(at, self.course[-1][0]) if self.course else at
        return Draws(draws.by, _thinned((*self.course, (at, draws.spent)), at))

    def spent_by(self, name: str, instant: datetime) -> int:
        """Return what had been spent of a limit by an instant for certain; what is not known counts as nothing."""
        return next((spent.get(name, 0) for at, spent in reversed(self.course) if at <= instant), 0)


def unseen(held: Mapping[str, int], draws: Draws, name: str, seen_since: datetime) -> int:
    """Return what a reading may not show yet of one limit: all that is held, less what was spent early enough.

    A load that spends more than it holds counts with what it spends.

    :param held: by limit name.
    :param draws: from the same reservation.
    :param name: the limit.
    :param seen_since: calls made until then show in the reading, or have left the window.
    """
    return max(held.get(name, 0), draws.spent.get(name, 0)) - draws.spent_by(name, seen_since)


def settled(held: Mapping[str, int], draws: Draws) -> dict[str, int]:
    """Return what a reservation that has ended still stands for, by limit name.

    That is what was spent, if every drawer has told its final total; otherwise all that was held, since nobody knows
    how much of it was spent.

    :param held: by limit name.
    :param draws: from the same reservation.
    """
    if not draws.closed:
        return dict(held)
    spent = draws.spent
    return {name: min(calls, spent.get(name, calls)) for name, calls in held.items()}


def covers(held: Mapping[str, int], draws: Draws, needs: Mapping[str, int]) -> bool:
    """Tell whether as much as is needed is held and not spent yet."""
    spent = draws.spent
    return all(held.get(name, 0) - spent.get(name, 0) >= need for name, need in needs.items())


def draws_to_json(draws: Draws) -> dict[str, Any]:
    """Return draws as JSON-safe values; :func:`draws_from_json` is its inverse."""
    return {
        "by": {
            name: {"spent": dict(drawer.spent), "closed": drawer.closed, "failed": drawer.failed}
            for name, drawer in draws.by.items()
        },
        "course": [[at.isoformat(), dict(spent)] for at, spent in draws.course],
    }


def draws_from_json(wire: Mapping[str, Any] | None) -> Draws:
    """Return the draws that :func:`draws_to_json` wrote; none for ``None``."""
    if wire is None:
        return Draws()
    return Draws(
        {name: Drawer(**drawer) for name, drawer in wire["by"].items()},
        tuple((datetime.fromisoformat(at), spent) for at, spent in wire["course"]),
    )


def reservation_id_of(reservation: Any) -> str | None:
    """Read a reservation: the sensor's XCom, its text after rendering (``"{'reservation_id': ...}"``), or the bare id.

    :returns: ``None`` if it is none, as when the gate never opened.
    """
    reservation = _mapping(reservation)
    if isinstance(reservation, Mapping):
        reservation = reservation.get("reservation_id")
    text = str(reservation or "").strip()
    return None if text in ("", "None") else text


def needs_of(reservation: Any) -> dict[str, int] | None:
    """Return what the sensor's XCom says is held; ``None`` for a bare id, which says nothing of it."""
    reservation = _mapping(reservation)
    needs = reservation.get("needs") if isinstance(reservation, Mapping) else None
    return dict(needs) if needs else None


def _mapping(reservation: Any) -> Any:
    if isinstance(reservation, str) and reservation.strip().startswith("{"):
        return literal_eval(reservation.strip())
    return reservation


def _sum(totals: Iterable[Mapping[str, int]]) -> dict[str, int]:
    added: Counter[str] = Counter()
    for total in totals:
        added.update(total)
    return dict(added)


def _folded(by: Mapping[str, Drawer]) -> dict[str, Drawer]:
    """Make one sum of the drawers that closed long ago, so that a thousand of them leave no thousand rows."""
    closed = [name for name, drawer in by.items() if drawer.closed and name != FOLDED]
    old = closed[: max(0, len(closed) - MOST_CLOSED)]
    if not old:
        return dict(by)
    gone = [by[name] for name in (FOLDED, *old) if name in by]
    folded = Drawer(_sum(drawer.spent for drawer in gone), closed=True, failed=any(drawer.failed for drawer in gone))
    return {FOLDED: folded, **{name: drawer for name, drawer in by.items() if name not in (FOLDED, *old)}}


def _thinned(course: Course, now: datetime) -> Course:
    """Leave out totals that lie close to their neighbours; each that is left out only makes less certain."""
    kept: list[tuple[datetime, Mapping[str, int]]] = []
    for place, (at, spent) in enumerate(course):
        last = place == len(course) - 1
        apart = max(FINEST, (now - at) / COARSENING)
        if last or not kept or course[place + 1][0] - kept[-1][0] >= apart:
            kept.append((at, spent))
    return tuple(kept)
