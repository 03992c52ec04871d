"""What Airflow itself says of the provider: its commands, its configuration, its plugin, its connection form and test
button. Runs on every version of Airflow that the package promises to work with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import airflow
import pytest
from airflow.cli.cli_parser import ALL_COMMANDS_DICT, get_parser

from airflow_provider_apiusage import __version__
from airflow_provider_apiusage.cli.__main__ import parser
from airflow_provider_apiusage.cli.definition import get_apiusage_commands
from airflow_provider_apiusage.get_provider_info import get_provider_info
from airflow_provider_apiusage.hooks.connection_form import FIELDS, SalesforceUsageHook
from airflow_provider_apiusage.sandbox import SandboxServer
from tests.cli.conftest import Run

AIRFLOW = tuple(int(part) for part in airflow.__version__.split(".")[:2])
COMMANDS = {"status", "snapshot", "reconcile", "forecast", "gates", "release", "doctor"}
OURS = "salesforce_usage"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what a command of Airflow's prints."""
    capsys.readouterr()
    args = get_parser().parse_args(arguments)
    args.func(args)
    return capsys.readouterr().out


def test_airflow_names_the_provider_its_plugin_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    """``providers get``, ``plugins`` and ``config list``: version, description, page, every option with its words."""
    (short,) = json.loads(told(capsys, "providers", "get", "airflow-provider-apiusage", "-o", "json"))
    full = told(capsys, "providers", "get", "airflow-provider-apiusage", "--full", "-o", "json")
    plugins = json.loads(told(capsys, "plugins", "-o", "json"))
    config = told(capsys, "config", "list", "--section", "apiusage", "--include-descriptions")

    assert short == {"Provider": "airflow-provider-apiusage", "Version": __version__}
    assert get_provider_info()["description"].rstrip(".") in " ".join(full.split())
    (ours,) = [plugin for plugin in plugins if plugin["name"] == "apiusage"]
    assert "apiusage" in str(ours["fastapi_apps"])
    assert "nav" in str(ours["external_views"])
    assert "[apiusage]" in config
    for name, option in get_provider_info()["config"]["apiusage"]["options"].items():
        assert f"{name} =" in config
        assert option["description"].split(".")[0].split()[0] in config


def test_the_commands_are_airflows_own_from_3_2_on() -> None:
    """There ``airflow apiusage`` has all of them; before, ``python -m`` takes the very same arguments."""
    (group,) = get_apiusage_commands()

    assert {command.name for command in group.subcommands} == COMMANDS
    assert ("apiusage" in ALL_COMMANDS_DICT) == (AIRFLOW >= (3, 2))
    for name in COMMANDS:
        arguments = [name, "a/b/c"] if name == "release" else [name]
        ours = vars(parser().parse_args(arguments))
        if AIRFLOW >= (3, 2):
            theirs = vars(get_parser().parse_args(["apiusage", *arguments]))
            assert {key: theirs[key] for key in ours if key != "func"} == {
                key: value for key, value in ours.items() if key != "func"
            }


def test_a_program_gets_json_and_a_person_help(org: SandboxServer, tmp_path: Path) -> None:
    """Through the real executable: nothing but JSON on standard output, and the exit code of the answer."""
    program = [sys.executable, "-m"]
    program += ["airflow", "apiusage"] if AIRFLOW >= (3, 2) else ["airflow_provider_apiusage.cli"]
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    said = subprocess.run(
        [*program, "doctor", "--fail-on", "warning", "-o", "json"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert said.returncode == 3, said.stderr  # no store yet
    assert json.loads(said.stdout)["fail"] == 0
    assert "Traceback" not in said.stderr


def test_help_names_every_command(run: Run) -> None:
    """And says what the exit codes are."""
    said = run("--help")

    assert said.code == 0
    assert all(name in said.out for name in COMMANDS)
    assert "Exit codes" in said.out


def form_of(connection_type: str) -> Any:
    """Return what Airflow's UI builds the form of a connection type from."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    found = [meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == connection_type]
    assert len(found) == 1
    return found[0]


def test_the_form_of_our_type_has_every_field_that_a_login_may_need() -> None:
    """Those of the official type, which stays as it is, and the tokens; secrets are not shown while they are typed."""
    official, ours = form_of("salesforce"), form_of(OURS)

    assert official.hook_class_name.endswith("hooks.salesforce.SalesforceHook")
    # "instance" is another way to write "instance_url", and read as such.
    assert set(ours.extra_fields) == (set(official.extra_fields) | {"access_token", "refresh_token"}) - {"instance"}
    assert "access_token" not in official.extra_fields
    for name, (label, secret) in FIELDS.items():
        field = ours.extra_fields[name]
        assert field["schema"]["title"] == label
        assert (field["schema"].get("format") == "password") == secret
        assert "null" in field["schema"]["type"]
    assert ours.standard_fields.login.title == "Username"
    assert ours.standard_fields.port.hidden


def test_hook_and_metadata_tell_the_same_form() -> None:
    """Airflow 3.1 asks the hook, newer versions the metadata."""
    (entry,) = get_provider_info()["connection-types"]

    assert entry["hook-class-name"].endswith(SalesforceUsageHook.__name__)
    assert (entry["connection-type"], entry["hook-name"]) == (
        SalesforceUsageHook.conn_type,
        SalesforceUsageHook.hook_name,
    )
    assert {
        name: (field["label"], field["schema"].get("format") == "password")
        for name, field in entry["conn-fields"].items()
    } == FIELDS
    behaviour = SalesforceUsageHook.get_ui_field_behaviour()
    assert behaviour == {
        "hidden_fields": entry["ui-field-behaviour"]["hidden-fields"],
        "relabeling": entry["ui-field-behaviour"]["relabeling"],
    }


@pytest.mark.parametrize("flow", ["access_token", "client_credentials", "refresh_token", "password_soap"])
def test_the_test_button_says_org_user_usage_and_cost(
    org: SandboxServer, monkeypatch: pytest.MonkeyPatch, store_file: Path, flow: str
) -> None:
    """As Airflow presses it: a connection under a passing id, in the environment as a URI. It shows no secret, and
    leaves nothing in the store.
    """
    from airflow.models.connection import Connection

    made = {**org.connection(flow), "conn_type": OURS}
    connection = Connection(
        conn_id="passing", conn_type=OURS, login=made.get("login"), password=made.get("password"), extra=made["extra"]
    )
    monkeypatch.setenv("AIRFLOW_CONN_PASSING", connection.get_uri())
    before = org.org.used
    worked, message = connection.test_connection()

    assert worked, message
    assert org.org.identity.org_id in message
    assert org.org.identity.client_user.username in message
    assert "of 100,000 API calls used" in message
    assert "This test has spent 1 API call." in message
    assert org.org.used == before + 1
    assert not store_file.exists()
    assert not [
        value
        for name, value in made["extra"].items()
        if name.endswith(("token", "secret", "private_key")) and value in message
    ]


def test_the_test_button_says_what_is_wrong(org: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A permission that is missing, by its name; calls that are used up are no fault of the connection."""
    from airflow.models.connection import Connection

    connection = Connection(conn_id="passing", conn_type=OURS, extra=org.connection("client_credentials")["extra"])
    monkeypatch.setenv("AIRFLOW_CONN_PASSING", connection.get_uri())
    org.org.change({"limits_access": "denied"})
    refused = connection.test_connection()
    org.org.change({"limits_access": "granted", "limit": 100})
    used_up = connection.test_connection()

    assert refused[0] is False
    assert "View Setup and Configuration" in refused[1]
    assert used_up[0] is True
    assert "used up" in used_up[1]


def test_a_test_leaves_nothing_behind(org: SandboxServer, monkeypatch: pytest.MonkeyPatch, store_file: Path) -> None:
    """Also where the org's id takes a query, whose answer a load would keep as a reading: Airflow's passing connection
    id is in no store. The second call is told.
    """
    from airflow.models.connection import Connection

    org.org.change({"session_id_style": "opaque"})
    connection = Connection(conn_id="passing", conn_type=OURS, extra=org.connection("access_token")["extra"])
    monkeypatch.setenv("AIRFLOW_CONN_PASSING", connection.get_uri())
    worked, message = connection.test_connection()

    assert worked, message
    assert "This test has spent 2 API calls." in message
    assert not store_file.exists()
