"""More for a load that runs, granted as the gate would grant it to somebody new."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from airflow_provider_apiusage.gate_knowledge import foresee, knowledge_of
from airflow_provider_apiusage.quota.knowledge import DEFAULT_RULES
from airflow_provider_apiusage.quota.model import QuotaRequest
from airflow_provider_apiusage.quota.policy import Verdict, decide
from airflow_provider_apiusage.store.quota_ledger import Extended, QuotaLedger
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.usage_store import UsageStore


def top_up(
    ledger: QuotaLedger,
    reservation_id: str,
    more: Mapping[str, int],
    now: datetime,
    *,
    holding: Mapping[str, int] | None = None,
) -> Extended | None:
    """Add to a reservation if it fits now, also beside the highest use that is expected; see ``QuotaLedger.extend``.

    What the past says of the next day is worked out before the transaction begins.
    """
    org_id = ledger.org_of(reservation_id)
    if org_id is None:
        return None
    store = UsageStore(ledger.engine)
    foreseen = foresee(store, org_id, now)

    def judge(turn: Turn, request: QuotaRequest, at: datetime) -> Verdict:
        readings = turn.latest_readings(list(request.needs))
        knowledge = knowledge_of(turn, store, foreseen, [request], readings, at, at, DEFAULT_RULES)
        return decide([request], knowledge)[0][1]

    return ledger.extend(reservation_id, more, now, holding=holding, judge=judge)
