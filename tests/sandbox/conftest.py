"""A sandbox org that stands still on a Wednesday, and a plain HTTPS client for it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer


class Client:
    """Speaks HTTPS to the org, with a token of its own."""

    def __init__(self, server: SandboxServer) -> None:
        self.server, self.org = server, server.org
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(server.ca_file)
        self.token = server.connection("access_token")["extra"]["access_token"]
        self.session.headers["Authorization"] = f"Bearer {self.token}"

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        if not path.startswith("/"):
            path = f"/services/data/v64.0/{path}"
        options.setdefault("timeout", 30)
        return self.session.request(method, self.server.url + path, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        return self.request("POST", path, json=body, **options)

    def query(self, text: str) -> Any:
        return self.get("query", params={"q": text}).json()

    def control(self, method: str, path: str, order: Any = None) -> Any:
        answer = requests.request(method, self.server.control_url + path, json=order, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxOrg.seed_example()) as running:
        yield running


@pytest.fixture
def client(server: SandboxServer) -> Iterator[Client]:
    made = Client(server)
    yield made
    made.session.close()


@pytest.fixture
def foreign(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a simple-salesforce client from one of the org's connections."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from simple_salesforce import Salesforce

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))

    def connect(flow: str, **changes: Any) -> Any:
        connection = server.connection(flow)
        extra = {**connection["extra"], **changes}
        return Salesforce(
            username=connection.get("login"),
            password=extra.get("password", connection.get("password")),
            security_token=extra.get("security_token"),
            organizationId=extra.get("organization_id"),
            session_id=extra.get("access_token"),
            instance_url=extra.get("instance_url"),
            domain=extra.get("domain"),
            version=extra["version"],
            proxies=extra.get("proxies"),
            consumer_key=extra.get("consumer_key"),
            consumer_secret=extra.get("consumer_secret"),
            privatekey=extra.get("private_key"),
        )

    return connect
