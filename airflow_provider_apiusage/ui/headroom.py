"""What the gate would grant now: asked of the gate's own rules, in a transaction that only reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from airflow_provider_apiusage.gate_knowledge import foresee, knowledge_of
from airflow_provider_apiusage.quota.headroom import View, figures_of
from airflow_provider_apiusage.quota.knowledge import DEFAULT_RULES
from airflow_provider_apiusage.quota.model import Holder, LimitFigures, QuotaRequest, Reserve
from airflow_provider_apiusage.store.engine import looking
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.ui.known import Known

NOBODY = Holder("", "", "")


def headroom(known: Known, org_id: str, reserves: Mapping[str, int], now: datetime) -> dict[str, LimitFigures]:
    """Return the figures that would decide about one call more of each limit.

    :param reserves: of each limit asked about, what gates keep back.
    :param now: our clock.
    """
    foreseen = foresee(known.store, org_id, now)
    request = QuotaRequest(org_id, NOBODY, dict.fromkeys(reserves, 1), now, Reserve(dict(reserves)))
    with looking(known.engine) as connection:
        turn = Turn(connection, org_id)
        readings = turn.latest_readings(list(reserves))
        knowledge = knowledge_of(turn, known.store, foreseen, [request], readings, now, now, DEFAULT_RULES)
        found = {}
        for name, reading in readings.items():
            shown_at = reading.received_at - knowledge.figure(name).age
            outstanding = known.queries.outstanding(org_id, name, shown_at, now)
            asked = replace(request, needs={name: 1})
            found[name] = figures_of(asked, name, View(reading, knowledge), outstanding)
    return found
