"""The text of the sandbox org's log files: flags, ids, columns and quotes, and what is wrong with some rows."""

from __future__ import annotations

import pytest

from airflow_provider_apiusage.sandbox import event_log
from airflow_provider_apiusage.sandbox.identity import long_id
from tests.support.sandbox_logs import DESK, ELT, ODD, org_with, read


@pytest.mark.parametrize(
    ("style", "texts"),
    [
        ("1/0", ({"0"}, {"1"})),
        ("true/false", ({"false"}, {"true"})),
        ("TRUE/FALSE", ({"FALSE"}, {"TRUE"})),
        ("blank", ({""}, {""})),
        ("mixed", ({"0", "false", "False"}, {"1", "true", "TRUE"})),
    ],
)
def test_flags_come_in_every_form(style: str, texts: tuple[set[str], set[str]]) -> None:
    """Counted or not, as documented, as seen, in any case, row by row, or not told."""
    (file,) = read(org_with([(0, 60, 12, ELT), (0, 90, 12, DESK)], event_log_counted_style=style), "Daily")
    found = [
        {row["COUNTS_AGAINST_API_LIMIT"] for row in file.good if row["API_FAMILY"] == family}
        for family in ("SOAP", "REST")
    ]
    assert tuple(found) == texts


@pytest.mark.parametrize(("ids", "letters"), [("15", {15}), ("18", {18}), ("mixed", {15, 18})])
def test_ids_have_15_or_18_letters(ids: str, letters: set[int]) -> None:
    """Users and connected apps; a blank one stays blank."""
    (file,) = read(org_with([(0, 60, 4, ELT), (0, 90, 4, DESK)], event_log_ids=ids), "Daily")

    assert {len(row["USER_ID"]) for row in file.good} == letters
    assert {len(row["CONNECTED_APP_ID"]) for row in file.good} == {0} | letters
    assert {row["USER_ID"] for row in file.good if len(row["USER_ID"]) == 18} <= {long_id(ELT.user), long_id(DESK.user)}


@pytest.mark.parametrize(
    ("style", "begins", "row"),
    [
        ("quoted", b'"EVENT_TYPE","TIMESTAMP",', b',"say ""hi"", you\nthere",'),
        ("spaced", b'"EVENT_TYPE", "TIMESTAMP", ', b', "say ""hi"", you\nthere", '),
        ("unquoted", b"EVENT_TYPE,TIMESTAMP,", b',"say ""hi"", you\nthere",PATCH,'),
        ("reordered", b'"TIMESTAMP_DERIVED","USER_NAME",', b',"say ""hi"", you\nthere",'),
        ("extra", b'"EVENT_TYPE","TIMESTAMP",', b',"say ""hi"", you\nthere","EXTERNAL_APPLICATION",'),
        ("missing", b'"EVENT_TYPE","TIMESTAMP",', b',"PATCH","192.0.2.10",'),
    ],
)
def test_columns_and_quotes_are_as_set(style: str, begins: bytes, row: bytes) -> None:
    """Quotes, commas and line ends inside a field are written as RFC 4180 has it, and read back as they were."""
    (file,) = read(org_with([(0, 60, 3, ODD)], event_log_style=style), "Daily")
    lacking = {"CONNECTED_APP_NAME", "CLIENT_NAME"} if style == "missing" else set()
    more = {"API_CLIENT_CATEGORY", "BOT_IDENTIFIER"} if style == "extra" else set()

    assert file.content.startswith(begins)
    assert file.content.count(row) == 3
    assert set(file.header) == set(event_log.COLUMNS) - lacking | more
    assert {(each.get("CLIENT_NAME"), each["API_RESOURCE"], each["HTTP_METHOD"]) for each in file.good} == {
        (None if lacking else ODD.client, ODD.resource, "PATCH")
    }
    assert {each["TIMESTAMP_DERIVED"][:19] for each in file.good} == {"2026-10-06T21:01:00"}


def test_rows_that_are_no_calls_come_between() -> None:
    """After every third row: too few fields, no time but a NUL byte, too many fields; each with an id of its own."""
    (file,) = read(org_with([(0, 60, 9, ELT)], event_log_malformed_every=3), "Daily")

    assert len(file.good) == 9
    assert [file.rows.index(row) for row in file.bad] == [4, 8, 12]
    few, untimed, many = file.bad
    assert (len(few), len(untimed), len(many)) == (5, 18, 21)
    assert untimed[1] == "not\0a time"
    assert len({row[2] for row in file.bad} | {row["REQUEST_ID"] for row in file.good}) == 12


def test_good_rows_have_nul_bytes() -> None:
    """Every third call, in turn in its resource and its client's name; without them the text is the same."""
    (file,) = read(org_with([(0, 60, 12, ELT)], event_log_nul_every=3), "Daily")
    (plain,) = read(org_with([(0, 60, 12, ELT)]), "Daily")
    names = [[name for name, value in row.items() if "\0" in value] for row in file.good]

    assert names == [[], [], ["API_RESOURCE"], [], [], ["CLIENT_NAME"]] * 2
    assert file.content.replace(b"\0", b"") == plain.content
    assert len(file.content) == len(plain.content) + 4
