"""The tables of the gate's benchmark: what it came to, with what misses the aim in bold, and what the others did."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.gate_scenarios import SCENARIOS

AGAINST = ("60 s", "300 s", "back-off", "strict", "oracle")


@dataclass(frozen=True)
class Run:
    """What one decider came to with one seed of one scenario.

    :param looks: calls spent on looking.
    :param p50: median of the opening latency of loads that had to wait, in seconds.
    :param p95: 95 % quantile of it.
    :param locked: minutes in which calls were refused.
    :param wait: mean wait, minutes; who was never let in waits to the end.
    :param big: longest wait of the loads of the biggest tenth, hours.
    :param served: calls of loads.
    :param seconds: of a processor that the run took.
    """

    scenario: str
    decider: str
    seed: int
    days: int
    looks: int
    p50: float
    p95: float
    locked: int
    wait: float
    big: float
    served: int
    seconds: float


@dataclass(frozen=True)
class _Scenario:
    """All runs of one scenario."""

    name: str
    runs: Sequence[Run]

    def middle(self, who: str, of: Callable[[Run], float]) -> float:
        """Return the median over the seeds; not a number where there was no run."""
        found = [of(run) for run in self.runs if run.decider == who]
        return statistics.median(found) if found else float("nan")

    def share(self, of: Callable[[Run], float], yard: str, who: str = "gate") -> float:
        """Return the median, over the seeds, of what the one came to as a share of the other; 0 of nothing is 0."""
        base = {run.seed: of(run) for run in self.runs if run.decider == yard}
        pairs = [(of(run), base[run.seed]) for run in self.runs if run.decider == who and run.seed in base]
        return statistics.median([a / b if b else float(a > 0) for a, b in pairs]) if pairs else float("nan")

    def gate(self) -> str:
        """Return the row of the gate."""
        scenario, count = SCENARIOS[self.name], sum(run.decider == "gate" for run in self.runs)
        looks, served = self.share(lambda r: r.looks, "60 s"), self.share(lambda r: r.served, "oracle")
        wait, big = self.share(lambda r: r.wait, "strict"), self.share(lambda r: r.big, "strict")
        p50, p95 = self.middle("gate", lambda r: r.p50), self.middle("gate", lambda r: r.p95)
        locked = [run.locked for run in self.runs if run.decider == "gate"]
        most = 0.0 if scenario.honest else self.middle("oracle", lambda r: r.locked) / 3
        lock_outs = "none" if not any(locked) else f"{statistics.median(locked):,.0f}"
        cells = (
            (f"{looks:.2%}", looks <= 0.01),
            (f"{p50:,.0f} / {p95:,.0f}", p95 <= (scenario.stale + 30 if scenario.stale else 10)),
            (f"{lock_outs} ({sum(each > 0 for each in locked)} of {count})", statistics.median(locked) <= most),
            (f"{self.middle('gate', lambda r: r.wait):,.0f} ({wait:.2f})", wait <= 0.5),
            (f"{self.middle('gate', lambda r: r.big):,.1f} ({big:.2f})", big <= 1.5),
            (f"{served:.1%}", served >= 0.97),
        )
        return f"| {self.name} | {' | '.join(text if good else f'**{text}**' for text, good in cells)} |"

    def others(self) -> str:
        """Return the row of those it is compared with."""
        cells = [
            f"{self.middle(who, lambda r: r.looks):,.0f} / {self.middle(who, lambda r: r.p95):,.0f} "
            f"/ {self.middle(who, lambda r: r.locked):,.0f} / {self.middle(who, lambda r: r.wait):,.0f}"
            for who in AGAINST
        ]
        return f"| {self.name} | {' | '.join(cells)} |"


def tables(runs: Sequence[Run]) -> Iterator[str]:
    """Yield the lines of both tables; only scenarios in which the gate has run are in them."""
    names = dict.fromkeys(run.scenario for run in runs if run.decider == "gate")
    scenarios = [_Scenario(name, [run for run in runs if run.scenario == name]) for name in SCENARIOS if name in names]
    yield (
        "| scenario | calls, of 60 s | latency p50 / p95 s | lock-out min (runs with) | mean wait min (of strict) "
        "| longest wait of the biggest h (of strict) | served, of the oracle |"
    )
    yield "|---|---|---|---|---|---|---|"
    yield from (each.gate() for each in scenarios)
    yield ""
    yield f"| calls / latency p95 s / lock-out min / mean wait min | {' | '.join(AGAINST)} |"
    yield f"|---{'|---' * len(AGAINST)}|"
    yield from (each.others() for each in scenarios)
    yield ""
    gates, seconds = sum(run.decider == "gate" for run in runs), sum(run.seconds for run in runs)
    yield f"{len(runs)} runs, {gates} of them of the gate; {seconds / 60:,.0f} min of one core."
