"""The gate against sensors that poll, and against oracles, in scenarios of many days.

``python -m benchmarks.gate --days 7 --seeds 201`` reports; ``--tuning --seeds 1 2`` is for whoever changes the policy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from benchmarks.gate_real import RealGate
from benchmarks.gate_rivals import Oracle, Sensors
from benchmarks.gate_scenarios import SCENARIOS, Load
from benchmarks.gate_table import Run, tables
from benchmarks.gate_world import Decider, World

TUNED_ON = range(200)
"""Seeds on which the policy and its defaults were worked out: they are never reported."""

DECIDERS: dict[str, Callable[[World], Decider]] = {
    "60 s": lambda world: Sensors(world, 60),
    "300 s": lambda world: Sensors(world, 300),
    "back-off": lambda world: Sensors(world, 60, 3600),
    "strict": lambda world: Oracle(world, 0.0),
    "oracle": lambda world: Oracle(world, 1.0),
    "gate": RealGate,
}


def run(job: tuple[str, str, int, int]) -> Run:
    """Run one decider."""
    scenario, decider, seed, days = job
    started = time.process_time()
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
        measures.served, time.process_time() - started,
    )  # fmt: skip


def kept(path: Path | None) -> list[Run]:
    """Return the runs that a file has."""
    if path is None or not path.exists():
        return []
    return [Run(**json.loads(line)) for line in path.read_text().splitlines()]


def main() -> None:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=7, help="with loads, after the warm-up; they begin on a Tuesday")
    parser.add_argument("--seeds", type=int, nargs="+", default=[201], help="from 200 on; below with --tuning only")
    parser.add_argument("--tuning", action="store_true", help="try a change of the policy: seeds below 200 only")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS))
    parser.add_argument("--deciders", nargs="+", default=list(DECIDERS), choices=list(DECIDERS))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a file of runs: those in it are not made again, new ones are added")
    options = parser.parse_args()
    if any((seed in TUNED_ON) != options.tuning for seed in options.seeds):
        parser.error(
            f"seeds below {TUNED_ON.stop} are for --tuning, and no others: they were tuned on, and tell nothing."
        )
    runs = kept(options.keep)
    made = {(run.scenario, run.decider, run.seed, run.days) for run in runs}
    jobs = [
        (scenario, decider, seed, options.days)
        for seed in options.seeds
        for scenario in options.scenarios
        for decider in options.deciders
        if (scenario, decider, seed, options.days) not in made
    ]
    with ProcessPoolExecutor(options.processes, max_tasks_per_child=1) as pool:
        for done in pool.map(run, jobs):
            runs.append(done)
            if options.keep is not None:
                with options.keep.open("a") as file:
                    file.write(json.dumps(asdict(done)) + "\n")
    wanted = {(s, d, seed, options.days) for s in options.scenarios for d in options.deciders for seed in options.seeds}
    print(*tables([run for run in runs if (run.scenario, run.decider, run.seed, run.days) in wanted]), sep="\n")


if __name__ == "__main__":
    main()
