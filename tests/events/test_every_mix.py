"""The sandbox org's own files in every mix, order and repetition, held against what the org really counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.salesforce.event_log import list_files
from airflow_provider_apiusage.salesforce.event_log_download import downloaded
from airflow_provider_apiusage.salesforce.event_log_rows import usage_of_file
from airflow_provider_apiusage.usage.event_log import FileUsage, LogFile, LogInterval
from airflow_provider_apiusage.usage.hourly import Caller
from tests.events.conftest import START, World, told_by, truth_of

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
_orgs = count(1)


@dataclass(frozen=True)
class Logs:
    """All files of one day, each in three versions: as the org wrote it, with repeats of its own rows, and with repeats
    of the rows of earlier sequences; a version that the org retransmits is the same file."""

    versions: dict[LogFile, list[FileUsage]]
    truth: Counter[tuple[datetime, Caller]]

    @property
    def final(self) -> LogFile:
        """The daily file that holds every call."""
        return max((file for file in self.versions if file.interval is LogInterval.DAILY), key=lambda f: f.created_at)


def gather(here: World, folder: Path) -> Logs:
    """Take every file of the first day from the org as it appears, and make its versions."""
    lines: dict[LogFile, list[str]] = {}
    for _ in range(60):
        here.pass_time(hours=1)
        files, _ = list_files(here.client, since=START, until=START + DAY)
        for file in files:
            if file not in lines:
                with downloaded(here.client, file, folder) as download:
                    lines[file] = download.path.read_text().splitlines(keepends=True)
    chance, path = random.Random(5), folder / "version.csv"
    versions: dict[LogFile, list[FileUsage]] = {}
    for file, (header, *rows) in lines.items():
        earlier = [
            row
            for other, (_, *others) in lines.items()
            if other.interval is file.interval is LogInterval.HOURLY and other.starts_at == file.starts_at
            for row in others
        ]
        own = chance.choices(rows, k=1 + len(rows) // 4)
        again = chance.choices(earlier or rows, k=1 + len(rows) // 4)
        versions[file] = []
        for repeats in ([], own, again):
            mixed = rows + repeats
            chance.shuffle(mixed)
            path.write_text(header + "".join(mixed))
            versions[file].append(usage_of_file(path, file, org_id=here.client.org_id()))
    return Logs(versions, truth_of(here.org, START, START + DAY))


def test_every_mix_of_the_orgs_files_gives_the_orgs_own_counts(world: Callable[..., World], tmp_path: Path) -> None:
    """An hour whose sequences are all there is what the org counted, call for call; so is the whole day once its last
    daily file is; and whatever came, in whatever order, some of it twice, nothing is ever more."""
    here = world(
        calls_per_day=900,
        event_log_hourly_first_share=0.6,
        event_log_daily_first_share=0.8,
        event_log_daily_replaced_hours=10,
        event_log_retention_days=5,
    )
    logs = gather(here, tmp_path)
    hourly = [file for file in logs.versions if file.interval is LogInterval.HOURLY]
    daily = [file for file in logs.versions if file.interval is LogInterval.DAILY]
    assert len(hourly) > 40
    assert len(daily) == 2
    complete = [0]

    chosen = st.tuples(
        st.lists(st.sampled_from(hourly), max_size=6, unique=True),
        st.lists(st.sampled_from(daily), max_size=2, unique=True),
    ).map(lambda both: both[0] + both[1])
    arrivals = chosen.flatmap(
        lambda files: (
            st.lists(st.tuples(st.sampled_from(files), st.integers(0, 2)), min_size=len(files), max_size=len(files) + 3)
            if files
            else st.just([])
        )
    )

    @settings(max_examples=150, deadline=None)
    @given(order=arrivals)
    def check(order: list[tuple[LogFile, int]]) -> None:
        org_id = f"00DAA{next(_orgs):010d}"
        arrived = set()
        for file, version in order:
            usage = logs.versions[file][version]
            assert here.logs.add_file(org_id, usage, START + DAY * 2) == (file not in arrived)
            arrived.add(file)
        told = told_by(here.logs.usage(org_id, START, START + DAY))
        assert told <= logs.truth
        if logs.final in arrived:
            assert told == logs.truth
            complete[0] += 1
        elif not arrived & set(daily):
            for hour in {file.starts_at for file in arrived}:
                if {file for file in hourly if file.starts_at == hour} <= arrived:
                    assert {key: n for key, n in told.items() if key[0] == hour} == {
                        key: n for key, n in logs.truth.items() if key[0] == hour
                    }
                    complete[0] += 1

    check()
    assert complete[0] > 40
