"""What ``docs/sandbox.md`` says, held against the sandbox org."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from airflow_provider_apiusage.sandbox import OrgSettings, SandboxServer
from airflow_provider_apiusage.sandbox.__main__ import parser
from airflow_provider_apiusage.sandbox.control import Control, control_app
from airflow_provider_apiusage.sandbox.faults import FaultKind

TEXT = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_every_setting_fault_and_argument_is_documented() -> None:
    """Nothing that can be set, ordered or given on the command line is missing from the document."""
    settings = [field.name for field in fields(OrgSettings)]
    arguments = [option for action in parser()._actions for option in action.option_strings if option.startswith("--")]

    missing = [name for name in (*settings, *get_args(FaultKind)) if f"`{name}`" not in TEXT]
    missing += [option for option in arguments if option not in TEXT and option != "--help"]
    assert missing == []


def test_every_control_resource_and_flow_is_documented(server: SandboxServer) -> None:
    """Every path of the control port, and every way in, is in the document."""
    app = control_app(Control(server.org, server.connections))
    paths = {route.resource.canonical for route in app.router.routes() if route.resource is not None}

    assert [path for path in sorted(paths) if path not in TEXT] == []
    assert [flow for flow in server.connections() if f"`{flow}`" not in TEXT] == []


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The document's Python example runs as it is."""
    example = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    names: dict[str, Any] = {}

    exec(compile(example[1], "docs/sandbox.md", "exec"), names)

    assert "25000 25000" in capsys.readouterr().out
    assert names["org"].settings.limit_header == "absent"
