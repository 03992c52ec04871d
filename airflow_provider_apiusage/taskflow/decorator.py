"""``@task.quota_gated``: one Python task that waits at the gate without a worker, runs, and gives back what is left."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    DecoratedOperator,
    task_decorator_factory,
)
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import timezone

from airflow_provider_apiusage.links import GATE_LINKS
from airflow_provider_apiusage.quota.model import Grant
from airflow_provider_apiusage.quota.wire import reservation_to_json
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor, GateError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import TaskDecorator
    from airflow.sdk import Context


class _Gate(ApiQuotaSensor):
    """The gate inside a task; it asks under the task's own name, and is no task itself."""

    def reservation(self, context: Context) -> dict[str, Any]:
        """Ask once; return what was granted, or defer the task."""
        request, decision = self._ask(self._request(context))
        if not isinstance(decision, Grant):
            self._defer(context, request)
            raise AssertionError("A task that defers goes no further.")
        return reservation_to_json(decision.reservation)

    def reservation_after(self, context: Context, event: dict[str, Any] | None) -> dict[str, Any]:
        """Back from the triggerer: take up the grant, or hear why there is none; defer again if it has lapsed."""
        if event and event["status"] == "error":
            raise GateError(event["message"])
        if event and event["status"] == "refused":
            self._refuse(event["reason"])
        held = self._take_up(event["reservation"]) if event else None
        return held or self.reservation(context)

    def leave(self, context: Context) -> None:
        """Leave the queue for good."""
        self._leave(context, release=True)


class QuotaGatedOperator(DecoratedOperator, PythonOperator):
    """Calls a Python function between a gate and its release; made by :func:`quota_gated`, which tells the rest."""

    template_fields: Sequence[str] = (
        *PythonOperator.template_fields,
        "calls",
        "reserve",
        "salesforce_conn_id",
        "store_conn_id",
        "on_unknown",
        "priority",
    )
    ui_color = "#ffe5b4"
    operator_extra_links = GATE_LINKS
    custom_operator_name: ClassVar[str] = "@task.quota_gated"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any],
        op_kwargs: Mapping[str, Any],
        calls: int | str | Mapping[str, Any],
        reserve: int | float | str | Mapping[str, Any] | None = None,
        lease: timedelta | float = timedelta(hours=2),
        on_unknown: str = "wait",
        max_age: timedelta | float = timedelta(minutes=15),
        salesforce_conn_id: str = "salesforce_default",
        store_conn_id: str | None = None,
        poke_interval: timedelta | float | None = None,
        priority: int | str = 0,
        timeout: timedelta | float = timedelta(days=7),
        soft_fail: bool = False,
        on_overspend: str = "warn",
        **kwargs: Any,
    ) -> None:
        self.calls = calls
        self.reserve = reserve
        self.lease = lease
        self.on_unknown = on_unknown
        self.max_age = max_age
        self.salesforce_conn_id = salesforce_conn_id
        self.store_conn_id = store_conn_id
        self.poke_interval = poke_interval
        self.priority = priority
        self.timeout = timeout
        self.soft_fail = soft_fail
        self.on_overspend = on_overspend
        super().__init__(
            kwargs_to_upstream={"python_callable": python_callable, "op_args": op_args, "op_kwargs": op_kwargs},
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Ask the gate; call the function at once, or defer and call it when there is room."""
        return self._call(context, self._gate().reservation(context))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Back from the triggerer: call the function."""
        return self._call(context, self._gate().reservation_after(context, event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Leave the queue when the wait is over without a grant; nobody should stand behind a ghost."""
        if next_method != "__fail__":
            return super().resume_execution(next_method, next_kwargs, context)
        self._gate().leave(context)
        why = f"The gate has not opened in time (timeout={self.timeout}); see the log for what it waited for."
        if "timeout" not in str((next_kwargs or {}).get("error", "")).lower():
            return super().resume_execution(next_method, next_kwargs, context)
        if self.soft_fail:
            raise AirflowSkipException(why)
        raise AirflowSensorTimeout(why)

    def _call(self, context: Context, reservation: dict[str, Any]) -> Any:
        """Call the function with what was reserved, and release it then, however it ended.

        A worker that is killed releases nothing: the reservation lapses, or the next try takes it up.
        """
        wanted = self._wanted()
        with ExitStack() as stack:
            stack.callback(self._release, reservation["reservation_id"])
            mine: dict[str, Any] = {}
            if "reservation" in wanted:
                mine["reservation"] = reservation
            if "hook" in wanted:
                from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

                hook = ApiUsageHook(
                    self.salesforce_conn_id,
                    self.store_conn_id,
                    reservation=reservation,
                    on_overspend=self.on_overspend,
                )
                mine["hook"] = stack.enter_context(hook)
            self.op_kwargs = {**self.op_kwargs, **mine}
            # Airflow takes an ``execute`` that is called from anywhere but its own runner for a mistake.
            return inspect.unwrap(PythonOperator.execute)(self, context)

    def _wanted(self) -> set[str]:
        """Return the parameters of the function that nothing was passed for."""
        signature = inspect.signature(self.python_callable)
        passed = signature.bind_partial(*self.op_args, **self.op_kwargs).arguments
        return set(signature.parameters) - set(passed)

    def _release(self, reservation_id: str) -> None:
        from airflow_provider_apiusage.hooks.store import open_ledger

        try:
            outcome = open_ledger(self.store_conn_id).release(reservation_id, timezone.utcnow())
        except Exception as failed:  # what the function did counts for more
            self.log.warning("The reservation could not be released and lapses by itself: %s", failed)
            return
        if outcome is not None:
            self.log.info("Released: spent %s, given back %s.", outcome.spent, outcome.given_back)

    def _gate(self) -> _Gate:
        options: dict[str, Any] = {} if self.poke_interval is None else {"poke_interval": self.poke_interval}
        return _Gate(
            task_id=self.task_id,
            calls=self.calls,
            reserve=self.reserve,
            lease=self.lease,
            on_unknown=self.on_unknown,
            max_age=self.max_age,
            salesforce_conn_id=self.salesforce_conn_id,
            store_conn_id=self.store_conn_id,
            priority=self.priority,
            timeout=self.timeout,
            soft_fail=self.soft_fail,
            finish_in_triggerer=False,
            **options,
        )


def quota_gated(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a function a task that runs only when an org has calls enough; ``@task.quota_gated`` is the same.

    ::

        @task.quota_gated(calls=5_000)
        def load(rows, hook=None):
            hook.conn.bulk2.Account.insert(records=rows)

    The task waits at the gate as ``ApiQuotaSensor`` does, deferred, so it holds no worker meanwhile. Then the function
    is called, in a worker. A parameter ``hook`` gets an ``ApiUsageHook`` that draws from the reservation what it
    spends, one called ``reservation`` what was reserved; give them the default ``None``. What is left is
    released when the function ends, by an exception as well; another try asks anew.

    :param python_callable: the function.
    :param kwargs: ``calls`` and, as for ``ApiQuotaSensor``, ``reserve``, ``lease``, ``on_unknown``, ``max_age``,
        ``salesforce_conn_id``, ``store_conn_id``, ``poke_interval``, ``priority``, ``timeout`` (of the wait) and
        ``soft_fail`` (of the gate, not of the function); ``on_overspend`` as for ``ApiUsageHook``; and what every task
        takes, such as ``retries``.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=QuotaGatedOperator, **kwargs
    )
