"""The forecast of an org through its hook: from the store alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.hooks.event_logs import EventLogHook
from airflow_provider_apiusage.usage.model import API_REQUESTS, STALENESS, WINDOW, Evidence

if TYPE_CHECKING:
    from airflow_provider_apiusage.usage.forecast_answer import ForecastAnswer


class ForecastHook(EventLogHook):
    """What :class:`~airflow_provider_apiusage.hooks.api_usage.ApiUsageHook` knows of the next 24 hours."""

    def forecast(
        self, calls: int | str | None = None, *, kept_back: int | float | str | None = None, at: datetime | None = None
    ) -> ForecastAnswer:
        """Say what will be used in the next 24 hours, when ``calls`` will be free, and when the allowance runs out.

        Reads the store and nothing else, so it spends no call; if the access token does not tell the org's id, that
        costs one. Keep a snapshot every 15 minutes; what there is is used, and what is missing is a finding. What gates
        have granted is kept back as far as the newest reading may not show it yet: what a load has spent of it, and was
        metered, is used already.

        :param calls: how many are wanted; ``None`` to ask only when the allowance runs out.
        :param kept_back: a reserve that stays free besides: calls, or a share such as ``"10%"``.
        :param at: the org's instant from which to look ahead; default: now.
        :raises ValueError: if a number is none, or ``at`` is naive.
        :raises StoreError: if the store cannot be used.
        """
        from airflow_provider_apiusage.quota.arguments import needs_from, reserve_from
        from airflow_provider_apiusage.store.engine import looking
        from airflow_provider_apiusage.store.lease_outstanding import outstanding
        from airflow_provider_apiusage.store.usage_store import UsageStore
        from airflow_provider_apiusage.usage.forecast import SPAN, forecast
        from airflow_provider_apiusage.usage.forecast_answer import answer

        wanted = None if calls is None else needs_from(calls).get(API_REQUESTS)
        reserve = reserve_from(kept_back, needs={API_REQUESTS: 1})
        org_id = self.get_org_id()
        store = UsageStore(self._engine)
        newest = store.latest_reading(org_id)
        # Readings carry the org's time, reservations ours: the newest reading shows how far apart they are.
        skew = newest.skew if newest is not None else timedelta(0)
        if at is None:
            at = self._session.now() + skew
            at = at if newest is None else max(at, newest.observed_at)
        evidence = store.evidence(org_id, at, span=SPAN)
        made = forecast(evidence or Evidence(org_id, at, ()))
        now = at - skew
        shown = now - WINDOW if newest is None else min(newest.received_at, now) - STALENESS
        with looking(self._engine) as connection:
            granted = outstanding(connection, org_id, {API_REQUESTS: shown}, lapsed_by=now)
        kept = granted[API_REQUESTS] + (0 if made.limit is None else reserve.of(API_REQUESTS, made.limit))
        self._tell(made.findings)
        return answer(made, wanted, kept_back=kept)


def as_text(answer: ForecastAnswer) -> str:
    """Return the forecast in a few lines for a log."""
    told: dict[str, Any] = answer.as_dict()
    lines = [f"Org {told['org_id']} at {told['at']}: {_count(told['used'])} of {_count(told['limit'])} calls used."]
    for point in answer.forecast.points[16::16]:
        if point.used is not None:
            low, expected, high = point.used.low, point.used.expected, point.used.high
            lines.append(f"  {point.at:%d %b %H:%M} UTC: {expected:,} used ({low:,} to {high:,} in nine cases of ten)")
    free, out = answer.free, answer.runs_out
    if free is not None:
        lines.append(
            f"{free.calls:,} calls beside {answer.kept_back:,} kept back are free: at the earliest "
            f"{_when(free.earliest_at)}, expectedly {_when(free.expected_at)}, with 90 % confidence "
            f"{_when(free.likely_at)}."
        )
    lines.append(
        f"What is not kept back runs out: expectedly {_when(out.expected_at)}, perhaps {_when(out.earliest_at)}."
    )
    return "\n".join(lines)


def _count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def _when(instant: datetime | None) -> str:
    return "not within 24 hours, as far as is known" if instant is None else f"{instant:%d %b %H:%M} UTC"
