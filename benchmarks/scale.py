"""Ten thousand gates on twenty orgs in one event loop: real triggers at their hubs, a real store, the sandbox org.

``python -m benchmarks.scale [--gates N] [--orgs N] [--postgres]``
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer
from airflow_provider_apiusage.sandbox.identity import Identity

NEED = 1_000
USED = 99_500
LIMIT = 100_000
"""Half a need is left, so figures change with every reading, and none fits."""


def memory() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def serve(orgs: int, ready: Any, orders: Any) -> None:
    """Serve the sandbox orgs in a process of its own, so that their work is not counted as the triggerer's."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                SandboxServer(
                    SandboxOrg(
                        start=datetime.now(UTC), speed=1.0, limit=LIMIT, hard_limit=2_000_000,
                        identity=Identity(org_id=f"00DSB0000001{n:03d}"),
                    )
                )
            )
            for n in range(orgs)
        ]  # fmt: skip
        for server in servers:
            now = server.org.now()
            server.org.spread(USED, now - timedelta(hours=10), now - timedelta(hours=9))
        ready.put(
            [
                (server.org.identity.org_id, server.connection("client_credentials"), server.ca_file.read_text())
                for server in servers
            ]
        )
        while (order := orders.get()) is not None:
            if order == "open":
                for server in servers:
                    server.org.change({"limit": 1_000_000})
            ready.put([server.org.ledger.total_counted for server in servers])


async def wait_for_all(triggers: list[Any], granted_at: dict[str, float]) -> list[asyncio.Task[None]]:
    """Start the triggers as a triggerer does; keep when each heard of its grant."""

    async def run(trigger: Any) -> None:
        async for event in trigger.run():
            assert event.payload["status"] == "granted", event.payload
            granted_at[event.payload["reservation"]["reservation_id"]] = time.time()

    return [asyncio.create_task(run(trigger)) for trigger in triggers]


async def measure(
    gates: int, orgs: list[str], ready: Any, orders: Any, poll: float, idle_seconds: float
) -> dict[str, float]:
    """Let all gates wait, be idle, and be granted."""
    from sqlalchemy import event, func, select

    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
    from airflow_provider_apiusage.hooks.store import open_ledger
    from airflow_provider_apiusage.quota.model import Holder, QuotaRequest
    from airflow_provider_apiusage.quota.wire import request_to_json
    from airflow_provider_apiusage.store.engine import looking
    from airflow_provider_apiusage.store.schema import lease
    from airflow_provider_apiusage.triggers.quota import ApiQuotaTrigger

    ledger = open_ledger(os.environ.get("STORE_CONN_ID"))
    engine = ledger._engine
    written = {"rows": 0, "statements": 0}

    def count(_c: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.split(" ", 1)[0] in ("INSERT", "UPDATE"):
            written["rows"] += max(cursor.rowcount, 0)
            written["statements"] += 1

    event.listen(engine, "after_cursor_execute", count)

    def number(state: str) -> int:
        with looking(engine) as connection:
            return int(
                connection.execute(select(func.count()).select_from(lease).where(lease.c.state == state)).scalar_one()
            )

    # One gate first: imports, logins and pools are no gate's memory.
    granted_at: dict[str, float] = {}

    def trigger(n: int) -> ApiQuotaTrigger:
        org = n % len(orgs)
        request = QuotaRequest(
            orgs[org], Holder("dag", f"run_{n}", "gate"), {"DailyApiRequests": NEED}, datetime.now(UTC)
        )
        return ApiQuotaTrigger(f"org_{org}", os.environ.get("STORE_CONN_ID"), request_to_json(request), poll)

    first = await wait_for_all([trigger(n) for n in range(len(orgs))], granted_at)
    while await asyncio.to_thread(number, "waiting") < len(orgs):
        await asyncio.sleep(0.2)
    await asyncio.sleep(5)
    gc.collect()
    before, began = memory(), time.monotonic()
    tasks = first + await wait_for_all([trigger(n) for n in range(len(orgs), gates)], granted_at)
    while await asyncio.to_thread(number, "waiting") < gates:
        await asyncio.sleep(0.5)
    arrived = time.monotonic() - began
    await asyncio.sleep(10)
    gc.collect()
    per_gate = (memory() - before) / (gates - len(orgs))

    orders.put("count")
    calls = ready.get()
    cpu, began, rows, statements = time.process_time(), time.monotonic(), written["rows"], written["statements"]
    await asyncio.sleep(idle_seconds)
    idle = (time.process_time() - cpu) / (time.monotonic() - began)
    orders.put("count")
    polls = [after - earlier for after, earlier in zip(ready.get(), calls, strict=True)]
    idle_rows, idle_statements = written["rows"] - rows, written["statements"] - statements

    rows = written["rows"]
    orders.put("open")
    ready.get()

    def snapshot(org: int) -> float:
        hook = ApiUsageHook(f"org_{org}", os.environ.get("STORE_CONN_ID"), keep_readings=False)
        hook.store.add_readings(hook.get_limits())
        return time.time()

    cpu = time.process_time()
    readings = {orgs[org]: await asyncio.to_thread(snapshot, org) for org in range(len(orgs))}
    await asyncio.gather(*tasks)
    cpu = time.process_time() - cpu
    with looking(engine) as connection:
        told = connection.execute(select(lease.c.reservation_id, lease.c.granted_at, lease.c.org_id)).all()
    delays = sorted(granted_at[row.reservation_id] - row.granted_at.timestamp() for row in told)
    since_reading = sorted(granted_at[row.reservation_id] - readings[row.org_id] for row in told)
    return {
        "seconds until all wait": arrived,
        "KB per gate": per_gate / 1024,
        "% of a core while idle": 100 * idle,
        "calls per org and hour while idle": sum(polls) / len(polls) * 3600 / idle_seconds,
        "statements that write, per second while idle": idle_statements / idle_seconds,
        "rows written, per second while idle": idle_rows / idle_seconds,
        "rows written per grant": (written["rows"] - rows) / gates,
        "ms of a core per grant, from reading to waiter": 1000 * cpu / gates,
        "s from grant to waiter, p50": delays[len(delays) // 2],
        "s from grant to waiter, p95": delays[int(len(delays) * 0.95)],
        "s from the reading that shows the room to waiter, p50": since_reading[len(delays) // 2],
        "s from the reading that shows the room to waiter, p95": since_reading[int(len(delays) * 0.95)],
    }


def main() -> None:
    """Run it and print a table."""
    import multiprocessing

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=10_000)
    parser.add_argument("--orgs", type=int, default=20)
    parser.add_argument("--poll", type=float, default=300.0)
    parser.add_argument("--idle", type=float, default=120.0, help="seconds; a whole number of polls tells most")
    parser.add_argument("--postgres", action="store_true")
    asked = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ready, orders = context.Queue(), context.Queue()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-")))
        os.environ["AIRFLOW_HOME"] = str(folder)
        os.environ["NO_PROXY"] = "127.0.0.1,localhost"
        server = context.Process(target=serve, args=(asked.orgs, ready, orders))
        server.start()
        told = ready.get()
        (folder / "ca.pem").write_text("".join(ca for _, _, ca in told))
        os.environ["REQUESTS_CA_BUNDLE"] = str(folder / "ca.pem")
        for n, (_, connection, _) in enumerate(told):
            os.environ[f"AIRFLOW_CONN_ORG_{n}"] = json.dumps(connection)
        if asked.postgres:
            from tests.support.postgres import fresh_database, postgres_server

            url = stack.enter_context(fresh_database(stack.enter_context(postgres_server())))
            os.environ["STORE_CONN_ID"] = "store"
            os.environ["AIRFLOW_CONN_STORE"] = json.dumps(
                {
                    "conn_type": "postgres", "host": url.query.get("host", url.host), "login": url.username,
                    "password": url.password, "schema": url.database, "port": url.port,
                }
            )  # fmt: skip
        import logging

        logging.disable(logging.WARNING)
        orgs = [org_id for org_id, _, _ in told]
        figures = asyncio.run(measure(asked.gates, orgs, ready, orders, asked.poll, asked.idle))
        orders.put(None)
        server.join()
    print(f"{asked.gates:,} gates, {asked.orgs} orgs, {'PostgreSQL' if asked.postgres else 'SQLite'}")
    for name, value in figures.items():
        print(f"| {name} | {value:,.2f} |")


if __name__ == "__main__":
    main()
