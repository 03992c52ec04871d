"""What happens to a reservation while its load runs: drawing from it, giving back, topping up, and what it came to.

All of it is about one row, under its org's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, update

from airflow_provider_apiusage.quota.drawing import draws_to_json, settled
from airflow_provider_apiusage.quota.model import LeaseState, QuotaRequest
from airflow_provider_apiusage.quota.policy import Approve, Knowledge, Verdict, decide
from airflow_provider_apiusage.store.lease_rows import draws_of, ending, held_of, request_from
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.schema import lease
from airflow_provider_apiusage.usage.cost_history import PastRun

Judge = Callable[[Turn, QuotaRequest, datetime], Verdict]
"""Decides about a top-up inside its turn, by our clock."""


@dataclass(frozen=True, slots=True)
class Released:
    """What releasing a reservation did.

    :param released: whether this has ended it.
    :param state: where it stands now.
    :param spent: what its loads have drawn, by limit name; ``None`` if none of them was metered.
    :param given_back: what was freed at once; ``None`` if nobody knows how much was spent.
    """

    reservation_id: str
    released: bool
    state: LeaseState
    spent: Mapping[str, int] | None = None
    given_back: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """Where a reservation stands after a draw.

    :param state: whether it is still held.
    :param held: what it holds, spent or not.
    :param spent: what all its loads have spent so far.
    :param lease: how long it holds from each draw on.
    """

    reservation_id: str
    state: LeaseState
    held: Mapping[str, int]
    spent: Mapping[str, int]
    held_until: datetime
    lease: timedelta


@dataclass(frozen=True, slots=True)
class Extended:
    """What came of asking for more.

    :param extended: whether the reservation holds it now.
    :param reason: why, in words, with the arithmetic.
    :param held: what the reservation holds now.
    """

    reservation_id: str
    extended: bool
    reason: str
    held: Mapping[str, int]


def state_of(row: Row[Any], now: datetime) -> LeaseState:
    """Return where a lease stands, also if it is past its end and no turn has written that down yet."""
    if row.state == LeaseState.GRANTED.value and row.held_until <= now:
        return LeaseState.LAPSED
    return LeaseState(row.state)


def release(connection: Connection, row: Row[Any], now: datetime) -> Released:
    """End a reservation; one that has ended stays as it is."""
    state, draws = state_of(row, now), draws_of(row)
    given_back: Mapping[str, int] | None = None
    if state is LeaseState.GRANTED:
        _update(connection, row, **ending(row, LeaseState.RELEASED, now))
        if draws.closed:
            held = held_of(row)
            given_back = _less(held, settled(held, draws))
    return Released(
        row.reservation_id,
        state is LeaseState.GRANTED,
        LeaseState.RELEASED if state is LeaseState.GRANTED else state,
        row.spent,
        given_back,
    )


def give_back(
    connection: Connection, row: Row[Any], calls: Mapping[str, int], now: datetime, holding: Mapping[str, int] | None
) -> Released:
    """Give back a part of a reservation, but nothing that is spent."""
    for name, number in calls.items():
        if number < 0:
            raise ValueError(f"calls[{name!r}]={number!r} must be 0 or more.")
    state, held, spent = state_of(row, now), held_of(row), draws_of(row).spent
    holding = held if holding is None else holding
    given = {}
    for name, number in calls.items():
        there = held.get(name, 0)
        free = min(number, there - holding.get(name, 0) + number, there - spent.get(name, 0))
        if free > 0:
            given[name] = free
    if state is not LeaseState.GRANTED:
        return Released(row.reservation_id, False, state, row.spent)
    if given:
        _update(connection, row, held=_less(held, given, keep=True))
    return Released(row.reservation_id, False, state, row.spent, given)


def draw(
    connection: Connection,
    row: Row[Any],
    spent: Mapping[str, int],
    now: datetime,
    *,
    by: str,
    closed: bool,
    failed: bool,
    estimate: Mapping[str, int] | None,
) -> Drawn:
    """Take in what one load has spent so far, and renew the lease."""
    draws, state, held = draws_of(row).drawn(by, spent, now, closed=closed, failed=failed), state_of(row, now), row.held
    held_until = row.held_until
    if state is LeaseState.GRANTED:
        held_until = max(held_until, now + timedelta(seconds=row.lease_seconds))
    elif draws.closed:  # the last word came after the end
        held = settled(held_of(row), draws)
    told = {} if estimate is None else {"estimate": dict(estimate)}
    _update(connection, row, draws=draws_to_json(draws), spent=draws.spent, held_until=held_until, held=held, **told)
    return Drawn(
        row.reservation_id,
        state,
        dict(row.needs if held is None else held),
        draws.spent,
        held_until,
        timedelta(seconds=row.lease_seconds),
    )


def extend(
    connection: Connection,
    row: Row[Any],
    more: Mapping[str, int],
    now: datetime,
    holding: Mapping[str, int] | None,
    judge: Judge | None,
) -> Extended:
    """Add to a reservation, if the policy grants it now; nobody in the queue is asked to step aside or let pass."""
    for name, number in more.items():
        if number < 1:
            raise ValueError(f"more[{name!r}]={number!r} must be at least 1.")
    held = held_of(row)
    if state_of(row, now) is not LeaseState.GRANTED:
        return Extended(row.reservation_id, False, f"The reservation has {_ended(state_of(row, now))}.", held)
    if holding is not None and all(held.get(name, 0) >= holding.get(name, 0) + more[name] for name in more):
        return Extended(row.reservation_id, True, "It was added already.", held)
    turn = Turn(connection, row.org_id)
    turn.lapse(now)
    request = replace(request_from(row), needs=dict(more), requested_at=now)
    verdict = (judge or judge_by_readings)(turn, request, now)
    granted = isinstance(verdict, Approve)
    turn.record(request, now, "extend" if granted else "decline", verdict.reason, verdict.figures)
    if granted:
        held = {name: held.get(name, 0) + more.get(name, 0) for name in {**held, **more}}
        _update(connection, row, held=held)
    return Extended(row.reservation_id, granted, verdict.reason, held)


def judge_by_readings(turn: Turn, request: QuotaRequest, now: datetime) -> Verdict:
    """Decide about a top-up as about a request that nobody stands before, with no forecast at hand."""
    names = list(request.needs)
    readings = turn.latest_readings(names)
    knowledge = Knowledge(
        readings=readings,
        outstanding=turn.outstanding(readings, names, now),
        now=now,
        retry_at=now,
        reported=turn.reported,
    )
    return decide([request], knowledge)[0][1]


def past_run_from(row: Row[Any]) -> PastRun:
    """Return what a metered reservation came to; its load has finished only if each of its drawers says so."""
    draws = draws_of(row)
    finished = row.state == LeaseState.RELEASED.value and draws.closed and not draws.failed
    return PastRun(dict(row.needs if row.estimate is None else row.estimate), dict(row.spent), finished)


def _ended(state: LeaseState) -> str:
    return {LeaseState.RELEASED: "been released", LeaseState.LAPSED: "lapsed"}.get(state, "not been granted")


def _less(held: Mapping[str, int], taken: Mapping[str, int], *, keep: bool = False) -> dict[str, int]:
    """Return what is left of each limit; without ``keep``, only where something is."""
    left = {name: calls - taken.get(name, 0) for name, calls in held.items()}
    return {name: calls for name, calls in left.items() if keep or calls}


def _update(connection: Connection, row: Row[Any], **values: Any) -> None:
    connection.execute(update(lease).where(lease.c.id == row.id).values(**values))
