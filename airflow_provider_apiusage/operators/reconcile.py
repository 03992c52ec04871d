"""``ApiUsageReconcileOperator``: do the rolling figure and the daily counts agree?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, BaseOperator

from airflow_provider_apiusage.hooks.context import announce, outlets_with
from airflow_provider_apiusage.links import LINKS
from airflow_provider_apiusage.usage.arguments import instant, severity
from airflow_provider_apiusage.usage.model import Severity

if TYPE_CHECKING:
    from airflow.sdk import Context, ObjectStoragePath

    from airflow_provider_apiusage.usage.reconciliation import Reconciliation

_TOP = 5
"""Holders in the XCom; the reports show more."""


class ApiUsageReconcileOperator(BaseOperator):
    """Put the rolling count of the last 24 hours beside the counts of today and yesterday, and of the last seven days.

    The arithmetic is Salesforce's own: rolling = today so far + the part of yesterday that is still inside the window.
    All evidence is used together: readings, daily counts and event logs. Works from what snapshots have kept and spends
    no API call; with ``fresh=True`` it takes a snapshot first (1 call, 2 with a report by id).

    XCom: ``org_id, at, rolling, limit, today, yesterday, window_tail {low, high, estimate}, residual {low, high},
    coverage, window {low, high}, unlogged {low, high}, consistent, findings [{code, severity, message}], holders
    [{key, name, calls {low, high}, share, half_back_at, all_back_at}], reports, api_calls``; an unknown is ``None``.
    The days and the figures of the findings are in the store, and in the reports.

    It emits an asset event on ``salesforce-usage://<org id>/reconciliation`` through the asset alias
    ``apiusage_reconciliation``.

    :param salesforce_conn_id: connection of type ``salesforce``; names the org (templated).
    :param store_conn_id: where the evidence is (templated).
    :param at: ISO instant to reconcile, in the org's time; default: the latest reading (templated).
    :param fresh: take a snapshot first.
    :param daily_report: for ``fresh``; as in ``ApiUsageSnapshotOperator`` (templated).
    :param report_options: for ``fresh``; as in ``ApiUsageSnapshotOperator`` (templated).
    :param tolerance: calls by which the sources may differ before that counts as inconsistent.
    :param fail_on: fail the task, after everything is kept and written, if a finding is at least as severe: ``error``
        (sources contradict each other), ``warning`` or ``info``; ``None`` for never (templated).
    :param markdown_path: where to write a report as Markdown: a path, URL or ``ObjectStoragePath`` (templated).
    :param html_path: where to write a report as one HTML file with charts, likewise (templated).
    """

    template_fields: Sequence[str] = (
        "salesforce_conn_id",
        "store_conn_id",
        "at",
        "daily_report",
        "report_options",
        "fail_on",
        "markdown_path",
        "html_path",
    )
    ui_color = "#d5eef7"
    operator_extra_links = LINKS

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
        fail_on: Severity | str | None = None,
        markdown_path: str | ObjectStoragePath | None = None,
        html_path: str | ObjectStoragePath | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["outlets"] = outlets_with(kwargs.get("outlets"), "reconciliation")
        super().__init__(**kwargs)
        self.salesforce_conn_id = salesforce_conn_id
        self.store_conn_id = store_conn_id
        self.at = at
        self.fresh = fresh
        self.daily_report = daily_report
        self.report_options = report_options
        self.tolerance = tolerance
        self.fail_on = fail_on
        self.markdown_path = markdown_path
        self.html_path = html_path

    def execute(self, context: Context) -> dict[str, Any]:
        """Gather the evidence, reconcile, keep and show the result.

        :raises ValueError: if ``at`` is no instant or ``fail_on`` no severity.
        :raises AirflowException: if nothing was ever read of this org, or on ``fail_on``.
        """
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
        from airflow_provider_apiusage.hooks.reports import write_reports
        from airflow_provider_apiusage.usage.reconciliation import reconcile
        from airflow_provider_apiusage.usage.report_text import as_table

        at, fail_on = instant("at", self.at), severity("fail_on", self.fail_on)
        with ApiUsageHook(self.salesforce_conn_id, self.store_conn_id) as hook:
            org_id = hook.get_org_id()
            if self.fresh:
                hook.store.add(
                    hook.take_snapshot(daily_report=self.daily_report or None, **(self.report_options or {}))
                )
            evidence = hook.store.evidence(org_id, at)
            if evidence is None:
                raise AirflowException(
                    f"Nothing has been read of org {org_id} (connection {self.salesforce_conn_id!r}) up to "
                    f"{at or 'now'}: run an ApiUsageSnapshotOperator first, or set fresh=True."
                )
            reconciliation = reconcile(evidence, tolerance=self.tolerance)
            hook.store.add_reconciliation(reconciliation.as_record(), reconciliation.at)
            self.log.info("\n%s", as_table(reconciliation))
            held = hook.get_holdings(reconciliation.at) if evidence.hours else None
            result = {
                **reconciliation.as_dict(),
                "holders": [holder.as_dict() for holder in held.holders[:_TOP]] if held else [],
                "reports": write_reports(
                    hook, evidence, reconciliation, markdown=self.markdown_path, html=self.html_path
                ),
                "api_calls": hook.api_calls,
            }
            announce(context, "reconciliation", org_id, event_of(result))
            self._fail_on(fail_on, reconciliation)
            return result

    def _fail_on(self, fail_on: Severity | None, reconciliation: Reconciliation) -> None:
        if fail_on is None:
            return
        order = list(Severity)
        grave = [f for f in reconciliation.findings if order.index(f.severity) >= order.index(fail_on)]
        if grave:
            codes = ", ".join(dict.fromkeys(finding.code for finding in grave))
            raise AirflowException(
                f"The reconciliation of org {reconciliation.org_id} at {reconciliation.at} has findings of severity "
                f"{fail_on.value!r} or above ({codes}); see the log."
            )


def event_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``extra`` of a reconciliation's asset event: its figures, and the codes of its findings.

    :param result: the XCom.
    """
    names = ("org_id", "at", "rolling", "limit", "today", "yesterday", "window_tail", "residual", "coverage")
    codes = sorted({finding["code"] for finding in result["findings"]})
    return {**{name: result[name] for name in names}, "consistent": result["consistent"], "findings": codes}
