"""A real Airflow in this process: its metadata database on SQLite, and a way to run a DAG that a test makes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apiusage.hooks import store as store_module
from airflow_provider_apiusage.sandbox import SandboxServer

BUNDLE = "tests"


@pytest.fixture(scope="session")
def metadata_database() -> None:
    """Airflow's own tables."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def store_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of this test alone, where the default one would be."""
    file = tmp_path / "apiusage.db"
    monkeypatch.setattr(store_module, "default_path", lambda: file)
    return file


@pytest.fixture
def connected(sandbox: SandboxServer, store_file: Path, monkeypatch: pytest.MonkeyPatch) -> SandboxServer:
    """The sandbox org as connection ``salesforce_default``, and an empty store."""
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(sandbox.connection("client_credentials")))
    return sandbox


@pytest.fixture
def run_dag(metadata_database: None) -> Iterator[Callable[..., Any]]:
    """Run a DAG with ``dag.test()``: real scheduling decisions, task runner and inline triggers.

    Airflow 3.1 and newer run only DAGs that are known to the database, so it is written there first.
    """
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG, SerializedDAG
    from airflow.utils.session import create_session

    def run(dag: Any, **options: Any) -> Any:
        with create_session() as session:
            if session.get(DagBundleModel, BUNDLE) is None:
                session.add(DagBundleModel(name=BUNDLE))
                session.flush()
            lazy = LazyDeserializedDAG.from_dag(dag)
            SerializedDAG.bulk_write_to_db(BUNDLE, None, [lazy], session=session)
            SerializedDagModel.write_dag(lazy, bundle_name=BUNDLE, session=session)
        return dag.test(**options)

    return run
