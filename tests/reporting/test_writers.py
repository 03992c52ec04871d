"""Both reports: the same figures, nothing breaks out, and an unknown is the word."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from airflow_provider_apiusage.reporting.content import ReportContent
from airflow_provider_apiusage.reporting.html import as_html
from airflow_provider_apiusage.reporting.markdown import as_markdown
from airflow_provider_apiusage.reporting.words import bounds, clean, number
from airflow_provider_apiusage.usage.attribution import DIMENSIONS, Attribution, Attributions
from airflow_provider_apiusage.usage.model import Finding, Severity
from tests.reporting import contents
from tests.reporting.pages import Page, read

KINDS = ("example", "busy", "nothing", "over")
HOSTILE = (
    "a | b",
    "a \\| b \\",
    "<script>alert(1)</script>",
    "</td></tr></table>",
    "`code` ``more``",
    "[link](http://example.com) ![x](y)",
    "*bold* _it_ ~gone~ # head",
    "line\nbreak\r| next",
    "&lt;b&gt; &amp;",
    "@everyone $x$",
    "'\" onload=x",
    "```",
    "\u2028\u2029\u202e\x00",
    "--> <!--",
)
WORDS = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(min_size=1),
    st.text("|\\`<>&*_[]()~#\n\r\"'$@-!", min_size=1, max_size=12),
)


@cache
def content_of(kind: str) -> ReportContent:
    """Return one of the contents."""
    made: ReportContent = getattr(contents, kind)()
    return made


@cache
def page_of(kind: str) -> Page:
    """Return the HTML report of it, read."""
    return read(as_html(content_of(kind)))


def rendered(markdown: str) -> str:
    """Return Markdown as HTML, as CommonMark with tables has it."""
    return str(MarkdownIt("commonmark").enable("table").render(markdown))


def text_of(page: Page) -> str:
    """Return what is read on a page."""
    parts = [each.text for each in page.elements if each.tag in ("header", "main", "footer")]
    return " ".join(" ".join(parts).split())


def named(name: str, kind: str = "busy") -> ReportContent:
    """Return a report in which everyone and everything of the org has a name."""
    content = content_of(kind)
    assert content.holders is not None

    def rename(told: Attribution) -> Attribution:
        entries = tuple(replace(each, name=name, key=f"{each.key}{name}") for each in told.entries)
        return replace(told, entries=entries)

    holders = Attributions(**{by: rename(getattr(content.holders, by)) for by in DIMENSIONS})
    odd = Finding("odd", Severity.ERROR, f"Of {name} nothing fits: `set it`. {name}")
    reconciliation = replace(content.reconciliation, findings=(odd,), org_id=f"00D{name}")
    return replace(content, reconciliation=reconciliation, holders=holders, holdings=())


@pytest.mark.parametrize("kind", KINDS)
def test_both_reports_have_the_same_tables(kind: str) -> None:
    """Cell by cell, the tables of the Markdown report are those of the HTML report."""
    markdown = read(rendered(as_markdown(content_of(kind)))).tables()

    assert markdown == page_of(kind).tables()
    assert len(markdown) >= 3
    for table in markdown:
        assert {len(row) for row in table} == {len(table[0])}


@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_those_of_the_reconciliation(kind: str) -> None:
    """Every figure of the reconciliation and of its days stands in both reports as its words."""
    content = content_of(kind)
    told = content.reconciliation
    figures = [number(told.rolling), number(told.today), number(told.yesterday), number(told.window_tail.estimate)]
    cells = [bounds(told.window)]
    for day in told.days:
        cells += [bounds(day.by_readings), number(day.estimate)]
    tables = page_of(kind).tables()
    shown = {cell for table in tables for row in table for cell in row}

    markdown, html = as_markdown(content), text_of(page_of(kind))
    assert all(figure in markdown and figure in html for figure in figures)
    assert set(cells) <= shown
    assert "Wednesday so far" in markdown


def test_the_example_stands_in_both_reports_line_by_line() -> None:
    """Salesforce's worked example is in the text of either report as its page has it."""
    lines = [
        "API requests, last 24 hours: 25,000",
        "Wednesday: 15,000",
        "Tuesday: 20,000",
        "Wednesday so far 15,000 + some calls from Tuesday 10,000 (of 20,000) = 25,000 (API requests, last 24 hours)",
    ]
    (shown,) = (each.text.splitlines() for each in page_of("example").all("pre"))
    markdown = as_markdown(content_of("example")).splitlines()

    assert shown == lines
    assert markdown[markdown.index(lines[0]) :][:4] == lines


def test_what_is_unknown_is_said_and_who_gives_it() -> None:
    """Of an org of which nothing is known no report has a figure, but the tasks and permissions that give one."""
    for report in (as_markdown(content_of("nothing")), text_of(page_of("nothing"))):
        assert "None" not in report.replace("None: nothing is odd", "")
        assert not re.search(r"\b0 (calls|of|API)", report)
        assert "limit is unknown" in report
        for gives in ("daily_report", 'events="auto"', "View Setup and Configuration", "View Event Log Files"):
            assert gives in report
    for header, *rows in page_of("nothing").tables():
        for row in rows:
            figures = {name for name, cell in zip(header, row, strict=True) if re.fullmatch(r"[\d,]+", cell)}
            assert figures <= {"Readings"}, "there are 0 readings; nothing else is a number"


@pytest.mark.parametrize("kind", KINDS)
def test_no_report_shows_python(kind: str) -> None:
    """No unknown leaks as None, nothing as an object."""
    words = f"{as_markdown(content_of(kind))} {text_of(page_of(kind))}".replace("None: nothing is odd", "")

    assert not re.search(r"\bNone\b|<[a-z_]+ object|datetime\(|Interval\(", words)


@settings(max_examples=60, deadline=None)
@given(WORDS)
def test_no_name_breaks_out_of_markdown(name: str) -> None:
    """Whatever users, apps and clients are called, the tables keep their shape and the names stand in their cells."""
    plain, odd = (read(rendered(as_markdown(named(each)))) for each in ("plain", name))

    skeleton = [each.tag for each in plain.elements if each.tag != "code"]
    assert [each.tag for each in odd.elements if each.tag != "code"] == skeleton
    assert [[len(row) for row in table] for table in odd.tables()] == [
        [len(row) for row in table] for table in plain.tables()
    ]
    shown = clean(name)
    if shown:
        assert any(" ".join(shown.split()) in cell for table in odd.tables() for row in table for cell in row)


@settings(max_examples=25, deadline=None)
@given(WORDS)
def test_no_name_breaks_out_of_html(name: str) -> None:
    """Whatever users, apps and clients are called, the page has the same elements with the same attributes."""
    plain, odd = (read(as_html(named(each))) for each in ("plain", name))

    def skeleton(page: Page) -> list[tuple[str, dict[str, str | None]]]:
        return [(each.tag, each.attributes) for each in page.elements if each.tag not in ("bdi", "code")]

    assert skeleton(odd) == skeleton(plain)
    shown = clean(name)
    if shown:
        assert any(shown in each.text for each in odd.all("bdi"))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_reads_the_same_in_both(name: str) -> None:
    """What a reader sees of a name is what the org has, in either report."""
    content = named(name)
    tables = read(rendered(as_markdown(content))).tables()

    assert tables == read(as_html(content)).tables()
