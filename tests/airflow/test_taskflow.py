"""A gate around tasks in one line: who runs when, what is released, and what a failure does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup, chain, task, task_group

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.quota.model import LeaseState
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.taskflow import quota_gate, quota_gated

ran: list[str] = []
"""What tasks did, in their order; ``dag.test()`` runs them in this process."""


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def dag(dag_id: str, **options: Any) -> DAG:
    return DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), **options)


@task
def step(name: str, fails: bool = False) -> str:
    """Note that it ran, and how many calls were held meanwhile."""
    ran.append(f"{name}:{held()}")
    if fails:
        raise ValueError(f"{name} was told to fail")
    return name


@task
def load(reservation: Any, calls: int = 3) -> dict[str, int]:
    """Spend calls of the reservation."""
    with ApiUsageHook(reservation=reservation) as hook:
        for _ in range(calls):
            hook.get_limits()
        return hook.spent


def held() -> int:
    hook = ApiUsageHook()
    now = datetime.now(UTC)
    return sum(
        each.needs["DailyApiRequests"] for org in hook.store.orgs() for each in hook.ledger.reservations(org, now)
    )


def states(run: Any) -> dict[str, str]:
    return {
        ti.task_id + (f"[{ti.map_index}]" if ti.map_index >= 0 else ""): str(ti.state)
        for ti in run.get_task_instances()
    }


def result(run: Any, task_id: str) -> Any:
    return run.get_task_instance(task_id).xcom_pull(task_ids=task_id)


def test_tasks_run_between_gate_and_release(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """Before the gate nothing is held, inside it is, after it is not; what a metered load spent is known."""
    with dag("one_gate") as made:
        with quota_gate(calls=5_000) as gate:
            step("extract") >> load(gate.reservation) >> step.override(task_id="check")("check")
        step.override(task_id="before")("before") >> gate >> step.override(task_id="after")("after")
    run = run_dag(made)

    assert set(states(run).values()) == {"success"}
    assert {*states(run)} == {
        "before", "after", "quota_gate.gate", "quota_gate.release", "quota_gate.step", "quota_gate.load",
        "quota_gate.check",
    }  # fmt: skip
    assert ran[:3] == ["before:0", "extract:5000", "check:5000"]
    assert ran[3] in ("after:0", "after:5000")  # a teardown holds nobody up
    assert result(run, "quota_gate.load")["DailyApiRequests"] == 3
    released = result(run, "quota_gate.release")
    assert released["spent"]["DailyApiRequests"] == 3
    assert released["given_back"] == {"DailyApiRequests": 4_997}
    assert held() == 0


def test_a_task_that_fails_still_releases_and_the_run_fails(
    connected: SandboxServer, run_dag: Callable[..., Any]
) -> None:
    """The release is no excuse: what failed has failed. It waits for what still runs beside that."""
    with dag("failing") as made, quota_gate(calls=5_000, group_id="load"):
        fails = step.override(task_id="fails")("fails", fails=True)
        slow = [step.override(task_id=f"slow_{n}")(f"slow_{n}") for n in range(4)]
        chain(*slow)
        [fails, slow[-1]] >> step.override(task_id="join")("join")
    run = run_dag(made)

    assert str(run.state) == "failed"
    assert states(run)["load.release"] == "success"
    assert states(run)["load.join"] == "upstream_failed"
    assert sorted(ran) == ["fails:5000", *(f"slow_{n}:5000" for n in range(4))]
    assert held() == 0
    assert made.get_task("load.release").upstream_task_ids >= {"load.fails", "load.slow_3", "load.join", "load.gate"}


def test_nothing_runs_and_nothing_is_released_if_the_gate_refuses(
    connected: SandboxServer, run_dag: Callable[..., Any]
) -> None:
    """A need that can never fit fails the run, or skips the group with ``soft_fail``."""
    with dag("refused") as made, quota_gate(calls=10**9):
        step("never")
    with dag("soft") as soft, quota_gate(calls=10**9, soft_fail=True):
        step("never")
    refused, skipped = run_dag(made), run_dag(soft)

    assert (str(refused.state), str(skipped.state)) == ("failed", "success")
    assert states(refused) == {
        "quota_gate.gate": "failed",
        "quota_gate.step": "upstream_failed",
        "quota_gate.release": "upstream_failed",
    }
    assert set(states(skipped).values()) == {"skipped"}
    assert ran == []


def test_mapped_tasks_two_gates_and_nested_groups(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """Each gate holds what its own tasks need; classic operators, mapped tasks and inner groups stand behind it."""
    from airflow.providers.standard.operators.empty import EmptyOperator

    with dag("several") as made:

        @task
        def estimate() -> int:
            return 2_000

        with quota_gate(estimate()) as first:
            loads = step.partial(fails=False).expand(name=["a", "b", "c"])
            with TaskGroup("inner"):
                loads >> EmptyOperator(task_id="classic")
        with quota_gate(calls="{{ 1000 * 3 }}", reserve="10%") as second:
            step("d")
        first >> second
    run = run_dag(made)

    assert set(states(run).values()) == {"success"}
    assert {"quota_gate.step[0]", "quota_gate.inner.classic", "quota_gate__1.gate", "quota_gate__1.release"} <= {
        *states(run)
    }
    assert sorted(ran[:3]) == ["a:2000", "b:2000", "c:2000"]
    assert ran[3] in ("d:3000", "d:5000")  # the first release need not be done
    assert held() == 0


def test_a_gate_in_each_of_mapped_groups(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """A group that is expanded asks once for each of its instances, and each releases its own."""
    with dag("mapped_groups") as made:

        @task_group
        def one(calls: int) -> None:
            with quota_gate(calls=calls) as gate:
                load(gate.reservation, 1)

        one.expand(calls=[100, 200])
    run = run_dag(made)

    assert set(states(run).values()) == {"success"}
    hook = ApiUsageHook()
    asked = [each["figures"][0]["need"] for each in hook.ledger.decisions(connected.org.identity.org_id)]
    assert sorted(asked) == [100, 200]
    assert held() == 0


def test_a_retry_inside_keeps_the_reservation(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """The second try of a task spends from what the first one left."""
    with dag("retried") as made:

        @task(retries=1, retry_delay=timedelta(0))
        def once_more(reservation: dict[str, Any], ti: Any = None) -> int:
            with ApiUsageHook(reservation=reservation) as hook:
                hook.get_limits()
            if ti.try_number == 1:
                raise ValueError("the first try fails")
            return ti.try_number

        with quota_gate(calls=50) as gate:
            once_more(gate.reservation)
    run = run_dag(made)

    assert set(states(run).values()) == {"success"}
    assert result(run, "quota_gate.release")["given_back"] == {"DailyApiRequests": 48}


def test_clearing_a_task_inside_clears_its_gate_and_release(
    connected: SandboxServer, run_dag: Callable[..., Any]
) -> None:
    """Nobody loads a second time on a reservation that was given back."""
    from airflow.serialization.serialized_objects import DagSerialization

    with dag("cleared") as made, quota_gate(calls=50):
        step("a") >> step.override(task_id="b")("b")
    serialized = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(made))
    cleared = serialized.partial_subset("quota_gate.b", include_downstream=False, include_upstream=False)

    assert {*cleared.task_ids} == {"quota_gate.gate", "quota_gate.b", "quota_gate.release"}


def test_tasks_keep_their_names_without_the_prefix(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """A gate put around the tasks of a DAG that has a history leaves them what they were."""
    with dag("history") as made, quota_gate(calls=10, group_id="nightly", prefix_group_id=False):
        step("a")
    run = run_dag(made)

    assert states(run) == {"nightly_gate": "success", "step": "success", "nightly_release": "success"}


@pytest.mark.parametrize(
    ("rule", "options", "taken"),
    [
        ("all_success", {"soft_fail": True}, True),
        ("none_failed", {}, True),
        ("none_failed", {"soft_fail": True}, False),
        ("all_done", {}, False),
        ("always", {}, False),
        ("one_success", {}, False),
    ],
)
def test_a_trigger_rule_that_would_pass_the_gate_is_an_error(rule: str, options: dict[str, Any], taken: bool) -> None:
    """A task that could start though the gate is shut is named when the DAG is read."""

    def make() -> None:
        with dag("rules"), quota_gate(calls=10, **options):
            step.override(trigger_rule=rule)("a")

    if taken:
        make()
    else:
        with pytest.raises(ValueError, match=rf"trigger_rule='{rule}' of 'quota_gate.step' could start it"):
            make()


def test_a_branch_inside_never_skips_the_release(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """Choosing nothing skips the tasks, and what was reserved is given back; one that leads outside is an error."""
    with dag("branches") as made, quota_gate(calls=10):

        @task.branch
        def choose() -> None:
            return None

        choose() >> [step("a"), step.override(task_id="b")("b")]
    run = run_dag(made)

    assert states(run)["quota_gate.step"] == "skipped"
    assert states(run)["quota_gate.release"] == "success"
    assert held() == 0
    with pytest.raises(ValueError, match=r"'quota_gate.choose' branches out of 'quota_gate'"):  # noqa: SIM117
        with dag("out"), quota_gate(calls=10):
            choose()


def test_a_gate_around_nothing_is_an_error() -> None:
    """And so is a reservation before there is one."""
    with pytest.raises(ValueError, match="There is no task inside 'quota_gate'"):  # noqa: SIM117
        with dag("empty"), quota_gate(calls=10):
            pass
    with dag("early"), pytest.raises(RuntimeError, match="before the block"):
        quota_gate(calls=10).reservation  # noqa: B018 - reading it is what fails


# --- one task ---------------------------------------------------------------------------------------------------------


def test_a_gated_task_holds_its_calls_while_it_runs(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """It is granted at once, draws through its hook, and gives the rest back when it ends."""
    with dag("gated") as made:

        @task.quota_gated(calls=5_000)
        def nightly(rows: int, hook: Any = None, reservation: Any = None, ti: Any = None) -> list[Any]:
            for _ in range(rows):
                hook.get_limits()
            return [held(), hook.spent["DailyApiRequests"], reservation["needs"], ti.task_id]

        nightly(2)
    run = run_dag(made)

    assert result(run, "nightly") == [5_000, 2, {"DailyApiRequests": 5_000}, "nightly"]
    assert held() == 0
    assert spent_of("gated") == 2


def spent_of(dag_id: str) -> Any:
    """What the last lease of a DAG has spent."""
    from sqlalchemy import select

    from airflow_provider_apiusage.store.schema import lease

    with ApiUsageHook().ledger.engine.connect() as connection:
        rows = connection.execute(select(lease).where(lease.c.dag_id == dag_id).order_by(lease.c.id)).all()
    assert {row.state for row in rows} == {LeaseState.RELEASED.value}
    return rows[-1].spent["DailyApiRequests"]


def test_a_gated_task_waits_in_the_triggerer(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """While calls are gone it is deferred, with its arguments; mapped instances each ask for themselves."""
    org = connected.org
    org.change({"limit": 25_100, "hard_limit": 100_000})
    with dag("gated_wait") as made:

        @quota_gated(calls=1_000, poke_interval=0.01)
        def part(name: str, reservation: Any = None) -> str:
            return f"{name}:{reservation['holder']}"

        part.expand(name=["a", "b"])
    waited: list[str] = []

    def wait_and_let_calls_expire() -> None:
        ledger = ApiUsageHook().ledger
        while not (waiting := ledger.waiting(org.identity.org_id, datetime.now(UTC))):
            pass
        waited.extend(str(each.holder) for each in waiting)
        org.clock.advance(timedelta(hours=20))

    thread = Thread(target=wait_and_let_calls_expire)
    thread.start()
    run = run_dag(made)
    thread.join()

    assert states(run) == {"part[0]": "success", "part[1]": "success"}
    assert len(waited) == 1  # dag.test() lets one wait at a time
    assert waited[0].startswith(f"gated_wait/{run.run_id}/part[")
    assert held() == 0


@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_gated_task_that_fails_releases_and_another_try_asks_anew(
    connected: SandboxServer, run_dag: Callable[..., Any], soft_fail: bool
) -> None:
    """``soft_fail`` is about the gate: a function that fails has failed, and what it held is free."""
    with dag(f"gated_fails_{soft_fail}") as made:

        @task.quota_gated(calls=5_000, soft_fail=soft_fail, retries=1, retry_delay=timedelta(0))
        def nightly(hook: Any = None) -> None:
            ran.append(f"{held()}")
            hook.get_limits()
            raise ValueError("no luck")

        nightly()
    run = run_dag(made)

    assert states(run) == {"nightly": "failed"}
    assert ran == ["5000", "5000"]
    assert held() == 0
    assert spent_of(made.dag_id) == 1


def test_a_gated_task_that_is_refused_never_runs(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """It fails with the arithmetic, or is skipped with ``soft_fail``."""
    with dag("gated_refused") as made:

        @task.quota_gated(calls=10**9, retries=2)
        def never() -> None:
            ran.append("never")

        never()
        never.override(task_id="soft", soft_fail=True)()
    run = run_dag(made)

    assert states(run) == {"never": "failed", "soft": "skipped"}
    assert ran == []


@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_wait_that_is_too_long_leaves_the_queue(connected: SandboxServer, soft_fail: bool) -> None:
    """When the time is over the task fails without another try, or is skipped, and nobody stands behind a ghost."""
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

    class TaskInstance:
        dag_id, run_id, task_id, map_index, start_date = "d", "r", "late", -1, datetime.now(UTC)

    context: Any = {"ti": TaskInstance()}
    ledger, org_id = ApiUsageHook().ledger, connected.org.identity.org_id
    with dag("long") as made:

        @quota_gated(calls=80_000, soft_fail=soft_fail, timeout=60)
        def late() -> None:
            raise AssertionError

        late()
    operator: Any = made.get_task("late")
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    assert deferred.value.timeout is not None
    assert timedelta(0) < deferred.value.timeout <= timedelta(seconds=60)
    assert len(ledger.waiting(org_id, datetime.now(UTC))) == 1
    with pytest.raises(AirflowSkipException if soft_fail else AirflowSensorTimeout, match="has not opened in time"):
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    assert ledger.waiting(org_id, datetime.now(UTC)) == ()
