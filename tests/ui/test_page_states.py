"""What the page shows where there are no figures, or old ones, or hostile ones: in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import Engine

from airflow_provider_apiusage.hooks import store as store_module
from airflow_provider_apiusage.store.engine import migrate, prepare_engine, sqlite_engine
from airflow_provider_apiusage.store.org_connections import OrgConnection, OrgConnections
from airflow_provider_apiusage.ui.source import Source
from tests.ui.browser import NARROW, TOO_WIDE, Tab, chromium, settled, tab, violations
from tests.ui.browser_server import HOSTILE, LOAD, PageServer, later, seed_engine

COUNT = (
    "const ask = fetch; window.asked = [];"
    "window.fetch = (...what) => { asked.push(`${what[0]}`); return ask(...what); }"
)
"""Keeps what the page asks for, at the moment it asks."""

MISSING_STORE = "AIRFLOW__APIUSAGE__STORE_CONN_ID"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for this file."""
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A store with the seed's worked example; tests must not write to it."""
    with seed_engine(tmp_path_factory.mktemp("seed") / "apiusage.db") as engine:
        yield engine


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A store that knows an org, and nothing of it."""
    engine = prepare_engine(sqlite_engine(tmp_path_factory.mktemp("empty") / "apiusage.db"))
    migrate(engine)
    OrgConnections(engine).record(OrgConnection("00DSB0000000077", "new_org", None, datetime.now(UTC)))
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def server(seed: Engine) -> Iterator[PageServer]:
    """The application; each test says what it answers from."""
    with PageServer(Source(seed)) as running:
        yield running


@pytest.fixture
def opened(browser: Browser, server: PageServer) -> Iterator[Tab]:
    """A tab in which nothing may complain."""
    with tab(browser, server.url) as there:
        yield there


def words(page: Page) -> str:
    """What can be read in the main part."""
    return page.inner_text("#main")


def test_no_store_says_which_task_to_add(opened: Tab, server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything was read, the page names the task that reads, with lines to copy."""
    monkeypatch.setattr(store_module, "default_path", lambda: Path("/nowhere/apiusage.db"))
    server.show(Source())
    opened.page.goto(server.url)
    settled(opened.page)

    assert "No org can be shown yet" in words(opened.page)
    snippet = opened.page.inner_text(".snippet code")
    assert "from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator" in snippet
    opened.page.get_by_role("button", name="Copy").click()
    expect(opened.page.locator("#spoken")).to_contain_text("cop", ignore_case=True)
    assert violations(opened.page) == []


TASKS = {
    "Overview": "ApiUsageSnapshotOperator",
    "Week and day ahead": "ApiUsageSnapshotOperator",
    "Where it comes from": "ApiUsageSnapshotOperator",
    "Who spends": "ApiUsageSnapshotOperator",
    "Gate": "ApiQuotaSensor",
    "Findings": "ApiUsageReconcileOperator",
}


def test_every_view_without_data_says_what_to_add(opened: Tab, server: PageServer, empty: Engine) -> None:
    """Of an org of which nothing is known, each view names the task that would fill it."""
    server.show(Source(empty))
    page = opened.page
    page.goto(server.url)
    settled(page)
    assert "new_org" in page.inner_text("header")

    for view, task in TASKS.items():
        page.get_by_role("navigation", name="Views").get_by_role("link", name=view).click()
        settled(page)
        assert task in page.inner_text(".state.nothing .snippet"), view
        assert page.evaluate(TOO_WIDE) <= 0, view
    assert violations(page) == []


def test_old_figures_say_how_old(opened: Tab, server: PageServer, seed: Engine) -> None:
    """Figures of five hours ago are shown, with their age, and with what to do."""
    server.show(Source(seed, lambda: later(5)))
    opened.page.goto(server.url)
    settled(opened.page)

    assert "Old figures: read 5 hours ago" in opened.page.inner_text("header .age")
    assert "25,001" in words(opened.page)
    assert "These figures are old" in words(opened.page)
    assert violations(opened.page) == []


def test_a_store_out_of_reach_and_back(
    browser: Browser, server: PageServer, seed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing store is told with its fix; figures stay, with their time, and the page recovers by itself."""
    with tab(browser, server.url, quiet=False) as opened:
        page = opened.page
        page.clock.install()
        monkeypatch.setenv(MISSING_STORE, "nobody_made_it")
        server.show(Source())
        page.goto(server.url)
        page.wait_for_selector(".state.failed")
        assert "The store cannot be reached" in words(page)
        assert "check [apiusage] store_conn_id" in words(page)
        assert violations(page) == []

        server.show(Source(seed))
        page.get_by_role("button", name="Try again").click()
        page.wait_for_selector(".answer")
        settled(page)
        assert page.query_selector(".state.failed") is None

        server.show(Source())
        page.get_by_role("button", name="Refresh").click()
        page.wait_for_selector(".state.failed.slim")
        assert "What is shown was read at" in words(page)
        assert "25,001" in words(page)
        assert "Old figures" in page.inner_text("header .age")

        server.show(Source(seed))
        page.clock.fast_forward(120_000)
        page.wait_for_selector(".state.failed", state="detached")


def test_a_server_that_does_not_answer(browser: Browser, server: PageServer, seed: Engine) -> None:
    """Without a network the page says so and keeps what it has."""
    server.show(Source(seed))
    with tab(browser, server.url, quiet=False) as opened:
        opened.page.goto(server.url)
        settled(opened.page)
        opened.page.context.set_offline(True)
        opened.page.get_by_role("button", name="Refresh").click()
        opened.page.wait_for_selector(".state.failed.slim")
        assert "Airflow does not answer" in words(opened.page)
        assert "25,001" in words(opened.page)


def test_shapes_stand_for_figures_that_come(opened: Tab, server: PageServer, seed: Engine) -> None:
    """While answers are on their way, grey shapes stand in their places; screen readers are told."""
    server.show(Source(seed))
    held: list[Route] = []
    opened.page.route("**/series", lambda route: held.append(route))
    opened.page.goto(server.url)
    opened.page.wait_for_selector(".facts")
    assert "Loading the week and the day ahead" in opened.page.inner_text(".loading")
    held[0].continue_()
    opened.page.wait_for_selector("series-chart svg")
    assert opened.page.query_selector(".loading") is None


def test_an_unknown_org_leads_back(browser: Browser, server: PageServer, seed: Engine) -> None:
    """A link to an org that is not there says so, and leads to those that are."""
    server.show(Source(seed))
    with tab(browser, server.url, quiet=False) as opened:
        opened.page.goto(f"{server.url}?org=00D000000000000&view=gate")
        opened.page.wait_for_selector(".state.failed")
        assert "No such org, or not for you" in words(opened.page)
        opened.page.get_by_role("link", name="Show the orgs I may see").click()
        opened.page.wait_for_selector(".facts")
        assert "org=" not in opened.page.url


def test_who_is_turned_away_keeps_nothing(browser: Browser, server: PageServer, seed: Engine) -> None:
    """Somebody who may not see it any more is told so; the org's figures leave the screen."""
    server.show(Source(seed))
    with tab(browser, server.url, quiet=False) as opened:
        opened.page.goto(server.url)
        settled(opened.page)
        assert "25,001" in words(opened.page)
        with server.turning_away():
            opened.page.get_by_role("button", name="Refresh").click()
            opened.page.wait_for_selector(".state.failed")
            settled(opened.page)
        assert "You may not see this page" in words(opened.page)
        assert "Ask an administrator" in words(opened.page)
        assert "25,001" not in opened.page.inner_text("body")


def test_the_bridge_of_the_worked_example(opened: Tab, server: PageServer, seed: Engine) -> None:
    """The bridge is that of Salesforce's article, and the call that read the limits (a REST call, in no report)."""
    server.show(Source(seed))
    opened.page.goto(f"{server.url}?view=bridge")
    settled(opened.page)

    assert "Wednesday so far 15,000 + some calls from Tuesday 10,001 (of 20,000) = 25,001" in words(opened.page)
    assert "Sources agree" in words(opened.page)
    tail, today, rest, rolling = opened.page.eval_on_selector_all(
        "bridge-chart rect.step", "all => all.map((each) => [each.y.baseVal.value, each.height.baseVal.value])"
    )
    assert today[0] + today[1] == pytest.approx(tail[0], abs=0.01)
    assert rest == pytest.approx([today[0], 0], abs=0.01)
    assert rolling == pytest.approx([today[0], tail[1] + today[1]], abs=0.01)
    table = opened.page.get_by_role("table", name="The bridge in figures")
    assert table.locator("tbody td:nth-child(2)").all_inner_texts() == ["10,001", "15,000", "0", "25,001"]
    assert "SOAP" in opened.page.inner_text("[aria-labelledby=blind-title]")


def test_names_that_are_markup_are_text(browser: Browser, server: PageServer, seed: Engine) -> None:
    """Users, runs and tasks called like markup stand there as text: nothing runs, nothing is fetched, all fits."""
    server.show(Source(seed))
    with tab(browser, server.url, width=NARROW) as opened:
        page = opened.page
        page.goto(f"{server.url}?dag_id={LOAD.dag_id}&view=spenders")
        settled(page)
        for view in ("Who spends", "Gate"):
            page.get_by_role("navigation", name="Views").get_by_role("link", name=view).click()
            settled(page)
            assert words(page).count(HOSTILE) >= 2, view
            assert page.evaluate(TOO_WIDE) <= 0, view
            assert page.query_selector("main img") is None
        assert page.evaluate("window.ran === undefined")


def test_it_keeps_up_without_flicker(opened: Tab, server: PageServer, seed: Engine) -> None:
    """Every half a minute the figures are asked for; what is unfolded, focused and drawn stays; hidden, it rests."""
    page = opened.page
    page.clock.install()
    page.add_init_script(COUNT)
    server.show(Source(seed))
    page.goto(f"{server.url}?view=series")
    settled(page)
    page.locator("summary", has_text="The same as tables").click()
    page.evaluate(
        "window.kept = ['series-chart svg', 'series-chart input', 'details[open]', '.sentence']"
        ".map((each) => document.querySelector(each)); window.kept[1].focus()"
    )
    rounds = _asked(page)
    with page.expect_response("**/reconciliations"):
        page.clock.fast_forward(31_000)
    settled(page)

    assert _asked(page) == rounds + 1
    assert page.evaluate("window.kept.every((each) => each.isConnected) && document.activeElement === window.kept[1]")

    page.evaluate(
        "Object.defineProperty(document, 'hidden', { get: () => window.away, configurable: true });"
        "window.away = true; document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.clock.fast_forward(600_000)
    assert _asked(page) == rounds + 1
    with page.expect_response("**/reconciliations"):
        page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
        page.clock.fast_forward(1)

    page.get_by_role("button", name="Keep up to date").click()
    settled(page)
    before = _asked(page)
    page.clock.fast_forward(600_000)
    assert _asked(page) == before


def _asked(page: Page) -> int:
    """How often the page has begun to ask anew, which it does with the orgs, as itself knows."""
    told: int = page.evaluate("asked.filter((each) => each.endsWith('/orgs')).length")
    return told


def test_the_chart_tells_an_instant(opened: Tab, server: PageServer, seed: Engine) -> None:
    """By pointer or key, the chart says in words what is known at an instant, and tables have the same."""
    server.show(Source(seed))
    page = opened.page
    page.goto(f"{server.url}?view=series")
    settled(page)
    slider = page.get_by_role("slider", name="Look at an instant of the chart")
    assert "used 25,001, read at 14:30" in (slider.get_attribute("aria-valuetext") or "")

    slider.focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == page.evaluate(
        "(() => { const [when, ...facts] = document.querySelector('.readout').children;"
        " return `${when.textContent}: ${facts.map((fact) => fact.textContent).join('; ')}`; })()"
    )
    assert (slider.get_attribute("aria-valuetext") or "").startswith("Wed 7 Oct 16:30 UTC: ")
    assert "back by then" in page.inner_text(".readout")

    box = page.locator("series-chart .plot").bounding_box()
    assert box
    page.mouse.move(box["x"] + 80, box["y"] + 60)
    assert page.inner_text(".readout").startswith("Tue 6 Oct")
    page.locator("summary", has_text="The same as tables").click()
    assert page.get_by_role("table", name="The day ahead, by hour").locator("tbody tr").count() == 24


def test_times_tell_the_readers_own(opened: Tab, server: PageServer, seed: Engine) -> None:
    """Times are in UTC; pointed at, they tell the reader's zone."""
    server.show(Source(seed))
    opened.page.goto(server.url)
    settled(opened.page)
    told = opened.page.locator("header time")
    assert told.inner_text() == "14:30 UTC"
    assert told.get_attribute("title") == "Wed, 7 Oct 2026, 23:30 GMT+9 where you are"
