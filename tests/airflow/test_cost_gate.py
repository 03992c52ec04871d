"""Estimates as the need of a gate: written in the DAG, from a template, from another task, mapped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.operators.quota import ApiQuotaReleaseOperator
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor
from airflow_provider_apiusage.usage.cost import Cost, cheapest, estimate_cost
from airflow_provider_apiusage.usage.cost_history import PastRun, estimate_from_history
from tests.support.quota import NOW

COST = estimate_cost(records=25_000, api="bulk2", polls=2)
PAST = [PastRun(COST, {name: need * 2 for name, need in COST.items()}) for _ in range(9)]


def corrected(estimate: Cost) -> Cost:
    return estimate_from_history(PAST, estimate).needs


MACROS = {"estimate_cost": estimate_cost, "cheapest": cheapest, "corrected": corrected}
WRITTEN: dict[str, Any] = {
    "parameter": "{{ estimate_cost(records=params.rows, api='bulk2', polls=2) }}",
    "text": "{{ estimate_cost(records='25,000', api=params.api, polls='2') }}",
    "other_task": "{{ estimate_cost(records=ti.xcom_pull(task_ids='count'), api='bulk2', polls=2) }}",
    "xcom_as_json": "{{ ti.xcom_pull(task_ids='estimate') | tojson }}",
    "xcom": "{{ ti.xcom_pull(task_ids='estimate') }}",
    "cheapest": "{{ (cheapest(records=params.rows, polls=2).values() | list)[0] }}",
    "both": "{{ estimate_cost(records=2001, api='query') + estimate_cost(records=1, api='rest') }}",
    "by_history": "{{ corrected(estimate_cost(records=params.rows, api='bulk2', polls=2)) }}",
    "one_limit": {"DailyBulkApiBatches": "{{ estimate_cost(records=99999, api='bulk1').DailyBulkApiBatches }}"},
    "as_it_is": COST,
}
OTHERWISE = {"both": {"DailyApiRequests": 3}, "by_history": COST + COST, "one_limit": {"DailyBulkApiBatches": 10}}


@pytest.mark.parametrize("native", [False, True])
def test_a_gate_takes_an_estimate_however_it_is_written(
    connected: SandboxServer, run_dag: Callable[..., Any], native: bool
) -> None:
    """Each gate asks for the needs that were estimated, with templates that render to text as with native ones."""
    with DAG(
        f"estimates_{native}",
        schedule=None,
        params={"rows": 25_000, "api": "bulk2"},
        user_defined_macros=MACROS,
        render_template_as_native_obj=native,
    ) as dag:

        @task
        def count() -> int:
            return 25_000

        @task
        def estimate() -> Cost:
            return COST

        estimated, counted = estimate(), count()
        gates = [ApiQuotaSensor(task_id=name, calls=calls) for name, calls in WRITTEN.items()]
        gates.append(ApiQuotaSensor(task_id="output", calls=estimated))
        [estimated, counted] >> gates[0] >> gates[1:]
        ApiQuotaSensor.partial(task_id="mapped").expand(calls=[COST, estimate_cost(records=201, api="rest")])
    run = run_dag(dag)

    tasks = {(ti.task_id, ti.map_index): ti for ti in run.get_task_instances()}
    assert {ti.state for ti in tasks.values()} == {"success"}
    needs = {
        key: ti.xcom_pull(task_ids=key[0], map_indexes=key[1])["needs"]
        for key, ti in tasks.items()
        if key[0] not in ("count", "estimate")
    }
    expected = {(name, -1): OTHERWISE.get(name, COST) for name in [*WRITTEN, "output"]}
    assert needs == expected | {("mapped", 0): COST, ("mapped", 1): {"DailyApiRequests": 201}}


def test_earlier_runs_correct_a_gate_and_their_corrections_do_not_add_up(
    connected: SandboxServer, run_dag: Callable[..., Any]
) -> None:
    """A load spends twice its estimate, run after run: from the second on, its gate asks for twice as much, no more."""
    with DAG("by_history", schedule=None) as dag:

        @task
        def load(reservation: dict[str, Any]) -> None:
            with ApiUsageHook(reservation=reservation) as hook:
                for _ in range(6):
                    hook.get_limits()

        gate = ApiQuotaSensor(task_id="gate", calls={"DailyApiRequests": 3}, by_history={"doubt": 1})
        load(gate.output) >> ApiQuotaReleaseOperator(task_id="release", reservation=gate.output)
    runs = [run_dag(dag, logical_date=NOW + timedelta(days=day)) for day in range(3)]

    assert {ti.state for run in runs for ti in run.get_task_instances()} == {"success"}
    needs = [run.get_task_instance("gate").xcom_pull(task_ids="gate")["needs"] for run in runs]
    assert needs == [{"DailyApiRequests": calls} for calls in (3, 6, 6)]
    with ApiUsageHook() as hook:
        past = hook.ledger.past_runs(hook.get_org_id(), "by_history", "gate")
        told = hook.estimate_from_history({"DailyApiRequests": 100}, "by_history", "gate", doubt=1)
    assert [run.estimated for run in past] == [{"DailyApiRequests": 3}] * 3
    assert [(run.spent["DailyApiRequests"], run.finished) for run in past] == [(6, True)] * 3
    assert told.needs == {"DailyApiRequests": 200}


def test_a_wrong_estimate_fails_the_gate_by_name(connected: SandboxServer) -> None:
    """A template with rows that are no number is refused, and says so."""
    sensor = ApiQuotaSensor(task_id="gate", calls="{{ estimate_cost(records=rows, api='rest') }}")
    sensor.dag = DAG("estimates_wrong", schedule=None, user_defined_macros=MACROS)

    with pytest.raises(ValueError, match="records='many' is no whole number; write it like records=30000"):
        sensor.render_template_fields({"rows": "many"})
