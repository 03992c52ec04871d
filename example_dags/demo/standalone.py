"""A real Airflow on this machine, started and stopped by a program: scheduler, triggerer, DAG processor, API server.

The demo shows the product with it, and the end-to-end tests drive it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class AirflowNotReadyError(RuntimeError):
    """Airflow did not do in time what was waited for."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class StandaloneAirflow:
    """``airflow standalone`` in a folder of its own, on SQLite, driven through Airflow's REST API.

    :param home: an empty folder for ``AIRFLOW_HOME``.
    :param dags: DAG files to copy there.
    :param environment: further environment variables, such as ``AIRFLOW_CONN_SALESFORCE_DEFAULT``.
    :param progress: called with a line whenever something slow begins.
    """

    def __init__(
        self,
        home: Path,
        dags: Iterable[Path],
        environment: Mapping[str, str],
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.home = home
        self._dags = list(dags)
        self._progress = progress
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        self.environment = {**os.environ, **self._settings(), **environment}

    def _settings(self) -> dict[str, str]:
        secret = os.urandom(16).hex()
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW__API__PORT": str(self._port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secret,
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            # Runs begin when they are triggered, not because a DAG is unpaused.
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONWARNINGS": "ignore",
        }

    def __enter__(self) -> Self:
        (self.home / "dags").mkdir(parents=True)
        for dag in self._dags:
            shutil.copy(dag, self.home / "dags")
        with (self.home / "airflow.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["airflow", "standalone"],
                env=self.environment,
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._progress("Airflow is starting: database, scheduler, triggerer, DAG processor, API server")
            self.wait_for("the API server", self._healthy, timeout=150)
            token = self._session.get(f"{self.url}/auth/token", timeout=30).json()["access_token"]
            self._session.headers["Authorization"] = f"Bearer {token}"
            self._progress("Airflow is reading the DAGs")
            names = {dag.stem for dag in self._dags}
            self.wait_for("the DAGs", lambda: names <= self._dag_ids(), timeout=90)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop everything that was started: politely, then for good."""
        process, self._process = self._process, None
        if process is None:
            return
        for how, patience in ((signal.SIGINT, 30), (signal.SIGKILL, 10)):
            try:
                # The first signal goes to the leader alone: standalone then stops its children in order.
                (os.kill if how is signal.SIGINT else os.killpg)(process.pid, how)
            except ProcessLookupError:
                break
            try:
                process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    # --- what a user does ----------------------------------------------------------------------------------------

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Unpause a DAG, start a run and return its id."""
        self._call("PATCH", f"dags/{dag_id}", json={"is_paused": False})
        run = self._call("POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": dict(conf or {})})
        return str(run["dag_run_id"])

    def states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task of a run."""
        found = self._call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return {ti["task_id"]: ti["state"] for ti in found["task_instances"]}

    def wait_for_state(self, dag_id: str, run_id: str, task_id: str, *states: str, timeout: float = 90) -> str:
        """Wait until a task is in one of some states; return it."""

        def reached() -> str | None:
            state = self.states(dag_id, run_id).get(task_id)
            if state in ENDED and state not in states:
                raise AirflowNotReadyError(f"{task_id} is {state}:\n{self.log(dag_id, run_id, task_id)}")
            return state if state in states else None

        return str(self.wait_for(f"{dag_id}.{task_id} to be {' or '.join(states)}", reached, timeout))

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float = 120) -> str:
        """Wait until a run has ended; return its state."""

        def ended() -> str | None:
            state = self._call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"]
            return state if state in ENDED else None

        return str(self.wait_for(f"the end of {dag_id}", ended, timeout))

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task returned."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        value = self._call("GET", path, params={"deserialize": "true"})["value"]
        return json.loads(value) if isinstance(value, str) and value[:1] in "{[" else value

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """Return the log of a task as Airflow shows it, one event a line."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self._call("GET", path, params={"full_content": "true"}).get("content", [])
        return "\n".join(line if isinstance(line, str) else str(line.get("event", "")) for line in content)

    def wait_for(self, what: str, condition: Callable[[], Any], timeout: float) -> Any:
        """Ask twice a second until a condition gives something true; return it.

        :raises AirflowNotReadyError: after ``timeout`` seconds, or if Airflow itself has ended.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise AirflowNotReadyError(f"Airflow has ended; see {self.home / 'airflow.log'}")
            found = condition()
            if found:
                return found
            time.sleep(0.5)
        raise AirflowNotReadyError(f"{what}: not within {timeout:.0f} s; see {self.home / 'airflow.log'}")

    def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        response = self._session.request(method, f"{self.url}/api/v2/{path}", timeout=30, **kwargs)
        if not response.ok:
            raise AirflowNotReadyError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response.json()

    def _dag_ids(self) -> set[str]:
        return {dag["dag_id"] for dag in self._call("GET", "dags")["dags"]}

    def _healthy(self) -> bool:
        try:
            health = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
        except (requests.RequestException, ValueError):
            return False
        return all(
            health.get(part, {}).get("status") == "healthy" for part in ("scheduler", "triggerer", "dag_processor")
        )
