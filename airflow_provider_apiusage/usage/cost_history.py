"""What earlier runs of a task say about its next estimate.

An estimate is wrong where its inputs are: rows are longer, jobs take longer, clients read more often than was thought.
The same task errs much the same way each time, so the ratios ``spent / estimated`` of its earlier runs correct it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from airflow_provider_apiusage.usage.cost import Cost


@dataclass(frozen=True, slots=True)
class PastRun:
    """One earlier run of the same task.

    :param estimated: what the formula said for it, by limit name, *before* any correction. A corrected estimate would
        hide its error from the next one.
    :param spent: what it really spent, by limit name; a limit that was not metered is left out, never 0.
    :param finished: whether it ran to its end. One that did not would have spent more: it counts as at least its
        estimate.
    """

    estimated: Mapping[str, int]
    spent: Mapping[str, int]
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Correction:
    """How the estimate of one limit was corrected.

    :param need: the corrected need, at least 1.
    :param estimate: the estimate that it was made from.
    :param factor: ``need / estimate`` before rounding up, within the bounds.
    :param runs: earlier runs that tell of this limit, among the latest.
    :param enough: whether they are enough to promise the quantile; if not, the factor holds a margin instead.
    :param bounded: whether the runs ask for a factor beyond the bounds: then the estimate itself is what needs mending.
    """

    need: int
    estimate: int
    factor: float
    runs: int
    enough: bool
    bounded: bool


@dataclass(frozen=True, slots=True)
class CorrectedCost:
    """An estimate as earlier runs correct it.

    :param needs: what to ask for, for ``ApiQuotaSensor(calls=...)``.
    :param corrections: how each limit was corrected, by its name.
    """

    needs: Cost
    corrections: Mapping[str, Correction]

    @property
    def reason(self) -> str:
        """One sentence for each limit, with the figures."""
        return " ".join(_sentence(name, correction) for name, correction in self.corrections.items())


def estimate_from_history(
    spent: Sequence[PastRun],
    estimate: Mapping[str, int],
    *,
    quantile: float = 0.9,
    doubt: float = 1.5,
    least: float = 0.25,
    most: float = 4.0,
    latest: int = 50,
) -> CorrectedCost:
    """Correct an estimate by what earlier runs of the same task spent.

    Each limit is corrected on its own by the ratios ``spent / estimated`` of the latest runs. With n runs, the factor
    is the k-th smallest ratio, k = quantile * (n + 1) rounded up: if runs differ by chance alone, the next one stays
    within the corrected need with at least that probability (its rank among all n + 1 is as likely to be any). From 19
    runs on (for 0.9), one wild run moves nothing.

    Fewer than quantile / (1 - quantile) runs, 9 for 0.9, can promise no such thing. Then the factor is the largest
    ratio, and at least 1, times a margin: ``doubt`` without any run, less with each run, none once they are enough.

    :param spent: earlier runs of this task, oldest first; their estimates uncorrected.
    :param estimate: the estimate to correct, by limit name: what ``estimate_cost`` returned.
    :param quantile: how often (more than 0, less than 1) a run should stay within its need.
    :param doubt: the margin without history, 1 or more; 1 for none.
    :param least: the smallest factor, more than 0 and at most 1.
    :param most: the largest factor, 1 or more.
    :param latest: how many of the latest runs count, at least 1; older ones tell of another load.
    :raises ValueError: if an argument makes no sense; says which.
    """
    share, margin = _number("quantile", quantile), _number("doubt", doubt)
    low, high = _number("least", least), _number("most", most)
    if not 0 < share < 1:
        raise ValueError(f"quantile={quantile!r} must be more than 0 and less than 1; write it like 0.9.")
    if margin < 1:
        raise ValueError(f"doubt={doubt!r} must be 1 (no margin) or more.")
    if not 0 < low <= 1 <= high:
        raise ValueError(f"least={least!r} must be more than 0 and at most 1, and most={most!r} at least 1.")
    if latest < 1:
        raise ValueError(f"latest={latest!r} must be at least 1 run.")
    corrections = {}
    for name, need in estimate.items():
        if need < 1:
            raise ValueError(f"estimate[{name!r}]={need!r} must be at least 1; leave out what the load does not need.")
        ratios = _ratios(spent, name)[-latest:]
        wanted, enough = _factor(ratios, share, margin)
        factor = min(max(wanted, low), high)
        corrections[name] = Correction(
            ceil(need * factor), need, float(factor), len(ratios), enough, bounded=factor != wanted
        )
    return CorrectedCost(Cost({name: one.need for name, one in corrections.items()}), corrections)


def _factor(ratios: list[Fraction], quantile: Fraction, doubt: Fraction) -> tuple[Fraction, bool]:
    """Return the factor before it is bounded, and whether there are runs enough to promise the quantile."""
    runs, enough = len(ratios), ceil(quantile / (1 - quantile))
    if runs >= enough:
        return sorted(ratios)[ceil(quantile * (runs + 1)) - 1], True
    return max([Fraction(1), *ratios]) * (1 + (doubt - 1) * Fraction(enough - runs, enough)), False


def _ratios(runs: Sequence[PastRun], name: str) -> list[Fraction]:
    ratios = []
    for run in runs:
        estimated, spent = run.estimated.get(name), run.spent.get(name)
        if not estimated or estimated < 0 or spent is None or spent < 0:
            continue
        ratio = Fraction(spent, estimated)
        ratios.append(ratio if run.finished else max(ratio, Fraction(1)))
    return ratios


def _sentence(name: str, correction: Correction) -> str:
    if correction.runs == 0:
        why = "no earlier run tells of it, so this is the estimate with a margin"
    elif correction.enough:
        why = f"by {correction.runs} earlier runs"
    else:
        runs = f"{correction.runs} earlier run{'s' if correction.runs > 1 else ''}"
        why = f"by {runs}, which is too few to rely on, so a margin is added"
    beyond = "; they ask for a factor beyond the bounds: mend the estimate" if correction.bounded else ""
    figures = f"{correction.need:,} instead of {correction.estimate:,} (times {correction.factor:.2f})"
    return f"{name}: {figures}, {why}{beyond}."


def _number(field: str, value: float) -> Fraction:
    """Read a number as it is written, so that 0.9 of 10 runs is 9."""
    try:
        return Fraction(str(value))
    except ValueError:
        raise ValueError(f"{field}={value!r} is no number.") from None
