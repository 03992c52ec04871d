"""A report into a file: whole or not at all, where the store allows."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

_LOCAL = ("", "file", "local")


class ReportPath(Protocol):
    """What is asked of a path: ``pathlib.Path`` and Airflow's ``ObjectStoragePath`` both have it."""

    @property
    def parent(self) -> Any:
        """The folder."""

    def open(self, mode: Any) -> Any:
        """Open the file."""


def write_report(path: ReportPath, text: str) -> None:
    """Write a report; what stood there before is replaced, missing folders are made.

    On a local file system a reader sees the old file or the new one, never a part: it is written beside and renamed.
    Elsewhere it is handed over in one write, which object stores keep whole or not at all.

    :param path: a ``pathlib.Path`` or an ``ObjectStoragePath``.
    :param text: the report.
    :raises OSError: if it cannot be written; the file that stood there is as it was.
    """
    data = text.encode()
    if getattr(path, "protocol", "") in _LOCAL:
        _replace(Path(str(getattr(path, "path", path))), data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
