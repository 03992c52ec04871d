"""Make the pictures of the page in `docs/images`: a sandbox org lives for nine days, and a browser looks at it.

Run it from the root of the checkout, in the environment of the tests: ``PYTHONPATH=. python docs/make_screenshots.py``.
It needs Chromium, and takes some two minutes.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

IMAGES = Path(__file__).with_name("images")
CONN_ID = "salesforce_default"
REPORT = "00OAA0000000001"
DAYS = 9
NIGHTS = (3_000, 14_000, 8_000, 19_000, 5_000)
"""Calls of the load that runs in one night and the next."""
BULK = "005SB0000000002"
"""The user that it runs as."""
HOUR = timedelta(hours=1)

PICTURES = (
    ("page-overview", "summary", 1280, 1000, "light"),
    ("page-week-dark", "series", 1280, 960, "dark"),
    ("page-bridge", "bridge", 1280, 1080, "light"),
    ("page-spenders", "spenders", 1280, 800, "light"),
    ("page-gate", "gate", 1280, 1000, "light"),
)
"""Name, view, width and height of the window, theme: all of them in Airflow's frame."""

PAST = (
    ("leads_sync", 2_500, 124, 0),
    ("nightly_load", 20_000, 103, 3),
    ("accounts_sync", 4_000, 78, 0),
    ("leads_sync", 2_500, 52, 0),
    ("full_export", 95_000, 32, 0),
    ("accounts_sync", 4_000, 27, 1),
)
"""Loads that asked before: DAG, calls, how many hours ago, how many hours it waited."""

MOST = 90_000
"""Calls of a request that can ever be granted."""

log = logging.getLogger("make_screenshots")


def fill(store: Path) -> None:
    """Fill a store with nine days of an org, as snapshots, event logs, reconciliations and a gate leave it."""
    import pytest

    from airflow_provider_apiusage.hooks import store as store_module
    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
    from airflow_provider_apiusage.sandbox import Caller, SandboxOrg, SandboxServer
    from airflow_provider_apiusage.usage.event_log_plan import EventSource
    from airflow_provider_apiusage.usage.reconciliation import reconcile

    now = datetime.now(UTC).replace(second=0, microsecond=0)
    org = SandboxOrg(
        start=now - timedelta(days=DAYS), seed=3, limit=100_000, calls_per_day=58_000, event_log_retention_days=30
    )
    with pytest.MonkeyPatch.context() as patch, SandboxServer(org) as server:
        connection = server.connection("client_credentials")
        patch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
        patch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(connection))
        patch.setattr(store_module, "default_path", lambda: store)
        with ApiUsageHook(CONN_ID, keep_readings=False) as hook:
            while org.clock.now() < now:
                start = org.clock.now()
                at = org.clock.advance(min(HOUR, now - start))
                if at.hour == 2:
                    org.spread(NIGHTS[at.day % len(NIGHTS)], start, at, (Caller(BULK, family="Bulk", client="loader"),))
                # A report of the day before, once it is over, and one of today at the end.
                reported = at.hour == 0 or at >= now
                snapshot = hook.take_snapshot(
                    daily_report=REPORT if reported else None, taken_by=f"api_usage/{at:%m-%dT%H:%M}/snapshot/-1"
                )
                if at.hour % 6 == 0 or at >= now:
                    hook.try_events(EventSource.AUTO, snapshot, most=500)
                hook.store.add(snapshot)
                if at.hour == 1 or at >= now:
                    evidence = hook.store.evidence(hook.get_org_id())
                    assert evidence is not None
                    told = reconcile(evidence)
                    hook.store.add_reconciliation(told.as_record(), told.at)
            _ask_the_gate(hook, now)


def _ask_the_gate(hook: object, now: datetime) -> None:
    """Let loads of the last days ask: some are granted, some wait first, one can never fit; two wait now."""
    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
    from airflow_provider_apiusage.quota.model import Holder, LimitFigures, QuotaRequest, Reserve
    from airflow_provider_apiusage.usage.model import API_REQUESTS

    assert isinstance(hook, ApiUsageHook)
    org_id = hook.get_org_id()

    def request(dag_id: str, calls: int, ago: timedelta) -> QuotaRequest:
        at = now - ago
        holder = Holder(dag_id, f"scheduled__{at:%Y-%m-%dT%H:%M}:00+00:00", "gate")
        return QuotaRequest(org_id, holder, {API_REQUESTS: calls}, at, Reserve(share=0.1), timedelta(hours=4))

    def reason(calls: int, headroom: int) -> str:
        return f"{API_REQUESTS}: {calls:,} needed, headroom {headroom:,}."

    granted = []
    with hook.ledger.turn(org_id) as turn:
        reading = turn.latest_readings([API_REQUESTS])[API_REQUESTS]
        left = reading.remaining or 0

        def figures(calls: int) -> list[LimitFigures]:
            return [LimitFigures(API_REQUESTS, calls, reading.limit, left, 10_000, 0)]

        for dag_id, calls, hours, waited in PAST:
            asked = request(dag_id, calls, hours * HOUR)
            came, at = asked.requested_at, asked.requested_at + waited * HOUR
            turn.join(asked, came, at + HOUR)
            if calls > MOST:
                turn.record(asked, came, "refuse", f"{API_REQUESTS}: {calls:,} needed can never fit.", figures(calls))
                turn.refuse(asked, came)
                continue
            if waited:
                turn.record(asked, came, "wait", reason(calls, calls - 8_760), figures(calls))
            turn.record(asked, at, "grant", reason(calls, calls + 9_300), figures(calls))
            granted.append((turn.grant(asked, at), at))
        held = request("accounts_sync", 4_000, timedelta(minutes=35))
        turn.join(held, held.requested_at, now + 4 * HOUR)
        turn.record(held, held.requested_at, "grant", reason(4_000, left - 10_000), figures(4_000))
        reservation = turn.grant(held, held.requested_at)
        for dag_id, calls, minutes in (("nightly_load", 30_000, 25), ("contacts_backfill", 45_000, 12)):
            asked = request(dag_id, calls, timedelta(minutes=minutes))
            turn.join(asked, asked.requested_at, now + 4 * HOUR)
            turn.record(asked, asked.requested_at, "wait", reason(calls, left - 14_000), figures(calls))
    for each, at in granted:
        hook.ledger.release(each.reservation_id, at + HOUR)
    hook.ledger.draw(reservation.reservation_id, {API_REQUESTS: 1_350}, now)


def photograph(store: Path, home: Path) -> None:
    """Look at the page in Airflow, at each view in turn, and once as on a phone."""
    from tests.ui.browser import chromium, settled, tab
    from tests.ui.servers import ApiServer

    with ApiServer(home, store) as server, chromium() as browser:
        token = server.token("admin")
        for name, view, width, height, theme in PICTURES:
            look = {"width": width, "theme": theme, "token": token, "zone": "UTC", "quiet": False}
            with tab(browser, server.url, **look) as opened:
                opened.page.set_viewport_size({"width": width, "height": height})
                opened.page.goto(f"{server.url}/plugin/apiusage?view={view}")
                opened.page.wait_for_selector("iframe")
                frame = opened.page.frames[-1]
                frame.wait_for_selector(".sentence")
                settled(frame)
                opened.page.screenshot(path=IMAGES / f"{name}.png")
                log.info("%s.png", name)
        with tab(browser, server.url, width=360, theme="dark", token=token) as opened:
            opened.page.goto(server.page)
            settled(opened.page)
            opened.page.screenshot(path=IMAGES / "page-narrow.png")
            log.info("page-narrow.png")


def main() -> None:
    """Make all pictures."""
    logging.basicConfig(level=logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_HOME"] = folder
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        os.environ["NO_PROXY"] = "127.0.0.1,localhost"
        store = Path(folder, "apiusage.db")
        fill(store)
        log.info("The store is filled.")
        IMAGES.mkdir(exist_ok=True)
        photograph(store, Path(folder, "api-server"))


if __name__ == "__main__":
    main()
