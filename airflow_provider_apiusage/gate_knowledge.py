"""What the gate knows when it decides: where each limit stands, what leaves, and what others are expected to do.

The past is read and carried on before a turn begins, since that takes longer than others should wait for the org's
lock: what it says changes slowly. It is kept in the process, for each org, and made anew after half an hour.
What changes with every turn (the latest readings, the queue, what is granted) is read inside the turn.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from weakref import WeakKeyDictionary

from sqlalchemy import Engine

from airflow_provider_apiusage.quota.foresight import Past, Scores, outlook_of, scores_of
from airflow_provider_apiusage.quota.knowledge import Knowledge, Rules
from airflow_provider_apiusage.quota.model import QuotaRequest
from airflow_provider_apiusage.quota.outlook import Outlook, OwnCalls
from airflow_provider_apiusage.quota.staleness import Figure, Staleness, figure_of, staleness_of
from airflow_provider_apiusage.store.engine import looking
from airflow_provider_apiusage.store.event_hours import totals_between
from airflow_provider_apiusage.store.lease_history import own_calls
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.reading_history import thinned_readings
from airflow_provider_apiusage.store.usage_store import UsageStore, readings_between
from airflow_provider_apiusage.usage.curve import Curve
from airflow_provider_apiusage.usage.model import API_REQUESTS, STALENESS, WINDOW, LimitReading
from airflow_provider_apiusage.usage.release import learn_release
from airflow_provider_apiusage.usage.window import earliest_expiry, expired_by, statements_of_reading

SPAN = timedelta(days=15)
"""How much of the past the outlook is made from: two of each weekday."""

NEAR = WINDOW + timedelta(hours=2)
"""Of so much of it every reading is looked at."""

HEARD = timedelta(days=7)
"""How long ago loads may have shown how old the org's figures are."""

OUTLOOK_FOR = timedelta(minutes=30)
SCORES_FOR = timedelta(hours=6)
"""How long an outlook, and what is known of its errors, is used before it is made anew."""

CURVE_FOR = timedelta(minutes=5)
"""How much older than the latest reading an expiry curve may be: its bounds are true, if wider."""

MOST_READINGS = 120
"""Readings of the last two days that the expiry curve is made from; leaving some out only widens its bounds."""

SHORTLY = timedelta(minutes=30)
"""A reading so long before calls are released together tells whether they were; others make more of them meanwhile."""

SURE_AFTER = timedelta(minutes=1)
"""A reading younger than that is not worth asking what has left the window since."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What the past of an org says of its next day.

    :param outlooks: as :class:`Knowledge` wants them.
    :param staleness: how old the org's figures may be when they are read.
    """

    outlooks: Mapping[str, Outlook | None]
    staleness: Staleness


@dataclass
class _Org:
    """What is kept of one org."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    scores: Scores | None = None
    scored_at: datetime | None = None
    staleness: Staleness | None = None
    heard_at: datetime | None = None
    foreseen: Foreseen | None = None
    foreseen_at: datetime | None = None
    curves: dict[str, tuple[datetime, Curve, timedelta]] = field(default_factory=dict)


_orgs: WeakKeyDictionary[Engine, dict[str, _Org]] = WeakKeyDictionary()
_orgs_lock = threading.Lock()


def _kept(engine: Engine, org_id: str) -> _Org:
    with _orgs_lock:
        return _orgs.setdefault(engine, {}).setdefault(org_id, _Org())


def foresee(store: UsageStore, org_id: str, now: datetime) -> Foreseen:
    """Carry the past of an org on into its next day; what was made within half an hour is used again.

    :param org_id: the 15-character org id.
    :param now: our clock.
    :raises StoreUnavailableError: if the store cannot be read.
    """
    kept = _kept(store.engine, org_id)
    with kept.lock:
        if kept.foreseen is None or _older(kept.foreseen_at, now, OUTLOOK_FOR):
            kept.foreseen, kept.foreseen_at = _foreseen(store, org_id, now, kept), now
        return kept.foreseen


def _foreseen(store: UsageStore, org_id: str, now: datetime, kept: _Org) -> Foreseen:
    newest = store.latest_reading(org_id)
    if newest is None:
        return Foreseen({API_REQUESTS: None}, Staleness())
    skew = newest.skew
    at = max(now + skew, newest.observed_at)
    start = (at - SPAN).replace(minute=0, second=0, microsecond=0)
    with looking(store.engine) as connection:
        near = readings_between(connection, org_id, API_REQUESTS, at - NEAR, at)
        far = thinned_readings(connection, org_id, API_REQUESTS, start, at - NEAR)
        hours = totals_between(connection, org_id, start, at)
        own = own_calls(connection, org_id, API_REQUESTS, start - skew, now)
    ours = [(second + skew.total_seconds(), calls) for second, calls in own]
    staleness = _staleness(store, org_id, kept, near, OwnCalls(ours), now)
    marks = learn_release(near).lag // timedelta(seconds=1)
    past = Past((*far, *near), hours, ours, staleness.most, marks)
    if kept.scores is None or _older(kept.scored_at, now, SCORES_FOR):
        kept.scores, kept.scored_at = scores_of(past, at), now
    outlook = None if kept.scores is None else outlook_of(past, at, kept.scores)
    return Foreseen({API_REQUESTS: outlook}, staleness)


def _staleness(
    store: UsageStore, org_id: str, kept: _Org, near: Sequence[LimitReading], own: OwnCalls, now: datetime
) -> Staleness:
    """Return what loads of the last day have shown of it, or those of the week before: a lull changes nothing."""
    bucket = 0 if kept.scores is None else kept.scores.bucket
    shown = staleness_of(near, own, bucket)
    if shown is None and _older(kept.heard_at, now, HEARD):
        with looking(store.engine) as connection:
            at = near[-1].observed_at if near else now
            shown = staleness_of(readings_between(connection, org_id, API_REQUESTS, at - HEARD, at), own, bucket)
    if shown is not None:
        kept.staleness, kept.heard_at = shown, now
    elif _older(kept.heard_at, now, HEARD):
        kept.staleness = None
    return kept.staleness or Staleness()


def _older(made_at: datetime | None, now: datetime, than: timedelta) -> bool:
    """Whether something is too old; also if our clock was set back."""
    return made_at is None or not timedelta(0) <= now - made_at < than


def knowledge_of(
    turn: Turn,
    store: UsageStore,
    foreseen: Foreseen,
    queue: Sequence[QuotaRequest],
    readings: Mapping[str, LimitReading],
    now: datetime,
    retry_at: datetime,
    rules: Rules,
) -> Knowledge:
    """Return what a turn knows.

    :param turn: the turn, whose queue and readings these are.
    :param foreseen: made before it began.
    :param now: our clock.
    :param retry_at: when to come back where nothing better is known.
    """
    names = sorted({name for waiting in queue for name in waiting.needs})
    kept = _kept(store.engine, turn.org_id)
    oldest = min((request.requested_at for request in queue), default=now)

    @cache
    def curve(name: str) -> tuple[Curve, timedelta] | None:
        if not name.startswith("Daily"):
            return None  # the window of other limits is not 24 hours
        at = readings[name].observed_at
        made = kept.curves.get(name)
        if made is None or not timedelta(0) <= at - made[0] < CURVE_FOR:
            history = turn.readings(name, at - 2 * WINDOW - STALENESS, at)
            lag = learn_release(history).lag
            step = -(-len(history) // MOST_READINGS) or 1
            statements = (s for r in history[::-step] for s in statements_of_reading(r, release_lag=lag))
            made = kept.curves[name] = (at, Curve(statements), lag)
        return None if made[1].conflict() is not None else made[1:]

    @cache
    def opens_at(name: str, calls: int) -> datetime | None:
        found = curve(name)
        return None if found is None else earliest_expiry(found[0], readings[name].observed_at, calls)

    @cache
    def expired(name: str) -> int:
        reading = readings[name]
        if now - reading.received_at < SURE_AFTER:
            return 0
        found = curve(name)
        until = now + reading.skew - (found[1] if found else timedelta(0))
        if found is None or until <= reading.observed_at:
            return 0
        return expired_by(found[0], reading.observed_at, until).low

    def figure(name: str) -> Figure:
        staleness, until = foreseen.staleness, readings[name].observed_at
        near = turn.readings(name, until - 2 * staleness.most, until) if staleness.stands else ()
        return figure_of(near, staleness)

    @cache
    def before(name: str, instant: datetime) -> LimitReading | None:
        found = turn.readings(name, instant - SHORTLY, instant)
        return next((r for r in reversed(found) if r.observed_at < instant), None)

    figures = {name: figure(name) for name in readings}
    return Knowledge(
        readings=readings,
        outstanding=turn.outstanding(readings, names, now, {name: figures[name].age for name in figures}),
        now=now,
        retry_at=retry_at,
        opens_at=opens_at,
        reported=cache(turn.reported),
        outlooks=foreseen.outlooks if rules.kept_at_peak is not None else {},
        expired=expired,
        before=before,
        staleness=foreseen.staleness.most,
        figures=figures,
        grants=turn.grants_since(oldest) if queue else (),
        rules=rules,
    )
