"""The HTML report in a real browser, with the network off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from airflow_provider_apiusage.reporting import palette
from airflow_provider_apiusage.reporting.content import ReportContent
from airflow_provider_apiusage.reporting.html import as_html
from tests.reporting.browser import Page, tab
from tests.reporting.contents import busy, nothing, over

DRAWN = "[...document.querySelectorAll('[data-chart]')].map((box) => box.querySelectorAll('svg.main-svg').length)"
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
INK = "getComputedStyle(document.querySelector('[data-chart] .xtick text')).fill"
WIDEST = "Math.max(...[...document.querySelectorAll('.main-svg')].map((svg) => svg.getBoundingClientRect().width))"
SHEET = 180 / 25.4 * 96
"""Pixels between the margins of A4."""
CHARTS_FIT = (
    "[...document.querySelectorAll('[data-chart]')].every((box) => "
    "box.querySelector('.main-svg').getBoundingClientRect().width <= box.clientWidth)"
)


def rgb(colour: str) -> str:
    """Return ``#rrggbb`` as a browser says it."""
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """A tab of a browser of this test alone."""
    async with tab(tmp_path / "browser") as opened:
        yield opened


def written(folder: Path, content: ReportContent) -> Path:
    """Write the report."""
    file = folder / "report.html"
    file.write_text(as_html(content))
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_it_draws_without_a_network(tmp_path: Path, page: Page, width: int, scheme: str) -> None:
    """Wide or narrow, light or dark: all charts are drawn and fit, nothing is fetched, nothing complains."""
    file = written(tmp_path, busy())
    await page.open(file, width=width, scheme=scheme)

    assert all(await page.run(DRAWN))
    assert len(await page.run(DRAWN)) == 4
    assert await page.run(CHARTS_FIT)
    assert await page.run(TOO_WIDE) <= 0
    colours = palette.DARK if scheme == "dark" else palette.LIGHT
    assert await page.run(INK) == rgb(colours["ink"])
    assert await page.run("document.querySelectorAll('figure details[open]').length") == 0
    await page.run("document.querySelectorAll('details').forEach((table) => { table.open = true; })")
    assert await page.run(TOO_WIDE) <= 0
    assert page.requests == [file.as_uri()]
    assert page.complaints == []


async def test_charts_follow_when_night_falls(tmp_path: Path, page: Page) -> None:
    """When the system turns dark, page and charts do."""
    await page.open(written(tmp_path, over()), width=1280, scheme="light")
    assert await page.run(INK) == rgb(palette.LIGHT["ink"])

    await page.colour("dark")

    assert await page.run(INK) == rgb(palette.DARK["ink"])
    assert await page.run("getComputedStyle(document.body).backgroundColor") == rgb(palette.DARK["page"])
    assert page.complaints == []


async def test_paper_is_light_and_has_the_tables(tmp_path: Path, page: Page) -> None:
    """In print charts are light and fit the sheet, and every table is open; afterwards all is as before."""
    await page.open(written(tmp_path, busy()), width=1280, scheme="dark")
    await page.run("dispatchEvent(new Event('beforeprint'))")

    assert await page.run(INK) == rgb(palette.LIGHT["ink"])
    assert await page.run("document.querySelectorAll('details:not([open])').length") == 0
    assert await page.run(WIDEST) <= SHEET

    await page.run("dispatchEvent(new Event('afterprint'))")
    assert await page.run(INK) == rgb(palette.DARK["ink"])
    assert await page.run("document.querySelectorAll('figure details[open]').length") == 0


async def test_an_empty_report_has_its_tables_open(tmp_path: Path, page: Page) -> None:
    """Where nothing can be drawn there is no hole, and the table is in sight."""
    await page.open(written(tmp_path, nothing()), width=360, scheme="light")

    assert await page.run("document.querySelectorAll('figure details:not([open])').length") == 0
    assert await page.run("[...document.querySelectorAll('[data-chart]')].every((box) => !box.clientHeight)")
    assert await page.run(TOO_WIDE) <= 0
    assert page.complaints == []


async def test_words_of_the_org_do_not_run(tmp_path: Path, page: Page) -> None:
    """Even markup that was never escaped runs nothing and fetches nothing."""
    text = as_html(busy()).replace(
        "<main>", "<main><script>window.ran = 1</script><img src='http://x.test/a' onerror='window.ran = 1'>"
    )
    file = tmp_path / "report.html"
    file.write_text(text)
    await page.open(file, width=1280, scheme="light")

    assert await page.run("window.ran === undefined")
    assert page.requests == [file.as_uri()]
    assert page.blocked == ["http://x.test/a"]
    assert len([words for words in page.complaints if "Content Security Policy" in words]) == len(page.complaints) > 0


async def test_keys_open_the_tables(tmp_path: Path, page: Page) -> None:
    """The first key leads to the skip link, and a table opens by key."""
    await page.open(written(tmp_path, busy()), width=1280, scheme="light")
    for kind in ("keyDown", "keyUp"):
        await page.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert await page.run("document.activeElement.className") == "skip"

    await page.run("document.querySelector('figure summary').focus()")
    for kind, text in (("keyDown", "\r"), ("keyUp", "")):
        await page.call(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text=text
        )
    assert await page.run("document.querySelector('figure details').open")
