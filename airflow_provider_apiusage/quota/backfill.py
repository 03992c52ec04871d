"""Small loads may pass a big one that waits, as long as they do not hold it up for long.

"Delay nobody", as schedulers of computers have it, lets nobody pass here: the calls of a small load stay in the window
for 24 hours, so the one it passed nearly always waits longer for them. What can be bounded is by how much: all that
pass a request together never ask for more than a share ``beta`` of what it asks for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from airflow_provider_apiusage.quota.model import QuotaRequest
from airflow_provider_apiusage.quota.order import PastGrant, place

BETA = 2.0
"""How much may pass a request that waits, as a share of its need."""


class Budget:
    """What may still pass the requests that wait, limit by limit.

    :param grants: what was granted lately: at least all that was granted since the first of those that wait joined.
    :param beta: see :data:`BETA`; 0 lets nobody pass.
    """

    def __init__(self, grants: Iterable[PastGrant], beta: float) -> None:
        self._grants, self._beta = tuple(grants), beta
        self._passed: dict[tuple[int, str], int] = {}
        self._added: Counter[str] = Counter()
        self._before: dict[tuple[int, str], int] = {}

    def allows(self, request: QuotaRequest, heads: Mapping[str, QuotaRequest]) -> bool:
        """Tell whether a request may pass those that wait for the same limits.

        :param request: stands behind all of ``heads``.
        :param heads: by limit name, the first request that waits for it.
        """
        return all(self.left(name, heads[name]) >= need for name, need in request.needs.items() if name in heads)

    def left(self, name: str, head: QuotaRequest) -> int:
        """Return how many calls of a limit may still pass a request that waits for it."""
        return int(self._beta * head.needs.get(name, 0)) - self._passed_by(name, head)

    def passes(self, request: QuotaRequest) -> None:
        """Remember that a request was let past all heads that :meth:`allows` was asked about."""
        self._added.update(request.needs)

    def _passed_by(self, name: str, head: QuotaRequest) -> int:
        key = (id(head), name)
        if key not in self._passed:
            joined, ahead = head.requested_at, place(head)
            self._passed[key] = sum(
                past.needs.get(name, 0) for past in self._grants if past.granted_at > joined and place(past) > ahead
            )
            # What was let past before this one became a head stood before it, or is behind it by its own place.
            self._before[key] = self._added[name]
        return self._passed[key] + self._added[name] - self._before[key]
