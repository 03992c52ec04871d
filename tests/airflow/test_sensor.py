"""The gate as a task: granted, deferred, refused, timed out, released; what soft_fail may hide and what not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.sdk import DAG, Asset, timezone
from airflow.triggers.base import TaskSuccessEvent

from airflow_provider_apiusage.hooks import store as store_module
from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.operators.quota import ApiQuotaReleaseOperator
from airflow_provider_apiusage.salesforce.errors import UnavailableError
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor, GateError
from airflow_provider_apiusage.store.errors import StoreUnavailableError
from airflow_provider_apiusage.triggers.quota import ApiQuotaTrigger
from tests.airflow.test_trigger import events_of


def context(task_id: str = "gate", run_id: str = "run", map_index: int = -1) -> Any:
    """What the sensor reads of a task's context."""
    ti = SimpleNamespace(
        dag_id="dag", run_id=run_id, task_id=task_id, map_index=map_index, start_date=timezone.utcnow()
    )
    return {"ti": ti}


def waiting(server: SandboxServer) -> list[str]:
    hook = ApiUsageHook()
    return [str(r.holder) for r in hook.ledger.waiting(server.org.identity.org_id, timezone.utcnow())]


def held(server: SandboxServer) -> list[str]:
    hook = ApiUsageHook()
    return [str(r.holder) for r in hook.ledger.reservations(server.org.identity.org_id, timezone.utcnow())]


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


def test_a_limit_that_the_org_does_not_report_is_refused_with_the_nearest_names(connected: SandboxServer) -> None:
    """A misspelt name is not waited for; who said that not knowing is no obstacle is let in."""
    typo = {"DailyApiRequests": 1, "DailyBulkApiBatchez": 5}
    for on_unknown in ("wait", "fail"):
        with pytest.raises(AirflowFailException, match=r"DailyBulkApiBatchez.*nearest.*DailyBulkApiBatches"):
            ApiQuotaSensor(task_id="gate", calls=typo, on_unknown=on_unknown).execute(context(on_unknown))
    assert waiting(connected) == []

    assert ApiQuotaSensor(task_id="gate", calls=typo, on_unknown="allow").execute(context())["needs"] == typo


def test_a_reserve_of_a_misspelt_limit_fails_by_name(connected: SandboxServer) -> None:
    """It would keep nothing free, and say nothing."""
    with pytest.raises(ValueError, match="reserve names 'DailyApiRequest'"):
        ApiQuotaSensor(task_id="gate", calls=70_000, reserve={"DailyApiRequest": 50_000}).execute(context())


def test_several_limits_are_all_or_nothing(connected: SandboxServer) -> None:
    """Calls are plenty, batches are not: the load waits, and reserves neither."""
    connected.org.change({"limit_overrides": {"DailyBulkApiBatches": {"Max": 15_000, "Remaining": 3}}})
    sensor = ApiQuotaSensor(task_id="gate", calls={"DailyApiRequests": 10, "DailyBulkApiBatches": 5})
    with pytest.raises(TaskDeferred):
        sensor.execute(context())

    assert ApiUsageHook().ledger.reservations(connected.org.identity.org_id, timezone.utcnow()) == ()


@pytest.mark.parametrize("style", ["org_id", "opaque"])
@pytest.mark.parametrize("flow", ["client_credentials", "password_soap", "access_token"])
def test_an_exhausted_org_is_waited_for(
    connected: SandboxServer, monkeypatch: pytest.MonkeyPatch, style: str, flow: str
) -> None:
    """An org that refuses because nothing is left says exactly what the gate wants to know: wait."""
    connected.org.change({"session_id_style": style})
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(connected.connection(flow)))
    connected.org.change({"limit": 20_000, "hard_limit": 20_000})

    with pytest.raises(TaskDeferred):
        ApiQuotaSensor(task_id="gate", calls=10).execute(context())
    assert waiting(connected) == ["dag/run/gate"]


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats follow each other at once."""
    monkeypatch.setattr("airflow_provider_apiusage.salesforce.session._back_off", lambda attempt: 0.0)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("fault", [Fault("reset", path="/token"), Fault("status", status=503, path="/token")])
async def test_a_login_that_is_down_at_the_first_look_is_waited_through(
    connected: SandboxServer, capsys: pytest.CaptureFixture[str], fault: Fault
) -> None:
    """As at every later look: the triggerer goes on, and learns which org it is when the login is back."""
    connected.org.faults.order(fault)
    sensor = ApiQuotaSensor(task_id="gate", calls=10, poke_interval=0, finish_in_triggerer=False)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context())
    assert "login" in capsys.readouterr().out
    pending = asyncio.ensure_future(events_of(deferred.value.trigger))
    await asyncio.sleep(0)
    connected.org.faults.clear()
    (event,) = await pending

    assert event["status"] == "granted"
    assert event["reservation"]["org_id"] == connected.org.identity.org_id
    assert sensor.resume_execution("execute_complete", {"event": event}, context()) is not None


@pytest.mark.usefixtures("no_pauses")
def test_a_login_that_is_down_is_waited_through_by_poking_too(connected: SandboxServer) -> None:
    """Whichever way a gate waits; who must not wait for what cannot be known fails."""
    connected.org.faults.order(Fault("reset", path="/token"))

    assert ApiQuotaSensor(task_id="gate", calls=10, deferrable=False).poke(context()).is_done is False
    for deferrable in (True, False):
        with pytest.raises(UnavailableError):
            ApiQuotaSensor(task_id="gate", calls=10, on_unknown="fail", deferrable=deferrable).execute(context())


def test_a_store_that_is_away_at_the_first_look_is_waited_for(
    connected: SandboxServer, store_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log says which store, and what to look at."""
    store_file.mkdir()

    with pytest.raises(TaskDeferred):
        ApiQuotaSensor(task_id="gate", calls=10).execute(context())
    assert "The store cannot be used" in capsys.readouterr().out


@pytest.mark.usefixtures("no_pauses")
def test_an_org_that_is_down_for_a_moment_is_waited_for(
    connected: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gate that may wait for hours does not fail on a passing fault; the log says what happened."""
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
    connected.org.faults.order(Fault("reset", path="/token"))  # leaving needs no login

    with pytest.raises(AirflowSensorTimeout):
        ApiQuotaSensor(task_id="gate", calls=90_000).resume_execution(
            "__fail__", {"error": "Trigger timeout"}, context()
        )
    connected.org.faults.clear()
    assert waiting(connected) == []


def test_a_grant_that_comes_as_the_wait_times_out_is_given_back(connected: SandboxServer) -> None:
    """No XCom will tell a release of it, and no retry will take it over."""
    ApiQuotaSensor(task_id="gate", calls=5_000).execute(context())
    ApiQuotaSensor(task_id="gate", calls=5_000).execute(context("another"))

    with pytest.raises(AirflowSensorTimeout):
        ApiQuotaSensor(task_id="gate", calls=5_000).resume_execution(
            "__fail__", {"error": "Trigger timeout"}, context()
        )

    assert held(connected) == ["dag/run/another"]


def test_a_failure_that_is_retried_keeps_what_was_granted(connected: SandboxServer) -> None:
    """The next try takes it over."""
    ApiQuotaSensor(task_id="gate", calls=5_000).execute(context())
    failed = {"status": "error", "kind": "authentication", "message": "refused"}

    with pytest.raises(GateError):
        ApiQuotaSensor(task_id="gate", calls=5_000).resume_execution("execute_complete", {"event": failed}, context())
    assert held(connected) == ["dag/run/gate"]


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


def test_a_grant_is_taken_up_without_the_org(connected: SandboxServer) -> None:
    """A login that fails when the task comes back leaves no reservation that nobody knows of; its lease begins anew."""
    granted = ApiQuotaSensor(task_id="gate", calls=10, lease=60).execute(context())
    event = {"status": "granted", "reason": "there was room", "reservation": granted}
    connected.org.faults.order(Fault("reset", path="/token"))

    taken = ApiQuotaSensor(task_id="gate", calls=10, lease=7200).resume_execution(
        "execute_complete", {"event": event}, context()
    )

    assert taken["held_until"] > granted["held_until"]
    assert {**taken, "held_until": None} == {**granted, "held_until": None}


@pytest.mark.parametrize("lease", [3600, 0.001])
def test_a_grant_is_taken_up_although_the_store_is_away(
    connected: SandboxServer, store_file: Path, lease: float
) -> None:
    """What still holds is the load's, renewed or not; of what does not, nobody can say."""
    granted = ApiQuotaSensor(task_id="gate", calls=10, lease=lease).execute(context())
    event = {"status": "granted", "reason": "there was room", "reservation": granted}
    store_module._engines.clear()
    store_file.rename(store_file.with_suffix(".away"))
    store_file.mkdir()
    sensor = ApiQuotaSensor(task_id="gate", calls=10)

    if lease > 1:
        assert sensor.resume_execution("execute_complete", {"event": event}, context()) == granted
    else:
        with pytest.raises(StoreUnavailableError):
            sensor.resume_execution("execute_complete", {"event": event}, context())


async def test_a_grant_ends_the_task_in_the_triggerer(connected: SandboxServer) -> None:
    """The reservation is its XCom; no worker takes the task up again. ``dag.test()`` does, and gets the same."""
    sensor = ApiQuotaSensor(task_id="gate", calls=80_000, poke_interval=0)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context())
    connected.org.clock.advance(timedelta(hours=20))
    (event,) = [each async for each in deferred.value.trigger.run()]

    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms is not None
    (reservation,) = event.xcoms.values()
    assert (event.xcoms, reservation["needs"]) == ({"return_value": reservation}, {"DailyApiRequests": 80_000})
    again = ApiQuotaSensor(task_id="gate", calls=80_000).resume_execution(
        "execute_complete", {"event": event.payload}, context()
    )
    assert again["reservation_id"] == reservation["reservation_id"]


class Heard:
    """A listener."""


def deferred_request(**arguments: Any) -> dict[str, Any]:
    """What a gate that is shut hands to the triggerer."""
    with pytest.raises(TaskDeferred) as deferred:
        ApiQuotaSensor(task_id="gate", calls=90_000, **arguments).execute(context())
    request: dict[str, Any] = deferred.value.trigger.serialize()[1]["request"]
    return request


@pytest.mark.parametrize(
    "arguments",
    [
        {"outlets": [Asset("loaded")]},
        {"on_success_callback": print},
        {"post_execute": print},
        {"finish_in_triggerer": False},
    ],
)
def test_a_task_that_would_lose_something_is_taken_up_by_a_worker(
    connected: SandboxServer, arguments: dict[str, Any]
) -> None:
    """A task that the triggerer ends sends no asset events and calls nobody, so such a task goes back to a worker."""
    assert "ends_with_xcoms" not in deferred_request(**arguments)
    assert deferred_request()["ends_with_xcoms"] == ["return_value"]
    assert deferred_request(do_xcom_push=False)["ends_with_xcoms"] == []


def test_listeners_hear_of_a_gate_that_was_granted(connected: SandboxServer) -> None:
    """Lineage, for example: a task that the triggerer ends is told to no listener, so a worker ends it."""
    try:
        from airflow.sdk.listener import get_listener_manager
    except ImportError:  # before Airflow 3.2
        from airflow.listeners.listener import get_listener_manager

    manager, listener = get_listener_manager(), Heard()
    manager.pm.register(listener)
    try:
        assert "ends_with_xcoms" not in deferred_request()
    finally:
        manager.pm.unregister(listener)


@pytest.mark.parametrize("deferrable", [True, False])
def test_priority_is_a_head_start_in_the_queue(connected: SandboxServer, deferrable: bool) -> None:
    """It reaches the queue in either mode, from a template too; what is no whole number fails by name."""
    sensor = ApiQuotaSensor(task_id="gate", calls=90_000, priority="2", deferrable=deferrable)
    if deferrable:
        with pytest.raises(TaskDeferred):
            sensor.execute(context())
    else:
        assert sensor.poke(context()).is_done is False

    (request,) = ApiUsageHook().ledger.waiting(connected.org.identity.org_id, timezone.utcnow())
    assert request.priority == 2
    with pytest.raises(ValueError, match="priority"):
        ApiQuotaSensor(task_id="gate", calls=1, priority="high").execute(context())


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_a_gate_that_pokes_stands_in_the_same_queue(connected: SandboxServer, mode: str) -> None:
    """Behind it a deferred gate waits its turn."""
    assert ApiQuotaSensor(task_id="gate", calls=90_000, deferrable=False, mode=mode).poke(context()).is_done is False
    with pytest.raises(TaskDeferred):
        ApiQuotaSensor(task_id="gate", calls=80_000).execute(context("second"))

    assert waiting(connected) == ["dag/run/gate", "dag/run/second"]


def test_a_gate_that_is_killed_as_it_pokes_leaves_the_queue(
    connected: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marked or cleared: Airflow tells the operator, and nobody stands behind a ghost."""
    sensor = ApiQuotaSensor(task_id="gate", calls=90_000, deferrable=False)
    poke = sensor.poke

    def poke_and_be_killed(of: Any) -> bool:
        assert poke(of).is_done is False
        assert waiting(connected) == ["dag/run/gate"]
        sensor.on_kill()
        return True

    monkeypatch.setattr(sensor, "poke", poke_and_be_killed)
    sensor.execute(context())

    assert waiting(connected) == []


def test_a_release_gives_back_once(connected: SandboxServer) -> None:
    """Releasing takes the XCom, its rendered text or the id; twice is no error; unknown ids are."""
    granted = ApiQuotaSensor(task_id="gate", calls=5_000).execute(context())
    release = ApiQuotaReleaseOperator(task_id="release", reservation=granted)

    assert release.execute(context("release")) == {
        "reservation_id": granted["reservation_id"], "released": True, "state": "released", "api_calls": 0,
        "spent": None, "given_back": None,
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
