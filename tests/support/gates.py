"""A gate whose clock and org a test moves by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.quota.model import Decision, Grant, Refuse, Wait
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading
from tests.support.quota import NOW, reading

POLL = timedelta(minutes=5)


@dataclass
class World:
    """What time it is and what the org would say.

    :param used: calls used, as the org tells when it is read.
    :param limit: the allowance.
    :param failure: raised instead of an answer.
    :param reads: when the org was read.
    :param names: the limits that it tells, all of them used alike.
    """

    used: int = 0
    limit: int = 100_000
    now: datetime = NOW
    failure: Exception | None = None
    reads: list[datetime] = field(default_factory=list)
    names: Sequence[str] = (API_REQUESTS,)

    def clock(self) -> datetime:
        """Return our time."""
        return self.now

    def read(self) -> Sequence[LimitReading]:
        """Answer as the org does; what it cannot answer counts as read as well."""
        self.reads.append(self.now)
        if self.failure is not None:
            raise self.failure
        before = len(self.reads) - 1  # reading is a call as well
        return [reading(self.used + before, self.now, limit=self.limit, name=name) for name in self.names]

    def pass_time(self, **duration: float) -> datetime:
        """Let time pass."""
        self.now += timedelta(**duration)
        return self.now

    def gate(self, ledger: QuotaLedger, store: UsageStore) -> Gate:
        """Return one process's gate to this org."""
        return Gate(ledger, store, self.read, POLL, self.clock)


def granted(decision: Decision) -> Grant:
    """Return the grant that a decision is."""
    assert isinstance(decision, Grant), decision.reason
    return decision


def waits(decision: Decision) -> Wait:
    """Return the wait that a decision is."""
    assert isinstance(decision, Wait), decision.reason
    return decision


def refused(decision: Decision) -> Refuse:
    """Return the refusal that a decision is."""
    assert isinstance(decision, Refuse), decision.reason
    return decision
