"""``airflow apiusage gates``."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apiusage.cli.standing import Waiting, standing
from airflow_provider_apiusage.cli.subject import Subject
from airflow_provider_apiusage.cli.told import Table, Told, UsageError, command, counts, iso, when
from airflow_provider_apiusage.quota.model import Holder, Refuse, Reservation, Wait
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger

MOST = 1_000
"""Decisions that can be asked for."""


@command
def run(args: Namespace) -> Told:
    """Say who waits, who holds what, and what was decided."""
    if not 0 <= args.decisions <= MOST:
        raise UsageError(f"--decisions {args.decisions} must be from 0 to {MOST:,}.")
    subject = Subject(args)
    org_id, now = subject.org_id, datetime.now(UTC)
    ledger = QuotaLedger(subject.engine)
    waiting = standing(subject.engine, org_id, now).waiting
    held = ledger.reservations(org_id, now)
    decisions = ledger.decisions(org_id, args.decisions) if args.decisions else ()
    queue = [_waiting(place, each) for place, each in enumerate(waiting, start=1)]
    data = {
        "org_id": org_id,
        "at": iso(now),
        "waiting": queue,
        "reservations": [_held(each) for each in held],
        "decisions": [
            {
                "decided_at": iso(each["decided_at"]),
                "kind": each["kind"],
                "holder": each["holder"],
                "reason": each["reason"],
            }
            for each in decisions
        ],
        "api_calls": 0,
    }
    lines: list[str | Table] = [f"Org {org_id}: {len(waiting)} waiting, {len(held)} holding."]
    lines.append(
        Table(
            ("place", "holder", "needs", "since", "opens", "why", "id"),
            [
                (
                    str(each["place"]),
                    each["holder"],
                    counts(each["needs"]),
                    each["since"],
                    each["opens_at"] or "unknown",
                    each["reason"],
                    each["id"],
                )
                for each in queue
            ],
            "Waiting",
        )
    )
    rows = [(str(each.holder), counts(each.needs), when(each.held_until), each.reservation_id) for each in held]
    lines.append(Table(("holder", "holds", "until", "id"), rows, "Reservations"))
    told = [(when(each["decided_at"]), each["kind"], each["holder"], each["reason"]) for each in decisions]
    lines.append(Table(("at", "decision", "holder", "why"), told, "Last decisions"))
    return Told(data, lines)


def _waiting(place: int, waits: Waiting) -> dict[str, Any]:
    verdict = waits.verdict
    kind = "wait" if isinstance(verdict, Wait) else "refuse" if isinstance(verdict, Refuse) else "grant"
    return {
        "id": waits.reservation_id,
        "place": place,
        **_holder(waits.request.holder),
        "needs": dict(waits.request.needs),
        "priority": waits.request.priority,
        "since": iso(waits.request.requested_at),
        "decision": kind,
        "opens_at": iso(verdict.opens_at) if isinstance(verdict, Wait) else None,
        "reason": verdict.reason,
    }


def _held(reservation: Reservation) -> dict[str, Any]:
    return {
        "id": reservation.reservation_id,
        **_holder(reservation.holder),
        "needs": dict(reservation.needs),
        "granted_at": iso(reservation.granted_at),
        "held_until": iso(reservation.held_until),
    }


def _holder(holder: Holder) -> dict[str, Any]:
    return {
        "holder": str(holder),
        "dag_id": holder.dag_id,
        "run_id": holder.run_id,
        "task_id": holder.task_id,
        "map_index": holder.map_index,
    }
