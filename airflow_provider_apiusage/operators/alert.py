"""``ApiUsageAlertOperator``: tell people when the allowance runs low, once when it does and once when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator
from airflow.sdk import timezone

from airflow_provider_apiusage.hooks.context import announce, outlets_with
from airflow_provider_apiusage.links import LINKS
from airflow_provider_apiusage.usage.alerts import AlertRule, Mute, rules_from
from airflow_provider_apiusage.usage.alerts import mute_between as mute_between
from airflow_provider_apiusage.usage.alerts import mute_on as mute_on
from airflow_provider_apiusage.usage.alerts import mute_until as mute_until
from airflow_provider_apiusage.usage.alerts import no_snapshot_for as no_snapshot_for
from airflow_provider_apiusage.usage.alerts import rises_by as rises_by
from airflow_provider_apiusage.usage.alerts import runs_out_before as runs_out_before
from airflow_provider_apiusage.usage.alerts import used_above as used_above

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.notifier import BaseNotifier

    from airflow_provider_apiusage.store.alerts import AlertStore, Evaluated
    from airflow_provider_apiusage.usage.alerts_edges import Message


class AlertsNotToldError(Exception):
    """Some notifiers failed. What they were to tell is kept and told next time; the others have told it."""


class ApiUsageAlertOperator(BaseOperator):
    """Evaluate rules against the store, and tell notifiers what has opened and what has resolved. Spends no API call.

    An alert is told once when it opens and once when it resolves, however often the task runs; what is open, and whom
    it was told, is kept in the store. It needs no login where the store knows the connection's org, so it also tells
    that no snapshot can be taken.

    A notifier that fails keeps no other from being called; the task fails in the end, and the next run (or try) tells
    that notifier again.

    Asset events: one for each change on ``salesforce-usage://<org id>/alert``, through the asset alias
    ``apiusage_alert``, with the figures in ``extra``. Mutes do not hold them back.

    XCom: ``{"org_id", "at", "opened": [{"rule", "title", "message", "value", "threshold"}], "resolved": [...], "open":
    [rule], "told": messages, "api_calls"}``.

    :param rules: such as ``used_above(0.8)``, or the same as JSON; see ``docs/alerts.md``.
    :param notifiers: any notifiers of Airflow, or functions that take the context; they find the figures as ``alert``.
    :param mutes: when no notifier is called, for all rules.
    :param salesforce_conn_id: connection of type ``salesforce``; names the org (templated).
    :param store_conn_id: where the evidence is; default ``[apiusage] store_conn_id`` (templated).
    :param org_id: the 15-character id of the org, where the connection need not be asked for it (templated).
    :param scope: under which name the store keeps the alerts of this task; default: DAG id and task id. Tasks that
        share it must have the same rules and notifiers (templated).
    :raises ValueError: if a rule or mute makes no sense.
    """

    template_fields: Sequence[str] = ("salesforce_conn_id", "store_conn_id", "org_id", "scope")
    ui_color = "#f8d7da"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        rules: Iterable[AlertRule | Mapping[str, Any]],
        notifiers: Iterable[BaseNotifier | Callable[[Any], Any]] = (),
        mutes: Iterable[Mute | Mapping[str, Any]] = (),
        salesforce_conn_id: str = "salesforce_default",
        store_conn_id: str | None = None,
        org_id: str | None = None,
        scope: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["outlets"] = outlets_with(kwargs.get("outlets"), "alert")
        super().__init__(**kwargs)
        self.rules = rules_from(rules, mutes)
        self.notifiers = tuple(notifiers)
        self.salesforce_conn_id = salesforce_conn_id
        self.store_conn_id = store_conn_id
        self.org_id = org_id
        self.scope = scope

    def execute(self, context: Context) -> dict[str, Any]:
        """Evaluate, tell, and return what has changed and what is open.

        :raises AlertsNotToldError: if a notifier failed.
        :raises ApiUsageError: if nobody knows which org it is, and it cannot be asked.
        :raises StoreError: if the store cannot be used.
        """
        from airflow_provider_apiusage.hooks.alerting import gather, labels_of, org_of
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
        from airflow_provider_apiusage.hooks.metrics import tell_alerts
        from airflow_provider_apiusage.store.alerts import AlertStore

        scope = self.scope or f"{context['ti'].dag_id}.{context['ti'].task_id}"
        labels, now = labels_of(self.notifiers), timezone.utcnow()
        with ApiUsageHook(self.salesforce_conn_id, self.store_conn_id) as hook:
            org_id = (self.org_id or org_of(hook))[:15]
            evidence = gather(hook.store.engine, org_id, self.rules, now)
            store = AlertStore(hook.store.engine)
            found = store.evaluate(scope, self.rules, evidence, now, labels)
            self._log(found)
            told, failed = self._tell(context, org_id, store, found, labels)
            tell_alerts(hook.store.engine, org_id, [change.edge.value for change in found.changes])
            if failed:
                raise AlertsNotToldError(
                    f"These notifiers failed, and are called again next time: {', '.join(failed)}. "
                    "The log above says with what; see their connections."
                )
            return {
                "org_id": org_id,
                "at": evidence.at.isoformat(),
                **{
                    edge: [_short(change.figures) for change in found.changes if change.edge.value == edge]
                    for edge in ("opened", "resolved")
                },
                "open": [each.rule for each in found.open],
                "told": told,
                "api_calls": hook.api_calls,
            }

    def _tell(
        self, context: Context, org_id: str, store: AlertStore, found: Evaluated, labels: Sequence[str]
    ) -> tuple[int, list[str]]:
        """Call the notifiers; return how many messages were told, and whose failed. What was told is kept in any case.

        A notifier that failed is not called again in this run, so that it hears of things in their order.
        """
        from airflow_provider_apiusage.hooks.alerting import notify
        from airflow_provider_apiusage.usage.alerts_edges import ASSET_EVENT

        by_label = dict(zip(labels, self.notifiers, strict=True))
        done: list[Message] = []
        failed: list[str] = []
        try:
            for message in found.messages:
                if message.label == ASSET_EVENT or message.label in failed:
                    continue
                try:
                    notify(by_label[message.label], context, message.figures)
                except Exception as problem:  # its text may hold anything, so it is not shown
                    failed.append(message.label)
                    self.log.error("%s could not tell: %s", message.label, type(problem).__name__)
                else:
                    done.append(message)
            told = len(done)
            for message in found.messages:
                # Airflow drops the events of a task that fails, so they are left to the run that does not.
                if message.label == ASSET_EVENT and not failed:
                    announce(context, "alert", org_id, _for_dags(message.figures))
                    done.append(message)
        finally:
            store.told(org_id, found.messages, done, timezone.utcnow(), labels)
        return told, failed

    def _log(self, found: Evaluated) -> None:
        for change in found.changes:
            say = self.log.warning if change.edge.value == "opened" else self.log.info
            say("%s. %s", change.figures["title"], change.figures["message"])
        self.log.info("%d of %d rules have an open alert.", len(found.open), len(self.rules))


def _short(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: figures.get(name) for name in ("rule", "title", "message", "value", "threshold")}


def _for_dags(figures: Mapping[str, Any]) -> dict[str, Any]:
    names = ("state", "kind", "severity", "limit_name", "since", "until")
    return {**_short(figures), **{name: figures.get(name) for name in names}}
