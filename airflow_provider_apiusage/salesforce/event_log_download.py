"""Bringing one event log file here whole: streamed, compressed on the wire, resumed or begun anew."""

from __future__ import annotations

import gzip
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import requests
from requests import Response

from airflow_provider_apiusage.salesforce.errors import ApiUsageError, UnavailableError, Where, error_from
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.usage.event_log import LogFile
from airflow_provider_apiusage.usage.model import Finding, Severity

ATTEMPTS = 3
"""Downloads of one file before it is left for the next time; each is an API call."""

CHUNK = 1 << 20
"""Bytes that are in memory at a time while a file is brought here."""

PREFIX = "apiusage-event-log-"

_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class LogFileGoneError(ApiUsageError):
    """The file was listed and is no longer there: its retention is over."""

    kind = "event_log_gone"


class LogFileIncompleteError(UnavailableError):
    """The file did not arrive whole; nothing of it was kept, and it can be asked for again."""

    kind = "event_log_incomplete"


@dataclass(frozen=True, slots=True)
class Download:
    """A file that arrived whole.

    :param path: the CSV, uncompressed and free of NUL bytes.
    :param findings: what was odd about the bytes.
    """

    path: Path
    findings: tuple[Finding, ...]


@contextmanager
def downloaded(org: OrgClient, file: LogFile, folder: Path | None = None) -> Iterator[Download]:
    """Bring one file here, for as long as the context lasts. Spends 1 API call, up to 3 if the connection breaks.

    The bytes go to disk as they come, compressed where the org offers it. A broken connection is resumed where the
    org allows ranges, and otherwise begun anew. Nothing is given out that did not arrive whole.

    :param org: the org.
    :param file: as listed.
    :param folder: for temporary files; it takes the file's uncompressed size. Default: the system's.
    :raises LogFileGoneError: if it is no longer there.
    :raises LogFileIncompleteError: if it did not arrive whole in three attempts, or is shorter than the org lists.
    :raises ApiUsageError: by kind, if the org refuses.
    """
    with TemporaryDirectory(prefix=PREFIX, dir=folder) as name:
        _sweep(Path(name).parent)
        work = Path(name)
        _room_for(file, work, org.where)
        path = work / "rows.csv"
        length, nul_bytes = _bring(org, file, work / "received", path)
        yield Download(path, tuple(_findings(file, length, nul_bytes)))


def _sweep(folder: Path) -> None:
    """Remove what tasks that were killed have left behind: folders of ours that nobody has touched for a day."""
    old = time.time() - timedelta(days=1).total_seconds()
    for left in folder.glob(f"{PREFIX}*"):
        try:
            if left.stat().st_mtime < old:
                shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue  # somebody else was faster


def _bring(org: OrgClient, file: LogFile, received: Path, path: Path) -> tuple[int, int]:
    """Download and unpack until the file is whole; return its length in bytes and how many of them were NUL."""
    partial = _Partial(received)
    reason, short = "", None
    for _ in range(ATTEMPTS):
        try:
            _receive(org, file, partial)
            length, nul_bytes = _unpack(received, path, compressed=partial.encoding == "gzip")
        except _BROKEN as broken:
            reason = f"the connection broke ({type(broken).__name__})"
            continue
        except (EOFError, zlib.error, gzip.BadGzipFile) as cut:
            partial.forget()
            reason = f"its compressed stream is damaged ({cut})"
            continue
        partial.forget()
        if file.length is None or length >= file.length:
            return length, nul_bytes
        reason = f"{length:,} of the {file.length:,} bytes that the org lists arrived"
        if short == length:
            break
        short = length
    raise LogFileIncompleteError(
        f"Event log {file.label} ({file.id}) did not arrive whole: {reason}; nothing of it was kept.",
        org.where,
        "It is asked for again later. If this goes on, raise it with Salesforce.",
    )


@dataclass
class _Partial:
    """The bytes of a body received so far, and what is needed to ask for the rest."""

    path: Path
    tag: str = ""
    encoding: str = ""

    @property
    def size(self) -> int:
        """Bytes that need not be asked for again."""
        return self.path.stat().st_size if self.tag and self.path.exists() else 0

    def forget(self) -> None:
        """Begin anew."""
        self.tag = ""
        self.path.unlink(missing_ok=True)


def _receive(org: OrgClient, file: LogFile, partial: _Partial) -> None:
    """Make one request for the file, or for its rest, and write the body as it came over the wire."""
    have = partial.size
    headers = {"Accept-Encoding": "gzip", "Accept": "*/*"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": partial.tag}
    with org.stream(f"sobjects/EventLogFile/{file.id}/LogFile", headers=headers) as response:
        _refuse(response, file, org.where)
        resumed = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        partial.encoding = response.headers.get("Content-Encoding", "").lower()
        partial.tag = _strong_tag(response)
        with partial.path.open("ab" if resumed else "wb") as stream:
            _write(response, stream)


def _write(response: Response, stream: BinaryIO) -> None:
    """Copy the body undecoded.

    :raises requests.exceptions.ChunkedEncodingError: if it ends before it should.
    """
    import urllib3

    try:
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            stream.write(chunk)
    except (urllib3.exceptions.HTTPError, OSError) as broken:
        raise requests.exceptions.ChunkedEncodingError(str(broken)) from None


def _refuse(response: Response, file: LogFile, where: Where) -> None:
    if response.status_code in (200, 206):
        return
    if response.status_code == 404:
        raise LogFileGoneError(
            f"Event log {file.label} ({file.id}) is no longer there.",
            where,
            "Files are kept for one day without Event Monitoring: take snapshots with events at least daily.",
        )
    raise error_from(response.status_code, response.text, where, doing=f"downloading event log {file.id}")


def _strong_tag(response: Response) -> str:
    """Return the entity tag by which a download can be resumed (RFC 9110, 13.1.5), or blank."""
    tag = response.headers.get("ETag", "")
    return tag if response.headers.get("Accept-Ranges") == "bytes" and tag.startswith('"') else ""


def _unpack(received: Path, target: Path, *, compressed: bool) -> tuple[int, int]:
    """Write the plain CSV; return its length before NUL bytes were taken out, and their number.

    :raises EOFError: if a compressed stream ends early.
    :raises zlib.error: if it is damaged.
    :raises gzip.BadGzipFile: likewise, or if it is none.
    """
    if not compressed and not any(b"\0" in chunk for chunk in _chunks(received)):
        received.replace(target)
        return target.stat().st_size, 0
    length = nul_bytes = 0
    with target.open("wb") as plain:
        for chunk in _chunks(received, compressed=compressed):
            length += len(chunk)
            nul_bytes += chunk.count(b"\0")
            plain.write(chunk.replace(b"\0", b""))
    return length, nul_bytes


def _chunks(path: Path, *, compressed: bool = False) -> Iterator[bytes]:
    with gzip.open(path) if compressed else path.open("rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk


def _room_for(file: LogFile, folder: Path, where: Where) -> None:
    free = shutil.disk_usage(folder).free
    if file.length is not None and file.length > free:
        raise UnavailableError(
            f"Event log {file.label} takes {file.length:,} bytes on disk, and {free:,} are free in {folder.parent}.",
            where,
            "Make room, or set TMPDIR to a larger disk.",
        )


def _findings(file: LogFile, length: int, nul_bytes: int) -> Iterator[Finding]:
    log = f"Event log {file.label} ({file.id})"
    if file.length is not None and length > file.length:
        yield Finding(
            "event-log-longer",
            Severity.INFO,
            f"{log} has {length:,} bytes where the org lists {file.length:,}; all of them were read.",
            {"file": file.id, "length": length, "listed": file.length},
        )
    if nul_bytes:
        yield Finding(
            "event-log-nul-bytes",
            Severity.INFO,
            f"{log} held {nul_bytes:,} NUL byte(s), which were taken out.",
            {"file": file.id, "bytes": nul_bytes},
        )
