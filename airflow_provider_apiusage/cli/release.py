"""``airflow apiusage release``."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apiusage.cli.subject import Subject
from airflow_provider_apiusage.cli.told import FINE, NO, NotKnownError, Told, UsageError, command, counts, when
from airflow_provider_apiusage.quota.model import Holder
from airflow_provider_apiusage.store.engine import looking
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.store.waiting_rows import waiting_rows

_HOLDER = re.compile(r"([^/]+)/([^/]+)/([^/\[\]]+)(?:\[(\d+)\]|/(\d+))?")


@dataclass(frozen=True, slots=True)
class Live:
    """What can be ended.

    :param waits: whether it waits, instead of being held.
    """

    org_id: str
    id: str
    holder: Holder
    needs: dict[str, int]
    held_until: datetime
    waits: bool


@command
def run(args: Namespace) -> Told:
    """End a reservation, or take a waiting request out of the queue."""
    subject, now = Subject(args), datetime.now(UTC)
    ledger = QuotaLedger(subject.engine)
    orgs = (subject.org_id,) if args.org else UsageStore(subject.engine).orgs()
    holder = _holder_from(args.target)
    found = [each for each in _live(ledger, orgs, now) if args.target == each.id or holder == each.holder]
    if not found:
        return _nothing(ledger, args.target, holder)
    if len(found) > 1:
        places = ", ".join(f"{each.id} (org {each.org_id})" for each in found)
        raise UsageError(f"{args.target} stands for more than one; name one of {places}.")
    live = found[0]
    if not args.yes and not _confirmed(live):
        return Told(_data(live, ended=False), ["Nothing was ended."], NO)
    if live.waits:
        ledger.leave(live.holder, now)
        said = f"{live.holder} has left the queue. If its task still runs it will ask again: stop the task as well."
        return Told(_data(live, ended=True), [said])
    outcome = ledger.release(live.id, now)
    ended = outcome is not None and outcome.released
    spent = None if outcome is None or outcome.spent is None else dict(outcome.spent)
    back = None if outcome is None or outcome.given_back is None else dict(outcome.given_back)
    data = _data(live, ended=ended, spent=spent, given_back=back)
    return Told(data, [_in_words(live, ended, spent, back)], FINE if ended else NO)


def _live(ledger: QuotaLedger, orgs: tuple[str, ...], now: datetime) -> Iterator[Live]:
    for org_id in orgs:
        for held in ledger.reservations(org_id, now):
            yield Live(org_id, held.reservation_id, held.holder, dict(held.needs), held.held_until, waits=False)
        with looking(ledger.engine) as connection:
            rows = waiting_rows(connection, org_id)
        for holder, row in rows.items():
            if row.held_until > now:
                yield Live(org_id, row.reservation_id, holder, dict(row.request.needs), row.held_until, waits=True)


def _holder_from(text: str) -> Holder | None:
    found = _HOLDER.fullmatch(text)
    if found is None:
        return None
    index = found[4] or found[5]
    return Holder(found[1], found[2], found[3], -1 if index is None else int(index))


def _nothing(ledger: QuotaLedger, target: str, holder: Holder | None) -> Told:
    """Say that nothing of that name is live: an id that was is no error."""
    if holder is None and ledger.org_of(target) is None:
        raise NotKnownError(
            f"The store knows no reservation or request {target!r}: give an id, or a holder such as dag/run/task or "
            "dag/run/task[3], as 'airflow apiusage gates' shows them."
        )
    data = {"id": target if holder is None else None, "holder": holder and str(holder), "org_id": None, "kind": None}
    more = {"ended": False, "needs": None, "spent": None, "given_back": None, "api_calls": 0}
    return Told({**data, **more}, [f"{target} neither waits nor holds anything: nothing to end."], NO)


def _data(
    live: Live,
    *,
    ended: bool,
    spent: dict[str, int] | None = None,
    given_back: dict[str, int] | None = None,
) -> dict[str, Any]:
    return {
        "id": live.id,
        "holder": str(live.holder),
        "org_id": live.org_id,
        "kind": "request" if live.waits else "reservation",
        "ended": ended,
        "needs": live.needs,
        "spent": spent,
        "given_back": given_back,
        "api_calls": 0,
    }


def _in_words(live: Live, ended: bool, spent: dict[str, int] | None, back: dict[str, int] | None) -> str:
    if not ended:
        return f"Reservation {live.id} had ended already."
    said = f"Reservation {live.id} of {live.holder} has ended: it held {counts(live.needs)}"
    said += "." if spent is None else f", of which {counts(spent)} are known to be spent."
    if back is None:
        return f"{said} How much was spent is not known, so all of it counts as outstanding until a reading shows it."
    return f"{said} Free at once: {counts(back)}."


def _confirmed(live: Live) -> bool:
    what = (
        f"Take the request of {live.holder} for {counts(live.needs)} out of the queue?"
        if live.waits
        else f"End the reservation of {live.holder} for {counts(live.needs)}, held until {when(live.held_until)}? "
        "A load that still runs goes on without it."
    )
    sys.stderr.write(f"{what} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        raise UsageError("Nobody is there to confirm: give --yes.")
    return answer.strip().lower() in ("y", "yes")
