"""``ApiUsageForecastOperator``: when will calls be free, and when does the allowance run out?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_apiusage.links import LINKS
from airflow_provider_apiusage.usage.arguments import instant

if TYPE_CHECKING:
    from airflow.sdk import Context


class ApiUsageForecastOperator(BaseOperator):
    """Look 24 hours ahead, so that a DAG can branch instead of wait. Spends no API call.

    Works from what snapshots and event logs have left in the store: the longer they have been kept, the narrower the
    forecast. It reserves nothing; a load that must not overrun the allowance still goes through ``ApiQuotaSensor``.

    XCom: ``org_id, at, limit, used, basis, history_hours, kept_back, calls, free_now, earliest_at, expected_at,
    likely_at, runs_out {expected_at, earliest_at}, findings [{code, severity, message}], api_calls``. Instants are ISO
    text in UTC to a quarter of an hour, and ``None`` if it is not within 24 hours or not known.

    * ``earliest_at``: not before, whatever others do; ``expected_at``: as expected; ``likely_at``: with 90 %
      confidence.
    * ``free_now``: whether ``likely_at`` is ``at`` itself; ``None`` if that is not known.
    * ``runs_out``: when nothing is left at this pace, and the earliest that is plausible (5 %).

    :param calls: how many calls the load needs; ``None`` to ask only when the allowance runs out (templated).
    :param reserve: what must stay free besides: calls or a share such as ``"10%"`` (templated).
    :param salesforce_conn_id: connection of type ``salesforce``; names the org (templated).
    :param store_conn_id: where the evidence is; default ``[apiusage] store_conn_id`` (templated).
    :param at: ISO instant from which to look ahead, in the org's time; default: now (templated).
    """

    template_fields: Sequence[str] = ("calls", "reserve", "salesforce_conn_id", "store_conn_id", "at")
    ui_color = "#d5eef7"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        calls: int | str | None = None,
        reserve: int | float | str | None = None,
        salesforce_conn_id: str = "salesforce_default",
        store_conn_id: str | None = None,
        at: str | datetime | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.calls = calls
        self.reserve = reserve
        self.salesforce_conn_id = salesforce_conn_id
        self.store_conn_id = store_conn_id
        self.at = at

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow passes it
        """Forecast, show it in the log and return the answer.

        :raises ValueError: if a number or ``at`` cannot be read.
        :raises StoreError: if the store cannot be used.
        """
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
        from airflow_provider_apiusage.hooks.forecasting import as_text

        with ApiUsageHook(self.salesforce_conn_id, self.store_conn_id) as hook:
            calls = self.calls if self.calls not in ("", "None") else None
            answer = hook.forecast(calls, kept_back=self.reserve, at=instant("at", self.at))
            self.log.info("%s", as_text(answer))
            return {**answer.as_dict(), "api_calls": hook.api_calls}
