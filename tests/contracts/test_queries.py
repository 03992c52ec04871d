"""Every question that the product asks of its store is answered through an index, however much has been kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from airflow_provider_apiusage.cli.standing import standing
from airflow_provider_apiusage.store.alerts import AlertStore
from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.store.metric_figures import MetricFigures
from airflow_provider_apiusage.store.org_connections import OrgConnection, OrgConnections
from airflow_provider_apiusage.store.page_queries import PageQueries
from airflow_provider_apiusage.store.quota_batch import FEW, Decided
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.retention import UsageRetention
from airflow_provider_apiusage.store.schema import metadata
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.event_log import FileUsage, LogFile, LogInterval, Part
from airflow_provider_apiusage.usage.hourly import Caller
from airflow_provider_apiusage.usage.model import API_REQUESTS, Finding, Severity, Snapshot
from airflow_provider_apiusage.usage.retention import Retention
from tests.support.alerting import RULES, used
from tests.support.history import DAY, HOUR, MIDNIGHT, fill
from tests.support.quota import LEASE, NOW, ORG, holder, reading, request
from tests.usage.evidence import TODAY, counted

FEW_ROWS_PER_ORG = {"apiusage_org", "apiusage_org_connection"}
GROWING = {table.name for table in metadata.sorted_tables} - FEW_ROWS_PER_ORG
LIVE_ONLY = ("uq_apiusage_lease_live_holder", "uq_apiusage_alert_open")
"""Indexes that do not grow: they hold what waits or is granted, and the alerts that are open."""


@dataclass(frozen=True)
class Asked:
    """A statement with the values of its first use."""

    statement: str
    values: Any


class Recorder:
    """Collects the statements that an engine executes, and which methods of the stores were called.

    :param engine: of the store.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.asked: dict[str, Asked] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Listen."""
        event.listen(self._engine, "before_cursor_execute", self._keep)
        try:
            yield
        finally:
            event.remove(self._engine, "before_cursor_execute", self._keep)

    def _keep(self, _connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if "apiusage_" in statement:
            self.asked.setdefault(statement, Asked(statement, values[0] if many else values))


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the public methods of the stores that have been called."""
    names: set[str] = set()

    def noted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def note(*arguments: Any, **options: Any) -> Any:
            names.add(name)
            return method(*arguments, **options)

        return note

    for kind, name in public_methods():
        monkeypatch.setattr(kind, name, noted(f"{kind.__name__}.{name}", getattr(kind, name)))
    return names


def public_methods() -> list[tuple[type, str]]:
    """Return what may be asked of a store."""
    kinds = (
        UsageStore,
        EventLogStore,
        QuotaLedger,
        Turn,
        UsageRetention,
        AlertStore,
        MetricFigures,
        PageQueries,
        OrgConnections,
    )
    return [(kind, name) for kind in kinds for name, each in vars(kind).items() if name[0] != "_" and callable(each)]


def use_readings(engine: Engine) -> None:
    """What snapshots, reconciliations, forecasts and the page ask."""
    store = UsageStore(engine)
    store.add(Snapshot(ORG, NOW, (reading(25_000),), (counted(TODAY, 15_000),), taken_by="now"))
    store.add_readings([reading(25_001, NOW + timedelta(seconds=1))])
    store.find_snapshot(ORG, "now")
    store.latest_reading(ORG)
    store.latest_report_at(ORG)
    store.readings(ORG, API_REQUESTS, NOW - DAY, NOW)
    assert store.evidence(ORG) is not None
    store.evidence(ORG, NOW - 2 * DAY, span=35 * DAY)
    store.add_reconciliation({"org_id": ORG, "consistent": True}, NOW)
    store.latest_reconciliation(ORG)
    store.orgs()


def use_event_logs(engine: Engine) -> None:
    """What reading event logs asks: each kind of file, and one that cannot be read."""
    logs = EventLogStore(engine)
    hour = MIDNIGHT + 9 * HOUR
    files = {
        interval: LogFile(start, 1, start + 31 * HOUR, f"0ATQ{interval.value[0]}", interval)
        for interval, start in (
            (LogInterval.HOURLY, hour),
            (LogInterval.DAILY, MIDNIGHT - DAY),
            (LogInterval.OBJECT, hour),
        )
    }
    logs.record_listing(ORG, files.values(), NOW, watching=True)
    logs.postpone(
        ORG, files[LogInterval.DAILY], NOW, Finding("event-log-unread", Severity.WARNING, "It broke.", {}), NOW
    )
    for file in files.values():
        parts = tuple(Part(file.starts_at, Caller(f"00500000000000{n}"), 1, 0, b"12345678") for n in range(3))
        logs.add_file(ORG, FileUsage(file, parts, 3, scheme="test"), NOW)
        logs.has_read(ORG, file)
    again = replace(files[LogInterval.OBJECT], created_at=NOW + HOUR, id="0ATQo2")
    logs.add_file(ORG, FileUsage(again, (), 0), NOW)
    logs.states(ORG, MIDNIGHT - 4 * DAY, NOW)
    logs.listings(ORG)
    logs.usage(ORG, MIDNIGHT - 7 * DAY, MIDNIGHT + DAY)


def use_ledger(engine: Engine) -> None:
    """What gates ask, from the queue to the end of a reservation."""
    ledger = QuotaLedger(engine)
    later = NOW + HOUR
    wanted, refused, given_up = (request(who, at=NOW) for who in ("granted", "refused", "given up"))
    with ledger.turn(ORG) as turn:
        turn.lapse(NOW)
        for each in (wanted, refused, given_up):
            turn.join(each, NOW, later)
            turn.join(each, NOW, later)
        turn.queue()
        latest = turn.latest_readings([API_REQUESTS])
        turn.last_read_at()
        turn.reported()
        turn.signs()
        turn.grants_since(NOW - DAY)
        turn.readings(API_REQUESTS, NOW - DAY, NOW)
        turn.outstanding(latest, [API_REQUESTS], NOW)
        turn.reading_would_settle(latest, [API_REQUESTS], NOW)
        turn.record(wanted, NOW, "wait", "others are first", ())
        held = turn.grant(wanted, NOW)
        turn.record(wanted, NOW, "grant", "enough is left", ())
        turn.join(wanted, NOW, later)
        turn.refuse(refused, NOW)
        turn.leave(given_up.holder, NOW)
        turn.claim_poll(NOW, later)
        turn.claimed_until()
        turn.end_claim(later, None)
    many = [request(f"many {number}", at=NOW) for number in range(FEW + 1)]
    with ledger.turn(ORG) as turn:
        turn.join_all(many, NOW, later)
        turn.join_all(many, NOW, later)
        turn.record_all([Decided(each, "wait", "others are first", ()) for each in many], NOW)
        turn.refuse_all(many[:2], NOW)
        turn.grant_all(many[2:], NOW)
        turn.leave_all({each.holder: later for each in many}, NOW)
    ledger.signs(ORG)
    ledger.reservations(ORG, NOW)
    ledger.waiting(ORG, NOW)
    ledger.decisions(ORG)
    ledger.renew(held.reservation_id, LEASE, NOW)
    ledger.draw(held.reservation_id, {API_REQUESTS: 10}, NOW)
    ledger.extend(held.reservation_id, {API_REQUESTS: 10}, NOW)
    ledger.release(held.reservation_id, NOW, calls={API_REQUESTS: 10})
    ledger.release(held.reservation_id, NOW)
    ledger.org_of(held.reservation_id)
    ledger.past_runs(ORG, held.holder.dag_id, held.holder.task_id)
    ledger.leave(holder("nobody"), NOW, release=True)


def use_alerts(engine: Engine) -> None:
    """What evaluating rules asks, and telling what came of it; and what metrics tell."""
    alerts = AlertStore(engine)
    for number, calls in enumerate((85_000, 60_000)):
        at = NOW + number * HOUR
        found = alerts.evaluate("dag.alerts", RULES, used(calls, at), at, ["mail"])
        alerts.told(ORG, found.messages, found.messages, at, ["mail"])
    alerts.evaluate("dag.alerts", RULES, used(85_000, NOW + 2 * HOUR), NOW + 2 * HOUR)
    alerts.open_alerts(ORG)
    alerts.latest_snapshot_at(ORG)
    figures = MetricFigures(engine)
    figures.of(ORG, [API_REQUESTS], NOW)
    figures.waited([reservation.reservation_id for reservation in QuotaLedger(engine).reservations(ORG, NOW)])


def use_page(engine: Engine) -> None:
    """What the page asks beside what others ask as well."""
    places, page = OrgConnections(engine), PageQueries(engine)
    for seen_at in (NOW, NOW + 2 * DAY):
        places.record(OrgConnection(ORG, "salesforce_default", "https://acme.example", seen_at))
    places.all()
    page.newest(ORG)
    page.limits(ORG, [API_REQUESTS])
    page.snapshot_readings(ORG, NOW - 7 * DAY, NOW)
    page.waiting(ORG, NOW)
    page.held(ORG, NOW)
    page.before(ORG, NOW, 5)
    page.outstanding(ORG, API_REQUESTS, NOW - HOUR, NOW)
    last, before = page.decisions(ORG, limit=2)
    assert before[1] is not None
    page.decisions(ORG, (last[0].decided_at, last[0].id))
    page.reasons([last[0].reservation_id])
    page.marks(ORG, NOW - 7 * DAY, NOW)
    page.leases_of(before[1].dag_id, before[1].run_id, "gate", -1)
    page.leases_of(before[1].dag_id, None, None, None)
    page.takes_snapshots(ORG, "api_usage_snapshot")
    (newest,) = page.reconciliations(ORG, limit=1)
    page.reconciliations(ORG, (newest.at, newest.id))
    page.days(ORG)
    page.reported(ORG, NOW.date())


def use_commands(engine: Engine) -> None:
    """What ``airflow apiusage status`` and ``gates`` ask beside what others ask as well."""
    standing(engine, ORG, NOW)


def use_retention(engine: Engine) -> None:
    """Pruning, of all orgs and in full."""
    UsageRetention(engine, pause=lambda _: None).prune(None, NOW, Retention(7 * DAY, 25 * DAY))


def recorded(engine: Engine, *uses: Callable[[Engine], None]) -> list[Asked]:
    """Return what is asked in these uses of a store that has something of two orgs in every table."""
    fill(engine, 30)
    fill(engine, 5, "00DBB0000000002")
    recorder = Recorder(engine)
    with recorder.recording():
        for use in uses:
            use(engine)
    if engine.dialect.name == "postgresql":
        believe_it_is_large(engine)
    return list(recorder.asked.values())


def believe_it_is_large(engine: Engine) -> None:
    """Let PostgreSQL plan as for a thousand times as many rows: through a small table it may go any way."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
        connection.execute(text("UPDATE pg_class SET reltuples = reltuples * 1000 WHERE relname LIKE 'apiusage%'"))


def test_every_question_goes_through_an_index(engine: Engine, called: set[str]) -> None:
    """No statement, of any public method of the stores, goes through all rows of a table that grows."""
    asked = recorded(
        engine, use_readings, use_event_logs, use_ledger, use_alerts, use_page, use_commands, use_retention
    )

    not_used_here = {f"{kind.__name__}.{name}" for kind, name in public_methods()} - called
    assert not_used_here == set()
    with engine.connect() as connection:
        plans = {each.statement: plan_of(connection, each) for each in asked}
    scans = {statement: scanned for statement, plan in plans.items() if (scanned := plan.scans & GROWING)}
    assert scans == {}
    assert {table for plan in plans.values() for table in plan.tables} >= GROWING


def test_no_everyday_question_goes_through_all_that_an_org_has(engine: Engine) -> None:
    """Pruning and counting may; snapshots, gates, reconciliations and the page look at what they need only."""
    asked = recorded(engine, use_readings, use_event_logs, use_ledger, use_alerts, use_page)

    with engine.connect() as connection:
        plans = {each.statement: plan_of(connection, each) for each in asked}
    linear = {statement: plan for statement, plan in plans.items() if plan.whole_org}
    assert linear == {}


def test_a_question_without_an_index_is_noticed(engine: Engine) -> None:
    """The test can fail: on a table as a whole, on one org's part of it, and on sorting to find the latest."""
    where = f"FROM apiusage_reading WHERE org_id = '{ORG}'"
    with engine.connect() as connection:
        whole = plan_of(connection, Asked("SELECT id FROM apiusage_reading WHERE used > 5", ()))
        of_org = plan_of(connection, Asked(f"SELECT used {where} AND used > 5", ()))
        latest = plan_of(connection, Asked(f"SELECT used {where} ORDER BY used DESC LIMIT 1", ()))
        fine = plan_of(
            connection,
            Asked(f"SELECT used {where} AND name = 'x' AND scope = '' ORDER BY observed_at DESC LIMIT 1", ()),
        )

    assert whole.scans == {"apiusage_reading"}
    assert of_org.whole_org
    assert latest.whole_org
    assert (fine.scans, fine.whole_org, fine.tables) == (set(), False, {"apiusage_reading"})


def test_rows_that_refer_to_others_are_found_from_there(engine: Engine) -> None:
    """Each foreign key leads an index: deleting a row looks for those that refer to it."""
    for table in metadata.sorted_tables:
        leading = [next(iter(each.columns)).name for each in (*table.indexes, table.primary_key)]
        for key in table.foreign_keys:
            assert key.parent.name in leading, f"{table.name}.{key.parent.name}"


@dataclass(frozen=True)
class Plan:
    """How a database would answer.

    :param tables: that it looks into.
    :param scans: those of them that it would go through from one end to the other.
    :param whole_org: whether it would go through all rows of one org in any.
    """

    tables: set[str]
    scans: set[str]
    whole_org: bool


def plan_of(connection: Connection, asked: Asked) -> Plan:
    """Return how a statement would be executed."""
    if connection.dialect.name == "sqlite":
        return sqlite_plan(connection, asked)
    return postgresql_plan(connection, asked)


def stops_early(statement: str, *, sorts: bool) -> bool:
    """Whether a statement takes what it needs from the end of an index: so many rows, or the least or greatest."""
    return not sorts and bool(re.search(r"\bLIMIT\b|\b(min|max)\([a-z_.]+\) AS (min|max)_1 ?\n", statement))


def sqlite_plan(connection: Connection, asked: Asked) -> Plan:
    """Read what ``EXPLAIN QUERY PLAN`` tells, aliases resolved."""
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked.statement}", asked.values).all()
    aliases = dict(re.findall(r"(apiusage_\w+) AS (\w+)", asked.statement))
    names = {alias: table for table, alias in aliases.items()}
    tables: set[str] = set()
    scans: set[str] = set()
    of_org = False
    for detail in (row.detail for row in rows):
        found = re.match(r"(SCAN|SEARCH) (\w+)(?: USING .*?(?:\((.*)\))?)?$", detail)
        if found is None or names.get(found[2], found[2]) not in GROWING:
            continue
        table = names.get(found[2], found[2])
        tables.add(table)
        if found[1] == "SCAN":
            scans.add(table)
        of_org = of_org or found[3] == "org_id=?"
    sorts = any("USE TEMP B-TREE FOR ORDER BY" in row.detail for row in rows)
    inserted = re.match(r"INSERT INTO (\w+)", asked.statement)
    return Plan(
        tables | ({inserted[1]} if inserted else set()), scans, of_org and not stops_early(asked.statement, sorts=sorts)
    )


def postgresql_plan(connection: Connection, asked: Asked) -> Plan:
    """Read what ``EXPLAIN`` tells when PostgreSQL may go through a table only if there is no other way.

    Here one org has most of the rows, so it would join by going through both sides; a way into an index must be there.
    """
    for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
        connection.execute(text(f"SET enable_{way} = off"))
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {asked.statement}", asked.values).scalar_one()
    nodes = list(nodes_of(plan["Plan"]))
    tables: set[str] = set()
    scans: set[str] = set()
    of_org = False
    for node in nodes:
        table = node.get("Relation Name")
        if table not in GROWING:
            continue
        tables.add(table)
        condition = node.get("Index Cond", "")
        if node.get("Index Name") in LIVE_ONLY:
            continue
        if "Scan" in node["Node Type"] and not condition:
            scans.add(table)
        of_org = of_org or bool(re.fullmatch(r"\(\(?\w*\.?org_id\)?(::text)? = [^()]*\)", condition))
    sorts = any(node["Node Type"] == "Sort" for node in nodes)
    return Plan(tables, scans, of_org and not stops_early(asked.statement, sorts=sorts))


def nodes_of(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Tell a plan's nodes."""
    yield node
    for below in node.get("Plans", ()):
        yield from nodes_of(below)
