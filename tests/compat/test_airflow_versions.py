"""What the package promises, on the older Airflow versions that it promises to work with, from the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")

MAIN_JOB = ["tests/e2e/test_main_job.py"]
PARTS = [
    "tests/airflow/test_hook.py",
    "tests/cli/test_at_home.py",
    "tests/airflow/test_sensor.py",
    "--deselect=tests/airflow/test_sensor.py::test_a_gated_load_in_a_dag_run",  # the main job does it for real
    "tests/airflow/test_trigger.py",
    "tests/airflow/test_triggerer.py",
    "tests/airflow/test_hub.py",
    "tests/airflow/test_operators.py::test_several_orgs_are_mapped_over_one_task",
]

pytestmark = pytest.mark.e2e


def run(*command: str | Path) -> None:
    """Run a command that must work; what it said is in the failure."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.parametrize(
    "version", [pytest.param(version, marks=pytest.mark.xdist_group(version)) for version in ("3.1", "3.2")]
)
def test_the_package_keeps_its_promises_on_an_older_airflow(wheel: Path, tmp_path: Path, version: str) -> None:
    """The main job with scheduler and triggerer of that version; hook, gate, trigger and mapped operators beside it."""
    python = tmp_path / "venv/bin/python"
    run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    lock = ROOT / f"requirements/airflow-{version}.lock"
    run(UV, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", lock)
    run(UV, "pip", "install", "--quiet", "--python", python, "--no-deps", wheel)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST_", "PYTHON"))
    }

    def outcome(tests: list[str]) -> str:
        done = subprocess.run(
            [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout.splitlines()[-1]

    # The main job leaves the processors idle half of the time, so the others cost little beside it.
    with ThreadPoolExecutor(2) as both:
        main_job, parts = both.map(outcome, (MAIN_JOB, PARTS))

    assert main_job.startswith("1 passed")
    assert "skipped" not in parts
