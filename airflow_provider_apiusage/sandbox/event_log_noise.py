"""Which rows of a log come late, again or elsewhere: arithmetic on running numbers, the same each time it is asked.

Shares are kept to the thousandth, and spread evenly: of a thousand rows in a row, exactly that share is picked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum

#: How many other rows come between a row and its repetition in the same file.
_REPEATED_AFTER = 7


class Pick(Enum):
    """What rows are picked for; the numbers have no factor in common with 1,000, and scatter the picks."""

    STRAY = 619
    FROM_EARLIER = 277
    TWICE = 853


def picked(number: int, period: int, share: float, purpose: Pick) -> bool:
    """Whether the row with this running number is among the share.

    :param number: running number of the row within its period.
    :param period: running number of the period, so that not every period begins with a pick.
    :param share: 0 to 1.
    """
    return (number * purpose.value + period * 331) % 1_000 < round(share * 1_000)


def sequence_of(number: int, first_share: float, sequences: int) -> int:
    """Return in which file the row with this running number comes first: 1, or a later one; 0 for none.

    :param first_share: share of rows in the first file; the others are dealt out to the later ones in turn.
    :param sequences: how many files there are; with 1, what is late never comes.
    """
    if first_share >= 1:
        return 1
    late = _late_before(number, first_share)
    if _late_before(number + 1, first_share) == late:
        return 1
    return 0 if sequences < 2 else 2 + late % (sequences - 1)


def count_of(sequence: int, number: int, calls: int, first_share: float, sequences: int) -> int:
    """Return how many of ``calls`` rows, the first numbered ``number``, come first in this file."""
    before, after = _late_before(number, first_share), _late_before(number + calls, first_share)
    if sequence == 1:
        return calls - (after - before)
    files, turn = sequences - 1, sequence - 2
    return (after - turn + files - 1) // files - (before - turn + files - 1) // files


def repeated(rows: Iterable[tuple[str, bool]]) -> Iterator[str]:
    """Yield the rows, and those marked once more, identically and some rows later."""
    waiting: deque[tuple[int, str]] = deque()
    for number, (row, twice) in enumerate(rows):
        yield row
        if twice:
            waiting.append((number + _REPEATED_AFTER, row))
        if waiting and waiting[0][0] <= number:
            yield waiting.popleft()[1]
    for _, row in waiting:
        yield row


def _late_before(number: int, first_share: float) -> int:
    return number * round((1 - first_share) * 1_000) // 1_000
