"""Links from a task instance to the page and to the org's System Overview.

Airflow asks for them in the worker, when the task's process ends or defers, and keeps what it is told: so they are made
from what the process has learnt by then, read no store, and spend no API call. What is not known leaves a link as it
was before, or empty, and Airflow shows no empty link.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink, conf

from airflow_provider_apiusage.salesforce.places import place_of

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PAGE = "apiusage/"
OVERVIEW = "/lightning/setup/SystemOverview/home"
"""Setup's System Overview below the org's address."""

RETURN_VALUE = "return_value"


class ApiUsagePageLink(BaseOperatorLink):
    """To the page, with the org of the task; without one, if it is not known, to what the DAG has to do with."""

    name = "API usage"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the link."""
        return page_url("summary", org_id_of(operator, ti_key), ti_key)


class QuotaGateLink(BaseOperatorLink):
    """To the gate on the page: who waits, who holds, what was decided about this task."""

    name = "Quota gate"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the link."""
        return page_url("gate", org_id_of(operator, ti_key), ti_key)


class SystemOverviewLink(BaseOperatorLink):
    """To System Overview in the org's Setup, which shows the same figure; orgs of some editions have no such page."""

    name = "System Overview"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the link; empty if the org's address is not known."""
        address = instance_url_of(operator)
        return f"{address}{OVERVIEW}" if address else str(_kept(ti_key, self.xcom_key) or "")


LINKS: tuple[BaseOperatorLink, ...] = (ApiUsagePageLink(), SystemOverviewLink())
"""Of every task about an org."""

GATE_LINKS: tuple[BaseOperatorLink, ...] = (QuotaGateLink(), *LINKS)
"""Of gates, and what belongs to them."""


def page_url(view: str, org_id: str | None, ti_key: TaskInstanceKey) -> str:
    """Return the page's address: absolute if ``[api] base_url`` is set here, else from the server's root.

    :param view: which part of the page.
    :param org_id: of which org; ``None`` if that is not known.
    :param ti_key: the task instance that the page is opened from.
    """
    index = ti_key.map_index
    query = {
        "org": org_id,
        "view": view,
        "dag_id": ti_key.dag_id,
        "run_id": ti_key.run_id,
        "task_id": ti_key.task_id,
        "map_index": index if index is not None and index >= 0 else None,
    }
    base = str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
    return f"{base}/{PAGE}?{urlencode({name: value for name, value in query.items() if value is not None})}"


def org_id_of(operator: BaseOperator, ti_key: TaskInstanceKey) -> str | None:
    """Return the id of the org that a task was about, as far as its process or its XCom tells."""
    named = getattr(operator, "org_id", None)
    held = getattr(operator, "reservation", None)
    seen = place_of(_conn_id(operator)).org_id
    for known in (seen, held.get("org_id") if isinstance(held, Mapping) else None, named):
        if isinstance(known, str) and known:
            return known
    told = _kept(ti_key, RETURN_VALUE)
    org_id = told.get("org_id") if isinstance(told, Mapping) else None
    return org_id if isinstance(org_id, str) else None


def instance_url_of(operator: BaseOperator) -> str | None:
    """Return where the org is reached, as the process has seen it, or as its connection says; without a path."""
    conn_id = _conn_id(operator)
    seen = place_of(conn_id).instance_url or _instance_url_in(conn_id)
    parts = urlsplit(seen if seen and "//" in seen else f"https://{seen or ''}")
    return f"https://{parts.netloc}" if parts.netloc and "@" not in parts.netloc else None


def _conn_id(operator: BaseOperator) -> str:
    return str(getattr(operator, "salesforce_conn_id", None) or "")


def _instance_url_in(conn_id: str) -> str | None:
    if not conn_id:
        return None
    from airflow.providers.common.compat.sdk import BaseHook

    try:
        address = BaseHook.get_connection(conn_id).extra_dejson.get("instance_url")
    except Exception:  # a link is not worth a word in the log of a task that had its own to say about this
        return None
    return address if isinstance(address, str) else None


def _kept(ti_key: TaskInstanceKey, key: str) -> Any:
    """Return an XCom of the task instance; ``None`` if there is none, or it cannot be asked for here."""
    try:
        from airflow.sdk.execution_time.xcom import XCom

        return XCom.get_value(ti_key=ti_key, key=key)
    except Exception:  # as above
        return None
