"""The forecast through the hook, the operator and the example DAG, against the sandbox org."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.operators.forecast import ApiUsageForecastOperator
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.usage.forecast_model import Basis, Forecast
from tests.support.quota import request

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "branch_on_forecast.py"
HOUR = timedelta(hours=1)


def watch(server: SandboxServer, hours: int, calls: Callable[[int], int]) -> None:
    """Let hours pass in which others make calls, with a snapshot at the end of each."""
    with ApiUsageHook(keep_readings=False) as hook:
        for _ in range(hours):
            start = server.org.clock.now()
            end = server.org.clock.advance(HOUR)
            server.org.spread(calls(start.hour), start, end)
            hook.store.add(hook.take_snapshot())


def xcom(run: Any, task_id: str) -> Any:
    return run.get_task_instance(task_id).xcom_pull(task_ids=task_id)


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def test_the_hook_forecasts_without_a_call(connected: SandboxServer) -> None:
    """What the org uses is told from the store: no call is spent, and the instant is the org's time."""
    watch(connected, 3, lambda _: 1_000)
    used = connected.org.used

    with ApiUsageHook() as hook:
        answer = hook.forecast()
        spent = hook.api_calls

    assert spent == 0
    assert connected.org.used == used
    assert abs(answer.forecast.at - connected.org.clock.now()) < timedelta(minutes=1)
    assert answer.forecast.limit == connected.org.settings.limit
    assert answer.forecast.basis is Basis.RATE
    assert answer.forecast.points[0].used is not None
    assert answer.forecast.points[0].used.expected == pytest.approx(used, abs=100)
    assert answer.free is None


def test_it_holds_against_the_org_s_own_expiry(connected: SandboxServer) -> None:
    """What the sandbox says will have left by each hour lies within the bounds, and calls are free when it says so."""
    watch(connected, 30, lambda hour: 2_000 if 8 <= hour < 18 else 100)
    expiry = connected.org.expiry(timedelta(hours=24))

    with ApiUsageHook() as hook:
        answer = hook.forecast(85_000)

    for point in answer.forecast.points[8::8]:
        sure = sum(each.count for each in expiry if each.at <= point.at - HOUR)
        possible = sum(each.count for each in expiry if each.at <= point.at + HOUR)
        assert point.expired.low <= possible
        assert point.expired.high is None or point.expired.high >= sure
    needed = connected.org.used + 85_000 - connected.org.settings.limit
    truly_at = next(each.at for each in expiry if each.cumulative >= needed)
    assert answer.free is not None
    assert answer.free.earliest_at is not None
    assert answer.free.earliest_at <= truly_at


def test_what_gates_have_granted_is_kept_back(connected: SandboxServer) -> None:
    """A reservation that is held is not free for others, beside a reserve given as a share."""
    watch(connected, 1, lambda _: 100)
    with ApiUsageHook() as hook:
        org_id = hook.get_org_id()
        now = hook.forecast().forecast.at - hook.store.latest_reading(org_id).skew
        with hook.ledger.turn(org_id) as turn:
            asked = request("1", 7_000, now, org_id=org_id)
            turn.join(asked, now, now + HOUR)
            turn.grant(asked, now)

        answer = hook.forecast("1,000", kept_back="10%")

    assert answer.kept_back == 7_000 + connected.org.settings.limit // 10
    assert answer.free is not None
    assert answer.free.calls == 1_000


def test_what_loads_have_spent_of_their_grants_is_not_kept_back_twice(connected: SandboxServer) -> None:
    """What was drawn before the newest reading is used already; what lapsed long before it is free again."""
    watch(connected, 1, lambda _: 100)
    with ApiUsageHook() as hook:
        org_id = hook.get_org_id()
        now = hook.forecast().forecast.at - hook.store.latest_reading(org_id).skew
        with hook.ledger.turn(org_id) as turn:
            for number, lease in (("running", 3 * HOUR), ("gone", HOUR)):
                asked = request(number, 7_000, now - 2 * HOUR, lease=lease, org_id=org_id)
                turn.join(asked, now - 2 * HOUR, now)
                held = turn.grant(asked, now - 2 * HOUR)
                if number == "running":
                    running = held.reservation_id
        hook.ledger.draw(running, {"DailyApiRequests": 5_000}, now - HOUR)

        answer = hook.forecast("1,000")

    assert answer.kept_back == 2_000


def test_hourly_counts_take_part(connected: SandboxServer) -> None:
    """Event logs in the store reach further back than snapshots, and tell when calls will leave."""
    watch(connected, 30, lambda hour: 2_000 if 8 <= hour < 18 else 100)
    with ApiUsageHook() as hook:
        without = hook.forecast().forecast
        hook.get_limits()  # shows the org's time, by which new files are told
        hook.read_events()
        told = hook.forecast().forecast

    def widest(made: Forecast) -> int:
        return max(p.expired.high - p.expired.low for p in made.points[:80] if p.expired.high is not None)

    assert told.history > without.history + 12 * HOUR
    assert widest(told) < widest(without) / 2


def test_the_operator_returns_a_small_answer(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """The XCom is JSON of under 4 kB with every field, and templates are rendered."""
    watch(connected, 3, lambda _: 1_000)
    with DAG("forecast_once", schedule=None, params={"calls": 20_000}) as dag:
        ApiUsageForecastOperator(task_id="forecast", calls="{{ params.calls }}", reserve="10%")

    told = xcom(run_dag(dag), "forecast")

    assert len(json.dumps(told)) < 4_000
    assert told["calls"] == 20_000
    assert told["kept_back"] == 10_000
    assert told["limit"] == 100_000
    assert told["free_now"] is True
    assert told["at"] == told["earliest_at"] == told["expected_at"] == told["likely_at"]
    assert told["runs_out"] == {"expected_at": None, "earliest_at": None}
    assert told["api_calls"] == 0
    assert {finding["code"] for finding in told["findings"]} == {"forecast-little-history", "forecast-mean-rate"}


def test_a_wrong_number_fails_the_task(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """Calls that are no number fail instead of being forecast as something else."""
    with DAG("forecast_wrong", schedule=None) as dag:
        ApiUsageForecastOperator(task_id="forecast", calls="many")

    assert states(run_dag(dag)) == {"forecast": "failed"}


@pytest.mark.parametrize(
    ("hours", "calls", "ran", "skipped"),
    [
        pytest.param(3, 20_000, "load_now", "load_later", id="enough"),
        pytest.param(3, 70_000, "load_later", "load_now", id="too many now"),
        pytest.param(0, 20_000, "load_later", "load_now", id="nothing known"),
    ],
)
def test_the_example_branches(
    connected: SandboxServer, run_dag: Callable[..., Any], hours: int, calls: int, ran: str, skipped: str
) -> None:
    """The example loads if the calls are free now, and puts the load off if they are not or nothing is known."""
    from airflow.dag_processing.dagbag import DagBag

    watch(connected, hours, lambda _: 1_000)
    bag = DagBag(dag_folder=str(EXAMPLE))
    assert bag.import_errors == {}
    (dag,) = bag.dags.values()

    run = run_dag(dag, run_conf={"calls": calls})

    assert states(run) == {"forecast": "success", "choose": "success", ran: "success", skipped: "skipped"}
