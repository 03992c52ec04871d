"""Who sees what, asked of a real API server: Airflow's own log-in, its simple auth manager, and a base-URL prefix."""

from __future__ import annotations

import re

import pytest
import requests

from tests.ui.servers import ApiServer
from tests.ui.worlds import CONN_ID, HOLDING, World

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("page")]


def test_nobody_gets_no_data(airflow_server: ApiServer, world: World) -> None:
    """Without a log-in, and with a forged token, each route with data answers 401 or 403 and names no org."""
    for path in ("health", "orgs", f"orgs/{world.org_id}/summary", f"task?dag_id={HOLDING.dag_id}"):
        answers = [
            airflow_server.get(f"api/{path}"),
            airflow_server.get(f"api/{path}", headers={"Authorization": "Bearer abc"}),
            airflow_server.get(f"api/{path}", headers={"Cookie": "_token=abc"}),
        ]
        assert [each.status_code for each in answers] == [401, 403, 403], path
        assert [each.json()["error"] for each in answers] == ["not-logged-in", "forbidden", "forbidden"]
        assert not any(world.org_id in each.text or CONN_ID in each.text for each in answers)


def test_who_may_read_a_connection_sees_its_org(airflow_server: ApiServer, world: World) -> None:
    """An admin and an operator see the org of a connection; a viewer, who may read none, sees that there is nothing."""
    for user in ("admin", "op"):
        told = airflow_server.get("api/orgs", user).json()
        assert [(each["org_id"], each["connections"]) for each in told["orgs"]] == [(world.org_id, [CONN_ID])]
        assert airflow_server.get(f"api/orgs/{world.org_id}/summary", user).json()["grantable"] is not None

    assert airflow_server.get("api/health", "viewer").json() | {"sentence": "", "todo": None} == {
        "version": airflow_server.get("api/health", "admin").json()["version"],
        "user": "viewer", "orgs": 0, "state": "none", "sentence": "", "todo": None,
    }  # fmt: skip
    assert airflow_server.get("api/orgs", "viewer").json()["orgs"] == []


def test_a_viewer_cannot_tell_an_org_from_none(airflow_server: ApiServer, world: World) -> None:
    """For somebody who may not see an org, it answers exactly as one that is not there."""
    hidden = airflow_server.get(f"api/orgs/{world.org_id}/gate", "viewer")
    missing = airflow_server.get("api/orgs/00DXX0000000001/gate", "viewer")

    assert hidden.status_code == missing.status_code == 404
    assert hidden.content == missing.content


def test_the_cookie_of_airflow_s_ui_is_a_log_in(airflow_server: ApiServer) -> None:
    """The page in a browser is let in by the cookie that Airflow's log-in set, also below a prefix."""
    session = requests.Session()
    session.cookies.set("_token", airflow_server.token("admin"), path=f"{airflow_server.prefix}/")

    assert session.get(f"{airflow_server.page}api/health", timeout=30).json()["user"] == "admin"


def test_airflow_shows_the_page_in_its_places(airflow_server: ApiServer) -> None:
    """The navigation and four tabs have routes of their own, so none is dropped, all hrefs below the prefix."""
    headers = {"Authorization": f"Bearer {airflow_server.token('admin')}"}
    plugins = requests.get(f"{airflow_server.url}/api/v2/plugins", headers=headers, timeout=30).json()["plugins"]
    (ours,) = [plugin for plugin in plugins if plugin["name"] == "apiusage"]
    views = {view["destination"]: view for view in ours["external_views"]}

    assert set(views) == {"nav", "dag", "dag_run", "task", "task_instance"}
    assert len({view["url_route"] for view in views.values()}) == 5
    for view in views.values():
        path = re.sub(r"[{].*?[}]", "x", view["href"])
        assert not path.startswith(("/", "http"))
        assert requests.get(f"{airflow_server.url}/{path}", timeout=30).status_code == 200


def test_nothing_can_be_written(airflow_server: ApiServer, world: World) -> None:
    """Whoever asks, and whatever for: a method that is not for reading gets 405."""
    headers = {"Authorization": f"Bearer {airflow_server.token('admin')}"}
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        for path in ("", "api/orgs", f"api/orgs/{world.org_id}/summary", "static/app.js"):
            answer = requests.request(method, f"{airflow_server.page}{path}", headers=headers, timeout=30)
            assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD"), (method, path)
