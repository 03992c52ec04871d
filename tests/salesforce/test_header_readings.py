"""Free readings: what of the answers to a load is kept, when, and what happens if the store is slow, down or gone."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.salesforce.header_readings import INTERVAL, HeaderReadings
from airflow_provider_apiusage.salesforce.metering import Exchange
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import LimitReading, ReadingSource

NOW = datetime(2026, 10, 7, 14, 30, tzinfo=UTC)
ORG = "00DAA0000000001"
HOST = "acme.my.salesforce.com"
SECONDS = timedelta(seconds=1)


class Load:
    """A load whose answers are listened to, on a clock that the test moves.

    :param write: where readings go; by default into :attr:`written`, one entry per write.
    """

    def __init__(self, write: Callable[[Sequence[LimitReading]], None] | None = None, **options: Any) -> None:
        self.now = NOW
        self.written: list[list[LimitReading]] = []
        options = {"clock": lambda: self.now, "org_id": ORG, **options}
        self.readings = HeaderReadings(write or (lambda readings: self.written.append(list(readings))), **options)

    def answer(self, used: int | None = None, limit: int = 100_000, **said: Any) -> Exchange:
        """Return an answer of the org."""
        header = None if used is None else f"api-usage={used}/{limit}"
        return Exchange(
            **{
                "method": "GET",
                "host": HOST,
                "path": "/services/data/v62.0/query",
                "status": 200,
                "counted": True,
                "observed_at": self.now.replace(microsecond=0),
                "received_at": self.now,
                "dated": True,
                "limit_info": header,
                **said,
            }
        )

    def hear(self, *answer: Any, **said: Any) -> None:
        """Let an answer come in, and wait until everything that is due is written."""
        self.readings(self.answer(*answer, **said))
        with self.readings._changed:
            assert self.readings._changed.wait_for(lambda: not (self.readings._due or self.readings._writing), 10)

    def pass_time(self, **duration: float) -> None:
        """Let time pass."""
        self.now += timedelta(**duration)

    @property
    def used(self) -> list[int | None]:
        """What each write said."""
        return [reading.used for write in self.written for reading in write]


@pytest.fixture
def store(tmp_path: Path) -> UsageStore:
    """A store on SQLite."""
    engine = sqlite_engine(tmp_path / "apiusage.db")
    migrate(engine)
    return UsageStore(engine)


def test_the_first_answer_is_kept_at_once_as_what_it_says() -> None:
    """Limit, used and both clocks, under the header as source."""
    load = Load()
    load.pass_time(milliseconds=300)
    load.hear(18)

    assert load.written == [
        [
            LimitReading(
                org_id=ORG, name="DailyApiRequests", source=ReadingSource.HEADER, observed_at=NOW,
                received_at=NOW + timedelta(milliseconds=300), limit=100_000, remaining=99_982, used=18,
            )
        ]
    ]  # fmt: skip


def test_a_busy_load_is_kept_once_a_minute() -> None:
    """A thousand answers within a minute are one write; the minute over, the newest is the next."""
    load = Load()
    for number in range(1000):
        load.hear(number, 1_000_000)
        load.pass_time(milliseconds=60)
    assert load.used == [0]

    load.hear(1000, 1_000_000)
    assert load.used == [0, 1000]


@pytest.mark.parametrize(("used", "kept_now"), [(50_999, False), (51_000, True), (49_001, False), (49_000, True)])
def test_a_jump_of_one_percent_is_kept_at_once(used: int, kept_now: bool) -> None:
    """Up, because others spend; down, because calls come free."""
    load = Load()
    load.hear(50_000)
    load.hear(used)

    assert load.used == [50_000] + [used] * kept_now


def test_a_changed_limit_is_kept_at_once() -> None:
    """The org bought calls, or lost them."""
    load = Load()
    load.hear(50_000)
    load.hear(50_001, 100_001)

    assert load.used == [50_000, 50_001]


def test_the_first_refusal_is_kept_at_once_and_the_next_are_not() -> None:
    """A load that goes on against a closed door writes once a minute; calls that come free again are told."""
    load = Load()
    load.hear(99_990)
    for _ in range(3):
        load.hear(status=403, exhausted=True)
        load.hear(99_999)
    assert [(r.source, r.remaining, r.used) for write in load.written for r in write] == [
        ("header", 10, 99_990), ("exhausted", 0, None),
    ]  # fmt: skip

    load.hear(99_000)
    assert load.used == [99_990, None, 99_000]


def test_a_refusal_whose_header_agrees_is_kept_with_its_figures() -> None:
    """An org beyond its soft limit says by how much; a header that still shows calls is not believed."""
    load = Load()
    load.hear(100_020, status=403, exhausted=True)
    assert load.used == [100_020]

    load = Load()
    load.hear(99_900, status=403, exhausted=True)
    assert [(r.source, r.remaining) for r in load.written[0]] == [("exhausted", 0)]


def test_reaching_the_limit_is_kept_at_once() -> None:
    """From 5 left to none is less than one percent, and matters."""
    load = Load()
    load.hear(99_995)
    load.hear(100_000)

    assert load.used == [99_995, 100_000]


def test_an_allocation_of_zero_is_no_reason_to_write_each_answer() -> None:
    """An org without API access says 0 of 0 all day long."""
    load = Load()
    for _ in range(5):
        load.hear(0, 0)

    assert load.used == [0]


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    """Otherwise nothing would be kept until it is as late again."""
    load = Load()
    load.hear(1)
    load.now -= timedelta(hours=1)
    load.hear(2, observed_at=NOW + SECONDS)

    assert load.used == [1, 2]


def test_an_older_answer_never_takes_the_place_of_a_newer_one() -> None:
    """With threads, answers come in any order; neither what is held nor what is kept goes back in time."""
    load = Load()
    load.hear(50_000)
    load.hear(10, observed_at=NOW - SECONDS)
    load.hear(50_002, observed_at=NOW + 2 * SECONDS)
    load.hear(50_001, observed_at=NOW + SECONDS)
    assert load.readings.flush()

    assert load.used == [50_000, 50_002]


@pytest.mark.parametrize(
    "said",
    [
        {"limit_info": None},
        {"limit_info": ""},
        {"limit_info": "api-usage=many/few"},
        {"limit_info": "api-usage=-1/5000"},
        {"limit_info": "per-app-api-usage=17/250(appName=x)"},
        {"counted": False, "path": "/services/oauth2/token"},
        {"counted": False, "path": "/services/data/"},
        {"status": 401},
        {"path": "/services/data/v62.0/limits"},
        {"path": "/services/data/v62.0/limits/"},
        {"path": "/services/data/v62.0/limits", "status": 403, "exhausted": True},
        {"host": "login.salesforce.com"},
        {"host": f"{HOST}:8443"},
    ],
)
def test_what_is_no_reading_of_the_org(said: dict[str, Any]) -> None:
    """No header or no figures, log-ins, refused tokens, ``/limits`` itself, other hosts: nothing, never a zero."""
    load = Load()
    load.readings.host_is(f"{HOST.upper()}:443")
    load.hear(5, **said)
    assert load.readings.flush()

    assert load.written == []


def test_further_parts_of_the_header_do_not_disturb() -> None:
    """Bursts and the calling app's own quota are passed over; the org's figures count."""
    load = Load()
    load.hear(limit_info="per-app-api-usage=17/250(appName=api-usage=1/2); API-Usage=110018/100000; api-bursts=1/750")

    assert load.used == [110_018]


def test_the_host_of_the_first_answer_is_the_orgs() -> None:
    """Where nobody said which host the org has, a second one is not listened to."""
    load = Load()
    load.hear(None, host="login.salesforce.com")
    load.hear(5)
    load.hear(60_000, host="another.my.salesforce.com")
    assert load.readings.flush()

    assert load.used == [5]


def test_an_org_without_a_name_is_waited_for() -> None:
    """Until the id is known the newest answer is held; then it is kept at once, and the others follow the rule."""
    load = Load(org_id=None)
    load.hear(50_000)
    load.pass_time(minutes=10)
    load.hear(60_000)
    assert load.readings.flush()
    assert load.written == []

    load.readings.org_is(ORG)
    assert load.readings.flush()
    load.hear(60_001)
    assert load.readings.flush()
    assert [(r.org_id, r.used) for write in load.written for r in write] == [(ORG, 60_000), (ORG, 60_001)]


def test_the_token_says_whose_reading_it_is() -> None:
    """A token that names its org is believed more than what was said before."""
    load = Load()
    load.hear(5, org_id="00DBB0000000002")

    assert [r.org_id for r in load.written[0]] == ["00DBB0000000002"]


def test_silence_loses_nothing() -> None:
    """A load that makes no more calls has its last answer kept when the interval is over, without being closed."""
    load = Load(interval=timedelta(milliseconds=50))
    load.hear(1)
    load.readings(load.answer(2))
    with load.readings._changed:
        assert load.readings._changed.wait_for(lambda: load.readings.kept == 2, 10)

    assert load.used == [1, 2]


def test_a_flush_without_anything_new_writes_nothing() -> None:
    """Closing twice, or after nothing at all, is free."""
    load = Load()
    assert load.readings.flush()
    load.hear(1)
    assert load.readings.flush()

    assert load.used == [1]


def test_the_end_keeps_the_last_answer_and_gives_up_the_thread() -> None:
    """What the garbage collector does for a hook that nobody closed."""
    load = Load()
    load.hear(1)
    load.readings(load.answer(2))
    load.readings.end()
    with load.readings._changed:
        assert load.readings._changed.wait_for(lambda: load.readings._writer is None, 10)

    assert load.used == [1, 2]


def test_a_store_that_hangs_stops_no_call() -> None:
    """While a write hangs, calls go on; the flush gives up in time; afterwards the newest is kept."""
    goes_on, hangs = threading.Event(), threading.Event()
    written: list[int | None] = []

    def write(readings: Sequence[LimitReading]) -> None:
        hangs.set()
        assert goes_on.wait(10)
        written.extend(r.used for r in readings)

    load = Load(write)
    load.readings(load.answer(1))
    assert hangs.wait(10)
    for number in range(2, 2_000):
        load.readings(load.answer(number))
    assert not load.readings.flush(timeout=0.05)
    assert written == []

    goes_on.set()
    assert load.readings.flush(timeout=10)
    assert written == [1, 1_999]


def test_a_store_that_is_down_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """No call fails; each failure is counted, one per interval is logged, and then the newest reading is kept."""
    down = True
    written: list[int | None] = []

    def write(readings: Sequence[LimitReading]) -> None:
        if down:
            raise OSError("[store sqlite:////gone/apiusage.db]")
        written.extend(r.used for r in readings)

    caplog.set_level(logging.WARNING)
    load = Load(write)
    for minute in range(2):
        for number in range(3):
            load.hear(50_000 * minute + 10_000 * number)
        assert not load.readings.flush()
        load.pass_time(minutes=1)
    assert load.readings.failures == 8
    assert [record.getMessage().endswith("[store sqlite:////gone/apiusage.db]") for record in caplog.records] == [
        True, True,
    ]  # fmt: skip

    down = False
    assert load.readings.flush()
    assert written == [70_000]


def test_many_threads_leave_the_newest(store: UsageStore) -> None:
    """8 threads of 50 answers each: every row is an answer that was heard, and the last one heard is the latest."""
    load = Load(store.add_readings, interval=timedelta(0))
    lock, heard = threading.Lock(), []
    numbers = iter(range(1, 401))

    def work() -> None:
        for _ in range(50):
            with lock:
                number = next(numbers)
                answer = load.answer(number, received_at=NOW + timedelta(milliseconds=number))
                heard.append((answer.received_at, number))
            load.readings(answer)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work) for _ in range(8)]:
            done.result()
    assert load.readings.flush()

    rows = store.readings(ORG, "DailyApiRequests", NOW, NOW)
    assert {(r.received_at, r.used) for r in rows} <= set(heard)
    assert rows[-1].used == 400
    assert load.readings.kept == len(rows)


ANSWERS = st.lists(
    st.tuples(st.integers(0, 120_000) | st.none(), st.integers(0, 90_000), st.booleans()), min_size=1, max_size=30
)


@given(ANSWERS)
def test_whatever_an_org_answers(answers: list[tuple[int | None, int, bool]]) -> None:
    """The last figure heard is the last one kept; writes are apart, unless usage moved, and no figure is made up."""
    load = Load()
    heard: list[int | None] = []
    for used, milliseconds, refused in answers:
        load.pass_time(milliseconds=milliseconds)
        load.hear(used, status=403 if refused else 200, exhausted=refused)
        if refused or used is not None:
            heard.append(used if not refused or (used is not None and used >= 100_000) else None)
    before_flush = [write[0] for write in load.written]
    assert load.readings.flush()

    assert (load.used[-1:] or [None]) == (heard[-1:] or [None])
    assert all(used in heard for used in load.used)
    for earlier, later in pairwise(before_flush):
        apart = later.received_at - earlier.received_at >= INTERVAL
        moved = abs((later.remaining or 0) - (earlier.remaining or 0)) >= 1_000
        assert apart or moved or (later.remaining or 0) <= 0 < (earlier.remaining or 0)


ENDING = """
import os, sys
from pathlib import Path
from datetime import UTC, datetime, timedelta
from airflow_provider_apiusage.salesforce.header_readings import HeaderReadings
from airflow_provider_apiusage.salesforce.metering import Exchange
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.usage_store import UsageStore

def load():
    engine = sqlite_engine(Path(sys.argv[1]))
    migrate(engine)
    readings = HeaderReadings(UsageStore(engine).add_readings, org_id="00DAA0000000001")
    for used in range(1, 100):
        at = datetime(2026, 10, 7, 14, 30, tzinfo=UTC) + timedelta(milliseconds=used)
        readings(Exchange("GET", "acme", "/services/data/v62.0/query", 200, True, at, at, True,
                          f"api-usage={used}/100000"))

if sys.argv[2] == "exit":
    load()
else:
    import atexit, weakref
    weakref.finalize(sys, print)  # the parent has exit handlers of its own, which a task's process drops
    if os.fork() == 0:
        atexit._clear()
        load()
        atexit._run_exitfuncs()
        os._exit(0)
    os.wait()
"""


@pytest.mark.parametrize("how", ["exit", "fork"])
def test_the_last_answer_survives_the_end_of_the_process(tmp_path: Path, store: UsageStore, how: str) -> None:
    """Nobody closed anything: an interpreter that exits keeps it, and so does a task's process as Airflow ends it."""
    done = subprocess.run(
        [sys.executable, "-c", ENDING, str(tmp_path / "apiusage.db"), how], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    latest = store.latest_reading(ORG)
    assert latest is not None
    assert latest.used == 99
