"""``ApiUsageReconcileOperator``: do the rolling figure and the daily counts agree?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, BaseOperator

from airflow_provider_apiusage.hooks.context import announce, asset_alias
from airflow_provider_apiusage.usage.arguments import instant

if TYPE_CHECKING:
    from airflow.sdk import Context


class ApiUsageReconcileOperator(BaseOperator):
    """Put the rolling count of the last 24 hours beside the counts of today and yesterday (UTC).

    The arithmetic is Salesforce's own: rolling = today so far + the part of yesterday that is still inside the window.
    Works from what snapshots have kept and spends no API call; with ``fresh=True`` it takes a snapshot first (1 call,
    2 with a report by id).

    XCom: ``org_id, at, rolling, limit, today, yesterday, window_tail {low, high, estimate}, residual {low, high},
    coverage, consistent, findings [{code, severity, message}], api_calls``; an unknown is ``None``.

    It emits an asset event on ``salesforce-usage://<org id>/reconciliation`` through the asset alias
    ``apiusage_reconciliation``.

    :param salesforce_conn_id: connection of type ``salesforce``; names the org (templated).
    :param store_conn_id: where the evidence is (templated).
    :param at: ISO instant to reconcile, in the org's time; default: the latest reading (templated).
    :param fresh: take a snapshot first.
    :param daily_report: for ``fresh``; as in ``ApiUsageSnapshotOperator`` (templated).
    :param report_options: for ``fresh``; as in ``ApiUsageSnapshotOperator`` (templated).
    :param tolerance: calls by which the sources may differ before that counts as inconsistent.
    :param fail_on_inconsistent: fail the task if they contradict each other.
    """

    template_fields: Sequence[str] = ("salesforce_conn_id", "store_conn_id", "at", "daily_report", "report_options")
    ui_color = "#d5eef7"

    def __init__(
        self,
        *,
        salesforce_conn_id: str = "salesforce_default",
        store_conn_id: str | None = None,
        at: str | datetime | None = None,
        fresh: bool = False,
        daily_report: str | None = None,
        report_options: Mapping[str, Any] | None = None,
        tolerance: int = 0,
        fail_on_inconsistent: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs["outlets"] = [*kwargs.get("outlets", ()), asset_alias("reconciliation")]
        super().__init__(**kwargs)
        self.salesforce_conn_id = salesforce_conn_id
        self.store_conn_id = store_conn_id
        self.at = at
        self.fresh = fresh
        self.daily_report = daily_report
        self.report_options = report_options
        self.tolerance = tolerance
        self.fail_on_inconsistent = fail_on_inconsistent

    def execute(self, context: Context) -> dict[str, Any]:
        """Gather the evidence, reconcile, keep and show the result.

        :raises ValueError: if ``at`` is no instant.
        :raises AirflowException: if nothing was ever read of this org, or on ``fail_on_inconsistent``.
        """
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
        from airflow_provider_apiusage.usage.reconciliation import reconcile
        from airflow_provider_apiusage.usage.report_text import as_table

        with ApiUsageHook(self.salesforce_conn_id, self.store_conn_id) as hook:
            org_id = hook.get_org_id()
            if self.fresh:
                hook.store.add(
                    hook.take_snapshot(daily_report=self.daily_report or None, **(self.report_options or {}))
                )
            at = instant("at", self.at)
            evidence = hook.store.evidence(org_id, at)
            if evidence is None:
                raise AirflowException(
                    f"Nothing has been read of org {org_id} (connection {self.salesforce_conn_id!r}) up to "
                    f"{at or 'now'}: run an ApiUsageSnapshotOperator first, or set fresh=True."
                )
            reconciliation = reconcile(evidence, tolerance=self.tolerance)
            hook.store.add_reconciliation(reconciliation.as_dict(), reconciliation.at)
            self.log.info("\n%s", as_table(reconciliation))
            result = {**reconciliation.as_dict(), "api_calls": hook.api_calls}
            announce(context, "reconciliation", org_id, {k: result[k] for k in ("at", "rolling", "consistent")})
            if self.fail_on_inconsistent and reconciliation.consistent is False:
                raise AirflowException(
                    f"The sources of org {org_id} contradict each other at {result['at']}; see the log."
                )
            return result
