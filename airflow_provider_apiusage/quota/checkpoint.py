"""Whether a load that runs should pause for a while: below one mark it stops, above a higher one it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

STALE = timedelta(minutes=15)
"""A reading older than this stops nobody."""

ASK_AFTER = timedelta(minutes=5)
"""A load that waits asks the org itself when nobody else has told anything for so long."""


class Step(StrEnum):
    """What a load does at a checkpoint."""

    GO = "go"
    WAIT = "wait"
    ASK = "ask"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class Marks:
    """Between the two, a load that runs goes on, and one that waits waits on.

    :param low: fewer calls left than this stop a load.
    :param high: as many calls left as this let it go on.
    :raises ValueError: if ``high`` is below ``low``: the load would stop and go at each look.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        if self.high < self.low:
            raise ValueError(f"The high mark of {self.high:,} calls must not be below the low mark of {self.low:,}.")


@dataclass(frozen=True, slots=True)
class Pause:
    """What came of a checkpoint.

    :param waited: for how long.
    :param remaining: calls left at the end, as far as is known.
    :param timed_out: whether it went on because it had waited long enough, and not because enough is left.
    """

    waited: timedelta
    remaining: int | None
    timed_out: bool = False


def step(
    remaining: int | None, age: timedelta | None, marks: Marks | None, *, waited: timedelta | None, patience: timedelta
) -> Step:
    """Decide what to do next.

    A load that runs is stopped by what is known only; one that waits is let go by what is known only.

    :param remaining: calls left by the latest reading, or ``None``.
    :param age: how old that reading is; ``None`` if there is none.
    :param marks: ``None`` where they are shares of a limit that is not known.
    :param waited: for how long the load has waited at this checkpoint; ``None`` if it runs.
    :param patience: for how long it waits at most.
    """
    known = remaining is not None and marks is not None
    if waited is None:
        fresh = age is not None and age <= STALE
        return Step.WAIT if known and fresh and remaining < marks.low else Step.GO  # type: ignore[operator, union-attr]
    if known and remaining >= marks.high:  # type: ignore[operator, union-attr]
        return Step.GO
    if waited >= patience:
        return Step.GIVE_UP
    return Step.ASK if age is None or age >= ASK_AFTER else Step.WAIT
