"""The org's accounting: its clock, the calls of others, what is used, and what it reports."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_apiusage.sandbox.clock import VirtualClock
from airflow_provider_apiusage.sandbox.identity import NO_APP, Identity
from airflow_provider_apiusage.sandbox.ledger import Caller, Expiry, UsageLedger, to_second
from airflow_provider_apiusage.sandbox.settings import OrgSettings
from airflow_provider_apiusage.sandbox.tally import DAY, HOUR, Tally, window_start
from airflow_provider_apiusage.sandbox.traffic import Traffic

_HISTORY = timedelta(days=8)
_WINDOWS = {"sync_report_runs": HOUR, "async_report_runs": HOUR}


@dataclass(slots=True)
class _Figure:
    """The reported figure, and the slot of time in which it was made."""

    slot: int = -1
    used: int = 0


class Accounting:
    """Counts calls by the org's clock. Every method is thread-safe.

    :param seed: makes the traffic of others.
    :param clock: the org's clock; traffic begins eight days before what it shows.
    :param settings: the org's settings.
    :param identity: the org's users and apps.
    """

    def __init__(self, seed: int, clock: VirtualClock, settings: OrgSettings, identity: Identity) -> None:
        self._lock = threading.RLock()
        self.clock, self.settings, self.identity = clock, settings, identity
        self.ledger = UsageLedger()
        self.refused_of_others = 0
        self._tallies: dict[str, Tally] = {}
        self._figure = _Figure()
        self._traffic = Traffic(seed, to_second(clock.now() - _HISTORY))
        self.now()

    def now(self) -> datetime:
        """Return the org's time, after every call of others that is due by then."""
        with self._lock:
            now = self.clock.now()
            cap, bucket = self.settings.cap, self.bucket
            for second, caller, count in self._traffic.due(to_second(now), self.settings.calls_per_day):
                at = datetime.fromtimestamp(second, UTC)
                admitted = count
                if caller.counted and not self.ledger.surely_below(at, cap - count, bucket):
                    admitted = max(0, min(count, cap - self.ledger.rolling(at, bucket)))
                    self.refused_of_others += count - admitted
                self.ledger.record(at, caller, admitted)
            self._refresh(now)
            return now

    def timestamp(self) -> str:
        """Return the org's time as REST shows it."""
        return f"{self.now():%Y-%m-%dT%H:%M:%S}.000+0000"

    def spread(self, count: int, start: datetime, end: datetime, callers: Iterable[Caller] | None = None) -> None:
        """Record ``count`` calls evenly over the minutes of ``[start, end)``, at second 30, by turns of ``callers``."""
        turns = tuple(callers or _soap_callers(self.identity))
        minutes = max(1, int((end - start).total_seconds()) // 60)
        with self._lock:
            for minute in range(minutes):
                share = count * (minute + 1) // minutes - count * minute // minutes
                at = start + timedelta(minutes=minute, seconds=30)
                self.ledger.record(at, turns[minute % len(turns)], share)
            self._refresh(self.clock.now(), anew=True)

    def add_calls(self, count: int, at: datetime | None = None, caller: Caller | None = None) -> None:
        """Record calls of others, whatever the limit says.

        :param at: the instant; now if left out.
        :raises ValueError: if ``at`` is in the future, or ``count`` is negative.
        """
        with self._lock:
            now = self.now()
            if at is not None and at > now:
                raise ValueError("calls of the future cannot be added")
            self.ledger.record(at or now, caller or next(iter(_soap_callers(self.identity))), count)
            if not self.settings.staleness_seconds:
                self._refresh(now, anew=True)

    def change(self, changes: Mapping[str, Any]) -> OrgSettings:
        """Apply changed settings; the reported figure is refreshed.

        :raises ValueError: if a setting is unknown or does not fit.
        """
        with self._lock:
            now = self.now()
            self.settings = self.settings.changed(changes)
            self._refresh(now, anew=True)
            return self.settings

    @property
    def bucket(self) -> timedelta:
        """Granularity of expiry; one second is exact."""
        return timedelta(seconds=self.settings.bucket_seconds)

    @property
    def used(self) -> int:
        """The true rolling usage now."""
        now = self.now()
        return self.ledger.rolling(now, self.bucket)

    @property
    def reported(self) -> int:
        """The figure the org tells now: ``used``, or an older one if figures are stale."""
        with self._lock:
            now = self.now()
            if not self.settings.staleness_seconds:
                self._refresh(now, anew=True)
            return self._figure.used

    def rolling_of_app(self, app: str) -> int:
        """Return the rolling usage of one connected app."""
        return self.ledger.rolling_by_app(self.now(), app, self.bucket)

    def expiry(self, horizon: timedelta = timedelta(hours=24)) -> list[Expiry]:
        """Return when the calls now in the window leave it."""
        return self.ledger.expiry(self.now(), horizon, self.bucket)

    def use(self, what: str, count: int) -> None:
        """Use up ``count`` of a limit other than the daily API requests."""
        with self._lock:
            self._tallies.setdefault(what, Tally()).add(to_second(self.clock.now()), count)

    def used_in_window(self, what: str) -> int:
        """Return how much of such a limit is used in its rolling window."""
        with self._lock:
            if what not in self._tallies:
                return 0
            window, second = _WINDOWS.get(what, DAY), to_second(self.clock.now())
            bucket = self.settings.bucket_seconds if window == DAY else 1
            return self._tallies[what].between(window_start(second, bucket, window), second)

    def monthly_entitlement(self) -> dict[str, Any]:
        """Return the ``TenantUsageEntitlement`` row of the monthly API allocation."""
        allowed = self.settings.monthly_limit or self.settings.limit * 30
        year = self.now().year
        return {
            "Id": "0kWSB0000000001AAA", "MasterLabel": "API Request Limit per Month", "Frequency": "Monthly",
            "Setting": "force.DailyApiRequestLimit", "CurrentAmountAllowed": float(allowed),
            "AmountUsed": float(self.ledger.total_counted), "StartDate": f"{year}-01-01", "EndDate": f"{year}-12-31",
            "UsageDate": self.timestamp(),
        }  # fmt: skip

    def _refresh(self, now: datetime, *, anew: bool = False) -> None:
        slot = to_second(now) // max(1, self.settings.staleness_seconds)
        if anew or slot != self._figure.slot:
            used = self.ledger.rolling(now, self.bucket)
            self._figure = _Figure(slot, used)


def _soap_callers(identity: Identity) -> tuple[Caller, ...]:
    return tuple(
        Caller(user.id, NO_APP.id, client, "SOAP", "query", "", "Account")
        for user, client in zip(identity.users[1:3], ("erp-sync", "spreadsheet"), strict=False)
    )
