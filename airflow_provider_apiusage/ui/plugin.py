"""The Airflow plugin. Airflow loads it in every process, so it imports nothing else of the package."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin

PREFIX = "apiusage"
"""The page is at ``<Airflow's base URL>/apiusage/``."""

TITLE = "API usage"
ICON = f"{PREFIX}/static/icon.svg"
ICON_DARK = f"{PREFIX}/static/icon-dark.svg"


class LazyPage:
    """The page's application; it is imported with the first request, which only an API server gets."""

    def __init__(self) -> None:
        self._app: Callable[..., Awaitable[None]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if self._app is None:
            from airflow_provider_apiusage.ui.app import make_app

            self._app = make_app()
        await self._app(scope, receive, send)


def _view(destination: str, query: str = "") -> dict[str, Any]:
    """Return one place in Airflow's UI that shows the page; what is in braces is filled in by Airflow.

    Airflow drops a view whose route another view has, even if that is elsewhere: each has a route of its own.
    """
    return {
        "name": TITLE,
        # Relative to Airflow's base URL, whatever prefix that has.
        "href": f"{PREFIX}/{query}",
        "destination": destination,
        "url_route": PREFIX if destination == "nav" else f"{PREFIX}_{destination}",
        "icon": ICON,
        "icon_dark_mode": ICON_DARK,
    }


_RUN = "&run_id={RUN_ID}"
_TASK = "&task_id={TASK_ID}"


class ApiUsagePlugin(AirflowPlugin):
    """The page: in the navigation, and as a tab of DAGs, runs, tasks and task instances."""

    name = "apiusage"
    fastapi_apps: list[Any] = [  # noqa: RUF012 - as the base class has it
        {"app": LazyPage(), "url_prefix": f"/{PREFIX}", "name": TITLE}
    ]
    external_views: list[Any] = [  # noqa: RUF012 - as above
        {**_view("nav"), "category": "browse"},
        _view("dag", "?dag_id={DAG_ID}"),
        _view("dag_run", "?dag_id={DAG_ID}" + _RUN),
        _view("task", "?dag_id={DAG_ID}" + _TASK),
        _view("task_instance", "?dag_id={DAG_ID}" + _RUN + _TASK + "&map_index={MAP_INDEX}"),
    ]
