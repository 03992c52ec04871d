"""Every snippet of the documents does what it says: Python runs against an org, commands run, settings are read."""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_apiusage.sandbox import SandboxServer
from tests.docs.given import given
from tests.docs.snippets import PAGES, Snippet, snippets_of

SNIPPETS = [snippet for page in PAGES for snippet in snippets_of(page)]
PYTHON = sorted({snippet.page for snippet in SNIPPETS if snippet.language == "python"})
KNOWN = {"", "python", "json", "yaml", "ini", "shell", "console"}


def run_python(snippet: Snippet, names: dict[str, Any], run_dag: Callable[..., Any]) -> None:
    """Run one block; tasks that it makes are run as a DAG, and so are the DAGs that it makes."""
    from airflow.sdk import DAG

    before = {id(each) for each in names.values() if isinstance(each, DAG)}
    with DAG(snippet.name, schedule=None) as around:
        exec(compile("\n" * (snippet.line - 1) + snippet.text, snippet.page, "exec"), names)
    own = [each for each in names.values() if isinstance(each, DAG) and id(each) not in before]
    for dag in [around, *own]:
        if dag.tasks:
            run = run_dag(dag)
            states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
            assert set(states.values()) <= {"success", "skipped"}, (snippet.page, snippet.line, states)


@pytest.mark.parametrize("page", PYTHON)
def test_python_runs(
    page: str,
    connected: SandboxServer,
    store_file: Path,
    run_dag: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The blocks of a page run one after the other, with what the reader has at hand; their tasks succeed."""
    monkeypatch.setenv("AIRFLOW_VAR_APIUSAGE_REPORTS", f"file://{tmp_path}/reports")
    names = given(connected, store_file)
    for snippet in SNIPPETS:
        if snippet.page == page and snippet.language == "python":
            run_python(snippet, names, run_dag)


def test_settings_are_read() -> None:
    """Every block of JSON, YAML and of settings is well-formed."""
    for snippet in SNIPPETS:
        if snippet.language == "json":
            json.loads(snippet.text)
        if snippet.language == "yaml":
            yaml.safe_load(snippet.text)
        if snippet.language == "ini":
            configparser.ConfigParser().read_string(snippet.text)


def test_every_block_says_what_it_is() -> None:
    """A block in a language that no test here runs is not written."""
    assert {snippet.language for snippet in SNIPPETS if not snippet.language.startswith("{")} <= KNOWN
