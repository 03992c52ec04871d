"""``ApiUsagePruneOperator``: keep the store small."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator
from airflow.sdk import timezone

from airflow_provider_apiusage.links import LINKS
from airflow_provider_apiusage.usage.retention import KEEP, KEEP_DETAILS, Retention

if TYPE_CHECKING:
    from airflow.sdk import Context


class ApiUsagePruneOperator(BaseOperator):
    """Thin out, roll up and at last drop what is old in the store. Spends no API call, and needs no org.

    Works in many short transactions, so gates and snapshots go on meanwhile; a task that was killed is simply run
    again. Every answer about an instant of the last ``keep_details`` stays what it was. Once a week is often enough.

    XCom: ``{"removed": {table: rows}, "kept": {table: rows}, "api_calls"}``; ``api_calls`` is always 0.

    :param store_conn_id: the store (templated).
    :param org_id: 15-character id of the only org to prune; default: all orgs in the store (templated).
    :param keep_details: how long answers keep their full detail; default 35 days, at least 7.
    :param keep: how long anything is kept; default 400 days, at least 10 more than ``keep_details``.
    :raises ValueError: if one of the two is too short.
    """

    template_fields: Sequence[str] = ("store_conn_id", "org_id")
    ui_color = "#e2e2e2"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        store_conn_id: str | None = None,
        org_id: str | None = None,
        keep_details: timedelta = KEEP_DETAILS,
        keep: timedelta = KEEP,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        Retention(keep_details, keep)
        self.store_conn_id = store_conn_id
        self.org_id = org_id
        self.keep_details = keep_details
        self.keep = keep

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow passes it
        """Prune, and tell what was removed and what is left.

        :raises StoreError: if the store could not be read or written.
        """
        from airflow_provider_apiusage.hooks.store import configured_store, engine_of, get_connection
        from airflow_provider_apiusage.store.retention import UsageRetention

        store_conn_id = configured_store(self.store_conn_id)
        engine = engine_of(get_connection(store_conn_id, "the store") if store_conn_id else None)
        keep = Retention(self.keep_details, self.keep)
        pruned = UsageRetention(engine).prune(self.org_id or None, timezone.utcnow(), keep)
        width = max(map(len, pruned.kept))
        lines = (f"{table:{width}} {pruned.removed[table]:>12,} {rows:>12,}" for table, rows in pruned.kept.items())
        self.log.info("\n%s", "\n".join((f"{'':{width}} {'removed':>12} {'kept':>12}", *lines)))
        return {"removed": dict(pruned.removed), "kept": dict(pruned.kept), "api_calls": 0}
