"""The documentation is built as `make docs` builds it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.snippets import ROOT


def test_it_is_built_without_a_warning(tmp_path: Path) -> None:
    """Every link, heading, figure and docstring is sound, and every page is in the navigation."""
    sphinx = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--builder", "html"]
    done = subprocess.run([*sphinx, str(ROOT / "docs"), str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    names = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    assert {file.relative_to(tmp_path) for file in tmp_path.rglob("*.html")} >= names


def test_every_task_is_in_the_reference() -> None:
    """Operators, sensors and triggers that users write have an entry."""
    reference = "".join(page.read_text() for page in (ROOT / "docs/reference").glob("*.md"))
    for folder in ("operators", "sensors"):
        for file in (ROOT / "airflow_provider_apiusage" / folder).glob("*.py"):
            for name in re.findall(r"^class (Api\w+)\(", file.read_text(), re.MULTILINE):
                assert f".{name}\n" in reference, name
