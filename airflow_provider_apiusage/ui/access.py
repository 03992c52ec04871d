"""Who asks, and what they may see: all that the page asks of Airflow's auth manager is in this module.

Airflow does not call these imports public API, though they are the same from 3.1 to 3.3. If one of them is gone, nobody
is let in: every route that has data answers 503.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Depends

from airflow_provider_apiusage.ui.failures import Refused

try:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, ConnectionDetails, DagDetails
    from airflow.api_fastapi.core_api.security import get_user
    from airflow.configuration import conf
    from airflow.models.connection import Connection
    from airflow.models.dag import DagModel
except ImportError as _gone:
    MISSING: str | None = _gone.name

    def get_user() -> None:  # type: ignore[misc]
        """Stand in for Airflow's, and let nobody in."""
        raise Refused(
            503,
            "access-unknown",
            "This version of Airflow does not tell who is logged in in a way that the page knows.",
            "Upgrade airflow-provider-apiusage, or use a version of Airflow that it supports.",
        )
else:
    MISSING = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is logged in.

    :param name: as Airflow shows it.
    :param may_read_connection: tells it of a connection id and its team.
    :param may_read_dag: tells it of a DAG id and its team.
    """

    name: str
    may_read_connection: Callable[[str, str | None], bool]
    may_read_dag: Callable[[str, str | None], bool]

    def connections(self, conn_ids: Collection[str]) -> set[str]:
        """Return those of some connections that the caller may read."""
        teams = _teams(conn_ids, lambda conn_id: Connection.get_team_name(conn_id))
        return {conn_id for conn_id, team in teams.items() if self.may_read_connection(conn_id, team)}

    def dags(self, dag_ids: Collection[str]) -> set[str]:
        """Return those of some DAGs that the caller may read."""
        teams = _teams(dag_ids, lambda dag_id: DagModel.get_team_name(dag_id))
        return {dag_id for dag_id, team in teams.items() if self.may_read_dag(dag_id, team)}


def _teams(names: Collection[str], team_of: Callable[[str], str | None]) -> Mapping[str, str | None]:
    if not conf.getboolean("core", "multi_team", fallback=False):
        return dict.fromkeys(names)
    return {name: team_of(name) for name in set(names)}


def caller(user: Any = Depends(get_user)) -> Caller:  # noqa: B008 - this is how FastAPI is told
    """Return who is logged in; a dependency of every route that has data.

    :raises Refused: if the user may not see what plugins add to Airflow.
    """
    manager = get_auth_manager()
    if not manager.is_authorized_view(access_view=AccessView.PLUGINS, user=user):
        raise Refused(403, "forbidden", "You may not see pages of plugins.", "Ask an administrator of Airflow.")
    return Caller(
        name=str(user.get_name()),
        may_read_connection=lambda conn_id, team: manager.is_authorized_connection(
            method="GET", details=ConnectionDetails(conn_id=conn_id, team_name=team), user=user
        ),
        may_read_dag=lambda dag_id, team: manager.is_authorized_dag(
            method="GET", details=DagDetails(id=dag_id, team_name=team), user=user
        ),
    )
