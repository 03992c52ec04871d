"""Hourly counts from a large ``ApiTotalUsage`` file: ours beside other ways, in one run, each in a fresh process.

``python -m benchmarks.event_log [--rows 5000000]``

Ours takes repeated rows out; the bare statement and the loop only count; pandas is measured both ways. Each gets the
same file and makes the same groups: UTC hour, org, user, connected app, client, family, counted or not, and resource
class. The bare statement of DuckDB is ours without the fingerprints, with the same settings; pandas reads only the
columns that it needs, which are all of them where it has to tell repeats.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

RUNS = 3
ORG = "00DSB0000000042"
KEYS = (
    "ORGANIZATION_ID", "USER_ID", "CONNECTED_APP_ID", "CLIENT_NAME", "API_FAMILY", "COUNTS_AGAINST_API_LIMIT",
)  # fmt: skip


def ours(path: Path) -> int:
    """The product, de-duplication included."""
    from airflow_provider_apiusage.salesforce.event_log_rows import usage_of_file
    from airflow_provider_apiusage.usage.event_log import LogFile, LogInterval

    day = datetime(2026, 10, 6, tzinfo=UTC)
    file = LogFile(day, 0, day + timedelta(days=1, hours=6), "0ATAA0000000001", LogInterval.DAILY)
    return sum(part.calls for part in usage_of_file(path, file, org_id=ORG).parts)


def bare_duckdb(path: Path) -> int:
    """One GROUP BY in DuckDB; repeated rows are counted as often as they come."""
    import duckdb

    from airflow_provider_apiusage.salesforce.event_log_rows import shortened_resource

    keys = ", ".join(f'"{key}"' for key in KEYS)
    settings = {"memory_limit": "256MB", "threads": 2, "preserve_insertion_order": False}
    with duckdb.connect(config={**settings, "temp_directory": str(path.parent)}) as duck:
        found = duck.execute(
            f"SELECT TIMESTAMP[1:10], {keys}, {shortened_resource('API_RESOURCE')}, count(*)"
            " FROM read_csv($path, header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"')"
            " GROUP BY ALL",
            {"path": str(path)},
        ).fetchall()
    return sum(row[-1] for row in found)


def csv_reader(path: Path) -> int:
    """A loop over the rows of ``csv.reader``, counting groups in a dictionary."""
    from airflow_provider_apiusage.usage.hourly import resource_class

    counts: Counter[tuple[str, ...]] = Counter()
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.reader(stream)
        header = next(rows)
        stamp, target, *keys = (header.index(name) for name in ("TIMESTAMP", "API_RESOURCE", *KEYS))
        for row in rows:
            counts[(row[stamp][:10], resource_class(row[target]) or "", *(row[key] for key in keys))] += 1
    return sum(counts.values())


def pandas_counts(path: Path) -> int:
    """``read_csv`` of the columns that matter, then a groupby."""
    import pandas as pd

    frame = pd.read_csv(path, usecols=["TIMESTAMP", "API_RESOURCE", *KEYS], dtype=str, keep_default_na=False)
    return grouped(frame)


def pandas_distinct(path: Path) -> int:
    """The same after ``drop_duplicates`` over whole rows."""
    import pandas as pd

    frame = pd.read_csv(path, dtype=str, keep_default_na=False).drop_duplicates()
    return grouped(frame[["TIMESTAMP", "API_RESOURCE", *KEYS]].copy())


def grouped(frame: Any) -> int:
    """Count by the groups that all ways make."""
    pattern = r"^/v[0-9][^/]*/((?:analytics|composite|jobs|limits|tooling|ui-api)/[^/?]+|[^/?]+)"
    frame["RESOURCE"] = frame.pop("API_RESOURCE").str.extract(pattern, expand=False)
    frame["HOUR"] = frame.pop("TIMESTAMP").str[:10]
    return int(frame.groupby(list(frame.columns), dropna=False, sort=False).size().sum())


WAYS: dict[str, Callable[[Path], int]] = {
    "ours, each distinct row once": ours,
    "bare DuckDB GROUP BY": bare_duckdb,
    "csv.reader loop": csv_reader,
    "pandas": pandas_counts,
    "pandas, each distinct row once": pandas_distinct,
}


def measure(name: str, path: Path) -> dict[str, float]:
    """Run one way in a fresh process: seconds without its start, calls counted, peak memory in MB."""
    command = [sys.executable, "-m", "benchmarks.event_log", "--way", name, "--file", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return figures


def child(name: str, path: Path) -> None:
    """Do it once and print the figures."""
    started = time.perf_counter()
    calls = WAYS[name](path)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "calls": calls, "peak_mb": peak}))


def main(argv: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.way:
        child(options.way, options.file)
        return
    from airflow_provider_apiusage.sandbox import write_event_log  # not in the processes that are measured

    with tempfile.TemporaryDirectory(prefix="apiusage-benchmark-") as folder:
        path = Path(folder) / "rows.csv"
        truth = write_event_log(path, rows=options.rows, repeats=0.01)
        print(f"{options.rows:,} rows, {path.stat().st_size / 1e9:.2f} GB, {truth.distinct:,} of them distinct\n")
        figures: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
        for _ in range(RUNS):
            for name in WAYS:
                figures[name].append(measure(name, path))
        yardstick = statistics.median(run["seconds"] for run in figures["ours, each distinct row once"])
        print("| way | calls counted | median s | rows per second | time against ours | peak MB |")
        print("|---|---|---|---|---|---|")
        for name, runs in figures.items():
            seconds = statistics.median(run["seconds"] for run in runs)
            calls, peak = runs[0]["calls"], max(run["peak_mb"] for run in runs)
            rate = options.rows / seconds
            print(f"| {name} | {calls:,.0f} | {seconds:.2f} | {rate:,.0f} | {seconds / yardstick:.2f} | {peak:,.0f} |")
        assert figures["ours, each distinct row once"][0]["calls"] == truth.distinct
        print("\n| rows | GB | ours, peak MB |\n|---|---|---|")
        for million in (1, 2, 5):
            write_event_log(path, rows=million * 1_000_000, repeats=0.01)
            run = measure("ours, each distinct row once", path)
            print(f"| {million},000,000 | {path.stat().st_size / 1e9:.2f} | {run['peak_mb']:,.0f} |")


if __name__ == "__main__":
    main()
