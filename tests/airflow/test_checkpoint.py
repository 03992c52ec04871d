"""A long load pauses while the org has few calls left, on a clock that the test moves by the load's own sleeping."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.quota.checkpoint import Pause
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import ReadingSource
from tests.support.quota import minutes, reading

SECONDS = timedelta(seconds=30)


class Night:
    """A load whose clock goes on only while it sleeps.

    :param server: the org; 25,000 of 100,000 calls are used.
    :param at_look: called after each sleep, with its number.
    """

    def __init__(self, server: SandboxServer, at_look: Callable[[int], None] = lambda _: None) -> None:
        self.now: datetime = server.org.now()
        self.sleeps: list[float] = []
        self.at_look = at_look
        self.hook = ApiUsageHook()
        self.hook._session._clock = self.hook._session._meter._clock = lambda: self.now

    def sleep(self, seconds: float) -> None:
        """Sleep, and let something happen in the meantime."""
        self.sleeps.append(seconds)
        self.now += timedelta(seconds=seconds)
        self.at_look(len(self.sleeps))

    def checkpoint(self, low: int, high: int, **options: float) -> Pause:
        """Make one call, and stop at a checkpoint."""
        self.hook.conn.query("SELECT Id FROM Organization")
        return self.hook.checkpoint(low=low, high=high, sleep=self.sleep, **options)


def test_enough_is_left_and_nobody_waits(connected: SandboxServer) -> None:
    """Told by the load's own answers: a checkpoint spends no call."""
    night = Night(connected)

    assert night.checkpoint(74_999, 80_000) == Pause(timedelta(0), 74_999)
    assert night.sleeps == []
    assert night.hook.api_calls == 1


def test_it_waits_for_the_high_mark_that_others_tell_of(
    connected: SandboxServer, store_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The low mark is not enough to go on; what others tell the store costs no call; the log says why it waits."""
    engine = sqlite_engine(store_file)
    migrate(engine)
    night = Night(connected)

    def tell(look: int) -> None:
        org_id, left = connected.org.identity.org_id, {1: 76_000, 2: 79_999, 3: 80_000}[look]
        told = reading(100_000 - left, night.now, org_id=org_id, source=ReadingSource.HEADER)
        UsageStore(engine).add_readings([told])

    night.at_look = tell

    assert night.checkpoint(75_000, 80_000) == Pause(3 * SECONDS, 80_000)
    assert night.sleeps == [30.0] * 3
    assert night.hook.api_calls == 1
    log = "".join(capfd.readouterr())
    assert "pauses: 74,999 calls are left, fewer than 75,000. It goes on when 80,000 are left, or after 1:00:00." in log
    assert "The load goes on after 0:01:30: 80,000 calls are left." in log


def test_it_asks_the_org_when_nobody_tells(connected: SandboxServer) -> None:
    """One call after five minutes, and the store is told; then the limit has been raised."""

    def raise_limit(look: int) -> None:
        if look == 15:
            connected.org.change({"limit": 200_000})

    night = Night(connected, raise_limit)

    assert night.checkpoint(75_000, 80_000) == Pause(minutes(10), 174_997)
    assert night.sleeps == [30.0] * 20
    assert night.hook.api_calls == 1 + 2
    assert night.hook.store.latest_reading(connected.org.identity.org_id) is not None


def test_its_patience_ends(connected: SandboxServer, capfd: pytest.CaptureFixture[str]) -> None:
    """It goes on, says so in the log, and lets the load decide."""
    night = Night(connected)

    assert night.checkpoint(75_000, 80_000, patience=50) == Pause(timedelta(seconds=50), 74_999, timed_out=True)
    assert night.sleeps == [30.0, 20.0]
    assert "goes on after 0:00:50, though 74,999 calls are left" in "".join(capfd.readouterr())


def test_an_org_that_cannot_be_asked_is_waited_through(connected: SandboxServer) -> None:
    """It is asked once in five minutes, no more often."""
    night = Night(connected)
    night.hook._session._retries = 0
    connected.org.faults.order(Fault("status", path="/limits", count=2))

    pause = night.checkpoint(75_000, 80_000, patience=12 * 60)

    assert (pause.waited, pause.timed_out) == (minutes(12), True)
    assert night.hook.api_calls == 1 + 2


def test_a_store_that_is_away_stops_nobody(
    connected: SandboxServer, store_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is left is unknown then."""
    store_file.mkdir()
    night = Night(connected)

    assert night.checkpoint(75_000, 80_000) == Pause(timedelta(0), None)
    assert "cannot be looked up" in "".join(capfd.readouterr())


def test_shares_of_the_limit(connected: SandboxServer) -> None:
    """The defaults are 5 and 10 percent; marks the wrong way round are refused."""
    night = Night(connected)
    night.hook.conn.query("SELECT Id FROM Organization")

    assert night.hook.checkpoint(sleep=night.sleep) == Pause(timedelta(0), 74_999)
    assert night.hook.checkpoint(low="75%", high=0.75, patience=30, sleep=night.sleep).timed_out
    with pytest.raises(ValueError, match="high mark of 5,000 calls must not be below the low mark of 10,000"):
        night.hook.checkpoint(low="10%", high="5%", sleep=night.sleep)
    with pytest.raises(ValueError, match="patience"):
        night.hook.checkpoint(patience=0, sleep=night.sleep)
