"""What the page knows of its store, and what of it is worth keeping between two requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from airflow_provider_apiusage.reporting.content import ReportContent
from airflow_provider_apiusage.reporting.outlook import PAST
from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.store.org_connections import OrgConnection, OrgConnections
from airflow_provider_apiusage.store.page_queries import Newest, PageQueries
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.ui.access import Caller
from airflow_provider_apiusage.ui.answers import State
from airflow_provider_apiusage.ui.failures import no_such_org
from airflow_provider_apiusage.usage.forecast import SPAN, forecast
from airflow_provider_apiusage.usage.forecast_model import Forecast
from airflow_provider_apiusage.usage.model import LimitReading
from airflow_provider_apiusage.usage.reconciliation import reconcile

FRESH = timedelta(minutes=15)
"""A reading younger than that is current: a gate would grant on it."""

KEPT_AT_LEAST = timedelta(minutes=5)
"""What is dear to work out is not worked out anew so soon, if all that came is readings of running loads."""

MOST_KEPT = 200
"""Things that are kept at most, those of all orgs together; the least used go first."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """A forecast, and the readings of the week before it."""

    forecast: Forecast
    readings: tuple[LimitReading, ...]


@dataclass
class _Kept:
    """What was worked out of one org, and from what."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    newest: Newest | None = None
    made_at: datetime | None = None
    value: Any = None


class Known:
    """One store.

    :param engine: prepared and migrated.
    :param clock: our clock, aware UTC.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self.engine = engine
        self.now = clock
        self.store = UsageStore(engine)
        self.events = EventLogStore(engine)
        self.queries = PageQueries(engine)
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._lock = threading.Lock()

    def orgs_of(self, who: Caller) -> dict[str, tuple[OrgConnection, ...]]:
        """Return the orgs that a caller may see, each with the connections to it that the caller may read."""
        kept = OrgConnections(self.engine).all()
        readable = who.connections({each.conn_id for each in kept})
        orgs: dict[str, tuple[OrgConnection, ...]] = {}
        for each in kept:
            if each.conn_id in readable:
                orgs[each.org_id] = (*orgs.get(each.org_id, ()), each)
        return orgs

    def org_of(self, who: Caller, org_id: str) -> tuple[OrgConnection, ...]:
        """Return the connections through which a caller may see an org.

        :raises Refused: 404 if there are none, whether there is such an org or not.
        """
        found = self.orgs_of(who).get(org_id)
        if found is None:
            raise no_such_org()
        return found

    def state_of(self, newest: LimitReading | None, fresh: timedelta = FRESH) -> State:
        """Return how much a reading is to be relied on now."""
        if newest is None:
            return State.NONE
        return State.CURRENT if self.now() - newest.received_at <= fresh else State.STALE

    def content(self, org_id: str) -> ReportContent | None:
        """Return the reconciliation as of the newest reading; ``None`` if nothing was read."""
        found: ReportContent | None = self._worked_out("content", org_id, self._reconciled)
        return found

    def ahead(self, org_id: str) -> Ahead | None:
        """Return the forecast as of the newest reading; ``None`` if nothing was read."""
        found: Ahead | None = self._worked_out("ahead", org_id, self._forecast)
        return found

    def spent(self, org_id: str, what: str, work: Callable[[str], Any]) -> Any:
        """Return who spent the calls of a time, worked out with the newest reading.

        :param what: names the time.
        :param work: works it out.
        """
        return self._worked_out(f"spent {what}", org_id, work)

    def _worked_out(self, what: str, org_id: str, work: Callable[[str], Any]) -> Any:
        """Work something out if anything new has come: one thread does it, others take what there is meanwhile."""
        with self._lock:
            kept = self._kept.pop((what, org_id), None) or _Kept()
            self._kept[what, org_id] = kept  # the last of all
            while len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        newest = self.queries.newest(org_id)
        if not self._outdated(kept, newest) or not kept.lock.acquire(blocking=kept.newest is None):
            return kept.value
        try:
            if self._outdated(kept, newest):
                kept.value, kept.newest, kept.made_at = work(org_id), newest, self.now()
        finally:
            kept.lock.release()
        return kept.value

    def _outdated(self, kept: _Kept, newest: Newest) -> bool:
        if kept.newest is None or kept.made_at is None:
            return True
        if (kept.newest.snapshot_id, kept.newest.event_file) != (newest.snapshot_id, newest.event_file):
            return True
        return kept.newest != newest and self.now() - kept.made_at >= KEPT_AT_LEAST

    def _reconciled(self, org_id: str) -> ReportContent | None:
        evidence = self.store.evidence(org_id)
        if evidence is None:
            return None
        told = reconcile(evidence)
        return ReportContent(told, evidence.readings, evidence.hours, None, None, made_at=self.now())

    def _forecast(self, org_id: str) -> Ahead | None:
        evidence = self.store.evidence(org_id, span=SPAN)
        if evidence is None:
            return None
        since = evidence.at - PAST
        return Ahead(forecast(evidence), tuple(each for each in evidence.readings if each.observed_at >= since))
