"""An exported CSV of the report "API Usage Last 7 Days" -> daily counts.

Exports are written in the exporting user's locale: delimiter, labels, days and numbers differ. A classic
export ends with a footer (a blank line, the report's name, a copyright, a notice of confidentiality, who
generated it, the company), which is cut by its structure: it starts at the first line without columns that no
whole row follows.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_apiusage.salesforce.usage_columns import (
    Choice,
    Collector,
    Column,
    DailyUsage,
    Kind,
    choose,
    kind_by_label,
    refused,
)
from airflow_provider_apiusage.salesforce.usage_text import calls_of, days_of, decode, is_day
from airflow_provider_apiusage.usage.model import Coverage, Finding, Severity
from airflow_provider_apiusage.usage.window import utc_day

__all__ = ["DailyUsage", "daily_usage_from_csv"]

_DELIMITERS = (",", ";", "\t")
_HEADER_WITHIN = 20
"""Lines in which the header is looked for: a formatted export has a title and filters above it."""

_PAGE = re.compile(r"\s*(<!doctype|<html|<head|<script|<\?xml|<!--)", re.I)

Row = tuple[int, list[str]]
"""The number of a record (from 1) and its cells."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Header, columns and rows of the file; ``odd`` are rows of another width.

    :param broken_after: the record after which a quote is never closed; ``None`` if the file is whole.
    """

    header: Row
    choice: Choice
    rows: list[Row]
    odd: list[Row]
    broken_after: int | None


def daily_usage_from_csv(
    content: str | bytes,
    *,
    org_id: str,
    observed_at: datetime,
    coverage: Coverage = Coverage.SOAP,
    date_column: str | None = None,
    user_column: str | None = None,
    count_column: str | None = None,
    date_format: str | None = None,
) -> DailyUsage:
    """Read an exported report.

    Rows of one day and user are added up: they are several clients. Rows that are the same in every cell are
    added up as well, since two clients may have made as many calls, with a finding. Rows of another width are
    left out, with a finding. A file that is not the report, is two files in one, or has days that can be read
    in two ways is refused: no counts, and an error finding.

    :param content: the file: bytes of any common encoding, or text.
    :param org_id: the 15-character id of the org.
    :param observed_at: when the file was exported, in the org's time.
    :param coverage: which calls the report counts; as documented, SOAP only.
    :param date_column: label of the column of days, if it is not found.
    :param user_column: label of the column of users, if it is not found.
    :param count_column: label of the column of calls, if it is not found.
    :param date_format: ``strptime`` format of the days, such as ``%d/%m/%Y``, if they can be read in two
        ways.
    """
    text, guessed = decode(content) if isinstance(content, bytes) else (content.removeprefix("\ufeff"), False)
    text = text.replace("\x00", "")
    if not text.strip():
        return refused("csv-empty", "The file is empty: export the report again.")
    if _PAGE.match(text):
        return refused(
            "csv-is-a-page",
            "The file is a web page, not a CSV: most likely the login page, because the session that "
            "exported it was not valid for the user interface. Export it by hand, or with a session of a "
            "user who may use the UI.",
        )
    table = _find_table(text, date_column, user_column, count_column, date_format)
    if isinstance(table, Finding):
        return DailyUsage((), (table,))
    if table.broken_after is not None:
        return refused(
            "csv-broken",
            f"After row {table.broken_after} the file is no CSV: a quote is never closed, or text follows "
            "one. It may have been cut off or edited; export it again.",
            row=table.broken_after,
        )
    if any(cells == table.header[1] for _, cells in table.rows):
        return refused(
            "csv-header-repeated",
            "The file has its header twice: two exports in one, whose days may be counted twice. Give one export.",
        )
    findings = _about_rows(table)
    if guessed:
        message = "The file is not UTF-8 and was read as Windows-1252 or UTF-16; names may look odd, counts do not."
        findings.append(Finding("csv-encoding-guessed", Severity.INFO, message))
    if not table.rows:
        message = "The file has a header and no rows, which does not mean that there were no calls."
        return DailyUsage((), (*findings, Finding("csv-without-rows", Severity.WARNING, message)))
    choice = table.choice
    days = days_of([cells[choice.date] for _, cells in table.rows], utc_day(observed_at), date_format)
    if days.ambiguous is not None:
        shown, readings = days.ambiguous
        return refused(
            "csv-days-ambiguous",
            f"{shown!r} may be {' or '.join(map(str, readings))}, and no other row tells which. Give "
            "`date_format`, such as %d/%m/%Y or %m/%d/%Y.",
            text=shown,
        )
    if not any(days.days):
        shown = table.rows[0][1][choice.date]
        return refused(
            "csv-days-unreadable",
            f"{shown!r} is not read as a day. Give `date_format`, such as %d %b %Y, or another `date_column`.",
            text=shown,
        )
    collector = Collector()
    for (number, cells), day in zip(table.rows, days.days, strict=True):
        user = None if choice.user is None else cells[choice.user].strip() or None
        collector.add(f"row {number} {cells}", day, user, calls_of(cells[choice.count]))
    return collector.usage(findings, org_id=org_id, observed_at=observed_at, coverage=coverage, source="csv")


def _find_table(
    text: str,
    date_column: str | None,
    user_column: str | None,
    count_column: str | None,
    date_format: str | None,
) -> _Table | Finding:
    """Find delimiter and header: the first line whose columns are those of the report, by any delimiter."""
    problems: list[tuple[int, Finding]] = []
    for delimiter in _DELIMITERS:
        records, broken_after = _records(text, delimiter)
        for position, header in enumerate(records[:_HEADER_WITHIN]):
            if len(header[1]) < 2 or not all(cell.strip() for cell in header[1]):
                continue
            rows, odd = _body(records[position + 1 :], len(header[1]), date_format)
            columns = [
                _column(label.strip(), [cells[i] for _, cells in rows if cells[i].strip()], date_format)
                for i, label in enumerate(header[1])
            ]
            choice = choose(columns, date_column, user_column, count_column)
            if isinstance(choice, Choice):
                return _Table(header, choice, rows, odd, broken_after)
            # Of lines that are no header, the one above the most rows explains best what was seen.
            problems.append((len(rows), choice))
    if problems:
        return max(problems, key=lambda problem: problem[0])[1]
    first = text.strip().splitlines()[0][:80]
    return Finding(
        "columns-unknown",
        Severity.ERROR,
        f"The file has no header with the columns of a report; it starts with {first!r}. Export the report "
        "as CSV, with its details.",
    )


def _records(text: str, delimiter: str) -> tuple[list[Row], int | None]:
    """Return the records of a CSV, and the last one before it breaks if it does."""
    # A first line of its own may name the delimiter, as spreadsheets write it.
    lines = io.StringIO(re.sub(r"\A\s*sep=.\r?\n", "", text), newline="")
    records: list[Row] = []
    try:
        for number, cells in enumerate(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True), 1):
            records.append((number, cells))
    except csv.Error:
        return records, len(records)
    return records, None


def _body(records: list[Row], width: int, date_format: str | None) -> tuple[list[Row], list[Row]]:
    """Return the rows below a header, and those of another width; the footer is neither.

    The footer starts at the first line without columns (blank, or a single cell) after the last row that has
    a day and a count.
    """
    end = 0
    for position, (_, cells) in enumerate(records):
        if len(cells) == width and any(is_day(cell, date_format) for cell in cells):
            end = position + 1 if any(calls_of(cell) is not None for cell in cells) else end
    while end < len(records) and sum(bool(cell.strip()) for cell in records[end][1]) > 1:
        end += 1
    rows = [record for record in records[:end] if any(cell.strip() for cell in record[1])]
    return [row for row in rows if len(row[1]) == width], [row for row in rows if len(row[1]) != width]


def _column(label: str, cells: list[str], date_format: str | None) -> Column:
    """Describe a column by what most of its cells hold; one without cells by its label."""
    if not cells:
        return Column(label, label, kind_by_label(label))
    if 2 * sum(is_day(cell, date_format) for cell in cells) > len(cells):
        return Column(label, label, Kind.DATE)
    numbers = 2 * sum(calls_of(cell) is not None for cell in cells) > len(cells)
    return Column(label, label, Kind.NUMBER if numbers else Kind.TEXT)


def _about_rows(table: _Table) -> list[Finding]:
    """Explain rows of another width and rows that occur more than once."""
    findings = []
    if table.odd:
        numbers = ", ".join(str(number) for number, _ in table.odd[:5])
        findings.append(
            Finding(
                "csv-rows-of-another-width",
                Severity.WARNING,
                f"{len(table.odd):,} rows have more or fewer cells than the header's {len(table.header[1])} "
                f"and are left out (rows {numbers}); the days they belong to may be counted too low.",
                {"rows": len(table.odd)},
            )
        )
    repeated = {cells: n for cells, n in Counter(tuple(cells) for _, cells in table.rows).items() if n > 1}
    if repeated:
        extra = sum(repeated.values()) - len(repeated)
        findings.append(
            Finding(
                "csv-rows-repeated",
                Severity.WARNING,
                f"{extra:,} rows repeat another in every cell, such as {next(iter(repeated))}. They are "
                "added up, as two clients of one user may have made as many calls; if the file was put "
                "together by hand, export it again.",
                {"rows": extra},
            )
        )
    return findings
