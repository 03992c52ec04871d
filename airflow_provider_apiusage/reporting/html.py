"""A report as one HTML file with charts: nothing is loaded from anywhere, and a reader without scripts loses only them.

A content security policy in the page allows its own two scripts, by hash, and nothing that is loaded: even a word of
the org that was not escaped could neither run nor fetch anything. Styles are allowed as they come, for Plotly writes
them into the page.
"""

from __future__ import annotations

import json
from base64 import b64encode
from functools import singledispatch
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from airflow_provider_apiusage.reporting import palette
from airflow_provider_apiusage.reporting.charts import TITLES, figures
from airflow_provider_apiusage.reporting.compose import compose
from airflow_provider_apiusage.reporting.content import ReportContent
from airflow_provider_apiusage.reporting.document import (
    Block,
    Bullets,
    Chart,
    Code,
    Facts,
    Findings,
    Folded,
    Lines,
    Missing,
    Paragraph,
    Report,
    Run,
    Section,
    Strong,
    Table,
    Text,
    prose,
)
from airflow_provider_apiusage.reporting.words import moment, percent


def as_html(content: ReportContent) -> str:
    """Return a report as a whole HTML page, about 5 MB: the charts' library is in it.

    :param content: of the report.
    """
    report = compose(content)
    scripts = (_plotly(), _own_script())
    data = {"figures": figures(content), "palettes": {"light": dict(palette.LIGHT), "dark": dict(palette.DARK)}}
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            "style-src 'unsafe-inline'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(report.title)} {escape(report.org_id)}, {escape(moment(report.at))}</title>",
            f"<style>{_style()}</style>",
            "</head>",
            "<body>",
            *_body(report),
            f'<script type="application/json" id="report-data">{_json(data)}</script>',
            *(f"<script>{script}</script>" for script in scripts),
            "</body>",
            "</html>",
            "",
        ]
    )


def _body(report: Report) -> list[str]:
    links = "".join(f'<li><a href="#{part.key}">{escape(part.title)}</a></li>' for part in report.sections[1:])
    return [
        '<a class="skip" href="#answer">Skip to the answer</a>',
        "<header>",
        f"<h1>{escape(report.title)} <code>{escape(report.org_id)}</code></h1>",
        f'<p class="when">{escape(moment(report.at))}</p>',
        f'<nav aria-label="Parts of the report"><ul>{links}</ul></nav>',
        "</header>",
        "<main>",
        *(_section(section, report) for section in report.sections),
        "</main>",
        f"<footer>Made on {escape(moment(report.made_at))}.</footer>",
    ]


def _section(section: Section, report: Report) -> str:
    verdict = ""
    if section is report.sections[0]:
        verdict = f'<p class="verdict {report.status}">{escape(_SHORT[report.status.value])}</p>'
    blocks = "\n".join(_block(block) for block in section.blocks)
    heading = f'<h2 id="{section.key}-title">{escape(section.title)}</h2>'
    return (
        f'<section id="{section.key}" aria-labelledby="{section.key}-title">\n{heading}\n{verdict}{blocks}\n</section>'
    )


_SHORT = {"agree": "✓ Sources agree", "contradict": "✗ Sources contradict", "undecided": "? Undecided"}


@singledispatch
def _block(block: Block) -> str:
    """Return a block as markup."""
    raise TypeError(f"No block of a report: {block!r}")


@_block.register
def _(block: Paragraph) -> str:
    return f"<p>{_text(block.text)}</p>"


@_block.register
def _(block: Missing) -> str:
    return f'<p class="missing"><strong>Missing:</strong> {_text(block.text)}</p>'


@_block.register
def _(block: Bullets) -> str:
    return f'<ul class="plain">{"".join(f"<li>{_text(item)}</li>" for item in block.items)}</ul>'


@_block.register
def _(block: Lines) -> str:
    *lines, last = block.lines
    return "<pre>" + "\n".join([*map(escape, lines), f'<span class="sum">{escape(last)}</span>']) + "</pre>"


@_block.register
def _(block: Table) -> str:
    if not block.rows:
        return ""
    classes = [' class="number"' if column.numeric else "" for column in block.columns]
    head = "".join(
        f'<th scope="col"{kind}>{escape(column.title)}</th>' if column.title else "<td></td>"
        for column, kind in zip(block.columns, classes, strict=True)
    )
    rows = "\n".join(
        f'<tr><th scope="row">{_text(first)}</th>'
        + "".join(f"<td{kind}>{_text(cell)}</td>" for cell, kind in zip(rest, classes[1:], strict=True))
        + "</tr>"
        for first, *rest in block.rows
    )
    caption = escape(block.caption)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


@_block.register
def _(block: Folded) -> str:
    return f'<details class="folded" open><summary>{escape(block.summary)}</summary>{_tables(block.tables)}</details>'


@_block.register
def _(block: Chart) -> str:
    return (
        f'<figure><div data-chart="{block.name}" role="img" aria-label="{escape(TITLES[block.name])}"></div>'
        f"<figcaption>{_text(block.caption)}</figcaption>"
        f"<details open><summary>The same as a table</summary>{_tables(block.tables)}</details></figure>"
    )


@_block.register
def _(block: Facts) -> str:
    facts = "".join(
        f'<div><dt>{escape(fact.name)}</dt><dd class="value">{escape(fact.value)}</dd>'
        f'<dd class="note">{escape(fact.note)}</dd></div>'
        for fact in block.facts
    )
    return f'{_meter(block.share)}<dl class="facts">{facts}</dl>'


def _meter(share: float | None) -> str:
    """Return a bar of what is used; none if that is unknown."""
    if share is None:
        return ""
    kind = " over" if share >= 1 else " high" if share >= 0.8 else ""
    return (
        f'<svg class="meter" role="img" aria-label="{percent(share)} of the limit is used" viewBox="0 0 1000 12" '
        'preserveAspectRatio="none"><rect class="ground" width="1000" height="12" rx="6"/>'
        f'<rect class="used{kind}" width="{round(min(1.0, max(0.0, share)) * 1000)}" height="12" rx="6"/></svg>'
    )


@_block.register
def _(block: Findings) -> str:
    items = "".join(
        f'<li class="{finding.severity.value}"><span class="badge">{finding.severity.value}</span>'
        f"<code>{escape(finding.code)}</code><p>{_text(prose(finding.message))}</p></li>"
        for finding in block.findings
    )
    return f'<ul class="findings">{items}</ul>'


def _tables(tables: tuple[Table, ...]) -> str:
    return "\n".join(_block(table) for table in tables)


def _text(text: Text) -> str:
    return "".join(map(_run, text))


def _run(run: Run) -> str:
    if isinstance(run, str):
        return escape(run)
    tag = "strong" if isinstance(run, Strong) else "code" if isinstance(run, Code) else "bdi"
    return f"<{tag}>{escape(run.text)}</{tag}>"


def _json(value: Any) -> str:
    """Return JSON that ends no script element and has no character that only JSON takes for part of a string."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _style() -> str:
    light, dark = palette.variables(palette.LIGHT), palette.variables(palette.DARK)
    sheet = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return (
        f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ {light} }} }}\n{sheet}"
    )


def _own_script() -> str:
    return _inline(files(__package__).joinpath("page.js").read_text(encoding="utf-8"))


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    return _inline(get_plotlyjs())


def _inline(script: str) -> str:
    """Return a script that may stand in a page: one kind of line break, as parsers have it, and no end tag."""
    return script.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")
