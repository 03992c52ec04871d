"""Every command line of the documents runs, in a shell, against an org and its store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_apiusage.sandbox import SandboxServer
from tests.docs.given import given
from tests.docs.snippets import PAGES, ROOT, Snippet, snippets_of

SHELL = [each for page in PAGES for each in snippets_of(page) if each.language in ("shell", "console")]
STAND_INS = {
    # the same commands without the seconds that all of Airflow's take to be imported
    "airflow": f'[ "$1" = apiusage ] && shift && exec {sys.executable} -m airflow_provider_apiusage.cli "$@"\n'
    f'exec {sys.executable} -m airflow "$@"',
    # targets must be there; what they do runs elsewhere
    "make": f'exec /usr/bin/env -i PATH="$MAKE_PATH" make --dry-run --directory {ROOT} "$@"',
    # tests/package installs the wheel
    "pip": f'[ "$1" = install ] && exec {sys.executable} -c pass',
    # the org of this test is running already; tests/sandbox starts it in this way
    "python": f'exec {sys.executable} "$@" --help',
    "load.sh": "exit 0",
}
EXPECTED_TO_END = {0, 3}
"""``airflow apiusage`` ends with 3 where the answer is no."""


def lines_of(snippet: Snippet) -> str:
    """Return what a reader types: all of it, or what stands behind the prompts."""
    if "\n$ " not in f"\n{snippet.text}":
        return snippet.text
    return "\n".join(line.removeprefix("$ ") for line in snippet.text.splitlines() if line.startswith("$ "))


@pytest.mark.parametrize("snippet", SHELL, ids=lambda each: f"{each.page}:{each.line}")
def test_it_runs(snippet: Snippet, connected: SandboxServer, store_file: Path, metadata_database: None) -> None:
    """Each line ends well; questions are answered with yes."""
    folder = store_file.parent
    programs = folder / "bin"
    programs.mkdir()
    for name, text in STAND_INS.items():
        file = folder / name if name.endswith(".sh") else programs / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    given(connected, store_file)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "MAKE_PATH": os.environ["PATH"],
        "CONTROL": connected.control_url,
        "PYTHONPATH": str(ROOT),
    }
    if "airflow connections" not in snippet.text:
        environment["AIRFLOW_HOME"] = str(folder)  # where the store is
    script = f"set -E; trap 's=$?; [ $s -eq 3 ] || exit $s' ERR\n{lines_of(snippet)}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, input="y\n", capture_output=True, text=True, check=False
    )
    assert done.returncode in EXPECTED_TO_END, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
