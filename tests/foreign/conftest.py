"""Clients of others, installed under ``.cache/foreign`` from locked, hashed versions."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "foreign"
_SECRETS = (
    "SF_",
    "SFDX_",
    "AIRFLOW_",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
)


@dataclass(frozen=True)
class Foreign:
    """An installed client: how to run it, and with what environment."""

    binaries: Path
    modules: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the client in an empty home of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
        path = f"{self.binaries}{os.pathsep}{kept.get('PATH', '')}"
        return subprocess.run(
            [str(self.binaries / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.environment["HOME"],
            env={**kept, **self.environment, **variables, "PATH": path},
        )


def _installed(name: str, *locks: str) -> tuple[Path, bool]:
    """Return the directory for these locks, and whether it is complete."""
    digest = hashlib.sha256(b"".join((HERE / lock).read_bytes() for lock in locks)).hexdigest()[:16]
    directory = CACHE / f"{name}-{digest}"
    return directory, (directory / "complete").exists()


def _python_environment(directory: Path, lock: str) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    python, requirements = str(directory / "bin" / "python"), str(HERE / lock)
    uv = shutil.which("uv")
    if uv:
        commands = [
            [uv, "venv", "--quiet", "--python", sys.executable, str(directory)],
            [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", requirements],
        ]
    else:
        commands = [
            [sys.executable, "-m", "venv", str(directory)],
            [python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", requirements],
        ]
    for command in commands:
        subprocess.run(command, check=True, timeout=600)


@pytest.fixture(scope="session")
def node_directory() -> Path:
    """Node.js with the Salesforce CLI and jsforce."""
    directory, complete = _installed("node", "node.lock", "package-lock.json")
    if not complete:
        _python_environment(directory, "node.lock")
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / name, directory / name)
        environment = {**os.environ, "PATH": f"{directory / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
        npm = [str(directory / "bin" / "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(npm, check=True, timeout=900, cwd=directory, env=environment)
        (directory / "complete").touch()
    return directory


@pytest.fixture(scope="session")
def tap_directory() -> Path:
    """tap-salesforce in an environment of its own."""
    directory, complete = _installed("tap", "tap.lock")
    if not complete:
        _python_environment(directory, "tap.lock")
        (directory / "complete").touch()
    return directory


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    """An org with 70 of 100 calls used."""
    org = SandboxOrg(start=datetime(2026, 10, 7, 14, 30, tzinfo=UTC), limit=100)
    org.add_calls(70)
    with SandboxServer(org) as running:
        yield running


@pytest.fixture
def node(node_directory: Path, server: SandboxServer, tmp_path: Path) -> Foreign:
    """Node.js programs that trust the org."""
    environment = {
        "HOME": str(tmp_path),
        "NODE_EXTRA_CA_CERTS": str(server.ca_file),
        "NODE_PATH": str(node_directory / "node_modules"),
        "SF_AUTOUPDATE_DISABLE": "true",
        "SF_DISABLE_LOG_FILE": "true",
        "SF_DISABLE_TELEMETRY": "true",
        "SF_SKIP_NEW_VERSION_CHECK": "true",
        "SF_USE_GENERIC_UNIX_KEYCHAIN": "true",
    }
    return Foreign(node_directory / "bin", node_directory / "node_modules", environment)


@pytest.fixture
def tap(tap_directory: Path, server: SandboxServer, tmp_path: Path) -> Foreign:
    """tap-salesforce, which logs in at login.salesforce.com by way of the org's proxy."""
    environment = {
        "HOME": str(tmp_path),
        "REQUESTS_CA_BUNDLE": str(server.ca_file),
        "HTTPS_PROXY": server.proxy_url,
    }
    return Foreign(tap_directory / "bin", tap_directory / "lib", environment)
