"""The sandbox org, judged by clients that nobody here wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apiusage.sandbox import SandboxServer

pytestmark = pytest.mark.foreign
SCRIPT = Path(__file__).parent / "limits.js"


def token(server: SandboxServer) -> str:
    return str(server.connection("access_token")["extra"]["access_token"])


def sf(node: Any, server: SandboxServer, *command: str) -> Any:
    """Run the Salesforce CLI and return its JSON."""
    program = str(node.modules / "@salesforce" / "cli" / "bin" / "run.js")
    done = node.run("node", program, *command, "--json", SF_ACCESS_TOKEN=token(server))
    return json.loads(done.stdout)


def test_the_salesforce_cli_logs_in_and_lists_limits(node: Any, server: SandboxServer) -> None:
    """``sf org login access-token`` takes the org for an org, and ``sf org list limits`` reads its figures."""
    login = sf(node, server, "org", "login", "access-token", "--instance-url", server.url, "--no-prompt")
    username = login["result"]["username"]
    listed = sf(node, server, "org", "list", "limits", "--target-org", username)["result"]
    limits = {limit["name"]: (limit["max"], limit["remaining"]) for limit in listed}

    assert (login["status"], username) == (0, server.org.identity.client_user.username)
    assert limits["DailyApiRequests"] == (100, 100 - server.org.used)
    assert server.org.used > 70, "the CLI's own calls are counted"


def test_the_salesforce_cli_is_told_when_calls_are_used_up(node: Any, server: SandboxServer) -> None:
    """Beyond the limit the CLI ends with the org's error code."""
    login = sf(node, server, "org", "login", "access-token", "--instance-url", server.url, "--no-prompt")
    server.org.add_calls(100)
    refused = sf(node, server, "org", "list", "limits", "--target-org", login["result"]["username"])

    assert refused["status"] != 0
    assert "REQUEST_LIMIT_EXCEEDED" in json.dumps(refused)


@pytest.mark.parametrize(
    ("variant", "bursts"), [("plain", False), ("api_bursts", True), ("per_app", False), ("reordered", True)]
)
def test_jsforce_reads_limits_and_the_header(node: Any, server: SandboxServer, variant: str, bursts: bool) -> None:
    """jsforce makes the same of body and header, in each documented form of the header."""
    server.org.change({"limit_header": variant})
    done = node.run("node", str(SCRIPT), INSTANCE_URL=server.url, ACCESS_TOKEN=token(server))
    read = json.loads(done.stdout)

    assert read["daily"]["Max"] == 100
    assert read["daily"]["Remaining"] == 29
    assert read["usage"] == {"used": 73, "limit": 100}
    assert (read["created"], read["names"]) == ([True, True], ["a", "b"])
    assert server.org.used == 73


def test_jsforce_is_told_when_calls_are_used_up(node: Any, server: SandboxServer) -> None:
    """Beyond the limit jsforce raises the org's error code."""
    server.org.add_calls(100)
    done = node.run("node", str(SCRIPT), INSTANCE_URL=server.url, ACCESS_TOKEN=token(server))

    assert done.returncode == 1
    assert json.loads(done.stderr)["code"] == "REQUEST_LIMIT_EXCEEDED"


@pytest.mark.parametrize(
    ("header", "threshold", "stopped"),
    [("plain", 60, True), ("plain", 95, False), ("api_bursts", 60, False), ("reordered", 60, False)],
)
def test_the_taps_quota_guard_acts_on_the_header(
    tap: Any, server: SandboxServer, tmp_path: Path, header: str, threshold: int, stopped: bool
) -> None:
    """tap-salesforce stops above its threshold, goes on below it, and is blind to a second segment."""
    server.org.change({"limit_header": header})
    extra = server.connection("refresh_token")["extra"]
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "client_id": extra["consumer_key"],
                "client_secret": extra["consumer_secret"],
                "refresh_token": extra["refresh_token"],
                "start_date": "2026-10-01T00:00:00Z",
                "api_type": "REST",
                "select_fields_by_default": True,
                "quota_percent_total": threshold,
            }
        )
    )
    done = tap.run("tap-salesforce", "--config", str(config), "--discover")

    assert ("total REST quota used across all Salesforce Applications" in done.stderr) is stopped, done.stderr[-3_000:]
    assert (done.returncode != 0) is stopped
    assert stopped or "Account" in {stream["stream"] for stream in json.loads(done.stdout)["streams"]}
