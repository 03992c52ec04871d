"""What alerts are tried on: evidence of one org, and processes that evaluate it at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from airflow_provider_apiusage.store.alerts import AlertStore
from airflow_provider_apiusage.usage.alerts import used_above
from airflow_provider_apiusage.usage.alerts_judging import AlertEvidence
from airflow_provider_apiusage.usage.model import API_REQUESTS
from tests.contracts.conftest import open_engine
from tests.support.processes import line_up
from tests.support.quota import NOW, ORG, reading

RULES = (used_above(0.8), used_above(0.9))
LOWER, UPPER = (rule.name for rule in RULES)


def used(calls: int, at: datetime = NOW, org_id: str = ORG) -> AlertEvidence:
    """What is known when so many of 100,000 calls are used."""
    return AlertEvidence(org_id, at, {API_REQUESTS: (reading(calls, at, org_id=org_id),)}, at)


def evaluate_at_once(url: str, org_ids: Sequence[str]) -> list[tuple[int, int]]:
    """Evaluate 85,000 calls of each org together with the others.

    :returns: by org, how many alerts this process has opened, and how many messages it is to tell.
    """
    store, outcomes = AlertStore(open_engine(url)), []
    for org_id in org_ids:
        line_up()
        found = store.evaluate("dag.alerts", RULES, used(85_000, org_id=org_id), NOW, ["mail"])
        outcomes.append((len(found.changes), len(found.messages)))
    return outcomes
