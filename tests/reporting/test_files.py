"""Writing a report."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_apiusage.reporting.files import write_report

TEXT = "Größe: 25,000\n"


def test_folders_are_made(tmp_path: Path) -> None:
    """A report may be the first thing in its folder."""
    path = tmp_path / "reports" / "october" / "7.md"
    write_report(path, TEXT)

    assert path.read_bytes() == TEXT.encode()


@pytest.mark.parametrize("scheme", ["file://", ""])
def test_a_local_object_path_is_renamed_into_place(tmp_path: Path, scheme: str) -> None:
    """An ObjectStoragePath on this machine replaces the old report, and leaves nothing beside it."""
    write_report(tmp_path / "a.html", "old")
    write_report(ObjectStoragePath(f"{scheme}{tmp_path}/a.html"), TEXT)

    assert (tmp_path / "a.html").read_text() == TEXT
    assert os.listdir(tmp_path) == ["a.html"]


def test_a_store_gets_it_in_one_write() -> None:
    """An ObjectStoragePath of another store is written, with the folder it needs."""
    attach(protocol="memory", fs=MemoryFileSystem())
    path = ObjectStoragePath("memory://reports/new/a.md")
    write_report(path, TEXT)

    with path.open("rb") as file:
        assert file.read() == TEXT.encode()


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    """Who has the old report open goes on reading the old one."""
    path = tmp_path / "a.md"
    write_report(path, "old")
    with path.open() as old:
        write_report(path, TEXT)

        assert old.read() == "old"
    assert path.read_text() == TEXT


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """If it cannot be put in its place, what stands there stays, and no half of it lies beside."""
    taken = tmp_path / "a.md"
    (taken / "inside").mkdir(parents=True)

    with pytest.raises(OSError, match=r"a\.md"):
        write_report(taken, TEXT)

    assert os.listdir(tmp_path) == ["a.md"]
    assert (taken / "inside").is_dir()


def test_others_may_read_it(tmp_path: Path) -> None:
    """A report has the rights that any new file has here."""
    write_report(tmp_path / "a.md", TEXT)
    (tmp_path / "b.md").write_text(TEXT)

    assert (tmp_path / "a.md").stat().st_mode == (tmp_path / "b.md").stat().st_mode
