"""A report as Markdown, for a mail, a ticket or a pull request: readable as it stands, and rendered."""

from __future__ import annotations

import re
from functools import singledispatch
from itertools import chain

from airflow_provider_apiusage.reporting.compose import compose
from airflow_provider_apiusage.reporting.content import ReportContent
from airflow_provider_apiusage.reporting.document import (
    Block,
    Bullets,
    Chart,
    Facts,
    Findings,
    Folded,
    Lines,
    Missing,
    Paragraph,
    Run,
    Section,
    Strong,
    Table,
    Text,
    prose,
)
from airflow_provider_apiusage.reporting.words import moment

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "$": "&#36;", "\\": "&#92;"}
"""Marks that no backslash disarms in every reader of Markdown: a bar ends a cell even there."""

_MARKS = re.compile(r"[*\[\]~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_NOT_IN_CODE = frozenset("`|\\")


def as_markdown(content: ReportContent) -> str:
    """Return a report as Markdown (CommonMark with tables, as GitHub has it).

    :param content: of the report.
    """
    report = compose(content)
    head = f"# {_plain(report.title)} {_code(report.org_id)}"
    body = [line for section in report.sections for line in _section(section, first=section is report.sections[0])]
    foot = f"*Of {_plain(moment(report.at))}, made {_plain(moment(report.made_at))}.*"
    return "\n".join([head, "", *body, foot, ""])


def _section(section: Section, *, first: bool) -> list[str]:
    """Return the lines of a section; the answer follows the title without a heading of its own."""
    lines = [] if first else [f"## {_plain(section.title)}", ""]
    return [*lines, *chain.from_iterable(_block(block) for block in section.blocks)]


@singledispatch
def _block(block: Block) -> list[str]:
    """Return the lines of a block, the last of them blank."""
    raise TypeError(f"No block of a report: {block!r}")


@_block.register
def _(block: Paragraph) -> list[str]:
    return [_text(block.text), ""]


@_block.register
def _(block: Missing) -> list[str]:
    return [f"> **Missing:** {_text(block.text)}", ""]


@_block.register
def _(block: Bullets) -> list[str]:
    return [*(f"- {_text(item)}" for item in block.items), ""]


@_block.register
def _(block: Lines) -> list[str]:
    return ["```text", *block.lines, "```", ""]


@_block.register
def _(block: Table) -> list[str]:
    if not block.rows:
        return []
    rule = ["---:" if column.numeric else "---" for column in block.columns]
    return [
        f"**{_plain(block.caption)}**",
        "",
        _row([_plain(column.title) for column in block.columns]),
        _row(rule),
        *(_row([_text(cell) for cell in row]) for row in block.rows),
        "",
    ]


@_block.register
def _(block: Folded) -> list[str]:
    return list(chain.from_iterable(_block(table) for table in block.tables))


@_block.register
def _(block: Chart) -> list[str]:
    """Return the tables of a chart: they have its figures."""
    return list(chain.from_iterable(_block(table) for table in block.tables))


@_block.register
def _(block: Facts) -> list[str]:  # noqa: ARG001
    """Return nothing: the paragraph beside it says the same."""
    return []


@_block.register
def _(block: Findings) -> list[str]:
    return [
        *(
            f"- **{finding.severity.value.upper()}** {_code(finding.code)}: {_text(prose(finding.message))}"
            for finding in block.findings
        ),
        "",
    ]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: Text) -> str:
    return "".join(_run(run) for run in text)


def _run(run: Run) -> str:
    if isinstance(run, str):
        return _plain(run)
    return f"**{_plain(run.text)}**" if isinstance(run, Strong) else _code(run.text)


def _plain(text: str) -> str:
    """Return words that no mark in them turns into anything else."""
    safe = "".join(_ENTITIES.get(character, character) for character in text)
    return _MARKS.sub(lambda mark: f"\\{mark[0]}", safe)


def _code(text: str) -> str:
    """Return a name as code: there nothing is markup, mention or link. One with marks of code goes letter by letter."""
    if text and not _NOT_IN_CODE & set(text):
        return f"`{text}`"
    return "".join(c if c.isalnum() or c == " " or ord(c) > 0x7F else f"&#{ord(c)};" for c in text)
