"""Large log files for tests and benchmarks: what is told of them is in them."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.sandbox import write_event_log
from airflow_provider_apiusage.sandbox.event_log import COLUMNS


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(0, 3_000),
    hours=st.integers(1, 24),
    seed=st.integers(0, 5),
    users=st.integers(1, 60),
    repeats=st.floats(0, 0.9),
)
def test_the_truth_is_what_is_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, rows: int, hours: int, seed: int, users: int, repeats: float
) -> None:
    """Rows, distinct ones, counted ones, and calls of each hour; each call has a request id of its own."""
    path = tmp_path_factory.getbasetemp() / "written.csv"
    truth = write_event_log(path, rows=rows, hours=hours, seed=seed, users=users, repeats=repeats)
    found = read(path)
    distinct = {row["REQUEST_ID"]: row for row in found}
    by_hour = Counter(row["TIMESTAMP"][:10] for row in distinct.values())

    assert (truth.rows, truth.distinct) == (rows, rows - int(rows * repeats))
    assert len(found) == rows
    assert len({tuple(row.values()) for row in found}) == len(distinct) == truth.distinct
    assert sum(row["COUNTS_AGAINST_API_LIMIT"] == "1" for row in distinct.values()) == truth.counted
    assert [by_hour[f"20261006{hour:02d}"] for hour in range(hours)] == list(truth.hourly)
    assert len({row["USER_ID"] for row in found}) <= users


def test_a_file_is_of_the_usual_size_and_variety(tmp_path: Path) -> None:
    """About 300 bytes a row, the documented columns, some 40 users, 15 apps, 25 clients, 4 families, 99 % counted."""
    path = tmp_path / "rows.csv"
    truth = write_event_log(path, rows=50_000)
    rows = read(path)
    values = {name: {row[name] for row in rows} for name in COLUMNS}

    assert tuple(rows[0]) == COLUMNS
    assert 250 < path.stat().st_size / 50_000 < 320
    assert [len(values[name]) for name in ("USER_ID", "CONNECTED_APP_ID", "CLIENT_NAME", "API_FAMILY")] == [
        40, 15, 25, 4,
    ]  # fmt: skip
    assert {len(value) for value in values["USER_ID"]} == {15}
    assert len(values["API_RESOURCE"]) > 20_000
    assert 'Loader "nightly", v2' in values["CLIENT_NAME"]
    assert 0.985 < truth.counted / truth.distinct < 0.995


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    """Byte for byte; another seed gives another."""
    paths = [tmp_path / f"{number}.csv" for number in range(3)]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        write_event_log(path, rows=30_000, seed=seed, repeats=0.1)
    one, two, other = (path.read_bytes() for path in paths)

    assert one == two != other


@pytest.mark.parametrize("wrong", [{"rows": -1}, {"hours": 0}, {"hours": 25}, {"users": 0}, {"repeats": 1.0}])
def test_arguments_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Nothing is written."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        write_event_log(tmp_path / "none.csv", **{"rows": 10, **wrong})
    assert list(tmp_path.iterdir()) == []
