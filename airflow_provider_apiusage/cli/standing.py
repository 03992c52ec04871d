"""Where a gate stands, without taking a turn: what it would say now, and to whom. Nothing is written, no lock taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from airflow_provider_apiusage.gate_knowledge import foresee, knowledge_of
from airflow_provider_apiusage.quota.knowledge import DEFAULT_RULES, Knowledge
from airflow_provider_apiusage.quota.model import Holder, LeaseState, LimitFigures, QuotaRequest, Refuse, Reserve, Wait
from airflow_provider_apiusage.quota.policy import Approve, Verdict, decide
from airflow_provider_apiusage.store.engine import looking
from airflow_provider_apiusage.store.lease_rows import unseen_of
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.schema import lease
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.store.waiting_rows import waiting_rows
from airflow_provider_apiusage.usage.model import API_REQUESTS, STALENESS, WINDOW, LimitReading

if TYPE_CHECKING:
    from sqlalchemy import Engine

ASKER = Holder("airflow apiusage", "status", "needs")
"""Stands last in the queue, as somebody new would; it is never written down."""

ASK_AGAIN = timedelta(minutes=5)

FIRST_FEW = 8
"""Thousands may wait; the rest of them stand behind these and change nothing for who comes after."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One who waits.

    :param reservation_id: under which the request can be taken out.
    :param request: what it asks for.
    :param verdict: what the gate would say to it now.
    """

    reservation_id: str
    request: QuotaRequest
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Standing:
    """What the gate of an org would say now.

    :param readings: the latest of each limit that ``/limits`` told last, and of those asked about.
    :param figures: of the limits asked about, as somebody new finds them.
    :param verdict: on the request asked about.
    :param grantable: the most calls of ``DailyApiRequests`` that somebody new would be granted; ``None`` if unknown.
    :param waiting: the queue, in the order of service.
    """

    readings: Mapping[str, LimitReading]
    figures: tuple[LimitFigures, ...]
    verdict: Verdict
    grantable: int | None
    waiting: tuple[Waiting, ...]


class Glance(Turn):
    """A turn that only reads. Leases whose time is up count as ended, though no turn has written that down yet."""

    def __init__(self, connection: Connection, org_id: str) -> None:
        super().__init__(connection, org_id)
        self._looks = connection

    def outstanding(
        self,
        readings: Mapping[str, LimitReading],
        names: Collection[str],
        now: datetime,
        ages: Mapping[str, timedelta] | None = None,
    ) -> dict[str, int]:
        """Return what ``Turn.outstanding`` would after ``Turn.lapse``."""
        totals = super().outstanding(readings, names, now, ages)
        held = select(lease).where(lease.c.org_id == self.org_id, lease.c.state == LeaseState.GRANTED.value)
        lapsed = self._looks.execute(held.where(lease.c.held_until <= now)).all()
        for name in names:
            age = (ages or {}).get(name, STALENESS)
            shown = readings[name].received_at - age if name in readings else now - WINDOW
            totals[name] -= sum(unseen_of(row, name, shown) for row in lapsed if row.held_until <= shown)
        return totals


def standing(
    engine: Engine,
    org_id: str,
    now: datetime,
    *,
    needs: Mapping[str, int] | None = None,
    reserve: Reserve | None = None,
) -> Standing:
    """Say what the gate of an org would decide now. Spends no API call.

    :param engine: of the store.
    :param org_id: the 15-character org id.
    :param now: our clock.
    :param needs: what somebody new would ask for; default: one call.
    :param reserve: what must stay free besides.
    :raises StoreError: if the store cannot be read.
    """
    store = UsageStore(engine)
    asked = QuotaRequest(org_id, ASKER, dict(needs or {API_REQUESTS: 1}), now, reserve or Reserve())
    foreseen = foresee(store, org_id, now)
    with looking(engine) as connection:
        turn = Glance(connection, org_id)
        rows = {holder: row for holder, row in waiting_rows(connection, org_id).items() if row.held_until > now}
        queue = [row.request for row in rows.values()]
        reported = turn.reported()
        names = {API_REQUESTS, *asked.needs, *(name for request in queue for name in request.needs)}
        readings = turn.latest_readings(sorted(names | set(reported.names if reported else ())))
        known = {name: reading for name, reading in readings.items() if name in names}
        knowledge = knowledge_of(turn, store, foreseen, [*queue, asked], known, now, now + ASK_AGAIN, DEFAULT_RULES)
        verdicts = decide([*queue, asked], knowledge)
        grantable = most_grantable(queue, asked, knowledge)
    ours = next(verdict for request, verdict in verdicts if request.holder == ASKER)
    waiting = tuple(
        Waiting(rows[request.holder].reservation_id, request, verdict)
        for request, verdict in verdicts
        if request.holder != ASKER
    )
    return Standing(readings, ours.figures, ours, grantable, waiting)


def most_grantable(queue: Sequence[QuotaRequest], asked: QuotaRequest, knowledge: Knowledge) -> int | None:
    """Return the most calls of ``DailyApiRequests`` that would be granted, by asking the policy.

    :param queue: who waits.
    :param asked: somebody new, held by :data:`ASKER`; its needs do not matter.
    :returns: ``None`` if it is not known.
    """
    reading = knowledge.readings.get(API_REQUESTS)
    kept = {name: calls for name, calls in asked.reserve.calls.items() if name == API_REQUESTS}
    one = replace(asked, needs={API_REQUESTS: 1}, reserve=replace(asked.reserve, calls=kept))
    verdicts = decide([*queue, one], knowledge)
    first = next(verdict for request, verdict in verdicts if request.holder == ASKER)
    if not isinstance(first, Approve):
        unknown = reading is None or knowledge.now - reading.received_at > one.max_age
        return None if unknown or any(each.headroom is None for each in first.figures) else 0
    limit = reading.limit if reading and reading.limit else 1
    highest = max([1, limit, *(each.headroom for each in first.figures if each.headroom)])

    def granted(calls: int, among: Sequence[QuotaRequest]) -> bool:
        last = decide([*among, replace(one, needs={API_REQUESTS: calls})], knowledge)
        return isinstance(next(verdict for request, verdict in last if request.holder == ASKER), Approve)

    def most(among: Sequence[QuotaRequest]) -> int:
        low, high = 1, highest
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if granted(middle, among) else (low, middle - 1)
        return low

    telling = _telling(verdicts)
    found = most(telling)
    if len(telling) == len(queue) or (granted(found, queue) and not granted(found + 1, queue)):
        return found
    return most(queue)


def _telling(verdicts: Sequence[tuple[QuotaRequest, Verdict]]) -> list[QuotaRequest]:
    """Return the requests that others notice: who is granted, and the first few that wait for each limit."""
    waiting: Counter[str] = Counter()
    telling = []
    for request, verdict in verdicts:
        if request.holder == ASKER or isinstance(verdict, Refuse):
            continue
        if isinstance(verdict, Wait):
            if all(waiting[name] >= FIRST_FEW for name in request.needs):
                continue
            waiting.update(request.needs.keys())
        telling.append(request)
    return telling
