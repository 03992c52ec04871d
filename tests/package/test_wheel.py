"""The wheel, as users get it: built, looked into, installed into an environment of its own, used there."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    build = [str(UV), "build", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*build, "--out-dir", str(folder), str(ROOT)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """No ``airflow/`` namespace, no tests, and every data file that the code needs."""
    names = zipfile.ZipFile(wheel).namelist()
    roots = {name.split("/")[0] for name in names if ".dist-info/" not in name}

    assert roots == {"airflow_provider_apiusage"}
    assert "airflow_provider_apiusage/py.typed" in names
    for tracked in (ROOT / "airflow_provider_apiusage").rglob("*"):
        if tracked.is_file() and "__pycache__" not in tracked.parts:
            assert tracked.relative_to(ROOT).as_posix() in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_wheel_migrates_a_store_and_knows_its_parts(wheel: Path, tmp_path: Path) -> None:
    """From an environment that has only the wheel and its pinned dependencies, the store and the hook work."""
    python = tmp_path / "venv/bin/python"
    uv = [str(UV), "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(tmp_path / "venv")], check=True)
    subprocess.run(
        [*uv, "pip", "install", "--python", str(python), "--require-hashes", "-r", str(ROOT / "requirements/dev.lock")],
        check=True,
    )
    subprocess.run([*uv, "pip", "install", "--python", str(python), "--no-deps", str(wheel)], check=True)
    program = """
import airflow_provider_apiusage, sys
from pathlib import Path
from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow.providers_manager import ProvidersManager
engine = sqlite_engine(Path(sys.argv[1]))
migrate(engine)
known = "airflow-provider-apiusage" in ProvidersManager().providers
print(airflow_provider_apiusage.__file__, UsageStore(engine).orgs(), known)
"""
    ran = subprocess.run(
        [str(python), "-I", "-c", program, str(tmp_path / "store.db")],
        cwd=tmp_path,
        env={"AIRFLOW_HOME": str(tmp_path / "airflow"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    where, *rest = ran.stdout.splitlines()[-1].split(" ", 1)
    assert where.startswith(str(tmp_path / "venv"))
    assert rest == ["() True"]
