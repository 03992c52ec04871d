"""What one turn writes for many requests at once: a fixed number of statements, and rows only for what changes.

All of it runs inside a turn, which holds the org's lock; see ``QuotaLedger.turn``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from airflow_provider_apiusage.quota.model import Holder, LeaseState, LimitFigures, QuotaRequest, Reservation
from airflow_provider_apiusage.quota.wire import figures_to_json
from airflow_provider_apiusage.store.lease_rows import (
    LIVE,
    ending,
    holder_columns,
    holder_from,
    of_holder,
    reservation_from,
    serves,
    terms,
)
from airflow_provider_apiusage.store.schema import decision, lease, reading
from airflow_provider_apiusage.store.waiting_rows import WaitingRow
from airflow_provider_apiusage.usage.model import WINDOW, ReadingSource

FEW = 8
"""So many holders are looked up one by one; for more, the live leases of the org are read in one go."""

MOST_PARAMETERS = 10_000
"""Of one statement: SQLite takes 32,766, PostgreSQL 65,535."""


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision to be kept.

    :param kind: ``"grant"``, ``"wait"`` or ``"refuse"``.
    :param unless_waits_since: a wait is not kept again, whatever its reason, if the last one kept is younger (our
        clock); ``None`` to keep each change of reason.
    """

    request: QuotaRequest
    kind: str
    reason: str
    figures: Sequence[LimitFigures]
    unless_waits_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of joining.

    :param held: the reservations of those who hold one already.
    :param waits_until: of the others, until when their requests wait unless they are renewed (our clock).
    """

    held: Mapping[Holder, Reservation]
    waits_until: Mapping[Holder, datetime]


def live_rows(connection: Connection, org_id: str, holders: Collection[Holder]) -> dict[Holder, Row[Any]]:
    """Return the live lease of each holder that has one."""
    live = select(lease).where(lease.c.org_id == org_id, lease.c.state.in_(LIVE))
    if len(holders) <= FEW:
        rows = [row for holder in holders for row in connection.execute(live.where(of_holder(holder)))]
    else:
        rows = [*connection.execute(live)]
    found = {holder_from(row): row for row in rows}
    return {holder: found[holder] for holder in holders if holder in found}


def join_all(
    connection: Connection,
    org_id: str,
    waiting: Mapping[Holder, WaitingRow],
    requests: Iterable[QuotaRequest],
    now: datetime,
    waits_until: datetime,
    seen: Mapping[Holder, datetime],
    enough: datetime,
) -> tuple[Joined, bool]:
    """Let many requests enter the queue, or renew what their holders have; see ``Turn.join_all``.

    :param waiting: the org's queue.
    :returns: what came of it, and whether the queue is another now than it was.
    """
    asked = {request.holder: request for request in requests}
    live = live_rows(connection, org_id, [holder for holder in asked if holder not in waiting])
    held: dict[Holder, Reservation] = {}
    untils: dict[Holder, datetime] = {}
    renewed, changed, outgrown, entering = [], [], [], []
    for holder, request in asked.items():
        waits = waiting.get(holder)
        if waits is not None:
            untils[holder] = waits.held_until
            if waits.held_until < enough or seen.get(holder) != waits.held_until:
                renewed.append(waits.id)
                untils[holder] = waits_until
            if not _same_terms(waits.request, request):
                changed.append({"row": waits.id, **terms(request)})
        elif (row := live.get(holder)) is None:
            entering.append(request)
        elif serves(row, request.needs):
            held[holder] = replace(reservation_from(row), held_until=max(row.held_until, now + request.lease))
        else:
            outgrown.append(row)
            entering.append(request)
    end_all(connection, outgrown, LeaseState.RELEASED, now)
    _update_rows(connection, [{"row": live[holder].id, "held_until": each.held_until} for holder, each in held.items()])
    _update_rows(connection, changed)
    for start in range(0, len(renewed), MOST_PARAMETERS):
        ids = renewed[start : start + MOST_PARAMETERS]
        connection.execute(update(lease).where(lease.c.id.in_(ids)).values(held_until=waits_until))
    _enter(connection, org_id, entering, now, waits_until)
    untils |= {request.holder: waits_until for request in entering}
    return Joined(held, untils), bool(renewed or changed or entering)


def _same_terms(one: QuotaRequest, other: QuotaRequest) -> bool:
    return (
        (one.needs, one.estimate) == (other.needs, other.estimate)
        and (one.reserve, one.lease, one.max_age) == (other.reserve, other.lease, other.max_age)
        and (one.on_unknown, one.priority) == (other.on_unknown, other.priority)
    )


def grant_all(
    connection: Connection,
    org_id: str,
    waiting: Mapping[Holder, WaitingRow],
    requests: Iterable[QuotaRequest],
    now: datetime,
) -> dict[Holder, Reservation]:
    """Turn waiting requests into reservations.

    :param waiting: the org's queue.
    :raises LookupError: if one of the holders is not waiting.
    """
    granted, changes = {}, []
    for request in requests:
        row = waiting_row(waiting, request.holder, org_id)
        until = now + request.lease
        granted[request.holder] = Reservation(
            row.reservation_id, org_id, request.holder, dict(row.request.needs), now, until
        )
        changes.append({"row": row.id, "state": LeaseState.GRANTED.value, "granted_at": now, "held_until": until})
    _update_rows(connection, changes)
    return granted


def record_all(
    connection: Connection,
    org_id: str,
    waiting: Mapping[Holder, WaitingRow],
    decided: Sequence[Decided],
    now: datetime,
) -> dict[Holder, datetime]:
    """Keep decisions with their figures; one that is the holder's last one over again is not kept again.

    :param waiting: the org's queue.
    :returns: when the last decision of each that is kept was made.
    :raises LookupError: if one of the holders neither waits nor holds anything.
    """
    holders = [each.request.holder for each in decided]
    live = live_rows(connection, org_id, [holder for holder in holders if holder not in waiting])
    named: dict[Holder, str] = {}
    for holder in holders:
        row = waiting.get(holder) or live.get(holder)
        if row is None:
            raise LookupError(f"{holder} neither waits for quota of org {org_id} nor holds any.")
        named[holder] = row.reservation_id
    last = _last_decisions(connection, [named[each.request.holder] for each in decided])
    kept, rows = {}, []
    for each in decided:
        holder = each.request.holder
        before = last.get(named[holder])
        if before is not None and _is_old_news(each, before):
            kept[holder] = before.decided_at
            continue
        kept[holder] = now
        rows.append(
            {
                "org_id": org_id,
                "reservation_id": named[holder],
                "decided_at": now,
                "kind": each.kind,
                "reason": each.reason,
                "figures": [figures_to_json(one) for one in each.figures],
            }
        )
    if rows:
        connection.execute(insert(decision), rows)
    return kept


def _last_decisions(connection: Connection, reservation_ids: Sequence[str]) -> dict[str, Row[Any]]:
    c = decision.c
    last: dict[str, Row[Any]] = {}
    for start in range(0, len(reservation_ids), MOST_PARAMETERS):
        some = reservation_ids[start : start + MOST_PARAMETERS]
        newest = select(func.max(c.id)).where(c.reservation_id.in_(some)).group_by(c.reservation_id)
        found = connection.execute(select(c.reservation_id, c.kind, c.reason, c.decided_at).where(c.id.in_(newest)))
        last |= {row.reservation_id: row for row in found}
    return last


def _is_old_news(decided: Decided, last: Row[Any]) -> bool:
    if last.kind != decided.kind:
        return False
    since = decided.unless_waits_since
    return bool(last.reason == decided.reason or (since is not None and last.decided_at > since))


def leave_all(connection: Connection, org_id: str, left: Mapping[Holder, datetime], now: datetime) -> None:
    """End the live leases of holders that have gone, unless somebody has renewed them since.

    Requests lapse, so whoever comes back within a day stands where it stood; reservations are released.

    :param left: holders, and until when their leases ran as whoever says that they have gone left them. A lease that
        runs until another instant was renewed by another process, which has taken the holder over.
    """
    rows = [row for holder, row in live_rows(connection, org_id, left).items() if row.held_until == left[holder]]
    for state, end in ((LeaseState.WAITING, LeaseState.LAPSED), (LeaseState.GRANTED, LeaseState.RELEASED)):
        end_all(connection, [row for row in rows if row.state == state.value], end, now)


def signs(connection: Connection, org_id: str) -> tuple[datetime | None, ...]:
    """Return what is another after anybody has read the org, kept a header, or given calls back."""
    by_source = select(func.max(reading.c.received_at)).where(reading.c.org_id == org_id)
    questions = [by_source.where(reading.c.source == source.value) for source in ReadingSource]
    questions.append(select(func.max(lease.c.ended_at)).where(lease.c.org_id == org_id))
    return tuple(connection.execute(question).scalar_one() for question in questions)


def end_all(connection: Connection, rows: Iterable[Row[Any]], state: LeaseState, now: datetime) -> None:
    """End leases now."""
    _update_rows(connection, [{"row": row.id, **ending(row, state, now)} for row in rows])


def end_waiting(connection: Connection, rows: Iterable[WaitingRow], state: LeaseState, now: datetime) -> None:
    """Take requests out of the queue now."""
    _update_rows(connection, [{"row": row.id, "state": state.value, "ended_at": now} for row in rows])


def waiting_row(waiting: Mapping[Holder, WaitingRow], holder: Holder, org_id: str) -> WaitingRow:
    """Return a holder's place in the queue.

    :raises LookupError: if it is not waiting.
    """
    row = waiting.get(holder)
    if row is None:
        raise LookupError(f"{holder} is not waiting for quota of org {org_id}.")
    return row


def _update_rows(connection: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """Give each row (named by its id as ``row``) new values of the same columns, in one statement."""
    if changes:
        columns = {name: bindparam(f"new_{name}", type_=lease.c[name].type) for name in changes[0] if name != "row"}
        values = [{name if name == "row" else f"new_{name}": value for name, value in one.items()} for one in changes]
        connection.execute(update(lease).where(lease.c.id == bindparam("row")).values(columns), values)


def _enter(
    connection: Connection, org_id: str, requests: Sequence[QuotaRequest], now: datetime, waits_until: datetime
) -> None:
    if not requests:
        return
    places = _places(connection, org_id, [request.holder for request in requests], now)
    rows = [
        {
            **terms(request),
            "reservation_id": str(uuid4()),
            "org_id": org_id,
            "dag_id": request.holder.dag_id,
            "run_id": request.holder.run_id,
            "task_id": request.holder.task_id,
            "map_index": request.holder.map_index,
            "state": LeaseState.WAITING.value,
            "requested_at": min(places.get(request.holder, request.requested_at), request.requested_at),
            "held_until": waits_until,
        }
        for request in requests
    ]
    connection.execute(insert(lease), rows)


def _places(connection: Connection, org_id: str, holders: Sequence[Holder], now: datetime) -> Mapping[Holder, datetime]:
    """Return when those joined the queue whose last request only lapsed, because they came back too late."""
    rank = func.row_number().over(partition_by=holder_columns(), order_by=(lease.c.ended_at.desc(), lease.c.id.desc()))
    ended = select(
        *holder_columns(), lease.c.state, lease.c.granted_at, lease.c.requested_at, rank.label("rank")
    ).where(lease.c.org_id == org_id, lease.c.ended_at > now - WINDOW)
    if len(holders) == 1:
        ended = ended.where(of_holder(holders[0]))
    last = ended.subquery()
    lapsed = select(last).where(last.c.rank == 1, last.c.state == LeaseState.LAPSED.value, last.c.granted_at.is_(None))
    return {holder_from(row): row.requested_at for row in connection.execute(lapsed)}
