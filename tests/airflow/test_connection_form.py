"""The connection form and the test button, through Airflow's own REST API, as the UI asks it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from airflow_provider_apiusage.sandbox import SandboxServer

OURS = "salesforce_usage"


@pytest.fixture(scope="module")
def api(metadata_database: None) -> Iterator[TestClient]:
    """Airflow's API server in this process, for an administrator."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")
        patch.setenv(
            "AIRFLOW__API_AUTH__JWT_SECRET", "a-secret-of-this-test-alone-which-is-long-enough-for-every-algorithm"
        )
        app = create_app(apps="core")
        token = app.state.auth_manager.generate_jwt(SimpleAuthManagerUser(username="admin", role="admin"))
        yield TestClient(app, headers={"Authorization": f"Bearer {token}"}, base_url="http://testserver")
        purge_cached_app()


def test_the_form_offers_both_types(api: TestClient) -> None:
    """The official one unchanged; ours with fields for tokens, by its name."""
    answer = api.get("/ui/connections/hook_meta")
    assert answer.status_code == 200, answer.text
    forms = {meta["connection_type"]: meta for meta in answer.json()}

    assert "access_token" not in forms["salesforce"]["extra_fields"]
    assert {"access_token", "refresh_token", "instance_url"} <= set(forms[OURS]["extra_fields"])
    assert forms[OURS]["hook_name"] == "Salesforce (API usage)"


def test_the_button_tests_what_stands_in_the_form(api: TestClient, connected: SandboxServer) -> None:
    """Also before the connection is saved: the org, the user, what is used, what the test has cost; and no secret."""
    made = connected.connection("client_credentials")

    body = {"connection_id": "not_saved_yet", "conn_type": OURS, "extra": json.dumps(made["extra"])}
    answer = api.post("/api/v2/connections/test", json=body)
    wrong = json.dumps({**made["extra"], "consumer_secret": "not-the-secret"})
    refused = api.post("/api/v2/connections/test", json={**body, "extra": wrong})

    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] is True, answer.text
    assert "Connected to org 00DSB0000000042 as etl@sandbox-org.example: 25,001 of 100,000" in answer.json()["message"]
    assert refused.json()["status"] is False
    assert "was refused" in refused.json()["message"]
    assert "not-the-secret" not in refused.text
    assert made["extra"]["consumer_secret"] not in answer.text


def test_the_official_button_cannot_test_what_only_ours_can(api: TestClient, connected: SandboxServer) -> None:
    """Why there is a type of our own: four ways to log in that the official hook does not know."""
    told = {}
    for flow in ("access_token", "refresh_token", "client_credentials", "jwt"):
        made = connected.connection(flow)
        body = {"connection_id": "not_saved_yet", "login": made.get("login"), "extra": json.dumps(made["extra"])}
        for kind in ("salesforce", OURS):
            answer = api.post("/api/v2/connections/test", json={**body, "conn_type": kind}).json()
            told.setdefault(kind, []).append(answer["status"])

    assert told == {"salesforce": [False] * 4, OURS: [True] * 4}
