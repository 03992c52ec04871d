"""The page in a real browser: tabs of one headless Chromium, and all that they complain about or ask for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Frame, Page, Request, expect, sync_playwright

VIEWS = ("summary", "series", "bridge", "spenders", "gate", "findings")
NARROW, WIDE = 360, 1280

PATIENCE = 30_000
"""How long anything may take to appear, in ms: the machine may have other work."""

TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
GROUND = "getComputedStyle(document.body).backgroundColor"


@dataclass
class Tab:
    """A page and what was heard of it.

    :param page: as Playwright has it.
    :param origin: the one host that may be asked.
    :param complaints: what stood in the console as a warning or an error, and uncaught exceptions.
    :param elsewhere: requests to other hosts.
    :param asked: paths that were asked for.
    """

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda told: told.type in ("error", "warning") and self._hear(told.text))
        self.page.on("pageerror", lambda error: self._hear(str(error)))
        self.page.on("request", self._note)

    def _hear(self, text: str) -> None:
        self.complaints.append(text)

    def _note(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss"):
            host = f"{parts.scheme}://{parts.netloc}"
            (self.asked.append(parts.path) if host == self.origin else self.elsewhere.append(request.url))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser that the machine has."""
    found = shutil.which("chromium")
    assert found, "The page's tests need Chromium."
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def tab(
    browser: Browser,
    url: str,
    *,
    width: int = WIDE,
    scheme: str = "light",
    theme: str | None = None,
    token: str | None = None,
    prefix: str = "/",
    quiet: bool = True,
    zone: str = "Asia/Tokyo",
    **options: Any,
) -> Iterator[Tab]:
    """Open a tab that shares nothing with others.

    :param url: of the server: the host is the one that may be asked. Nothing is loaded yet.
    :param width: of the window.
    :param scheme: what the system prefers, light or dark.
    :param theme: what Airflow's page has chosen, if anything.
    :param token: of who is logged in to Airflow, whose base URL has the path ``prefix``.
    :param zone: where the reader is.
    :param quiet: whether the console must stay empty. Other hosts must never be asked.
    """
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        locale="en-GB",
        timezone_id=zone,
        **options,
    )
    context.set_default_timeout(PATIENCE)
    if token:
        context.add_cookies([{"name": "_token", "value": token, "domain": parts.hostname or "", "path": prefix}])
    if theme:
        context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    opened = Tab(context.new_page(), origin)
    try:
        yield opened
        assert opened.elsewhere == []
        if quiet:
            assert opened.complaints == []
    finally:
        context.close()


def settled(page: Page | Frame) -> None:
    """Wait until everything that was asked for is shown."""
    page.wait_for_selector("#main[aria-busy=false]")
    page.wait_for_selector(".loading", state="detached")


def violations(page: Page) -> list[str]:
    """Return what axe finds wrong, with the elements."""
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {[node['html'][:200] for node in each['nodes']][:4]}" for each in found]
