"""What ``doctor`` checks without the org: options and the store."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import false, text, update

from airflow_provider_apiusage.cli.finding import Check, State, failed
from airflow_provider_apiusage.cli.told import when
from airflow_provider_apiusage.get_provider_info import get_provider_info
from airflow_provider_apiusage.hooks.store import SECTION, configured_store, default_path, open_engine
from airflow_provider_apiusage.salesforce.errors import ConfigurationError
from airflow_provider_apiusage.store.engine import VERSION_TABLE, looking, name_of, writing
from airflow_provider_apiusage.store.errors import StoreError, StoreUnavailableError
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.schema import org

if TYPE_CHECKING:
    from sqlalchemy import Engine

OFTEN = 30
"""Seconds between two readings below which gates spend more than they are worth: 2,880 calls a day."""

RARELY = 900
"""Seconds: gates grant on readings younger than 15 minutes."""

FRESH = timedelta(hours=1)
LOST = timedelta(days=1)
"""Age of the last reading from which the forecast is poor, and from which nothing is known of the present window."""

_BLIND = "Nothing can be kept or granted: snapshots fail and gates stay shut."


def check_options() -> Check:
    """Look for options of ``[apiusage]`` that nobody knows, or that make no sense."""
    from airflow.providers.common.compat.sdk import conf

    known: dict[str, dict[str, Any]] = get_provider_info()["config"][SECTION]["options"]
    there = dict(conf.getsection(SECTION) or {})
    unknown = sorted(set(there) - set(known))
    wrong = [said for name, option in known.items() if (said := _wrong(name, str(option["type"]), there.get(name)))]
    figures = {"unknown": unknown, "options": sorted(known)}
    if wrong:
        means = "Tasks that read the option fail, or use another value than was meant."
        return Check("options", State.FAIL, " ".join(wrong), means, f"Correct it in [{SECTION}].", figures)
    if unknown:
        names = ", ".join(unknown)
        found = f"[{SECTION}] has options that this version does not know: {names}."
        fix = f"Correct the spelling or remove them; known are {', '.join(sorted(known))}."
        return Check("options", State.WARN, found, "They have no effect.", fix, figures)
    pause = float(there.get("poll_interval") or known["poll_interval"]["default"])
    if not OFTEN <= pause <= RARELY:
        often = pause < OFTEN
        found = f"[{SECTION}] poll_interval is {pause:g} s."
        means = (
            f"Gates that wait may spend {86_400 / pause:,.0f} calls a day on looking."
            if often
            else "Gates want readings younger than 15 minutes, and read more often than this says."
        )
        return Check("options", State.WARN, found, means, "300 serves most; from 30 to 900 makes sense.", figures)
    return Check("options", State.OK, f"All options of [{SECTION}] are known and make sense.", figures=figures)


def _wrong(name: str, kind: str, value: Any) -> str:
    """Say why a value does not fit its option; blank if it does."""
    if value is None or value == "" or kind not in ("integer", "float", "boolean"):
        return ""
    if kind == "boolean":
        fits = str(value).strip().lower() in ("t", "true", "1", "f", "false", "0")
        return "" if fits else f"{name} = {value} is neither true nor false."
    try:
        number = float(value)
    except ValueError:
        return f"{name} = {value} is no number."
    return "" if 0 < number < float("inf") else f"{name} = {value} must be more than 0."


def check_store(store_conn_id: str | None) -> tuple[Check, Engine | None]:
    """Open the store and write nothing into it; return its engine if it can be used.

    A file that is not there yet is not made: it would belong to whoever runs this, and tasks may be somebody else.
    """
    file = default_path() if configured_store(store_conn_id) is None else None
    if file is not None and file.parent.exists() and not file.exists():
        found = f"There is no store at {file} yet; the first snapshot or gate makes it."
        if os.access(file.parent, os.W_OK):
            return Check(
                "store", State.WARN, found, "Nothing was read yet.", "Run a snapshot as the user of tasks."
            ), None
        return Check("store", State.FAIL, f"{found} The folder cannot be written.", _BLIND, _whose(file.parent)), None
    try:
        engine = open_engine(store_conn_id)
    except (StoreError, ConfigurationError) as error:
        return failed("store", error, _BLIND, _unusable(file, error)), None
    file = Path(engine.url.database) if engine.dialect.name == "sqlite" and engine.url.database else None
    try:
        with looking(engine) as connection:
            version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one()  # noqa: S608
            mode = connection.execute(text("PRAGMA journal_mode")).scalar_one() if file else None
        with writing(engine) as connection:
            connection.execute(update(org).where(false()).values(org_id=org.c.org_id))
    except StoreError as error:
        means = f"{_BLIND} What is there already can be read."
        return failed("store", error, means, _unusable(file, error)), engine
    figures = {"store": name_of(engine), "kind": engine.dialect.name, "schema": version, "journal_mode": mode}
    found = f"{engine.dialect.name} at {name_of(engine)}, schema {version}, can be written."
    executor = _spread()
    if file and executor:
        means = f"{executor} runs tasks on several hosts; each that has a file of its own grants the same calls again."
        fix = "Keep the store on PostgreSQL: [apiusage] store_conn_id."
        return Check("store", State.WARN, found, means, fix, figures), engine
    if file and mode != "wal":
        means = "Readers and writers wait for one another; on a network drive, a file may even break."
        fix = "Keep the file on a local disk, or the store on PostgreSQL."
        return Check("store", State.WARN, f"{found} Its journal mode is {mode}, not wal.", means, fix, figures), engine
    return Check("store", State.OK, found, figures=figures), engine


def _unusable(file: Path | None, error: StoreError | ConfigurationError) -> str:
    """Say whose the file is, as that is the usual cause; blank to take the error's own advice."""
    if file is None or not isinstance(error, StoreUnavailableError):
        return ""
    where = file if file.exists() else file.parent
    if not where.exists():
        return f"Make the folder {where}, or name another store in [apiusage] store_conn_id."
    return _whose(where)


def _whose(where: Path) -> str:
    about = where.stat()
    return (
        f"{where} belongs to user {about.st_uid} with mode {about.st_mode & 0o777:o}; this process is user "
        f"{os.geteuid()}. Let it read and write the file and its folder, and look at the disk: is it full, or mounted "
        "read-only?"
    )


def _spread() -> str | None:
    """Return the executors that run tasks on other hosts; ``None`` if there are none."""
    from airflow.providers.common.compat.sdk import conf

    named = conf.get("core", "executor", fallback="")
    return (
        ", ".join(
            each
            for each in named.split(",")
            if any(x in each for x in ("Celery", "Kubernetes", "Edge", "Batch", "Ecs"))
        )
        or None
    )


def check_snapshots(engine: Engine, org_id: str, now: datetime) -> Check:
    """Tell how long ago the org was last read on purpose, by a snapshot or a gate.

    :param now: our clock.
    """
    with looking(engine) as connection:
        last = Turn(connection, org_id).last_read_at()
    fix = "Let a DAG with an ApiUsageSnapshotOperator run every 15 minutes, and see that it is not paused or failing."
    if last is None:
        means = "There is no history: no forecast, no reconciliation, and gates must read the org first."
        return Check("snapshots", State.WARN, f"Org {org_id} was never read.", means, fix, {"last_read_at": None})
    age = max(timedelta(0), now - last)
    figures = {"last_read_at": last.isoformat(), "age_seconds": age // timedelta(seconds=1)}
    found = f"Org {org_id} was last read at {when(last)}, {_long(age)} ago."
    if age > LOST:
        return Check("snapshots", State.FAIL, found, "Nothing is known of the present 24 hours.", fix, figures)
    if age > FRESH:
        return Check("snapshots", State.WARN, found, "Forecasts and the expiry curve are poor.", fix, figures)
    return Check("snapshots", State.OK, found, figures=figures)


def _long(age: timedelta) -> str:
    hours, minutes = age // timedelta(hours=1), age // timedelta(minutes=1)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours" if hours >= 2 else f"{minutes} minutes"
