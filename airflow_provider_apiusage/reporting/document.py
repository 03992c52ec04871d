"""What a report is made of: both writers show these blocks and nothing else, so they cannot disagree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from airflow_provider_apiusage.reporting.words import clean
from airflow_provider_apiusage.usage.model import Finding


@dataclass(frozen=True, slots=True)
class Strong:
    """Words that stand out."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """A name of ours or of Salesforce's API: an operator, an argument, a code of a finding."""

    text: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """Words of the org: the name of a user, an app, a client. Never markup, whatever they hold.

    :param text: as :func:`..words.clean` leaves it.
    """

    text: str


Run = str | Strong | Code | Foreign
Text = tuple[Run, ...]
"""A line of text; plain strings are ours, and are escaped all the same."""

_CODE = re.compile(r"`([^`]+)`")


def prose(message: str) -> Text:
    """Return a message as text: what stands in backquotes is code, the rest is plain.

    :param message: of a finding; it may hold words of the org, so it is cleaned.
    """
    runs: list[Run] = []
    for index, part in enumerate(_CODE.split(clean(message, most=None))):
        if part:
            runs.append(Code(part) if index % 2 else part)
    return tuple(runs)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Sentences."""

    text: Text


@dataclass(frozen=True, slots=True)
class Missing:
    """What is not known, and which task or permission gives it."""

    text: Text


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that keep their layout."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    :param title: over it.
    :param numeric: whether its cells are numbers, to be aligned right.
    """

    title: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table: as many cells in each row as there are columns; the first cell names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Text, ...], ...]


@dataclass(frozen=True, slots=True)
class Folded:
    """Tables that are not needed at first sight."""

    summary: str
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its tables; where nothing can be drawn, the tables alone.

    :param name: which figure.
    :param caption: what it shows, in words.
    :param tables: the same figures.
    """

    name: str
    caption: Text
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure with its name and a note."""

    name: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Figures at a glance; the paragraph beside them says the same in words.

    :param share: used of limit, 0 or more; ``None`` if unknown.
    """

    facts: tuple[Fact, ...]
    share: float | None


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings, most severe first."""

    findings: tuple[Finding, ...]


Block = Paragraph | Missing | Bullets | Lines | Table | Folded | Chart | Facts | Findings


class Status(StrEnum):
    """What the report says at first sight."""

    AGREE = "agree"
    CONTRADICT = "contradict"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report.

    :param key: its anchor.
    :param title: its heading.
    :param blocks: in order.
    """

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report.

    :param title: its heading.
    :param org_id: of the org, cleaned.
    :param at: the instant it speaks of.
    :param made_at: when it was made.
    :param status: the verdict.
    :param sections: in order; the first is the answer.
    """

    title: str
    org_id: str
    at: datetime
    made_at: datetime
    status: Status
    sections: tuple[Section, ...]
