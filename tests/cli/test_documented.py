"""What ``docs/commands.md`` says of the commands, held against what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apiusage.cli.definition import get_apiusage_commands
from airflow_provider_apiusage.sandbox import SandboxServer
from tests.cli.conftest import Run

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
COMMON = PAGE[: PAGE.index("\n## status")]


def section(name: str) -> str:
    """Return what the page says of one command, and of all."""
    return COMMON + PAGE[PAGE.index(f"\n## {name}\n") :].partition("\n## ")[2].partition("\n## ")[0]


def keys(body: Any) -> Iterator[str]:
    """Tell every key of a JSON body that is ours: those of maps by limit name are the org's."""
    if isinstance(body, dict):
        for key, value in body.items():
            if not key.startswith("Daily"):
                yield key
            if key != "figures" or isinstance(value, list):
                yield from keys(value)
    elif isinstance(body, list):
        for each in body:
            yield from keys(each)


def test_every_command_and_option_is_documented() -> None:
    """Each option stands in its command's section, or in the one about all."""
    (group,) = get_apiusage_commands()
    missing = [
        f"{command.name} {flag}"
        for command in group.subcommands
        for arg in command.args
        for flag in arg.flags
        if flag.startswith("--") and f"`{flag}" not in section(command.name)
    ]

    assert missing == []


@pytest.mark.parametrize(
    "arguments",
    ["status --needs 5", "gates", "doctor", "forecast --needs 5", "reconcile", "release dag/run/nobody"],
)
def test_every_key_of_the_json_is_documented(run: Run, org: SandboxServer, arguments: str) -> None:
    """Programs may rely on what the page names, so it names everything."""
    assert run("snapshot").code == 0
    name = arguments.split()[0]
    said = run(*arguments.split(), "-o", "json")
    inner = {"low", "high", "estimate", "code", "severity", "message", "key", "name", "share", "half_back_at"}
    told = set(re.findall(r"`(\w+)`", section(name)))

    assert set(keys(said.data)) - told - (inner | {"calls", "all_back_at", "expected_at", "earliest_at"}) == set()
    if name == "doctor":
        assert {check["name"] for check in said.data["checks"]} <= set(re.findall(r"\| `([\w-]+)` \|", PAGE))
