"""The sandbox org's log files, read with Python's csv module, and the truth to hold against."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from airflow_provider_apiusage.sandbox import Caller, SandboxOrg, UsageLedger, event_log
from airflow_provider_apiusage.sandbox.http import Call, Request

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
