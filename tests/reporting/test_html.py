"""The HTML report as a file: what it may load, whom it serves, how it looks."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import replace
from functools import cache
from hashlib import sha256
from itertools import product

import pytest

from airflow_provider_apiusage.reporting import palette
from airflow_provider_apiusage.reporting.charts import TITLES, figures
from airflow_provider_apiusage.reporting.html import as_html
from tests.reporting.contents import busy, example, nothing, over
from tests.reporting.pages import Element, Page, read

GROUNDS = {"page", "card"}
TEXT = {"ink", "muted", "note", "good", "warn", "bad"}
DRAWN = {"readings", "report", "logs", "together", "limit"}


@cache
def markup() -> str:
    """Return the report of a busy week."""
    return as_html(busy())


@cache
def page() -> Page:
    """Return it, read."""
    return read(markup())


def inside(element: Element, tag: str) -> bool:
    """Whether an element stands in another."""
    return tag in element.parents


def test_nothing_is_loaded() -> None:
    """No element names anything outside of the page, and the policy of the page allows nothing outside."""
    for element in page().elements:
        assert not {"src", "srcset", "action", "data", "poster"} & set(element.attributes), element
        assert element.attributes.get("href", "#").startswith("#")  # type: ignore[union-attr]
    assert not page().all("link")
    assert "url(" not in page().all("style")[0].text
    assert "@import" not in page().all("style")[0].text
    assert policy()["default-src"] == ["'none'"]


def policy() -> dict[str, list[str]]:
    """Return the directives of the page's content security policy."""
    (meta,) = (e for e in page().all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy")
    content = meta.attributes["content"] or ""
    return {name: sources for name, *sources in (part.split() for part in content.split(";"))}


def test_only_the_scripts_of_the_page_may_run() -> None:
    """The policy allows each inline script by its hash and none by name; nothing is written into attributes."""
    scripts = [e for e in page().all("script") if "type" not in e.attributes]
    hashes = [f"'sha256-{b64encode(sha256(e.text.encode()).digest()).decode()}'" for e in scripts]

    assert policy()["script-src"] == hashes
    assert len(scripts) == 2
    for element in page().elements:
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]


def test_data_cannot_end_its_script() -> None:
    """No character of the data can end the element it stands in or be misread as a line break."""
    (data,) = (e for e in page().all("script") if e.attributes.get("type") == "application/json")

    assert not set(data.text) & set("<>&\u2028\u2029")
    assert set(json.loads(data.text)) == {"figures", "palettes"}


def test_every_chart_has_words_and_a_table() -> None:
    """A chart is named, its caption says what it shows, and its table is beside it and open without scripts."""
    charts = [e for e in page().all("div") if "data-chart" in e.attributes]

    assert {e.attributes["data-chart"] for e in charts} == set(TITLES)
    assert all(e.attributes["role"] == "img" and e.attributes["aria-label"] for e in charts)
    assert len(page().all("figure")) == len(page().all("figcaption")) == len(charts)
    assert all(e.text for e in page().all("figcaption"))
    details = [e for e in page().all("details") if inside(e, "figure")]
    assert len(details) == len(charts)
    assert all("open" in e.attributes for e in page().all("details"))
    assert all(inside(e, "details") for e in page().all("table") if inside(e, "figure"))


def test_the_page_can_be_walked_through() -> None:
    """One heading of the page and one of each part, links that lead somewhere, tables with a caption and headers."""
    ids = {e.attributes["id"] for e in page().elements if "id" in e.attributes}
    links = [e.attributes["href"] or "" for e in page().all("a")]

    assert len(page().all("h1")) == len(page().all("main")) == 1
    assert {link.removeprefix("#") for link in links} <= ids
    assert {e.attributes["aria-labelledby"] for e in page().all("section")} <= ids
    assert len(page().all("caption")) == len(page().all("table"))
    assert all(e.attributes["scope"] in ("row", "col") for e in page().all("th"))
    scrolled = [e for e in page().all("div") if e.attributes.get("class") == "scroll"]
    assert all(e.attributes["tabindex"] == "0" and e.attributes["aria-label"] for e in scrolled)


@pytest.mark.parametrize(
    ("content", "drawn"),
    [
        (busy(), {"bridge", "week", "returns", "curve"}),
        (example(), {"bridge", "week", "returns", "curve"}),
        (over(), {"bridge", "week", "returns", "curve"}),
        (nothing(), set()),
        (replace(example(), forecast=None), {"bridge", "week", "curve"}),
    ],
)
def test_what_is_not_known_is_not_drawn(content, drawn) -> None:
    """A chart without figures is left out; its section says what is missing."""
    assert set(figures(content)) == drawn


def test_charts_show_the_figures_of_the_report() -> None:
    """Bars and lines are those of the reconciliation, the readings and the forecast."""
    content = busy()
    drawn, told = figures(content), content.reconciliation
    assert content.forecast is not None
    tail, today, _, rolling = (trace["y"][0] for trace in drawn["bridge"]["data"])
    assert (tail, today, rolling) == (told.window_tail.estimate, told.today, told.rolling)
    bars = {trace["name"]: trace["y"] for trace in drawn["week"]["data"] if trace["type"] == "bar"}
    assert bars["Daily report"] == [line.report for line in told.days]
    assert bars["All together"] == [line.calls.low for line in told.days]
    lines = {trace.get("name"): trace["y"] for trace in drawn["curve"]["data"]}
    assert lines["Expected"] == [point.used.expected for point in content.forecast.points if point.used]
    assert lines["Used"][-1] == told.rolling
    assert set(lines["Limit"]) == {told.limit}


def test_unknown_days_are_no_bars() -> None:
    """A day of which a source tells nothing has no bar there, and a question mark."""
    week = figures(example())["week"]["data"]
    report = next(trace for trace in week if trace.get("name") == "Daily report")
    marks = [trace["y"] for trace in week if trace.get("mode") == "text" and trace["offsetgroup"] == "report"]

    assert report["y"] == [None] * 5 + [20_000, 15_000]
    assert marks == [[0] * 5 + [None, None]]


def test_every_colour_of_a_chart_is_in_both_palettes() -> None:
    """What the page paints has a colour in light and in dark."""
    named = set(re.findall(r'"@([a-z-]+)"', json.dumps([figures(content) for content in (busy(), over())])))

    assert named <= set(palette.LIGHT)
    assert set(palette.LIGHT) == set(palette.DARK)


@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK])
def test_colours_have_contrast(colours) -> None:
    """Text stands out from its ground by 4.5 to 1, what is drawn by 3 to 1 (WCAG 2.2, AA)."""
    pairs = [(name, ground, 4.5) for name, ground in product(TEXT, GROUNDS)]
    pairs += [(name, f"{name}-ground", 4.5) for name in ("good", "warn", "bad", "note")]
    pairs += [("ink", "warn-ground", 4.5)]
    pairs += [(name, "card", 3.0) for name in DRAWN]

    assert [
        (name, ground, round(ratio, 2))
        for name, ground, least in pairs
        if (ratio := contrast(colours[name], colours[ground])) < least
    ] == []


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, as WCAG defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb``."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
