"""Which connections lead to an org: learnt by hooks as they go, for no call, and never a reason to fail."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.org_connections import OrgConnection, OrgConnections
from tests.airflow.conftest import connected, store_file
from tests.support.quota import NOW, ORG

__all__ = ["connected", "store_file"]


def seen(file: Path) -> list[tuple[str, str, str | None]]:
    """Return what a store knows of connections."""
    return [(each.org_id, each.conn_id, each.instance_url) for each in OrgConnections(sqlite_engine(file)).all()]


def test_a_load_that_leaves_readings_leaves_its_connection(connected: SandboxServer, store_file: Path) -> None:
    """A hook that only makes calls lets the store know which org its connection led to, and spends no call on it."""
    with ApiUsageHook() as hook:
        hook.conn.query("SELECT Id FROM Account")
        calls = hook.api_calls

    assert calls == 1
    assert seen(store_file) == [(connected.org.identity.org_id, "salesforce_default", connected.url)]


def test_a_hook_that_keeps_nothing_keeps_no_connection(connected: SandboxServer, store_file: Path) -> None:
    """With ``keep_readings=False`` there is no store until it is used; then the connection is in it."""
    with ApiUsageHook(keep_readings=False) as hook:
        hook.get_limits()
        assert not store_file.exists()
        hook.store.orgs()

    assert seen(store_file) == [(connected.org.identity.org_id, "salesforce_default", connected.url)]


def test_a_store_that_is_away_stops_no_load(connected: SandboxServer, store_file: Path) -> None:
    """The load goes on; its connection is known when the store is back."""
    store_file.mkdir()
    with ApiUsageHook() as hook:
        assert "records" in hook.conn.query("SELECT Id FROM Account")
    store_file.rmdir()
    with ApiUsageHook() as hook:
        assert "records" in hook.conn.query("SELECT Id FROM Account")

    assert [conn_id for _, conn_id, _ in seen(store_file)] == ["salesforce_default"]


def test_a_connection_is_written_once_a_day(tmp_path: Path) -> None:
    """Its last use is kept to a day; a new address at once; an address that is not known now stays as it was."""
    engine = sqlite_engine(tmp_path / "apiusage.db")
    migrate(engine)
    kept = OrgConnections(engine)
    hour, day = timedelta(hours=1), timedelta(days=1)

    told = []
    for at, address in ((NOW, "https://a"), (NOW + hour, None), (NOW + 2 * hour, "https://b"), (NOW + 2 * day, None)):
        kept.record(OrgConnection(ORG, "a", address, at))
        (one,) = kept.all()
        told.append((one.seen_at, one.instance_url))

    assert told == [
        (NOW, "https://a"), (NOW, "https://a"), (NOW + 2 * hour, "https://b"), (NOW + 2 * day, "https://b")
    ]  # fmt: skip
    kept.record(OrgConnection(ORG, "b", None, NOW + 3 * day))
    assert [each.conn_id for each in kept.all()] == ["b", "a"]
