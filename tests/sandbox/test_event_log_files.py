"""What is in the sandbox org's log files, held against what it counted, however awkward they are made."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.sandbox import Caller, SandboxOrg, UsageLedger, event_log
from airflow_provider_apiusage.sandbox.event_log_noise import Pick, count_of, picked, sequence_of
from airflow_provider_apiusage.sandbox.http import Call, Request
from airflow_provider_apiusage.sandbox.identity import long_id

START = datetime(2026, 10, 6, 21, tzinfo=UTC)
HOUR = timedelta(hours=1)
ELT = Caller("005SB0000000002", "0H4SB0000000002", "elt", "REST", "/v67.0/query", "GET", "Account")
ODD = Caller("005SB0000000003", "0H4SB0000000004", 'say "hi", you\nthere', "REST", "/v64.0/sobjects/A,B", "PATCH")
DESK = Caller("005SB0000000005", "", "", "SOAP", "login", counted=False)
CALLERS = (ELT, ODD, DESK, ELT._replace(counted=False), ELT._replace(logged=False))
_TIME = re.compile(r"\d{14}\.\d{3}")


@dataclass(frozen=True)
class File:
    """A file as listed, and what Python's csv module reads in it."""

    listed: dict[str, Any]
    content: bytes
    rows: list[tuple[str, ...]]

    @property
    def header(self) -> tuple[str, ...]:
        return self.rows[0]

    @property
    def good(self) -> list[dict[str, str]]:
        """Rows with all their fields and a time, as often as they are there."""
        return [
            dict(zip(self.header, row, strict=True))
            for row in self.rows[1:]
            if len(row) == len(self.header) and _TIME.fullmatch(row[self.header.index("TIMESTAMP")])
        ]

    @property
    def bad(self) -> list[tuple[str, ...]]:
        return [row for row in self.rows[1:] if row not in {tuple(good.values()) for good in self.good}]


@cache
def old_org() -> SandboxOrg:
    """An org whose files of the days that matter are all out; it keeps them for a month."""
    return SandboxOrg(start=START + timedelta(days=2, hours=10), event_log_retention_days=30)


def org_with(traffic: Any = (), **changes: Any) -> SandboxOrg:
    """The org with these calls alone: hours after ``START``, second, how many, caller."""
    org = old_org()
    org.settings = type(org.settings)(event_log_retention_days=30).changed(changes)
    org.ledger = UsageLedger()
    org.log_file_lengths.clear()
    org.vanished_log_files.clear()
    for hour, second, count, caller in traffic:
        org.add_calls(count, START + hour * HOUR + timedelta(seconds=second), caller)
    return org


def read(org: SandboxOrg, interval: str = "") -> list[File]:
    """List and download all files, or those of an interval."""
    session = org.sessions.open(org.identity.client_user)
    found = []
    for listed in event_log.file_rows(org, Call(Request("GET", "/"), session, 64)):
        if interval in ("", listed["Interval"]):
            content = event_log.download(org, Call(Request("GET", "/"), session, 64, {"id": listed["Id"]})).content()
            lines = csv.reader(io.StringIO(content.decode(), newline=""), skipinitialspace=True)
            found.append(File(listed, content, [tuple(row) for row in lines]))
    return found


def told(files: list[File]) -> Counter[tuple[Any, ...]]:
    """Hourly counts of the distinct rows of these files together."""
    distinct = {tuple(sorted(row.items())) for file in files for row in file.good}
    counts: Counter[tuple[Any, ...]] = Counter()
    for items in distinct:
        row = {name: value.replace("\0", "") for name, value in items}
        counts[
            row["TIMESTAMP"][:10],
            row["USER_ID"][:15],
            row["CONNECTED_APP_ID"][:15],
            row.get("CLIENT_NAME"),
            row["API_FAMILY"],
            row["API_RESOURCE"],
            {"1": True, "true": True, "0": False, "false": False, "": None}[row["COUNTS_AGAINST_API_LIMIT"].lower()],
        ] += 1
    return counts


def truth(org: SandboxOrg) -> Counter[tuple[Any, ...]]:
    """The same from the ledger, as far as the settings let files tell it."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for period in org.ledger.hourly():
        who = period.caller
        if who.logged:
            client = None if org.settings.event_log_style == "missing" else who.client
            counted = None if org.settings.event_log_counted_style == "blank" else who.counted
            hour = f"{period.start:%Y%m%d%H}"
            counts[hour, who.user, who.app, client, who.family, who.resource, counted] += period.count
    return counts


SHARES = st.sampled_from((0.0, 0.05, 0.3, 0.6, 1.0))
EVERY = st.sampled_from((0, 0, 1, 2, 5))
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "event_log_hourly_first_share": SHARES,
        "event_log_sequences": st.integers(1, 5),
        "event_log_repeat_share": SHARES,
        "event_log_repeat_within": SHARES,
        "event_log_stray_share": SHARES,
        "event_log_stray_daily": st.booleans(),
        "event_log_daily_first_share": SHARES,
        "event_log_daily_same_id": st.booleans(),
        "event_log_empty_files": st.booleans(),
        "event_log_counted_style": st.sampled_from(("1/0", "true/false", "TRUE/FALSE", "blank", "mixed")),
        "event_log_style": st.sampled_from(("quoted", "spaced", "unquoted", "reordered", "extra", "missing")),
        "event_log_ids": st.sampled_from(("15", "18", "mixed")),
        "event_log_malformed_every": EVERY,
        "event_log_nul_every": EVERY,
    },
)
TRAFFIC = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 3_599), st.integers(1, 12), st.sampled_from(CALLERS)), max_size=12
)


@settings(max_examples=200, deadline=None)
@given(traffic=TRAFFIC, changes=SETTINGS)
def test_distinct_rows_are_the_calls_of_the_org(traffic: Any, changes: dict[str, Any]) -> None:
    """Of all hourly files, of all daily files, and of both, whatever noise is set; the listing tells the true length
    and columns."""
    org = org_with(traffic, **changes)
    files = read(org)
    hourly = [file for file in files if file.listed["Interval"] == "Hourly"]
    daily = [file for file in files if file.listed["Interval"] == "Daily"]

    assert told(daily) == told(files) == truth(org)
    if org.settings.event_log_sequences > 1 or org.settings.event_log_hourly_first_share == 1:
        assert told(hourly) == truth(org)
    assert told(hourly) <= truth(org)
    for file in files:
        assert file.listed["LogFileLength"] == len(file.content)
        assert tuple(file.listed["LogFileFieldNames"].split(",")) == file.header
        assert len(file.rows) > 1 or org.settings.event_log_empty_files


@given(share=st.floats(0, 1), sequences=st.integers(1, 9), number=st.integers(0, 5_000), calls=st.integers(0, 300))
def test_counts_of_rows_are_those_of_the_rows(share: float, sequences: int, number: int, calls: int) -> None:
    """Each row is first in one file, and a file's rows can be counted without making them."""
    first_in = Counter(sequence_of(each, share, sequences) for each in range(number, number + calls))

    assert set(first_in) <= set(range(sequences + 1))
    assert sequences == 1 or 0 not in first_in
    for sequence in range(1, sequences + 1):
        assert count_of(sequence, number, calls, share, sequences) == first_in[sequence]


@given(share=st.integers(0, 1_000), period=st.integers(0, 10**6), purpose=st.sampled_from(Pick))
def test_a_share_is_kept_exactly(share: int, period: int, purpose: Pick) -> None:
    """Of a thousand rows in a row, as many thousandths are picked."""
    assert sum(picked(number, period, share / 1_000, purpose) for number in range(77, 1_077)) == share


def hour_of(file: File) -> str:
    return str(file.listed["LogDate"])[:13]


def test_late_rows_come_in_several_sequences() -> None:
    """Each so much later than the one before, holding only rows that no other has."""
    files = read(org_with([(0, 60, 100, ELT)], event_log_hourly_first_share=0.6, event_log_sequences=4), "Hourly")
    ids = [{row["REQUEST_ID"] for row in file.good} for file in files]

    assert [file.listed["Sequence"] for file in files] == [1, 2, 3, 4]
    assert [len(each) for each in ids] == [60, 14, 13, 13]
    assert len(set.union(*ids)) == 100
    assert [file.listed["CreatedDate"][:16] for file in files] == [f"2026-10-07T0{hour}:00" for hour in range(4)]


def test_with_one_sequence_the_late_rows_are_in_the_daily_file_only() -> None:
    """Hourly files may miss calls for good; the day's file has them."""
    org = org_with([(0, 60, 100, ELT)], event_log_hourly_first_share=0.6, event_log_sequences=1)

    assert [len(file.good) for file in read(org)] == [60, 100]


def test_a_later_sequence_repeats_rows_of_earlier_ones() -> None:
    """The share that is set, to the letter, of all that came before; what is new is not repeated in its own file."""
    changes: dict[str, Any] = {"event_log_hourly_first_share": 0.8, "event_log_sequences": 3}
    plain = [set(file.rows[1:]) for file in read(org_with([(0, 60, 1_000, ELT)], **changes), "Hourly")]
    files = read(org_with([(0, 60, 1_000, ELT)], **changes, event_log_repeat_share=0.25), "Hourly")
    repeated = [set(file.rows[1:]) - new for file, new in zip(files, plain, strict=True)]

    assert [len(new) for new in plain] == [800, 100, 100]
    assert [len(rows) for rows in repeated] == [0, pytest.approx(200, abs=20), pytest.approx(225, abs=20)]
    assert repeated[1] <= plain[0]
    assert repeated[2] <= plain[0] | plain[1]
    assert all(len(file.rows) == len(set(file.rows)) for file in files)


def test_rows_are_twice_in_a_file() -> None:
    """The share that is set, in hourly and daily files, never thrice and not only next to each other."""
    for file in read(org_with([(0, 60, 1_000, ELT)], event_log_repeat_within=0.1, event_log_hourly_first_share=1.0)):
        often = Counter(file.rows[1:])
        assert Counter(often.values()) == {1: 900, 2: 100}
        assert any(one != two for one, two in zip(file.rows, file.rows[1:], strict=False) if often[one] == 2)


def test_rows_stray_into_the_next_hour() -> None:
    """They are in its files alone, which exist also without calls of their own; the daily file keeps to its day."""
    traffic = [(2, 60, 1_000, ELT)]
    files = read(org_with(traffic, event_log_stray_share=0.1, event_log_hourly_first_share=1.0))

    assert [(hour_of(file), len(file.good)) for file in files] == [
        ("2026-10-06T23", 900), ("2026-10-07T00", 100), ("2026-10-06T00", 1_000),
    ]  # fmt: skip
    assert {row["TIMESTAMP"][:10] for file in files for row in file.good} == {"2026100623"}

    both = read(org_with(traffic, event_log_stray_share=0.1, event_log_stray_daily=True), "Daily")
    assert [len(file.good) for file in both] == [1_000, 100]
    assert set(both[1].rows[1:]) < set(both[0].rows[1:])


def test_a_call_is_the_same_text_in_its_hourly_and_its_daily_file() -> None:
    """So that a client may hold whole rows against each other."""
    traffic = [(hour, 60 + hour, 20, caller) for hour in range(2) for caller in CALLERS[:4]]
    files = read(org_with(traffic, event_log_counted_style="mixed", event_log_ids="mixed", event_log_nul_every=3))
    hourly = [row for file in files if file.listed["Interval"] == "Hourly" for row in file.rows[1:]]
    daily = [row for file in files if file.listed["Interval"] == "Daily" for row in file.rows[1:]]

    assert sorted(hourly) == sorted(daily)
    assert len(set(daily)) == 160


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


def test_hours_and_days_without_calls_can_have_empty_files() -> None:
    """From the first call on, up to now, with the header only; without the setting there are none."""
    traffic = [(0, 60, 3, ELT), (3, 60, 3, ELT)]
    files = read(org_with(traffic, event_log_empty_files=True))
    empty = [file for file in files if len(file.rows) == 1]
    hourly = [hour_of(file) for file in files if file.listed["Interval"] == "Hourly"]
    daily = [hour_of(file) for file in files if file.listed["Interval"] == "Daily"]

    assert hourly[:5] == ["2026-10-06T21", "2026-10-06T22", "2026-10-06T23", "2026-10-07T00", "2026-10-07T01"]
    assert hourly[-1] == "2026-10-09T03"
    assert daily == [f"2026-10-{day:02d}T00" for day in (6, 7, 8)]
    assert len(empty) == len(files) - 4
    assert {file.content for file in empty} == {files[0].content.splitlines(keepends=True)[0]}
    assert len(read(org_with(traffic))) == 4


def test_a_fuller_daily_file_may_keep_the_id() -> None:
    """If so set, the id stays and only the date of creation tells the two; else the id is another."""
    for same in (False, True):
        org = org_with(
            [(0, 60, 100, ELT)], event_log_daily_first_share=0.7, event_log_daily_same_id=same, event_log_hourly=False
        )
        first, second = (
            event_log.files(org, datetime(2026, 10, day, hour, tzinfo=UTC)) for day, hour in ((7, 12), (8, 12))
        )
        assert (first[0].id == second[0].id) is same
        assert [f"{file.created_at:%d %H:%M}" for file in (*first, *second)] == ["07 06:13", "08 06:13"]


@pytest.mark.parametrize(
    "changes",
    [
        {"event_log_sequences": 0},
        {"event_log_sequences": 10},
        {"event_log_stray_share": 1.1},
        {"event_log_repeat_share": -0.1},
        {"event_log_repeat_within": 2},
        {"event_log_hourly_first_share": 1.5},
        {"event_log_malformed_every": -1},
        {"event_log_nul_every": -1},
        {"event_log_vanish": -1},
        {"event_log_style": "yaml"},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    """Shares lie between 0 and 1, counts are not negative, and names are known."""
    with pytest.raises(ValueError, match="event_log"):
        org_with(**changes)
