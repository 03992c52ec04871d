"""Unpacking what came over the wire: compressed or not, in one piece or several, whole or cut short."""

from __future__ import annotations

import gzip
import os
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.salesforce import event_log_download
from airflow_provider_apiusage.salesforce.event_log_download import PREFIX, _sweep, _unpack

plain = st.lists(st.sampled_from([b'"a","b"\n', b"\0", b"x" * 300, "é".encode(), b"\n"]), max_size=40).map(b"".join)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=plain, compressed=st.booleans(), members=st.integers(1, 3), chunk=st.sampled_from([7, 64, 1 << 20]))
def test_what_comes_out_is_what_went_in_without_nul_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, compressed: bool, members: int, chunk: int
) -> None:
    """Whatever the size of the pieces, and if the stream has several members, as gzip allows."""
    monkeypatch.setattr(event_log_download, "CHUNK", chunk)
    received, target = tmp_path / "received", tmp_path / "rows.csv"
    cut = len(content) // members
    pieces = [content[n * cut : (n + 1) * cut if n + 1 < members else None] for n in range(members)]
    received.write_bytes(b"".join(map(gzip.compress, pieces)) if compressed else content)

    length, nul_bytes = _unpack(received, target, compressed=compressed)

    assert (length, nul_bytes) == (len(content), content.count(b"\0"))
    assert target.read_bytes() == content.replace(b"\0", b"")


@pytest.mark.parametrize("kept", [0.0001, 0.3, 0.9, 0.999])
def test_a_stream_cut_short_anywhere_is_told(tmp_path: Path, kept: float) -> None:
    """Even if only the last bytes, the check sum, are missing."""
    whole = gzip.compress(os.urandom(50_000))
    (tmp_path / "received").write_bytes(whole[: int(len(whole) * kept)])

    with pytest.raises((EOFError, zlib.error)):
        _unpack(tmp_path / "received", tmp_path / "rows.csv", compressed=True)


def test_a_damaged_stream_is_told(tmp_path: Path) -> None:
    """The check sum does not fit."""
    whole = bytearray(gzip.compress(b"x" * 1_000))
    whole[-6] ^= 1
    (tmp_path / "received").write_bytes(whole)

    with pytest.raises((zlib.error, gzip.BadGzipFile)):
        _unpack(tmp_path / "received", tmp_path / "rows.csv", compressed=True)


def test_only_old_leftovers_of_ours_are_swept(tmp_path: Path) -> None:
    """A folder in use, and what belongs to others, stay."""
    names = [f"{PREFIX}old", f"{PREFIX}new", "old-of-somebody-else"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.csv").write_bytes(b"rows")
    for name in (names[0], names[2]):
        os.utime(tmp_path / name, (time.time() - 90_000,) * 2)

    _sweep(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
