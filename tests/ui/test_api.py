"""What each route answers: by the sandbox org's own word, in every state, and within the limits of who asks."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.org_connections import OrgConnection, OrgConnections
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.ui import access, answers, failures, source
from airflow_provider_apiusage.ui.access import Caller, caller
from airflow_provider_apiusage.ui.app import make_app
from airflow_provider_apiusage.ui.source import Source
from airflow_provider_apiusage.usage.model import API_REQUESTS, ReadingSource
from tests.support.quota import NOW, ORG, holder, reading, request
from tests.ui.worlds import CONN_ID, HOLDING, MAPPED, REFUSED, SNAPSHOTS, WAITING, World

HOUR = timedelta(hours=1)


def client_of(
    app: FastAPI, dags: Callable[[str], bool] = lambda _: True, connections: Callable[[str], bool] = lambda _: True
) -> TestClient:
    """A client of somebody who may read some DAGs and connections."""
    app.dependency_overrides[caller] = lambda: Caller("me", lambda conn, _: connections(conn), lambda dag, _: dags(dag))
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def page(world: World) -> TestClient:
    """The page on the filled store, as somebody who may read everything sees it."""
    return client_of(make_app(Source(sqlite_engine(world.store))))


@pytest.fixture
def ask(page: TestClient, world: World) -> Callable[..., Any]:
    """Ask a route about the org."""

    def ask(path: str, **parameters: Any) -> Any:
        answer = page.get(f"/api/orgs/{world.org_id}/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


@contextmanager
def store_at(file: Path, now: datetime = NOW) -> Iterator[tuple[UsageStore, TestClient]]:
    """An empty store to which a connection of ``ORG`` is known, and the page on it at an instant."""
    engine = sqlite_engine(file)
    migrate(engine)
    OrgConnections(engine).record(OrgConnection(ORG, CONN_ID, None, NOW))
    yield UsageStore(engine), client_of(make_app(Source(engine, lambda: now)))


def test_every_answer_has_the_shape_that_is_promised(page: TestClient, world: World) -> None:
    """Each route's JSON is its model, to the field: the page's scripts and the documentation rely on it."""
    of_org = {
        "summary": answers.Summary, "bridge": answers.Bridge, "series": answers.Series, "spenders": answers.Spenders,
        "gate": answers.Gate, "decisions": answers.Decisions, "reconciliations": answers.Reconciliations,
    }  # fmt: skip
    paths = {f"orgs/{world.org_id}/{name}": model for name, model in of_org.items()}
    paths |= {"health": answers.Health, "orgs": answers.Orgs, f"task?dag_id={WAITING.dag_id}": answers.TaskView}

    for path, model in paths.items():
        answer = page.get(f"/api/{path}")
        told = model.model_validate_json(answer.content)
        assert json.loads(told.model_dump_json()) == answer.json()
        assert get_type_hints(model).keys() - {"model_config"} >= answer.json().keys()
    assert {path.rsplit("/")[-1].split("?")[0] for path in paths} == {
        str(getattr(route, "path", "")).rsplit("/")[-1]
        for route in page.app.routes  # type: ignore[attr-defined]
        if str(getattr(route, "path", "")).startswith("/api/")
    }


def test_the_summary_tells_what_the_org_tells(ask: Callable[..., Any], world: World) -> None:
    """Used, limit and remaining are the org's; the terms add up to the headroom; the sentence says what is granted."""
    told = ask("summary")
    line = told["limits"][0]

    assert (line["name"], line["main"], line["guarded"], line["state"]) == (API_REQUESTS, True, True, "current")
    assert (line["used"]["calls"], line["limit"]["calls"]) == (world.used, world.limit)
    assert line["remaining"]["calls"] == world.limit - world.used
    assert (line["reserve"]["calls"], line["outstanding"]["calls"]) == (world.reserve, world.held)
    assert sum(term["calls"] for term in line["terms"]) == line["headroom"]["calls"] == told["grantable"]
    assert told["grantable"] <= world.limit - world.used - world.reserve - world.held
    assert datetime.fromisoformat(line["used"]["at"]) == world.at
    assert line["used"]["source"] == "the org's limits, read by a snapshot"
    assert told["sentence"].startswith(f"{told['grantable']:,} calls can be granted now; {told['next']['calls']:,} at ")
    assert told["org"]["overview_url"] == f"{world.instance_url}/lightning/setup/SystemOverview/home"
    assert told["todo"] is None


def test_the_bridge_adds_up(ask: Callable[..., Any], world: World) -> None:
    """Window tail, today and what the daily report does not see make the rolling figure, as the org has it."""
    told = ask("bridge")
    steps = {step["part"]: step["calls"] for step in told["steps"]}

    assert list(steps) == ["tail", "today", "rest", "rolling"]
    assert steps["tail"] + steps["today"] + steps["rest"] == steps["rolling"] == world.used
    assert told["coverage"] == "soap"
    assert "SOAP calls only" in told["blind"]
    assert len(told["days"]) == 7
    assert told["days"][-1]["running"]
    assert told["lines"][0] == f"API requests, last 24 hours: {world.used:,}"


def test_the_series_ends_with_the_present(ask: Callable[..., Any], world: World) -> None:
    """The line ends with the newest reading, where forecast and expiry begin; marks lie on it."""
    told = ask("series")

    assert told["used"]["calls"][-1] == world.used
    assert told["used"]["at"][-1] == told["at"] == told["forecast"]["at"][0] == told["expiry"]["at"][0]
    assert told["snapshots"]["calls"][-1] == world.used
    assert len(told["expiry"]["at"]) == len(told["expiry"]["low"]) == len(told["expiry"]["high"]) == 97
    assert all(
        low <= middle <= high
        for low, middle, high in zip(*(told["forecast"][name] for name in ("low", "expected", "high")), strict=True)
    )
    marked: Counter[str] = Counter()
    for mark in told["decisions"]:
        marked[mark["kind"]] += mark["decisions"]
    assert marked == {"grant": 1, "refuse": 1, "wait": 2}
    assert told["limit"]["calls"] == [world.limit] * 3


def test_spenders_are_told_by_every_dimension_and_page(ask: Callable[..., Any]) -> None:
    """The dimensions have one total; pages of one are the list, sorted either way; a day is told like the window."""
    totals = {by: ask("spenders", by=by)["total"] for by in ("user", "app", "client", "family", "resource")}
    assert len({json.dumps(total) for total in totals.values()}) == 1

    whole = ask("spenders", by="client")
    count = whole["page"]["total"]
    pages = [ask("spenders", by="client", offset=offset, limit=1)["spenders"][0] for offset in range(count)]
    names = [each["key"] for each in ask("spenders", by="client", sort="name", order="asc")["spenders"]]
    assert pages == whole["spenders"]
    assert count == 5  # four of others, and ours
    assert names == sorted(each["key"] for each in pages)
    assert ask("spenders", by="client", order="asc")["spenders"] == pages[::-1]
    assert sum(each["share"] for each in pages) == pytest.approx(1)

    before = str(date.fromisoformat(whole["last_day"]) - timedelta(days=1))  # soon after midnight no log tells of today
    day = ask("spenders", day=before)
    assert (day["source"], day["day"]) == ("event-logs", before)
    assert day["spenders"][0]["all_back_at"] is None
    assert whole["spenders"][0]["all_back_at"] is not None


def test_of_a_day_without_logs_the_daily_report_tells(tmp_path: Path, ask: Callable[..., Any]) -> None:
    """Where no log tells anything the daily report does, by user; and where that tells nothing either, what to add."""
    from airflow_provider_apiusage.usage.model import Snapshot
    from tests.usage.evidence import TODAY, counted

    with store_at(tmp_path / "s.db") as (store, page):
        counts = (counted(TODAY, 7_000, user="b@x.example"), counted(TODAY, 8_000, user="a@x.example"))
        store.add(Snapshot(ORG, NOW, (reading(25_000),), counts))
        by_user = page.get(f"/api/orgs/{ORG}/spenders", params={"day": str(TODAY)}).json()
        by_app = page.get(f"/api/orgs/{ORG}/spenders", params={"day": str(TODAY), "by": "app"}).json()

    assert by_user["source"] == "daily-report"
    assert [(each["key"], each["calls"]["low"]) for each in by_user["spenders"]] == [
        ("a@x.example", 8_000), ("b@x.example", 7_000)
    ]  # fmt: skip
    assert (by_app["source"], by_app["state"]) == (None, "none")
    assert "events" in by_app["todo"]["task"]


def test_the_gate_tells_who_waits_and_who_holds(ask: Callable[..., Any], world: World) -> None:
    """Each with its task instance, since when, how much, why, and when it can open: the second behind the first."""
    told = ask("gate")
    first, second = told["waiting"]
    (held,) = told["held"]

    assert (first["holder"]["label"], second["holder"]["label"]) == (str(WAITING), str(MAPPED))
    assert second["holder"]["href"] == (
        f"../dags/{MAPPED.dag_id}/runs/scheduled__2026-10-07T02%3A00%3A00%2B00%3A00/tasks/{MAPPED.task_id}/mapped/3"
    )
    assert first["needs"] == {API_REQUESTS: world.waiting}
    assert first["opens"]["earliest_at"] is not None
    assert second["opens"]["earliest_at"] is None  # two of them never fit within a day
    assert second["reason"] == f"In the queue behind {WAITING}, which waits for 80,000 DailyApiRequests."
    assert (held["holder"]["label"], held["held"], held["spent"]) == (
        str(HOLDING), {API_REQUESTS: world.held}, {API_REQUESTS: 1_200}
    )  # fmt: skip
    assert told["sentence"] == "2 loads wait for 160,000 calls. 1 reservation of 5,000 calls is held."
    assert ask("gate", offset=1, limit=1)["waiting"] == [second]


def test_decisions_come_page_by_page(ask: Callable[..., Any]) -> None:
    """Following ``next`` tells each decision once, newest first."""
    pages, following = [], ""
    while following is not None:
        told = ask("decisions", limit=3, before=following)
        pages.append(told["decisions"])
        following = told["next"]

    assert [len(each) for each in pages] == [3, 1]
    assert [(each["kind"], each["holder"]["dag_id"]) for page in pages for each in page] == [
        ("wait", MAPPED.dag_id), ("wait", WAITING.dag_id), ("refuse", REFUSED.dag_id), ("grant", HOLDING.dag_id)
    ]  # fmt: skip


def test_reconciliations_come_with_their_findings(ask: Callable[..., Any], world: World) -> None:
    """The newest first, each with its verdict and its findings, worst first; following ``next`` ends."""
    newest = ask("reconciliations", limit=3)
    rest = ask("reconciliations", limit=3, before=newest["next"])

    assert datetime.fromisoformat(newest["reconciliations"][0]["at"]) == world.at
    assert newest["reconciliations"][0]["rolling"] == world.used
    assert len(newest["reconciliations"]) == 3
    assert len(rest["reconciliations"]) == 1
    assert rest["next"] is None
    order = ["error", "warning", "info"]
    found = [order.index(each["severity"]) for each in newest["reconciliations"][0]["findings"]]
    assert found == sorted(found)


def test_a_dag_s_tab_tells_what_the_dag_has_asked(page: TestClient) -> None:
    """A DAG, a run or a mapped task gets its own leases; a DAG that reads an org is known; any other is fine too."""

    def ask(**parameters: Any) -> Any:
        return page.get("/api/task", params=parameters).json()

    assert [each["holder"]["label"] for each in ask(dag_id=MAPPED.dag_id)["leases"]] == [str(MAPPED), str(WAITING)]
    mapped = ask(dag_id=MAPPED.dag_id, run_id=MAPPED.run_id, task_id=MAPPED.task_id, map_index="3")["leases"]
    assert [each["holder"]["map_index"] for each in mapped] == [3]
    unfilled = ask(dag_id=WAITING.dag_id, run_id=WAITING.run_id, task_id=WAITING.task_id, map_index="{MAP_INDEX}")
    assert [each["holder"]["map_index"] for each in unfilled["leases"]] == [None]
    assert len(ask(dag_id=SNAPSHOTS)["orgs"]) == 1
    assert ask(dag_id="somebody_else_s") == {
        "orgs": [], "leases": [],
        "sentence": "It has nothing to do with the API usage of a Salesforce org that you may see.",
    }  # fmt: skip


def test_what_a_caller_may_not_read_is_not_told(world: World) -> None:
    """A load of a DAG that the caller may not read shows as a number without a name, also in the reasons of others."""
    app = make_app(Source(sqlite_engine(world.store)))
    page = client_of(app, dags=lambda dag_id: dag_id == HOLDING.dag_id)

    gate = page.get(f"/api/orgs/{world.org_id}/gate")
    decisions = page.get(f"/api/orgs/{world.org_id}/decisions")
    hidden = page.get("/api/task", params={"dag_id": WAITING.dag_id})

    assert gate.json()["hidden"] == 2
    assert [each["holder"] for each in gate.json()["waiting"]] == [None, None]
    assert gate.json()["waiting"][1]["reason"].startswith("In the queue behind another load, which waits for 80,000")
    for secret in (WAITING.dag_id, WAITING.run_id, REFUSED.dag_id):
        assert secret not in gate.text + decisions.text
    assert HOLDING.dag_id in gate.text
    assert hidden.status_code == 404


def test_who_reads_no_connection_finds_no_data_on_any_route(world: World) -> None:
    """A walk over all routes as a viewer: nothing names the org, its connection, a user, an app or a load."""
    page = client_of(make_app(Source(sqlite_engine(world.store))), connections=lambda _: False)

    for path in every_path(page.app, world):  # type: ignore[arg-type]
        answer = page.get(path)
        assert answer.status_code in (200, 304, 404)
        told = answer.text.replace(f"/{world.org_id}/", "/")
        for secret in (world.org_id, CONN_ID + '"', world.instance_url, "sandbox-org.example", "Nightly ELT"):
            assert secret not in told or path.startswith("/static"), path


def test_a_crawler_without_a_log_in_gets_no_data_on_any_route(world: World) -> None:
    """A walk over all routes as nobody, in Airflow's own words: 401 wherever there is data."""
    app = make_app(Source(sqlite_engine(world.store)))
    page = TestClient(app, raise_server_exceptions=False)

    seen = 0
    for path in every_path(app, world):
        answer = page.get(path)
        if path.startswith("/api/"):
            assert answer.status_code == 401, path
            assert answer.json()["error"] == "not-logged-in"
            seen += 1
        else:
            assert answer.status_code in (200, 404), path
            assert world.org_id not in answer.text
    assert seen == 10
    for path in ("/docs", "/redoc", "/openapi.json", "/api", "/api/", "/static/../app.py", "/static/%2e%2e/app.py"):
        assert page.get(path).status_code == 404, path


def every_path(app: FastAPI, world: World) -> list[str]:
    """Return a path for each route of the application."""
    parameters = {"/api/task": f"?dag_id={WAITING.dag_id}"}
    paths = [str(getattr(route, "path", "")) for route in app.routes]
    assert all(paths), app.routes
    return [path.replace("{org_id}", world.org_id) + parameters.get(path, "") for path in paths]


def test_without_a_store_the_page_says_what_to_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any task has run there is no store: the page does not make one, and names the task that will."""
    file = tmp_path / "apiusage.db"
    monkeypatch.setattr(source, "default_path", lambda: file)
    page = client_of(make_app())

    health, orgs = page.get("/api/health").json(), page.get("/api/orgs").json()

    assert (health["state"], health["orgs"], orgs["orgs"]) == ("none", 0, [])
    assert health["todo"] == orgs["todo"]
    assert health["todo"]["task"] == "ApiUsageSnapshotOperator"
    assert page.get(f"/api/orgs/{ORG}/summary").status_code == 404
    assert not file.exists()


def test_an_org_that_was_never_read_has_every_view(tmp_path: Path) -> None:
    """Each view of it is there, empty, and says what to add."""
    with store_at(tmp_path / "s.db") as (_, page):
        for view in ("summary", "bridge", "series", "spenders", "gate"):
            told = page.get(f"/api/orgs/{ORG}/{view}").json()
            assert told["state"] == "none", view
            assert told["todo"]["task"], view
        assert page.get(f"/api/orgs/{ORG}/reconciliations").json()["todo"]["task"] == "ApiUsageReconcileOperator"
        assert page.get(f"/api/orgs/{ORG}/decisions").json() == {"decisions": [], "next": None}
        assert page.get("/api/health").json()["todo"]["task"] == "ApiUsageSnapshotOperator"
        assert page.get(f"/api/orgs/{ORG}/summary").json()["sentence"] == (
            "How many calls can be granted now is unknown."
        )


def test_old_figures_are_told_with_their_age(tmp_path: Path) -> None:
    """Three hours after the last reading every view is stale and says so; the figures are there."""
    with store_at(tmp_path / "s.db", NOW + 3 * HOUR) as (store, page):
        store.add_readings([reading(25_000)])
        told = page.get(f"/api/orgs/{ORG}/summary").json()
        series = page.get(f"/api/orgs/{ORG}/series").json()

    assert (told["state"], series["state"]) == ("stale", "stale")
    assert told["limits"][0]["used"]["calls"] == 25_000
    assert told["more"][0].startswith("The newest reading is 3 hours old")
    assert told["todo"]["task"] == series["todo"]["task"] == "ApiUsageSnapshotOperator"


def test_an_unknown_is_null(tmp_path: Path) -> None:
    """A refused call that tells no limit: what is unknown is null, and nothing can be said to be granted."""
    with store_at(tmp_path / "s.db") as (store, page):
        store.add_readings([reading(None, limit=None, remaining=0, source=ReadingSource.EXHAUSTED)])
        line = page.get(f"/api/orgs/{ORG}/summary").json()["limits"][0]

    assert (line["used"]["calls"], line["limit"]["calls"], line["share"]) == (None, None, None)
    assert line["remaining"]["calls"] == 0
    assert line["used"]["source"] == "a refused call"


def test_a_lease_that_has_run_out_holds_nothing_back(tmp_path: Path) -> None:
    """A reservation whose time is up, and that no gate has noted as lapsed yet, is neither held nor outstanding."""
    with store_at(tmp_path / "s.db", NOW + 2 * HOUR) as (store, page):
        ledger = QuotaLedger(store.engine)
        asked = request("a", 30_000, at=NOW, lease=HOUR)
        with ledger.turn(ORG) as turn:
            turn.join(asked, NOW, NOW + HOUR)
            turn.grant(asked, NOW)
        store.add_readings([reading(25_000, NOW + 2 * HOUR)])
        told = page.get(f"/api/orgs/{ORG}/summary").json()["limits"][0]
        gate = page.get(f"/api/orgs/{ORG}/gate").json()
        lease = page.get("/api/task", params={"dag_id": holder("a").dag_id}).json()["leases"][0]

    assert told["outstanding"]["calls"] == 0
    assert gate["held"] == []
    assert (lease["state"], lease["ended_at"]) == ("lapsed", "2026-10-07T15:30:00Z")


def test_what_is_new_shows_at_once(tmp_path: Path) -> None:
    """What was worked out is used again until a snapshot comes, and not a request longer."""
    from airflow_provider_apiusage.usage.model import Snapshot

    with store_at(tmp_path / "s.db") as (store, page):
        store.add(Snapshot(ORG, NOW - HOUR, (reading(20_000, NOW - HOUR),), taken_by="1"))
        before = page.get(f"/api/orgs/{ORG}/bridge").json()
        store.add(Snapshot(ORG, NOW, (reading(25_000),), taken_by="2"))
        after = page.get(f"/api/orgs/{ORG}/bridge").json()

    assert (before["steps"][-1]["calls"], after["steps"][-1]["calls"]) == (20_000, 25_000)


def test_an_answer_is_sent_again_only_if_it_has_changed(page: TestClient, world: World) -> None:
    """An ETag that still holds gets 304 and no body; another, or the route of another view, gets the answer."""
    path = f"/api/orgs/{world.org_id}/bridge"
    first = page.get(path)
    again = page.get(path, headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    other = page.get(f"/api/orgs/{world.org_id}/series", headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert other.status_code == 200
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["vary"] == "Cookie, Authorization"


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("spenders?by=password", "by"), ("spenders?day=yesterday", "day"), ("spenders?day=0001-01-01", "day"),
        ("spenders?limit=0", "limit"), ("spenders?offset=-1", "offset"), ("gate?limit=201", "limit"),
        ("decisions?before=x' OR 1=1", "before"), ("reconciliations?limit=51", "limit"),
    ],
)  # fmt: skip
def test_a_parameter_without_sense_is_named(page: TestClient, world: World, path: str, named: str) -> None:
    """It gets 400 and a sentence with its name, and not what was given."""
    answer = page.get(f"/api/orgs/{world.org_id}/{path}")

    assert answer.status_code == 400
    assert answer.json() == {"error": "bad-parameter", "message": f"A parameter makes no sense: {named}.", "fix": None}


def test_a_store_that_is_gone_is_told_without_its_address(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The answer is 503 with a plain sentence; where the store was and what it said stands in the log alone."""
    file = tmp_path / "hidden-place.db"
    with store_at(file) as (_, page):
        file.write_text("no database any more" * 100)
        answers_ = [page.get(f"/api/{path}") for path in ("health", "orgs", f"orgs/{ORG}/summary")]

    for answer in answers_:
        assert answer.status_code == 503
        assert answer.json()["error"] == "store-unavailable"
        assert "hidden-place" not in answer.text
        assert answer.headers["cache-control"] == "no-store"
    assert "hidden-place" in caplog.text


def test_a_fault_of_ours_says_nothing_of_itself(tmp_path: Path) -> None:
    """An exception that nobody foresaw gets 500 and a plain sentence; its text stays inside."""

    class Broken(Source):
        def known(self) -> Any:
            raise RuntimeError("password=hunter2")

    app = make_app(Broken(sqlite_engine(tmp_path / "s.db"), lambda: datetime.now(UTC)))
    answer = client_of(app).get("/api/orgs")

    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.json()["error"] == "failed"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_answer_has_the_headers_that_keep_it_safe(page: TestClient, world: World) -> None:
    """Page, script, data, failure: no script but our own runs, nobody frames us, nothing is guessed to be a script."""
    for path in ("/", "/static/app.js", "/api/orgs", f"/api/orgs/{world.org_id}/gate", "/api/orgs/x/gate", "/x"):
        headers = page.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';"), path
        assert "unsafe" not in policy
        assert "frame-ancestors 'self'" in policy
        assert headers["x-content-type-options"] == "nosniff", path
    assert page.post("/api/orgs").status_code == 405
    assert page.head("/api/orgs").status_code == 200


class Particular(SimpleAuthManager):
    """An auth manager that decides for each connection and each DAG, as those with policies do."""

    may_see_plugins = True

    def is_authorized_connection(self, *, method: str, user: Any, details: Any = None) -> bool:
        return bool(method == "GET" and user.username == "ann" and details.conn_id == "hers")

    def is_authorized_dag(self, *, method: str, user: Any, access_entity: Any = None, details: Any = None) -> bool:
        return bool(method == "GET" and access_entity is None and details.id == "her_dag")

    def is_authorized_view(self, *, access_view: Any, user: Any) -> bool:
        return self.may_see_plugins and access_view.value == "PLUGINS"


def test_any_auth_manager_is_asked_for_each_connection_and_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says of one says nothing of another; who may not see what plugins add is refused before any question."""
    manager = Particular()
    monkeypatch.setattr(access, "get_auth_manager", lambda: manager)
    ann = access.caller(SimpleAuthManagerUser(username="ann", role="viewer"))

    assert ann.name == "ann"
    assert ann.connections({"hers", "his"}) == {"hers"}
    assert ann.dags({"her_dag", "his_dag"}) == {"her_dag"}
    assert access.caller(SimpleAuthManagerUser(username="bob", role="admin")).connections({"hers"}) == set()
    manager.may_see_plugins = False
    with pytest.raises(failures.Refused) as refused:
        access.caller(SimpleAuthManagerUser(username="ann", role="viewer"))
    assert (refused.value.status, refused.value.failure.error) == (403, "forbidden")


def test_without_airflow_s_word_nobody_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """If Airflow's auth cannot be imported as the page knows it, whoever asks gets 503."""
    spec = spec_from_file_location("access_of_a_later_airflow", access.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setitem(sys.modules, "airflow.api_fastapi.core_api.security", None)
    spec.loader.exec_module(module)
    app = FastAPI()
    app.add_exception_handler(failures.Refused, failures.on_refused)
    app.add_api_route("/data", lambda: "data", dependencies=[Depends(module.caller)])

    answer = TestClient(app).get("/data")

    assert module.MISSING == "airflow.api_fastapi.core_api.security"
    assert (answer.status_code, answer.json()["error"]) == (503, "access-unknown")
