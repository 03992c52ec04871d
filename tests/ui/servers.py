"""A real ``airflow api-server`` with a store of its own, and nothing else of Airflow: what the page is served by."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import requests

from example_dags.demo.standalone import free_port

USERS = {"admin": "admin", "op": "op", "viewer": "viewer"}
"""Users with their roles; each one's password is the name. Only ``admin`` and ``op`` may read connections."""


class ApiServer:
    """``airflow api-server`` in a folder of its own, with the simple auth manager.

    :param home: an empty folder for ``AIRFLOW_HOME``.
    :param store: the SQLite file to copy there as the store; ``None`` for none.
    :param prefix: path of Airflow's base URL, such as ``/af``.
    :param environment: further environment variables.
    """

    def __init__(self, home: Path, store: Path | None, prefix: str = "", **environment: str) -> None:
        self.home = home
        self.prefix = prefix
        self._store = store
        port = free_port()
        self.origin = f"http://127.0.0.1:{port}"
        self.url = f"{self.origin}{prefix}"
        """Airflow's base URL, without a slash at its end."""
        self.page = f"{self.url}/apiusage/"
        """The page by itself; in Airflow's frame it is at ``{url}/plugin/apiusage``."""
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": os.urandom(32).hex(),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONWARNINGS": "ignore",
            **environment,
        }

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        if self._store is not None:
            shutil.copy(self._store, self.home / "apiusage.db")
        passwords = self.home / "simple_auth_manager_passwords.json.generated"
        passwords.write_text(json.dumps({name: name for name in USERS}))
        with (self.home / "airflow.log").open("wb") as log:
            options: dict[str, Any] = {"env": self.environment, "cwd": self.home, "stdout": log, "stderr": log}
            subprocess.run(["airflow", "db", "migrate"], check=True, **options)
            self._process = subprocess.Popen(["airflow", "api-server"], start_new_session=True, **options)
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_failure: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for how, patience in ((signal.SIGINT, 20), (signal.SIGKILL, 10)):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def token(self, user: str) -> str:
        """Return an access token; as cookie ``_token`` with path ``{prefix}/`` it logs a browser in."""
        answer = requests.post(f"{self.url}/auth/token", json={"username": user, "password": user}, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def get(self, path: str, user: str | None = None, **options: Any) -> requests.Response:
        """Ask the page's application for a path such as ``api/orgs``; without a user, as nobody."""
        headers = {"Authorization": f"Bearer {self.token(user)}"} if user else {}
        headers |= options.pop("headers", {})
        return requests.get(f"{self.page}{path}", headers=headers, timeout=60, **options)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            with suppress(requests.RequestException):
                if requests.get(f"{self.url}/api/v2/version", timeout=5).ok:
                    return
            time.sleep(0.3)
        raise RuntimeError(f"The API server did not start:\n{(self.home / 'airflow.log').read_text()[-4000:]}")
