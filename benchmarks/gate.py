"""The gate against sensors that poll, and against oracles, in scenarios of many days.

``python -m benchmarks.gate --days 10 --seeds 11 12 13 14``
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.gate_real import RealGate
from benchmarks.gate_rivals import Oracle, Sensors
from benchmarks.gate_scenarios import SCENARIOS, Load
from benchmarks.gate_world import Decider, World

DECIDERS: dict[str, Callable[[World], Decider]] = {
    "60 s": lambda world: Sensors(world, 60),
    "300 s": lambda world: Sensors(world, 300),
    "back-off": lambda world: Sensors(world, 60, 3600),
    "strict": lambda world: Oracle(world, 0.0),
    "oracle": lambda world: Oracle(world, 1.0),
    "gate": RealGate,
}


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


def run(job: tuple[str, str, int, int]) -> Run:
    """Run one decider."""
    scenario, decider, seed, days = job
    started = time.perf_counter()
    world = World(SCENARIOS[scenario], f"{scenario} {seed}", days)
    measures = world.run(DECIDERS[decider](world))
    end = world.second

    def waited(load: Load) -> int:
        return (end if load.granted_at is None else load.granted_at) - load.arrives_at

    latencies = [load.latency for load in world.loads if load.latency is not None and waited(load) > 10] or [0]
    ordered = sorted(latencies)
    big = sorted(world.loads, key=lambda load: load.need)[-max(1, len(world.loads) // 10) :]
    return Run(
        scenario, decider, seed, days, measures.looks,
        statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        len(measures.locked_minutes),
        statistics.fmean(map(waited, world.loads)) / 60, max(map(waited, big)) / 3600,
        measures.served, time.perf_counter() - started,
    )  # fmt: skip


def table(runs: Sequence[Run]) -> None:
    """Print medians over the seeds."""
    print(
        "| scenario | who | calls to look | latency p50 / p95 s | lock-out min (runs with) | mean wait min "
        "| longest wait of a big one h | calls served | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for scenario in dict.fromkeys(run.scenario for run in runs):
        for decider in dict.fromkeys(run.decider for run in runs):
            of = [run for run in runs if (run.scenario, run.decider) == (scenario, decider)]
            if not of:
                continue
            yard = {r.seed: r.looks for r in runs if (r.scenario, r.decider) == (scenario, "60 s")}
            best = {r.seed: r.served for r in runs if (r.scenario, r.decider) == (scenario, "oracle")}
            share = statistics.median(r.looks / yard[r.seed] for r in of) if yard else float("nan")
            served = statistics.median(r.served / best[r.seed] for r in of) if best else float("nan")

            def middle(key: Callable[[Run], float], of: list[Run] = of) -> float:
                return statistics.median(map(key, of))

            print(
                f"| {scenario} | {decider} | {middle(lambda r: r.looks):,.0f} ({share:.2%}) "
                f"| {middle(lambda r: r.p50):,.0f} / {middle(lambda r: r.p95):,.0f} "
                f"| {middle(lambda r: r.locked):,.0f} ({sum(r.locked > 0 for r in of)}/{len(of)}) "
                f"| {middle(lambda r: r.wait):,.0f} | {middle(lambda r: r.big):,.1f} | {served:.1%} "
                f"| {middle(lambda r: r.seconds):,.0f} |"
            )


def kept(path: Path | None) -> list[Run]:
    """Return the runs that a file has."""
    if path is None or not path.exists():
        return []
    return [Run(**json.loads(line)) for line in path.read_text().splitlines()]


def main() -> None:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=7, help="with loads, after the warm-up; they begin on a Tuesday")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101], help="1 to 9 were tuned on")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS))
    parser.add_argument("--deciders", nargs="+", default=list(DECIDERS), choices=list(DECIDERS))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a file of runs: those in it are not made again, new ones are added")
    options = parser.parse_args()
    runs = kept(options.keep)
    made = {(run.scenario, run.decider, run.seed, run.days) for run in runs}
    jobs = [
        (scenario, decider, seed, options.days)
        for seed in options.seeds
        for scenario in options.scenarios
        for decider in options.deciders
        if (scenario, decider, seed, options.days) not in made
    ]
    started = time.perf_counter()
    with ProcessPoolExecutor(options.processes, max_tasks_per_child=1) as pool:
        for done in pool.map(run, jobs):
            runs.append(done)
            if options.keep is not None:
                with options.keep.open("a") as file:
                    file.write(json.dumps(asdict(done)) + "\n")
    wanted = {(s, d, seed, options.days) for s in options.scenarios for d in options.deciders for seed in options.seeds}
    table([run for run in runs if (run.scenario, run.decider, run.seed, run.days) in wanted])
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
