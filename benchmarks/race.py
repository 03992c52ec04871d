"""Many processes at one gate: real processes, a real store, and not one call granted twice.

``python -m benchmarks.race [--processes N] [--grants N] [--store sqlite | postgresql | both]``

Each process asks one org after the other until that has nothing left: a handful of requests a turn, as a triggerer does
for its gates. Two of them ask for one holder each time, as two triggerers do that both think that a gate is theirs. One
grant of each turn is given back unspent, so that the same calls are granted again. What was granted is written down
twice: by the gate in its store, and by each process in a file of its own; and who was granted calls adds them to a
counter in shared memory before it takes them off again, so that it shows if two hold the same calls for a moment only.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, select
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.quota.model import Grant, Holder, LeaseState, QuotaRequest, Reserve
from airflow_provider_apiusage.store.engine import migrate, prepare_engine
from airflow_provider_apiusage.store.errors import StoreUnavailableError
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.schema import lease
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource

NOW = datetime(2026, 10, 7, 14, 30, tzinfo=UTC)
BATCHES = "DailyBulkApiBatches"
LIMITS = {API_REQUESTS: (5_000, 3_750, 50), BATCHES: (250, 25, 0)}
"""Of each org: the limit, what is used of it, and what is kept. 1,200 calls and 225 batches may be granted."""

FREE = {name: limit - used - kept for name, (limit, used, kept) in LIMITS.items()}
PRIVATE, SHARED = 37, 3
"""Requests of one turn: for holders of this process alone, and for holders that its twin asks for as well."""

LIKELY = 500
"""Grants that an org gives at least."""

PRELOAD = [__name__, "airflow_provider_apiusage.gate", "psycopg"]


def org_of(number: int) -> str:
    """Return the id of one of the orgs."""
    return f"00DRACE{number:08d}"


def open_engine(url: str) -> Engine:
    """Return an engine as the package makes it."""
    return prepare_engine(create_engine(url, poolclass=NullPool))


def requests_of(racer: int, number: int, turn: int) -> list[QuotaRequest]:
    """Return what a process asks of an org in one turn."""
    tasks = [f"alone {racer} {turn} {n}" for n in range(PRIVATE)]
    tasks += [f"pair {racer // 2} {turn} {n}" for n in range(SHARED)]
    kept = Reserve({name: kept for name, (_, _, kept) in LIMITS.items()})
    return [
        QuotaRequest(
            org_of(number),
            Holder("race", f"org {number}", task),
            {API_REQUESTS: 1 + (turn + n) % 3, **({BATCHES: 1} if n % 3 == 0 else {})},
            NOW,
            kept,
        )
        for n, task in enumerate(tasks)
    ]


class Turnstile:
    """Counts what is held at each moment, apart from any store.

    :param context: of multiprocessing.
    :param orgs: how many.
    """

    def __init__(self, context: Any, orgs: int) -> None:
        self._held = {name: context.Array("q", orgs) for name in FREE}
        self._most = {name: context.Array("q", orgs) for name in FREE}
        self.grants = context.Value("q", 0)
        self.start = context.Event()

    def enter(self, number: int, granted: Collection[Grant]) -> None:
        """Count new grants; call it when they are committed."""
        for name, held in self._held.items():
            calls = sum(each.reservation.needs.get(name, 0) for each in granted)
            with held.get_lock():
                held[number] += calls
                self._most[name][number] = max(self._most[name][number], held[number])
        with self.grants.get_lock():
            self.grants.value += len(granted)

    def leave(self, number: int, grant: Grant) -> None:
        """Count off what is given back; call it before it is."""
        for name, held in self._held.items():
            with held.get_lock():
                held[number] -= grant.reservation.needs.get(name, 0)

    def oversold(self) -> int:
        """Return the calls that were ever held beyond what could be granted."""
        return sum(max(0, most - FREE[name]) for name, each in self._most.items() for most in each)


def run(url: str, racer: int, orgs: int, grants: int, turnstile: Turnstile, file: Path) -> None:
    """Be one of the processes: ask until enough is granted to all together, and write down what was granted here."""
    engine = open_engine(url)
    ledger, store = QuotaLedger(engine), UsageStore(engine)
    gate = Gate(ledger, store, list, timedelta(minutes=5), lambda: NOW)
    with file.open("w", newline="") as stream:
        out = csv.writer(stream)
        turnstile.start.wait()
        for number in range(orgs):
            turn = 0
            while turnstile.grants.value < grants:
                asked = requests_of(racer, number, turn)
                turn += 1
                decisions = _patiently(lambda asked=asked: gate.turn_all(asked[0].org_id, asked).decisions, out)
                held = [one for one in decisions.values() if isinstance(one, Grant)]
                new = [one for one in held if one.figures]
                turnstile.enter(number, new)
                for one in held:
                    out.writerow(["new" if one in new else "again", *_row(one)])
                mine = [one for one in new if one.reservation.holder.task_id.startswith("alone")]
                if not mine:
                    break
                back = mine[0]
                turnstile.leave(number, back)
                reservation_id = back.reservation.reservation_id
                _patiently(lambda i=reservation_id: ledger.draw(i, dict.fromkeys(FREE, 0), NOW, closed=True), out)
                _patiently(lambda i=reservation_id: ledger.release(i, NOW), out)
                out.writerow(["back", *_row(back)])


def _patiently(act: Any, out: Any) -> Any:
    """Do something with the store; if it is too busy for that, try again, as the hub does."""
    while True:
        try:
            return act()
        except StoreUnavailableError as away:
            out.writerow(["away", away.what, "", 0, 0])


def _row(grant: Grant) -> list[Any]:
    held = grant.reservation
    return [held.reservation_id, str(held.holder), *(held.needs.get(name, 0) for name in FREE)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a race.

    :param grants: reservations, each counted once.
    :param orgs: that were asked.
    :param given_back: how many were given back unspent.
    :param shared: grants that two processes were told of.
    :param away: how often the store was too busy to answer within its time.
    :param oversold: calls and batches that were ever held, or are held at the end, beyond what could be granted.
    :param wrong: what else must not be, in words.
    """

    processes: int
    seconds: float
    grants: int
    orgs: int
    given_back: int
    shared: int
    away: int
    oversold: int
    wrong: Sequence[str]


def race(url: str, processes: int, grants: int) -> Outcome:
    """Let processes race for grants on an empty store.

    :param url: of the store.
    :param processes: an even number.
    :param grants: at least so many together.
    """
    engine = open_engine(url)
    migrate(engine)
    orgs = grants // LIKELY + 1
    UsageStore(engine).add_readings(
        LimitReading(org_of(n), name, ReadingSource.LIMITS, NOW, NOW, limit, limit - used, used)
        for n in range(orgs)
        for name, (limit, used, _) in LIMITS.items()
    )
    # The modules are loaded once, by a process that has no thread, and each of the others is a fork of that.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    turnstile = Turnstile(context, orgs)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{racer}.csv" for racer in range(processes)]
        running = [
            context.Process(target=run, args=(url, racer, orgs, grants, turnstile, file))
            for racer, file in enumerate(files)
        ]
        for process in running:
            process.start()
        began = time.monotonic()
        turnstile.start.set()
        for process in running:
            process.join()
        seconds = time.monotonic() - began
        assert [process.exitcode for process in running] == [0] * processes
        told = [row for file in files for row in csv.reader(file.read_text().splitlines())]
    return _checked(engine, told, turnstile, processes, seconds)


def _checked(
    engine: Engine, told: Sequence[Sequence[str]], turnstile: Turnstile, processes: int, seconds: float
) -> Outcome:
    """Hold what the processes were told against the store's rows, and both against what could be granted."""
    wrong = []
    new = [row for row in told if row[0] == "new"]
    again = [row for row in told if row[0] == "again"]
    back = {row[1] for row in told if row[0] == "back"}
    ids = {row[1]: row for row in new}
    if len(ids) != len(new):
        wrong.append(f"{len(new) - len(ids)} reservations were granted twice")
    if missing := [row for row in again if row[1] not in ids]:
        wrong.append(f"{len(missing)} grants were told that nobody was granted")
    if len({row[2] for row in ids.values()}) != len(ids):
        wrong.append("a holder has two reservations")

    held: Counter[tuple[str, str]] = Counter()
    rows = {}
    with engine.connect() as connection:
        for row in connection.execute(select(lease).where(lease.c.granted_at.is_not(None))):
            rows[row.reservation_id] = row.state
            if row.state == LeaseState.GRANTED.value:
                held.update({(row.org_id, name): calls for name, calls in row.needs.items()})
    expected = {key: LeaseState.RELEASED.value if key in back else LeaseState.GRANTED.value for key in ids}
    if rows != expected:
        wrong.append(f"{len(set(rows.items()) ^ set(expected.items()))} reservations differ between store and witness")
    witnessed: Counter[tuple[str, str]] = Counter()
    for key, row in ids.items():
        if key not in back:
            org = org_of(int(row[2].split("org ")[1].split("/")[0]))
            witnessed.update({(org, name): int(calls) for name, calls in zip(FREE, row[3:], strict=True) if int(calls)})
    if held != witnessed:
        wrong.append("what is held differs between store and witness")
    beyond = sum(max(0, calls - FREE[name]) for (_, name), calls in held.items())
    return Outcome(
        processes, seconds, len(ids), len({org for org, _ in held}), len(back),
        len({row[1] for row in again}), sum(row[0] == "away" for row in told),
        max(beyond, turnstile.oversold()), wrong,
    )  # fmt: skip


@contextmanager
def store_of(kind: str) -> Iterator[str]:
    """Yield the URL of an empty store."""
    with ExitStack() as stack:
        if kind == "sqlite":
            yield f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/apiusage.db"
            return
        from tests.support.postgres import fresh_database, postgres_server

        url = stack.enter_context(fresh_database(stack.enter_context(postgres_server())))
        yield url.render_as_string(hide_password=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Race, and print a table."""
    parser = argparse.ArgumentParser(description="Race processes for the same calls; nothing may be oversold.")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--grants", type=int, default=100_000)
    parser.add_argument("--store", choices=["sqlite", "postgresql", "both"], default="both")
    options = parser.parse_args(arguments)
    print(
        "| store | processes | grants | orgs | given back, granted again | told to two processes | seconds | "
        "grants/s | store too busy | oversold |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    failed = []
    for kind in ["sqlite", "postgresql"] if options.store == "both" else [options.store]:
        with store_of(kind) as url:
            one = race(url, options.processes, options.grants)
        print(
            f"| {kind} | {one.processes} | {one.grants:,} | {one.orgs:,} | {one.given_back:,} | {one.shared:,} | "
            f"{one.seconds:,.0f} | {one.grants / one.seconds:,.0f} | {one.away} | {one.oversold} |",
            flush=True,
        )
        failed += [f"{kind}: {text}" for text in one.wrong] + ([f"{kind}: oversold"] if one.oversold else [])
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
