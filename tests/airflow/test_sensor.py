"""The gate as a task: granted, deferred, refused, timed out, released; what soft_fail may hide and what not."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.sdk import DAG, timezone

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.operators.quota import ApiQuotaReleaseOperator
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor, GateError
from airflow_provider_apiusage.triggers.quota import ApiQuotaTrigger


def context(task_id: str = "gate", run_id: str = "run", map_index: int = -1) -> Any:
    """What the sensor reads of a task's context."""
    ti = SimpleNamespace(
        dag_id="dag", run_id=run_id, task_id=task_id, map_index=map_index, start_date=timezone.utcnow()
    )
    return {"ti": ti}


def waiting(server: SandboxServer) -> list[str]:
    hook = ApiUsageHook()
    return [str(r.holder) for r in hook.ledger.waiting(server.org.identity.org_id, timezone.utcnow())]


def test_a_gate_that_is_open_does_not_defer(connected: SandboxServer) -> None:
    """When enough is left, the first look grants: one call, no triggerer, the reservation as XCom."""
    used_before = connected.org.used
    granted = ApiQuotaSensor(task_id="gate", calls=5_000, reserve=0.1).execute(context())

    assert granted["needs"] == {"DailyApiRequests": 5_000}
    assert granted["org_id"] == connected.org.identity.org_id
    assert granted["holder"] == "dag/run/gate"
    assert connected.org.used - used_before == 1
    json.dumps(granted)


def test_asking_again_gives_the_same_reservation(connected: SandboxServer) -> None:
    """A retried sensor takes over what its first try was granted; another map index is another holder."""
    sensor = ApiQuotaSensor(task_id="gate", calls=5_000)
    first, again = sensor.execute(context()), sensor.execute(context())
    other = sensor.execute(context(map_index=3))

    assert first["reservation_id"] == again["reservation_id"] != other["reservation_id"]


def test_two_gates_share_what_is_left(connected: SandboxServer) -> None:
    """74,999 are left: a load of 50,000 is let in, a second one of 50,000 has to wait, although none has spent yet."""
    ApiQuotaSensor(task_id="gate", calls=50_000).execute(context("first"))

    with pytest.raises(TaskDeferred):
        ApiQuotaSensor(task_id="gate", calls=50_000).execute(context("second"))


def test_a_gate_that_is_shut_defers_for_what_is_left_of_its_timeout(
    connected: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It hands over to the trigger, with the time since its start taken off, and says why and until when."""
    started = context()
    started["ti"].start_date -= timedelta(minutes=40)
    sensor = ApiQuotaSensor(task_id="gate", calls=90_000, timeout=3600, poke_interval=60)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(started)

    assert isinstance(deferred.value.trigger, ApiQuotaTrigger)
    assert deferred.value.method_name == "execute_complete"
    assert timedelta(minutes=19) < deferred.value.timeout <= timedelta(minutes=20)
    told = capsys.readouterr().out
    assert "90,000 needed" in told
    assert "Earliest opening: 2026-10-07 14:30:00 UTC" in told
    assert waiting(connected) == ["dag/run/gate"]


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"calls": 95_000, "reserve": "10%"}, r"95,000 needed can never fit: the limit of 100,000.*90,000 even with"),
        ({"calls": 10, "reserve": 200_000}, r"reserve of 200,000 is above the org's limit of 100,000"),
    ],
)
def test_what_can_never_fit_is_refused_at_once(
    connected: SandboxServer, arguments: dict[str, Any], message: str, deferrable: bool
) -> None:
    """The arithmetic is in the message, nothing retries, and nothing stays in the queue."""
    with pytest.raises(AirflowFailException, match=message):
        ApiQuotaSensor(task_id="gate", deferrable=deferrable, **arguments).execute(context())
    assert waiting(connected) == []


@pytest.mark.parametrize("calls", [0, -1, "none", {}, {"DailyApiRequests": 0}])
def test_calls_that_make_no_sense_fail_by_name(connected: SandboxServer, calls: Any) -> None:
    """A need of nothing is a mistake in the DAG, not an open gate."""
    with pytest.raises(ValueError, match="calls"):
        ApiQuotaSensor(task_id="gate", calls=calls).execute(context())


def test_a_limit_that_the_org_does_not_report_follows_on_unknown(connected: SandboxServer) -> None:
    """Unknown is not zero and not plenty: wait, fail or allow, as the user said."""
    needs = {"DailyNoSuchLimit": 5}
    with pytest.raises(TaskDeferred):
        ApiQuotaSensor(task_id="gate", calls=needs).execute(context("a"))
    with pytest.raises(AirflowFailException, match="DailyNoSuch2: nothing has been read of it"):
        ApiQuotaSensor(task_id="gate", calls={"DailyNoSuch2": 5}, on_unknown="fail").execute(context("b"))
    allowed = ApiQuotaSensor(task_id="gate", calls={"DailyNoSuch3": 5}, on_unknown="allow").execute(context("c"))

    assert allowed["needs"] == {"DailyNoSuch3": 5}


def test_several_limits_are_all_or_nothing(connected: SandboxServer) -> None:
    """Calls are plenty, batches are not: the load waits, and reserves neither."""
    connected.org.change({"limit_overrides": {"DailyBulkApiBatches": {"Max": 15_000, "Remaining": 3}}})
    sensor = ApiQuotaSensor(task_id="gate", calls={"DailyApiRequests": 10, "DailyBulkApiBatches": 5})
    with pytest.raises(TaskDeferred):
        sensor.execute(context())

    assert ApiUsageHook().ledger.reservations(connected.org.identity.org_id, timezone.utcnow()) == ()


def test_an_exhausted_org_is_waited_for(connected: SandboxServer) -> None:
    """An org that refuses because nothing is left says exactly what the gate wants to know: wait."""
    connected.org.change({"limit": 20_000, "hard_limit": 20_000})

    with pytest.raises(TaskDeferred):
        ApiQuotaSensor(task_id="gate", calls=10).execute(context())


def test_an_org_that_is_down_for_a_moment_is_waited_for(
    connected: SandboxServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gate that may wait for hours does not fail on a passing fault; the log says what happened."""
    monkeypatch.setattr("airflow_provider_apiusage.salesforce.session._back_off", lambda attempt: 0.0)
    connected.org.faults.order(Fault("status", status=503, path="/limits"))

    with pytest.raises(TaskDeferred):
        ApiQuotaSensor(task_id="gate", calls=10).execute(context())
    told = capsys.readouterr().out
    assert "could not be read just now" in told
    assert "503" in told


def test_a_timeout_is_a_sensor_timeout_and_leaves_the_queue(connected: SandboxServer) -> None:
    """What Airflow does when the deferral times out: no ghost keeps the others waiting."""
    sensor = ApiQuotaSensor(task_id="gate", calls=90_000)
    with pytest.raises(TaskDeferred):
        sensor.execute(context())
    assert waiting(connected) == ["dag/run/gate"]

    with pytest.raises(AirflowSensorTimeout):
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, context())
    assert waiting(connected) == []


def test_soft_fail_skips_what_is_about_quota_and_nothing_else(
    connected: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal and a timeout are skipped; a broken credential, in the worker or in the trigger, is never."""
    sensor = ApiQuotaSensor(task_id="gate", calls=95_000, reserve="10%", soft_fail=True)
    with pytest.raises(AirflowSkipException):
        sensor.execute(context())
    with pytest.raises(AirflowSkipException):
        sensor.resume_execution("execute_complete", {"event": {"status": "refused", "reason": "no"}}, context())
    with pytest.raises(AirflowSkipException):
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, context())

    failed = {"status": "error", "kind": "authentication", "message": "refused [connection 'salesforce_default']"}
    with pytest.raises(GateError, match="salesforce_default"):
        sensor.resume_execution("execute_complete", {"event": failed}, context())
    connection = connected.connection("client_credentials")
    connection["extra"]["consumer_secret"] = "wrong-secret"
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(connection))
    for deferrable in (True, False):
        with pytest.raises(Exception, match="salesforce_default") as error:
            ApiQuotaSensor(task_id="gate", calls=1, soft_fail=True, deferrable=deferrable).execute(context())
        assert type(error.value).__name__ == "AuthenticationError"


def test_a_grant_that_lapsed_on_the_way_back_queues_again(connected: SandboxServer) -> None:
    """A task that waited for a worker for longer than its lease does not start on calls that others may have now."""
    sensor = ApiQuotaSensor(task_id="gate", calls=70_000, lease=0.001)
    first = sensor.execute(context())
    event = {"status": "granted", "reason": "there was room", "reservation": first}

    again = ApiQuotaSensor(task_id="gate", calls=70_000, lease=3600)
    with pytest.raises(TaskDeferred):
        again.resume_execution("execute_complete", {"event": event}, context())


def test_a_release_gives_back_once(connected: SandboxServer) -> None:
    """Releasing takes the XCom, its rendered text or the id; twice is no error; unknown ids are."""
    granted = ApiQuotaSensor(task_id="gate", calls=5_000).execute(context())
    release = ApiQuotaReleaseOperator(task_id="release", reservation=granted)

    assert release.execute(context("release")) == {
        "reservation_id": granted["reservation_id"], "released": True, "state": "released", "api_calls": 0,
    }  # fmt: skip
    for written in (str(granted), granted["reservation_id"]):
        again = ApiQuotaReleaseOperator(task_id="again", reservation=written).execute(context("release"))
        assert (again["released"], again["state"]) == (False, "released")
    assert ApiQuotaReleaseOperator(task_id="none", reservation=None).execute(context())["released"] is False
    with pytest.raises(ValueError, match=r"no reservation 'of-nobody'.*store_conn_id"):
        ApiQuotaReleaseOperator(task_id="lost", reservation="of-nobody").execute(context())


@pytest.mark.parametrize("style", [{"deferrable": True}, {"deferrable": False, "mode": "poke"}])
def test_a_gated_load_in_a_dag_run(
    connected: SandboxServer, run_dag: Callable[..., Any], style: dict[str, Any]
) -> None:
    """Setup, work and teardown; calls come from a template; the reservation is released though the work fails."""
    from airflow.sdk import task

    with DAG(f"gated_{style['deferrable']}", schedule=None, params={"calls": 1_234}) as dag:
        gate = ApiQuotaSensor(task_id="gate", calls="{{ params.calls }}", **style)
        release = ApiQuotaReleaseOperator(task_id="release", reservation=gate.output)

        @task
        def load() -> None:
            raise RuntimeError("half-way")

        gate.as_setup() >> load() >> release.as_teardown(setups=gate)
    run = run_dag(dag)

    states = {ti.task_id: ti.state for ti in run.get_task_instances()}
    assert states == {"gate": "success", "load": "failed", "release": "success"}
    released = run.get_task_instance("release").xcom_pull(task_ids="release")
    assert (released["released"], released["state"]) == (True, "released")
    assert run.get_task_instance("gate").xcom_pull(task_ids="gate")["needs"] == {"DailyApiRequests": 1_234}
