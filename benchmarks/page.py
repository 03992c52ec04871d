"""How fast the page's routes answer on a store with a year of snapshots, on SQLite and on PostgreSQL.

``python -m benchmarks.page [--days 365] [--asked 60] [--database sqlite --database postgresql]``

The store is that of :mod:`benchmarks.store_year` (35,040 snapshots of 20 limits, 8,760 loads with 26,280 decisions,
event logs of 30 callers), and 200 loads that wait and 20 that hold. Each route is asked through the whole application,
log-in excepted, in turns with all others. "First" is the first time, when nothing was worked out yet; the others are of
all later times, during which a reading comes every tenth turn, as from a running load. CPU is that of the server's
process, in which PostgreSQL's own is not; wall-clock times hold whatever else the machine does.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from statistics import median, quantiles

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from airflow_provider_apiusage.quota.model import Holder, QuotaRequest, Reserve
from airflow_provider_apiusage.store.engine import migrate
from airflow_provider_apiusage.store.org_connections import OrgConnection, OrgConnections
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.ui.access import Caller, caller
from airflow_provider_apiusage.ui.app import make_app
from airflow_provider_apiusage.ui.source import Source
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource
from benchmarks.store_year import NOW, ORG, fill, stores

WAITING = 200
HELD = 20
ASKED_AT = NOW + timedelta(minutes=5)
NEW_READING_EVERY = 10

ROUTES = {
    "health": "health",
    "orgs": "orgs",
    "summary": f"orgs/{ORG}/summary",
    "bridge": f"orgs/{ORG}/bridge",
    "series": f"orgs/{ORG}/series",
    "spenders, window": f"orgs/{ORG}/spenders",
    "spenders, a day": f"orgs/{ORG}/spenders?day=2026-06-01&by=client",
    "gate": f"orgs/{ORG}/gate",
    "decisions": f"orgs/{ORG}/decisions",
    "reconciliations": f"orgs/{ORG}/reconciliations",
    "task": "task?dag_id=load",
}


def add_loads(engine: Engine) -> None:
    """Let loads wait and hold."""
    ledger = QuotaLedger(engine)
    OrgConnections(engine).record(OrgConnection(ORG, "salesforce_default", "https://acme.my.salesforce.com", NOW))
    requests = [
        QuotaRequest(ORG, Holder("many", f"run {n}", "gate", n), {API_REQUESTS: 1_000}, NOW, Reserve(share=0.1))
        for n in range(WAITING + HELD)
    ]
    with ledger.turn(ORG) as turn:
        turn.join_all(requests, NOW, NOW + timedelta(days=2))
        turn.grant_all(requests[:HELD], NOW)
        for each in requests[HELD:]:
            turn.record(each, NOW, "wait", f"In the queue behind {requests[HELD].holder}, which waits for 1,000.", ())


def client_of(source: Source) -> TestClient:
    """Return a client of the page that is let in."""
    app = make_app(source)
    app.dependency_overrides[caller] = lambda: Caller("me", lambda *_: True, lambda *_: True)
    return TestClient(app)


def measure(
    open_store: Callable[[], Engine], days: int, asked: int
) -> dict[str, tuple[float, float, float, float, int]]:
    """Return for each route: the first time, median and 95th percentile, and CPU at the 95th, in ms; and its bytes."""
    engine = open_store()
    migrate(engine)
    fill(engine, days)
    add_loads(engine)
    app_source, store = Source(engine, lambda: ASKED_AT), UsageStore(engine)
    page = client_of(app_source)
    first: dict[str, float] = {}
    wall: dict[str, list[float]] = defaultdict(list)
    spent: dict[str, list[float]] = defaultdict(list)
    size: dict[str, int] = {}
    for turn in range(asked + 1):
        if turn % NEW_READING_EVERY == NEW_READING_EVERY - 1:
            at = NOW + timedelta(seconds=turn)
            store.add_readings([LimitReading(ORG, API_REQUESTS, ReadingSource.HEADER, at, at, 100_000, 80_000, 20_000)])
        for name, path in ROUTES.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            answer = page.get(f"/api/{path}")
            took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
            assert answer.status_code == 200, answer.text
            if turn:
                wall[name].append(took * 1000)
                spent[name].append(took_cpu * 1000)
            else:
                first[name], size[name] = took * 1000, len(answer.content)
    return {name: (first[name], median(wall[name]), _p95(wall[name]), _p95(spent[name]), size[name]) for name in ROUTES}


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--asked", type=int, default=60)
    parser.add_argument("--database", action="append", choices=["sqlite", "postgresql"])
    options = parser.parse_args(arguments)
    names = options.database or ["sqlite", "postgresql"]
    with stores(names) as openers:
        found = [measure(open_store, options.days, options.asked) for open_store in openers]
    shown = [name for name in ("sqlite", "postgresql") if name in names]
    print("| route | bytes |" + "".join(f" {name}: first | median | p95 | CPU p95, ms |" for name in shown))
    print("|---|---:|" + "---:|---:|---:|---:|" * len(shown))
    for route in ROUTES:
        cells = "".join("".join(f" {ms:.0f} |" for ms in column[route][:4]) for column in found)
        print(f"| {route} | {found[0][route][4]:,} |{cells}")


if __name__ == "__main__":
    main()
