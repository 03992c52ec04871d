"""Log files over the wire: gone, compressed, resumed, of another length, and broken off in the middle."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import urllib3

from airflow_provider_apiusage.sandbox import Fault

Listed = dict[str, Any]


@pytest.fixture
def org(client: Any) -> Any:
    """The org of the worked example, whose log of Tuesday is out: 20,000 calls."""
    return client.org


def listed(client: Any, where: str = "Interval = 'Daily'") -> list[Listed]:
    text = f"SELECT Id, LogDate, LogFileLength, LogFile FROM EventLogFile WHERE {where} ORDER BY CreatedDate"
    records: list[Listed] = client.query(text)["records"]
    return records


def content(client: Any, file: Listed, **headers: str) -> requests.Response:
    answer: requests.Response = client.get(
        file["LogFile"], headers={"Accept-Encoding": "identity", **{k.replace("_", "-"): v for k, v in headers.items()}}
    )
    return answer


def compressed(client: Any, file: Listed) -> requests.Response:
    answer: requests.Response = client.get(file["LogFile"], headers={"Accept-Encoding": "gzip"}, stream=True)
    return answer


def raw(answer: requests.Response) -> bytes:
    """The body as it came, however it ends."""
    received = b""
    for chunk in answer.raw.stream(4_096, decode_content=False):
        received += chunk
    return received


def broken_off(chunks: Iterator[bytes]) -> bytes:
    """What came before the body broke off; it must."""
    received = b""
    try:
        for chunk in chunks:
            received += chunk
    except (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.ProtocolError):
        return received
    raise AssertionError("the body ended as it should")


def test_the_first_downloads_find_the_files_gone(client: Any, org: Any) -> None:
    """As if they were deleted since the listing: 404, and listed no more; the next download is answered."""
    org.change({"event_log_vanish": 2})
    files = listed(client, "Interval = 'Hourly'")
    gone = [content(client, file) for file in files[:2]]

    assert [(answer.status_code, answer.json()[0]["errorCode"]) for answer in gone] == [(404, "NOT_FOUND")] * 2
    assert listed(client, "Interval = 'Hourly'") == files[2:]
    assert content(client, files[0]).status_code == 404
    assert content(client, files[2]).status_code == 200


def test_a_replacement_of_a_file_that_vanished_is_there(client: Any, org: Any) -> None:
    """Also under the same id: it is another file."""
    org.change(
        {
            "event_log_vanish": 1,
            "event_log_daily_same_id": True,
            "event_log_daily_first_share": 0.9,
            "event_log_daily_replaced_hours": 20,
        }
    )
    (first,) = listed(client)
    assert content(client, first).status_code == 404
    assert listed(client) == []
    client.control("POST", "/clock", {"advance_seconds": 6 * 3_600})
    (second,) = listed(client)

    assert second["Id"] == first["Id"]
    assert len(content(client, second).content.splitlines()) == 20_001


def test_a_client_that_takes_gzip_gets_it_unless_the_org_has_none(client: Any, org: Any) -> None:
    """By setting; either way the same file."""
    (file,) = listed(client)
    packed = compressed(client, file)
    org.change({"event_log_gzip": False})
    plain = compressed(client, file)

    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(raw(packed)) == raw(plain)


def test_a_download_can_be_resumed_where_the_org_has_ranges(client: Any, org: Any) -> None:
    """206 from the byte asked for, if the file is still the same; else all of it."""
    (file,) = listed(client)
    org.change({"event_log_ranges": True})
    whole = content(client, file)
    rest = content(client, file, Range="bytes=1000-", If_Range=whole.headers["ETag"])
    other = content(client, file, Range="bytes=1000-", If_Range='"another"')
    size = len(whole.content)

    assert (whole.status_code, whole.headers["Accept-Ranges"]) == (200, "bytes")
    assert (rest.status_code, rest.headers["Content-Range"]) == (206, f"bytes 1000-{size - 1}/{size}")
    assert whole.content[1_000:] == rest.content == content(client, file, Range="bytes=1000-").content
    assert (other.status_code, other.content) == (200, whole.content)

    org.change({"event_log_style": "spaced"})
    changed = content(client, file, Range="bytes=1000-", If_Range=whole.headers["ETag"])
    assert (changed.status_code, len(changed.content) > size) == (200, True)


def test_without_ranges_the_whole_comes(client: Any) -> None:
    """The range asked for is passed over, and nothing says that there are any."""
    (file,) = listed(client)
    answer = content(client, file, Range="bytes=1000-")

    assert (answer.status_code, len(answer.content)) == (200, file["LogFileLength"])
    assert not {"Accept-Ranges", "ETag"} & set(answer.headers)


def test_the_length_told_may_be_another(client: Any, org: Any) -> None:
    """Twice what the file has, or half of it."""
    (file,) = listed(client)
    size = len(content(client, file).content)
    told = [org.change({"event_log_length": kind}) and listed(client)[0] for kind in ("overstated", "understated")]

    assert [file["LogFileLength"] for file in (file, *told)] == [size, size * 2, size * 0.5]


@pytest.mark.parametrize("ranges", [False, True])
def test_a_body_cut_short_under_its_length_is_noticed(client: Any, org: Any, ranges: bool) -> None:
    """The part that came is the beginning of the file, compressed or not; the rest can be asked for if ranges are."""
    (file,) = listed(client)
    org.change({"event_log_ranges": ranges})
    whole = raw(compressed(client, file))
    org.faults.order(Fault("truncate", path="/LogFile", count=1, share=0.25))
    answer = compressed(client, file)
    received = broken_off(answer.raw.stream(1_000, decode_content=False))

    assert 0 < len(received) <= int(answer.headers["Content-Length"]) // 4
    assert answer.headers.get("Content-Encoding") == (None if ranges else "gzip")
    if ranges:
        assert whole.startswith(received)
        rest = content(client, file, Range=f"bytes={len(received)}-", If_Range=answer.headers["ETag"])
        assert received + rest.content == whole
    else:
        assert gzip.decompress(whole).startswith(zlib.decompressobj(wbits=31).decompress(received))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_compressed_body_can_lack_its_end_though_the_answer_has_one(client: Any, org: Any, chunked: bool) -> None:
    """Under a length that fits, or in chunks to the last; only the stream itself tells."""
    (file,) = listed(client)
    org.faults.order(Fault("cut", path="/LogFile", count=1, share=0.75, chunked=chunked))
    answer = compressed(client, file)
    received = raw(answer)

    assert (answer.headers.get("Transfer-Encoding"), "Content-Length" in answer.headers) == (
        ("chunked", False) if chunked else (None, True)
    )
    with pytest.raises(EOFError):
        gzip.decompress(received)


@pytest.mark.parametrize(("kind", "chunked"), [("truncate", True), ("reset", False), ("reset", True)])
def test_a_connection_can_break_within_the_body(client: Any, org: Any, kind: str, chunked: bool) -> None:
    """After a part of it, with a length or in chunks; the call counts, and the next one is whole."""
    (file,) = listed(client)
    used = org.used
    org.faults.order(Fault.of({"kind": kind, "path": "/LogFile", "count": 1, "share": 0.5, "chunked": chunked}))
    answer = client.get(file["LogFile"], headers={"Accept-Encoding": "identity"}, stream=True)
    received = broken_off(answer.iter_content(10_000))

    assert 0 < len(received) <= file["LogFileLength"] // 2
    assert org.used == used + 1
    assert content(client, file).content.startswith(received)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_fault_sends_a_share_of_the_body(share: float) -> None:
    """From nothing to all of it."""
    with pytest.raises(ValueError, match="share"):
        Fault("truncate", share=share)
