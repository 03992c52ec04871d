"""The classic export in every locale the sandbox org writes, and days that can be read in two ways."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.salesforce.usage_csv import DailyUsage, daily_usage_from_csv
from airflow_provider_apiusage.sandbox import UsageRow, report_csv
from airflow_provider_apiusage.sandbox.report_csv import LOCALES

ORG = "00DAA0000000001"
AT = datetime(2026, 4, 9, 14, 30, tzinfo=UTC)
DAYS = [AT.date() - timedelta(days=back) for back in range(6, -1, -1)]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]


def read(content: bytes, at: datetime = AT, date_format: str | None = None) -> DailyUsage:
    return daily_usage_from_csv(content, org_id=ORG, observed_at=at, date_format=date_format)


def rows_of(usage: DailyUsage) -> list[tuple[date, str | None, int]]:
    return [(count.day, count.user, count.calls) for count in usage.counts]


def encodable(text: str, encoding: str) -> bool:
    """Whether a spreadsheet could write it so; the sandbox org writes ``?`` for what it could not."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize("locale", LOCALES)
@settings(max_examples=40, deadline=None)
@given(
    delimiter=st.sampled_from([",", ";", "\t"]), encoding=st.sampled_from(ENCODINGS), quoted=st.booleans(),
    separate=st.booleans(), footer=st.booleans(), back=st.integers(0, 900),
    calls=st.dictionaries(
        st.tuples(st.integers(0, 6), st.sampled_from(["ada@example.org", "jörg@example.org", "Ça; & Co, Ltd"])),
        st.integers(1, 9_999_999), min_size=1,
    ),
)  # fmt: skip
def test_every_locale_is_read_as_it_was_written(
    locale: str, delimiter: str, encoding: str, quoted: bool, separate: bool, footer: bool, back: int,
    calls: dict[tuple[int, str], int],
) -> None:  # fmt: skip
    """Any delimiter, encoding, quoting and separation of thousands, with footer or without, exported on any day."""
    at = AT - timedelta(days=back)
    rows = [UsageRow(at.date() - timedelta(days=ago), user, "elt", number) for (ago, user), number in calls.items()]

    def write(codec: str) -> bytes:
        return report_csv(
            rows, locale=locale, delimiter=delimiter, encoding=codec, separate_thousands=separate, quoted=quoted,
            footer=footer, generated_at=at,
        )  # fmt: skip

    if not encodable(write("utf-8").decode("utf-8"), encoding):
        encoding = "utf-8"
    usage = read(write(encoding), at)

    assert rows_of(usage) == sorted((row.day, row.user, row.calls) for row in rows)
    assert {finding.code for finding in usage.findings} <= {"csv-encoding-guessed"}


@pytest.mark.parametrize("locale", LOCALES)
def test_a_whole_week_is_read_in_every_locale(locale: str) -> None:
    """Seven days of a month in which day and month could each be the other, with the five lines of the footer."""
    rows = [UsageRow(day, "ada@example.org", "elt", 1_234_567) for day in DAYS]
    content = report_csv(rows, locale=locale, separate_thousands=True, generated_at=AT)
    usage = read(content)

    assert len([line for line in content.decode().splitlines() if line]) == 1 + 7 + 5
    assert rows_of(usage) == [(day, "ada@example.org", 1_234_567) for day in DAYS]
    assert usage.findings == ()


FORMATS = {"day first": "%d/%m/%Y", "month first": "%m/%d/%Y", "short": "%d/%m/%y", "short, month first": "%m/%d/%y"}


@settings(max_examples=200, deadline=None)
@given(
    form=st.sampled_from(sorted(FORMATS)),
    exported=st.dates(date(2025, 1, 9), date(2027, 12, 31)),
    ago=st.sets(st.integers(0, 6), min_size=2),
    later=st.integers(0, 400),
)
def test_days_of_a_week_are_never_read_in_the_wrong_order(form: str, exported: date, ago: set[int], later: int) -> None:
    """Two days or more of one week: read right when exported; of an old file read right or refused with what to do."""
    days = sorted(exported - timedelta(days=back) for back in ago)
    text = "Date;User;Calls\n" + "".join(f"{day.strftime(FORMATS[form])};ada;1\n" for day in days)
    at = datetime(exported.year, exported.month, exported.day, 12, tzinfo=UTC) + timedelta(days=later)
    usage = read(text.encode(), at)

    if usage.counts:
        assert [day for day, *_ in rows_of(usage)] == days
    else:
        assert later > 0
        (refusal,) = usage.findings
        assert refusal.code == "csv-days-ambiguous"
        assert "date_format" in refusal.message
    told = read(text.encode(), at, FORMATS[form])
    assert [day for day, *_ in rows_of(told)] == days
