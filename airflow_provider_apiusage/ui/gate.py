"""The gate: who waits and until when, who holds what, and what was decided and why."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from airflow_provider_apiusage.quota.model import Holder, LeaseState
from airflow_provider_apiusage.store.lease_rows import held_of, holder_from
from airflow_provider_apiusage.store.page_queries import Part
from airflow_provider_apiusage.ui import answers, words
from airflow_provider_apiusage.ui.access import Caller
from airflow_provider_apiusage.ui.answers import (
    Decision,
    Decisions,
    FreeAt,
    Gate,
    Held,
    Lease,
    Page,
    State,
    TaskView,
    Waiting,
)
from airflow_provider_apiusage.ui.failures import Refused
from airflow_provider_apiusage.ui.known import Known
from airflow_provider_apiusage.ui.summary import free_at, reserves
from airflow_provider_apiusage.usage.forecast import when_free
from airflow_provider_apiusage.usage.model import API_REQUESTS

SOMEBODY = "another load"
_OTHER = re.compile(r"(?<=behind )\S[^,;]*?(?=, which waits)|(?<=passes )\S[^,;]*?(?=, which waits)")
"""Where a reason names another load."""


class Readable:
    """The DAGs of some rows that a caller may read.

    :param who: the caller.
    :param holders: of the rows.
    """

    def __init__(self, who: Caller, holders: Iterable[Holder | None]) -> None:
        self._who = who
        self._known: dict[str, bool] = {}
        self._learn({each.dag_id for each in holders if each is not None})

    def holder(self, who: Holder | None) -> answers.Holder | None:
        """Return a task instance as the page takes it; ``None`` if the caller may not read its DAG."""
        return None if who is None or not self._known[who.dag_id] else words.holder(who)

    def reason(self, text: str) -> str:
        """Return a reason without the names of loads whose DAG the caller may not read."""
        named = {match[0] for match in _OTHER.finditer(text)}
        self._learn({name.split("/")[0] for name in named} - self._known.keys())
        return _OTHER.sub(lambda match: match[0] if self._known[match[0].split("/")[0]] else SOMEBODY, text)

    def _learn(self, dag_ids: Collection[str]) -> None:
        readable = self._who.dags(dag_ids) if dag_ids else set()
        self._known |= {dag_id: dag_id in readable for dag_id in dag_ids}


def gate(known: Known, org_id: str, who: Caller, offset: int, limit: int, held_offset: int, held_limit: int) -> Gate:
    """Return who waits and who holds, a page of each."""
    now = known.now()
    queue = known.queries.waiting(org_id, now, offset, limit)
    held = known.queries.held(org_id, now, held_offset, held_limit)
    readable = Readable(who, [holder_from(row) for row in (*queue.rows, *held.rows)])
    waiting = waiting_of(known, org_id, queue, held, offset, readable)
    holding = [
        Held(
            reservation_id=row.reservation_id,
            holder=readable.holder(holder_from(row)),
            held=held_of(row),
            spent=None if row.spent is None else words.calls_of(row.spent),
            granted_at=row.granted_at,
            held_until=row.held_until,
        )
        for row in held.rows
    ]
    never = not queue.total and not held.total and not known.queries.decisions(org_id, limit=1)
    return Gate(
        state=State.NONE if never else State.CURRENT,
        sentence=sentence(queue, held),
        waiting=waiting,
        waiting_page=Page(offset=offset, limit=limit, total=queue.total),
        waiting_calls=queue.calls,
        held=holding,
        held_page=Page(offset=held_offset, limit=held_limit, total=held.total),
        held_calls=held.calls,
        hidden=sum(each.holder is None for each in waiting) + sum(each.holder is None for each in holding),
        todo=words.NO_GATE if never else None,
    )


def sentence(queue: Part, held: Part) -> str:
    """Say who waits and what is held."""

    def counted(part: Part, one: str, many: str, what: str) -> str:
        if not part.total:
            return f"No {one} {what}s" if what == "wait" else f"No {one} is {what}"
        calls = f" {part.calls:,} calls" if part.calls else ""
        loads = f"1 {one}" if part.total == 1 else f"{part.total:,} {many}"
        if what == "wait":
            return f"{loads} wait{'s' if part.total == 1 else ''}{' for' + calls if calls else ''}"
        return f"{loads}{' of' + calls if calls else ''} {'is' if part.total == 1 else 'are'} {what}"

    return f"{counted(queue, 'load', 'loads', 'wait')}. {counted(held, 'reservation', 'reservations', 'held')}."


def waiting_of(known: Known, org_id: str, queue: Part, held: Part, offset: int, readable: Readable) -> list[Waiting]:
    """Return a page of the queue, each with when it can open: when it fits behind all that stand before it."""
    if not queue.rows:
        return []
    found = known.ahead(org_id)
    kept = reserves(known, org_id).get(API_REQUESTS)
    reserve = 0 if kept is None else kept.calls
    before = known.queries.before(org_id, known.now(), offset).get(API_REQUESTS, 0)
    reasons = known.queries.reasons([row.reservation_id for row in queue.rows])
    told = []
    for place, row in enumerate(queue.rows, offset + 1):
        calls = row.needs.get(API_REQUESTS, 0)
        opens: FreeAt | None = None
        if calls and found is not None:
            opens = free_at(when_free(found.forecast, calls, kept_back=reserve + (held.calls or 0) + before))
        before += calls
        last = reasons.get(row.reservation_id)
        told.append(
            Waiting(
                place=place,
                holder=readable.holder(holder_from(row)),
                needs=words.calls_of(row.needs),
                priority=row.priority,
                since=row.requested_at,
                opens=opens,
                reason=None if last is None else readable.reason(last.reason),
                decided_at=None if last is None else last.decided_at,
            )
        )
    return told


def decisions(known: Known, org_id: str, who: Caller, before: tuple[datetime, int] | None, limit: int) -> Decisions:
    """Return a page of decisions, newest first."""
    rows = known.queries.decisions(org_id, before, limit + 1)
    shown = rows[:limit]
    readable = Readable(who, [holder for _, holder in shown])
    return Decisions(
        decisions=[
            Decision(
                at=row.decided_at,
                kind=row.kind,
                holder=readable.holder(holder),
                calls={each["name"]: each["need"] for each in row.figures if each.get("need") is not None},
                reason=readable.reason(row.reason),
                figures=[dict(each) for each in row.figures],
            )
            for row, holder in shown
        ],
        next=words.cursor(shown[-1][0].decided_at, shown[-1][0].id) if len(rows) > limit else None,
    )


def task(
    known: Known | None,
    who: Caller,
    dag_id: str,
    run_id: str | None,
    task_id: str | None,
    map_index: int | None,
) -> TaskView:
    """Return what a DAG, or a part of it, has to do with orgs.

    :raises Refused: 404 if the caller may not read the DAG.
    """
    if dag_id not in who.dags([dag_id]):
        raise Refused(404, "not-found", "There is no such DAG, or you may not read it.")
    orgs: Mapping[str, Any] = {} if known is None else known.orgs_of(who)
    rows: list[Row[Any]] = []
    if known is not None and orgs:
        leases = known.queries.leases_of(dag_id, run_id, task_id, map_index)
        rows = [row for row in leases if row.org_id in orgs]
    asked = dict.fromkeys(row.org_id for row in rows)
    read = {} if known is None else {org_id: None for org_id in orgs if known.queries.takes_snapshots(org_id, dag_id)}
    reasons = {} if known is None else known.queries.reasons([row.reservation_id for row in rows])
    readable = Readable(who, [holder_from(row) for row in rows])
    return TaskView(
        orgs=[*asked, *(org_id for org_id in read if org_id not in asked)],
        leases=[
            lease(row, readable, None if (last := reasons.get(row.reservation_id)) is None else last.reason, known)
            for row in rows
        ],
        sentence=task_sentence(len(rows), bool(read)),
    )


def lease(row: Row[Any], readable: Readable, reason: str | None, known: Known | None) -> Lease:
    """Return what a task instance asked of a gate; one whose time is up has lapsed, if nobody noted it yet."""
    live = row.state in (LeaseState.WAITING.value, LeaseState.GRANTED.value)
    lapsed = live and known is not None and row.held_until <= known.now()
    return Lease(
        org_id=row.org_id,
        holder=words.holder(holder_from(row)),
        state=LeaseState.LAPSED.value if lapsed else row.state,
        needs=words.calls_of(row.needs),
        spent=None if row.spent is None else words.calls_of(row.spent),
        requested_at=row.requested_at,
        granted_at=row.granted_at,
        held_until=row.held_until,
        ended_at=row.held_until if lapsed else row.ended_at,
        reason=None if reason is None else readable.reason(reason),
    )


def task_sentence(leases: int, reads: bool) -> str:
    """Say what a DAG has to do with orgs."""
    if leases:
        return f"It has asked for calls of a Salesforce org {leases:,} time{'s' if leases > 1 else ''} lately."
    if reads:
        return "It takes snapshots of a Salesforce org and has asked no gate for calls."
    return "It has nothing to do with the API usage of a Salesforce org that you may see."
