"""The page's files: what a browser is given before any data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_provider_apiusage.reporting import palette
from airflow_provider_apiusage.ui.app import STATIC
from tests.reporting.pages import read

SCRIPTS = sorted(STATIC.glob("*.js"))
FILES = sorted(path for path in STATIC.iterdir() if path.is_file())
INDEX = (STATIC / "index.html").read_text(encoding="utf-8")


def test_nothing_runs_or_looks_inline() -> None:
    """The page has no script or style of its own text, no event attribute, and a policy that would refuse them."""
    for script in re.findall(r"<script([^>]*)>(.*?)</script>", INDEX, re.S):
        assert "src=" in script[0]
        assert script[1] == ""
    assert not re.search(r"<style|\sstyle=|\son\w+=", INDEX)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', INDEX)
    assert policy
    assert "script-src 'self';" in policy[1]
    assert "style-src 'self';" in policy[1]
    assert "unsafe" not in policy[1]


def test_every_module_is_fetched_at_once() -> None:
    """Modules are named in the page, so that a browser does not find them one behind the other."""
    named = set(re.findall(r'(?:href|src)="static/([\w.]+)"', INDEX))
    assert {path.name for path in FILES if path.suffix in (".js", ".css")} == named


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_address_is_ours(path: Path) -> None:
    """No file names another host, and no path begins at the root, where Airflow may not be."""
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|(?:href|src|from)\s*=?\s*[\"']/|url\(|@import", text.replace("`url(#", ""))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_text_becomes_markup(path: Path) -> None:
    """No script makes markup or code out of text."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|eval\(|new Function|srcdoc", text
    )
    assert len(text.splitlines()) < 300


def test_colours_are_those_of_the_report() -> None:
    """Page and HTML report have one palette, light and dark."""
    sheet = (STATIC / "tokens.css").read_text(encoding="utf-8")
    light, dark = sheet.split(':root[data-theme="dark"]')
    for text, colours in ((light, palette.LIGHT), (dark, palette.DARK)):
        assert dict(colours).items() <= dict(re.findall(r"--([\w-]+): ([^;]+);", text)).items()


def test_it_is_well_formed() -> None:
    """The page opens and closes its elements in turn, and says its language and its width."""
    page = read(re.sub(r"<(link|meta)([^>]*)>", r"<\1\2/>", INDEX).replace("<!DOCTYPE html>", ""))
    assert page.all("html")[0].attributes["lang"] == "en"
    assert "width=device-width" in INDEX
