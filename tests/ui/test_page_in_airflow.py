"""The page in Airflow: a real API server under a base-URL prefix, and a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from airflow_provider_apiusage.ui.plugin import PREFIX, TITLE
from tests.ui.browser import GROUND, NARROW, TOO_WIDE, WIDE, Tab, chromium, settled, tab, violations
from tests.ui.servers import ApiServer
from tests.ui.worlds import HOLDING, MAPPED, REFUSED, WAITING, World

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("page")]

VIEWS = ("Overview", "Week and day ahead", "Where it comes from", "Who spends", "Gate", "Findings")
SANDBOX = "An iframe which has both allow-scripts and allow-same-origin"
"""What Chromium says of Airflow's own frame."""

ADD_DAG = """
from airflow.sdk import DAG
from airflow.models.dagbundle import DagBundleModel
from airflow.models.serialized_dag import SerializedDagModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.serialization.serialized_objects import LazyDeserializedDAG, SerializedDAG
from airflow.utils.session import create_session

with DAG("nightly_load") as dag:
    EmptyOperator(task_id="gate")
with create_session() as session:
    session.add(DagBundleModel(name="tests"))
    session.flush()
    lazy = LazyDeserializedDAG.from_dag(dag)
    SerializedDAG.bulk_write_to_db("tests", None, [lazy], session=session)
    SerializedDagModel.write_dag(lazy, bundle_name="tests", session=session)
"""
"""Makes the DAG of the load that waits known to Airflow, which shows tabs only of DAGs that it knows."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for this file."""
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def token(airflow_server: ApiServer) -> str:
    """Of somebody who may see everything."""
    return airflow_server.token("admin")


def served(page: Page, what: str, view: str) -> Any:
    """Go to a view; return what the server told the page for it."""
    with page.expect_response(lambda answer: urlsplit(answer.url).path.endswith(f"/{what}")) as told:
        page.goto(f"{page.url.split('?')[0]}?view={view}")
    settled(page)
    return told.value.json()


def go(page: Page | FrameLocator, view: str) -> None:
    """Click on the way to a view."""
    page.get_by_role("navigation", name="Views").get_by_role("link", name=view).click()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_is_sound(browser: Browser, airflow_server: ApiServer, world: World, token: str, theme: str) -> None:
    """Each view, light or dark: axe finds nothing, it fits a phone, nothing complains, nobody else is asked."""
    other = "dark" if theme == "light" else "light"
    with tab(
        browser, airflow_server.page, scheme=other, theme=theme, token=token, prefix=f"{airflow_server.prefix}/"
    ) as opened:
        page = opened.page
        page.goto(airflow_server.page)
        settled(page)
        assert page.evaluate(GROUND) == {"light": "rgb(245, 247, 250)", "dark": "rgb(14, 19, 25)"}[theme]
        for view in VIEWS:
            go(page, view)
            settled(page)
            expect(page.locator(".ways [aria-current=page]")).to_contain_text(view)
            assert page.title().startswith(view)
            page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            assert violations(page) == [], view
            page.set_viewport_size({"width": NARROW, "height": 800})
            assert page.evaluate(TOO_WIDE) <= 0, view
            page.set_viewport_size({"width": WIDE, "height": 800})
        assert all(path.startswith(f"{airflow_server.prefix}/{PREFIX}/") for path in opened.asked)


@pytest.fixture
def page(browser: Browser, airflow_server: ApiServer, token: str) -> Iterator[Page]:
    """The page by itself, as it is loaded."""
    with tab(browser, airflow_server.page, token=token, prefix=f"{airflow_server.prefix}/") as opened:
        opened.page.goto(airflow_server.page)
        settled(opened.page)
        yield opened.page


def number(calls: int) -> str:
    """A number as the page has it."""
    return f"{calls:,}"


def test_figures_with_their_sources(page: Page, world: World) -> None:
    """Used, limit, remaining, reserve, outstanding and headroom stand there with time and source, and the sum."""
    told = served(page, "summary", "summary")
    main = told["limits"][0]
    facts = dict(
        page.eval_on_selector_all(
            ".facts > div", "all => all.map((each) => [each.querySelector('dt').textContent, each.textContent])"
        )
    )
    for title, name in (
        ("Used in 24 hours", "used"),
        ("Limit", "limit"),
        ("Remaining", "remaining"),
        ("Reserve", "reserve"),
        ("Outstanding", "outstanding"),
    ):
        assert number(main[name]["calls"]) in facts[title]
        assert main[name]["source"] in facts[title]
        assert " UTC" in facts[title]
    assert page.inner_text(".sentence") == told["sentence"]
    assert [each["label"] for each in main["terms"]] == [
        words.split(" ", 2 if words[0] == "−" else 1)[-1] for words in page.locator(".sum li").all_inner_texts()[:-1]
    ]
    assert page.get_by_role("table", name="Other limits of the org").locator("tbody tr").count() == 6
    expect(page.get_by_role("link", name="System Overview")).to_have_attribute(
        "href", f"{world.instance_url}/lightning/setup/SystemOverview/home"
    )


def test_the_week_and_the_day_ahead(page: Page) -> None:
    """Use, limit, band, expectation and expiry curve are drawn, with snapshots and each kind of decision as marks."""
    taken = [datetime.fromisoformat(at) for at in served(page, "series", "series")["snapshots"]["at"]]
    for curve in ("used", "limit", "band", "expected", "expiry"):
        assert len(page.locator(f"series-chart path.{curve}").get_attribute("d") or "") > 20, curve
    assert (page.locator("series-chart path.snapshot").get_attribute("d") or "").count("M") == len(taken)
    for kind in ("grant", "wait", "refuse"):
        assert page.locator(f"series-chart .decision.{kind}").count() >= 1, kind

    page.locator("summary", has_text="The same as tables").click()
    past = page.get_by_role("table", name="The week behind, by UTC day").inner_text()
    assert "1 granted" in past
    assert "1 refused" in past
    assert page.get_by_role("table", name="The day ahead, by hour").locator("tbody tr").count() == 24
    page.get_by_role("button", name="24 hours").click()
    expect(page.get_by_role("button", name="24 hours")).to_have_attribute("aria-pressed", "true")
    assert (page.locator("series-chart path.snapshot").get_attribute("d") or "").count("M") == sum(
        1 for at in taken if at >= max(taken) - timedelta(hours=24)
    )


def test_the_bridge(page: Page) -> None:
    """The bridge stands there as lines, steps and table; the week by day; and what the daily source does not see."""
    told = served(page, "bridge", "bridge")
    assert page.inner_text("pre.lines").splitlines() == told["lines"]
    assert told["blind"] in page.inner_text("[aria-labelledby=blind-title]")
    steps = page.get_by_role("table", name="The bridge in figures").locator("tbody th").all_inner_texts()
    assert [each.lstrip("+= ") for each in steps][: len(told["steps"])] == [each["label"] for each in told["steps"]]
    assert page.get_by_role("table", name="Each day as each source sees it").locator("tbody tr").count() == 7


def test_who_spends_is_sorted_by_key(page: Page) -> None:
    """By user, app, client or family, of the window or a day; headers sort, by keyboard too, and say how."""
    told = served(page, "spenders", "spenders")
    rows = page.get_by_role("table", name="Who spent how many calls").locator("tbody th")
    day = told["last_day"]
    assert rows.all_inner_texts() == [f"{each['name']} {each['key']}" for each in told["spenders"]]
    header = page.get_by_role("columnheader", name="User")
    expect(header).to_have_attribute("aria-sort", "none")
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "ascending")
    settled(page)
    assert rows.all_inner_texts() == sorted(rows.all_inner_texts())
    assert page.evaluate("document.activeElement.textContent").startswith("User")
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "descending")
    settled(page)
    assert rows.all_inner_texts() == sorted(rows.all_inner_texts(), reverse=True)

    for by, title in (("Connected apps", "Connected app"), ("Clients", "Client"), ("API families", "API family")):
        page.get_by_role("button", name=by).click()
        expect(page.get_by_role("columnheader", name=title)).to_be_visible()
    settled(page)
    assert set(rows.all_inner_texts()) == {"REST", "SOAP"}
    page.get_by_label("Time").select_option(day)
    expect(page.get_by_role("heading", name=f"Who spent the calls of {day}")).to_be_visible()
    assert parse_qs(urlsplit(page.url).query) == {
        "view": ["spenders"], "by": ["family"], "day": [day], "sort": ["name"],
    }  # fmt: skip
    page.go_back()
    expect(page.get_by_role("heading", name="Who spent the calls of the last 24 hours")).to_be_visible()


def test_keys_alone_lead_everywhere(page: Page) -> None:
    """The first key leads past the head; every control and link is reached by Tab, in the order in which they stand."""
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", reached
    assert reached[0] == "Skip to the figures"
    assert reached[1:5] == ["← Airflow", "System Overview ↗", "Keep up to date", "Refresh"]
    # What is counted stands behind the name of its view.
    assert [re.sub(r"\d.*", "", each) for each in reached[5:11]] == list(VIEWS)


def test_the_gate(page: Page, airflow_server: ApiServer, world: World) -> None:
    """Who waits and why, who holds and until when, and what was decided; each with a link to its task instance."""
    go(page, "Gate")
    settled(page)
    queue = page.locator(".queue > li")
    assert [each.split("\n")[0] for each in queue.locator(".who").all_inner_texts()] == [str(WAITING), str(MAPPED)]
    first = queue.first.inner_text()
    assert f"{world.waiting:,} calls" in first
    assert "80,000 needed; too few are free." in first
    assert "Waits since" in first
    assert "Opens" in first
    held = page.get_by_role("table", name="Reservations, oldest first").inner_text()
    assert str(HOLDING) in held
    assert "5,000 calls" in held
    assert "1,200 calls" in held
    decided = page.locator(".decisions > li")
    assert {each.split("\n")[0] for each in decided.all_inner_texts()} == {"Wait", "Granted", "Refused"}
    decided.filter(has_text="Refused").get_by_text("Why").click()
    assert "95,000 needed can never fit." in decided.filter(has_text="Refused").inner_text()
    assert decided.filter(has_text=str(REFUSED)).count() == 1
    for link in page.locator("a.holder").all():
        href = link.evaluate("(each) => each.href")
        assert href.startswith(f"{airflow_server.url}/dags/")
        assert link.get_attribute("target") == "_top"


def test_findings(page: Page) -> None:
    """The last reconciliations stand there with their findings; the newest is open, and what is grave is counted."""
    told = served(page, "reconciliations", "findings")["reconciliations"]
    grave = sum(1 for each in told[0]["findings"] if each["severity"] != "info")
    expect(page.locator(".ways")).to_contain_text(f"Findings{grave} ({grave} to look at)" if grave else "Findings")
    assert page.locator(".reconciled > li").count() == len(told) == 4
    newest = page.locator(".reconciled > li").first
    assert newest.locator(".findings code:first-of-type").all_inner_texts()[0] == told[0]["findings"][0]["code"]
    assert newest.locator(".findings > li").count() == len(told[0]["findings"])


def framed(page: Page) -> FrameLocator:
    """What Airflow shows in its frame."""
    return page.frame_locator("iframe")


@pytest.fixture
def airflow(browser: Browser, airflow_server: ApiServer, token: str) -> Iterator[Tab]:
    """A tab for Airflow's own pages."""
    with tab(browser, airflow_server.url, token=token, prefix=f"{airflow_server.prefix}/", quiet=False) as opened:
        yield opened
        ours = [each for each in opened.complaints if not each.startswith(SANDBOX)]
        assert ours == []


def test_airflow_leads_to_it_and_it_leads_back(airflow: Tab, airflow_server: ApiServer, world: World) -> None:
    """It stands in the navigation, its views have addresses, its theme is Airflow's, and its links open in Airflow."""
    page = airflow.page
    page.goto(f"{airflow_server.url}/")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name=TITLE).click()
    there = framed(page)
    expect(there.locator(".sentence")).to_be_visible()

    page.get_by_role("button", name="User").click()
    page.get_by_role("menuitem", name="Appearance").hover()
    page.get_by_text("Dark Mode").click()
    expect(there.locator("html")).to_have_attribute("data-theme", "dark")

    go(there, "Gate")
    expect(there.locator(".queue")).to_be_visible()
    assert parse_qs(urlsplit(page.url).query) == {"view": ["gate"]}
    page.reload()
    there.locator("a.holder").first.click()
    page.wait_for_url(f"{airflow_server.url}/dags/{WAITING.dag_id}/runs/**/tasks/{WAITING.task_id}")
    # Airflow does not know the run, which exists in the store alone, and says so.
    airflow.complaints[:] = [each for each in airflow.complaints if "404" not in each]


def test_a_link_leads_to_an_org_and_its_gate(airflow: Tab, airflow_server: ApiServer, world: World) -> None:
    """An address of Airflow's page with org and view leads there, whether Airflow hands it on or not."""
    airflow.page.goto(f"{airflow_server.url}/plugin/{PREFIX}?org={world.org_id}&view=gate")
    expect(framed(airflow.page).locator(".queue")).to_be_visible()


def test_a_dag_has_a_tab(airflow: Tab, airflow_server: ApiServer) -> None:
    """A DAG that asks the gate has a tab in which it stands first; one that does not is told so."""
    script = airflow_server.home / "add_dag.py"
    script.write_text(ADD_DAG)
    subprocess.run([sys.executable, script], env=airflow_server.environment, check=True, capture_output=True)
    airflow.page.goto(f"{airflow_server.url}/dags/{WAITING.dag_id}/plugin/{PREFIX}_dag")
    there = framed(airflow.page)
    expect(there.get_by_role("heading", name="This DAG at the gate")).to_be_visible()
    expect(there.locator("#main .decisions").first).to_contain_text(str(WAITING))
    expect(there.locator(".sentence")).to_be_visible()
    assert airflow.page.get_by_role("link", name=TITLE).count() == 1

    airflow.page.goto(f"{airflow_server.page}?dag_id=unrelated&run_id={{RUN_ID}}&map_index={{MAP_INDEX}}")
    expect(airflow.page.locator("#main")).to_contain_text("It has nothing to do with the API usage")
    assert airflow.page.locator(".answer").count() == 0


@pytest.mark.parametrize(
    ("user", "heading", "status"),
    [
        (None, "You are logged out", "401"),
        ("viewer", "No such org, or not for you", "404"),
    ],
)
def test_who_may_see_nothing_is_told_so(
    browser: Browser, airflow_server: ApiServer, world: World, user: str | None, heading: str, status: str
) -> None:
    """Nobody, and somebody who may read no connection, get the page without a word of the org."""
    token = airflow_server.token(user) if user else None
    with tab(browser, airflow_server.page, token=token, prefix=f"{airflow_server.prefix}/", quiet=False) as opened:
        opened.page.goto(f"{airflow_server.page}?org={world.org_id}&view=gate")
        expect(opened.page.get_by_role("heading", name=heading)).to_be_visible()
        assert "nightly_load" not in opened.page.content()
        assert all(status in each for each in opened.complaints)
        if user:
            opened.page.goto(airflow_server.page)
            expect(opened.page.get_by_role("heading", name="No org can be shown yet")).to_be_visible()
        else:
            expect(opened.page.get_by_role("link", name="Log in again")).to_have_attribute("href", "../")
