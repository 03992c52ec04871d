"""``status``, ``snapshot``, ``reconcile``, ``forecast``: what they say, what they cost, how they end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_apiusage.quota.model import Holder, QuotaRequest, Reserve
from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.usage.model import API_REQUESTS
from tests.cli.conftest import Run

REPORT = "00OAA0000000001"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """The seed's worked example, on a clock that runs: 25,000 of 100,000 calls, a Wednesday, 14:30 UTC."""
    with SandboxServer(SandboxOrg.seed_example(speed=1.0)) as listening:
        yield listening


@pytest.fixture
def read(run: Run, org: SandboxServer) -> SandboxServer:
    """The org, after one snapshot with its report."""
    said = run("snapshot", "--daily-report", REPORT, "-o", "json")
    assert said.code == 0, said.err
    assert said.data["api_calls"] == 2
    assert said.data["limits"][API_REQUESTS]["limit"] == 100_000
    return org


def test_a_snapshot_says_what_it_spent(run: Run, org: SandboxServer) -> None:
    """The org counts as many calls as the command says, and the store has them."""
    before = org.org.used
    said = run("snapshot", "--events", "daily")

    assert said.code == 0, said.err
    assert "API call(s) spent" in said.out
    assert "event log files read" in said.out
    assert f"{org.org.used - before} API call(s) spent" in said.out


def test_looking_spends_no_call(run: Run, read: SandboxServer) -> None:
    """Four commands on a store, none of which asks the org anything; ``--refresh`` asks once."""
    before = read.org.used
    asked = len(read.org.requests)
    codes = [run(*each.split()).code for each in ("status", "reconcile", "forecast", "gates")]

    assert codes == [0, 0, 0, 0]
    assert (read.org.used, len(read.org.requests)) == (before, asked)
    assert run("status", "--refresh", "-o", "json").data["api_calls"] == 1
    assert read.org.used == before + 1


def test_status_tells_people_and_programs_the_same(run: Run, read: SandboxServer) -> None:
    """Figures in the table are those of the JSON, whose keys are documented and whose instants are ISO."""
    data = run("status", "-o", "json").data
    words = run("status").out

    assert set(data) == {
        "org_id", "at", "used", "limit", "remaining", "share", "observed_at", "age_seconds", "source", "grantable",
        "waiting", "request", "limits", "api_calls",
    }  # fmt: skip
    assert data["remaining"] == data["limit"] - data["used"]
    assert datetime.fromisoformat(data["observed_at"]).tzinfo is not None
    assert f"{data['grantable']:,} calls can be granted now." in words
    assert f"{data['used']:,}" in words


def test_status_is_a_question_for_scripts(run: Run, read: SandboxServer) -> None:
    """What fits is granted, one more is not: exit 3, with the arithmetic; what can never fit is told apart."""
    most = run("status", "-o", "json").data["grantable"]
    fits, not_now, never = (run("status", "--needs", str(need), "-o", "json") for need in (most, most + 1, 1_000_000))

    assert (fits.code, not_now.code, never.code) == (0, 3, 3)
    assert fits.data["request"]["granted"]
    assert (not_now.data["request"]["granted"], not_now.data["request"]["ever"]) == (False, True)
    assert "must come free first" in not_now.data["request"]["reason"]
    assert never.data["request"]["ever"] is False
    assert run("status", "--needs", str(most), "--reserve", "1").code == 3
    assert run("status", "--needs", "many").code == 2


def test_status_counts_what_is_held_but_not_what_has_lapsed(run: Run, read: SandboxServer, store_file: Path) -> None:
    """A reservation takes from what can be granted; one whose time was up hours ago does not, though no gate has
    looked since; and looking writes nothing.
    """
    free = run("status", "-o", "json").data["grantable"]
    ledger = QuotaLedger(sqlite_engine(store_file))
    for name, calls, lease in (("held", 1_000, timedelta(hours=2)), ("lapsed", 30_000, timedelta(hours=1))):
        granted_at = NOW if name == "held" else NOW - timedelta(hours=5)
        asked = QuotaRequest(
            read.org.identity.org_id, Holder("dag", "run", name), {API_REQUESTS: calls}, granted_at, Reserve(), lease
        )
        with ledger.turn(asked.org_id) as turn:
            turn.join(asked, granted_at, granted_at + lease)
            turn.grant(asked, granted_at)
    before = store_file.read_bytes()

    assert run("status", "-o", "json").data["grantable"] == free - 1_000
    assert [each["holder"] for each in run("gates", "-o", "json").data["reservations"]] == ["dag/run/held"]
    assert store_file.read_bytes() == before


def test_a_contradiction_ends_with_3(run: Run, read: SandboxServer) -> None:
    """Sources that agree end with 0; from a severity on that is named, findings end with 3."""
    agree = run("reconcile", "-o", "json")

    assert agree.code == 0
    assert agree.data["consistent"]
    assert run("reconcile", "--fail-on", "info").code == 3
    assert run("reconcile", "--fail-on", "never").code == 0
    read.org.change({"limit_overrides": {API_REQUESTS: {"Max": 100_000, "Remaining": 99_000}}})
    assert run("snapshot").code == 0
    contradiction = run("reconcile")
    assert contradiction.code == 3
    assert "ERROR" in contradiction.out


def test_reports_are_written_where_they_are_wanted(run: Run, read: SandboxServer, tmp_path: Path) -> None:
    """Markdown and HTML, named in the answer; a folder that is not there is a sentence, not a traceback."""
    said = run("reconcile", "--markdown", str(tmp_path / "week.md"), "--html", str(tmp_path / "week.html"))

    assert said.code == 0, said.err
    assert "25,0" in (tmp_path / "week.md").read_text()
    assert "week.html" in said.out
    lost = run("reconcile", "--markdown", "/proc/nowhere/week.md")
    assert (lost.code, lost.out) == (1, "")
    assert "Traceback" not in lost.err


def test_forecast_answers_whether_calls_are_free(run: Run, read: SandboxServer) -> None:
    """Free now ends with 0, not free with 3; the JSON is that of the operator's XCom."""
    free, not_free = (run("forecast", "--needs", need, "-o", "json") for need in ("100", "99999"))

    assert (free.code, free.data["free_now"]) == (0, True)
    assert (not_free.code, not_free.data["free_now"]) == (3, False)
    assert set(free.data) >= {"org_id", "at", "used", "limit", "runs_out", "earliest_at", "api_calls"}


def test_what_is_not_known_is_an_error_that_says_how_it_comes(run: Run, org: SandboxServer, store_file: Path) -> None:
    """Without a store, or with one that knows nothing of the org, the sentence names the command that mends it; and
    looking makes no store.
    """
    said = [run(each) for each in ("status", "reconcile", "forecast", "gates")]

    assert [(each.code, each.out) for each in said] == [(1, "")] * 4
    assert all("airflow apiusage snapshot" in each.err for each in said)
    assert not store_file.exists()
    migrate(sqlite_engine(store_file))
    assert "airflow apiusage snapshot --conn-id salesforce_default" in run("status").err
    assert run("gates", "-o", "json").data["waiting"] == []


def test_an_org_may_be_named_instead_of_a_connection(
    run: Run, read: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its id of 15 or 18 characters, also where the connection is gone; one that is no id is wrong usage, and one
    that the connection does not lead to is not read in its place.
    """
    org_id = read.org.identity.org_id
    other = run("snapshot", "--org", "00DSB0000000043")
    monkeypatch.delenv("AIRFLOW_CONN_SALESFORCE_DEFAULT")

    assert (other.code, "leads to org" in other.err) == (1, True)
    assert run("status", "--org", f"{org_id}MAV").code == 0
    assert run("status", "--org", "acme").code == 2
    gone = run("status")
    assert gone.code == 1
    assert "There is no connection 'salesforce_default'" in gone.err
