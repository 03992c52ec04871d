"""``quota_gate``: a task group whose tasks run between a gate and its release."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Self

from airflow.sdk import TaskGroup, TriggerRule, XComArg

from airflow_provider_apiusage.operators.quota import ApiQuotaReleaseOperator
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor

_WAITS_FOR_ALL = (TriggerRule.ALL_SUCCESS,)
_WAITS_UNLESS_SKIPPED = (TriggerRule.NONE_FAILED, TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)


class QuotaGate(TaskGroup):
    """What :func:`quota_gate` returns; use it as a context manager, and as any other task group.

    :param gate: arguments of ``ApiQuotaSensor``.
    :param group: arguments of ``TaskGroup``.
    """

    def __init__(self, gate: Mapping[str, Any], **group: Any) -> None:
        super().__init__(**group)
        self._gate_options = dict(gate)
        self._gate_id = self._release_id = ""

    @property
    def reservation(self) -> XComArg:
        """What was reserved, for the tasks inside: ``ApiUsageHook(reservation=...)`` draws from it."""
        if not self._gate_id:
            raise RuntimeError("There is no reservation before the block: use 'with quota_gate(...) as gate:'.")
        return XComArg(self.dag.get_task(self._gate_id))

    def __enter__(self) -> Self:
        """Add gate and release; what the block adds goes between them."""
        super().__enter__()
        gate_id, release_id = ("gate", "release") if self.prefix_group_id else self._ids_without_prefix()
        gate = ApiQuotaSensor(task_id=gate_id, **self._gate_options)
        granted: Any = XComArg(gate)
        release = ApiQuotaReleaseOperator(
            task_id=release_id, reservation=granted, store_conn_id=self._gate_options["store_conn_id"]
        )
        release.as_teardown(setups=gate)
        self._gate_id, self._release_id = gate.task_id, release.task_id
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Let the gate stand before what the block has added, and the release wait for all of it.

        :raises ValueError: if there is nothing in it, or a task in it would not wait for the gate.
        """
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        if kind is None:
            self._connect()

    def _connect(self) -> None:
        gate, release = self.dag.get_task(self._gate_id), self.dag.get_task(self._release_id)
        inside = {task.task_id: task for task in self if task.task_id not in (self._gate_id, self._release_id)}
        if not inside:
            raise ValueError(f"There is no task inside {self.group_id!r}: add those that spend the calls to the block.")
        for task in inside.values():
            is_first = not task.upstream_task_ids & inside.keys()
            is_last = not task.downstream_task_ids & inside.keys()
            if is_first:
                if self._gate_id not in task.upstream_task_ids:
                    gate >> task
                self._check_rule(task)
            if is_last and hasattr(getattr(task, "operator_class", task), "do_branch"):
                raise ValueError(
                    f"{task.task_id!r} branches out of {self.group_id!r}: Airflow would skip the release with the "
                    "tasks that it does not choose. Let it choose among tasks of the group, or put it outside."
                )
            # From each, not only from the last ones: one of these may be given up while a task beside it still runs.
            # Not from a task that skips what is behind it, unless nothing else tells that it has ended.
            if is_last or not task.inherits_from_skipmixin:
                task >> release

    def _check_rule(self, task: Any) -> None:
        soft = self._gate_options.get("soft_fail") or self._gate_options.get("never_fail")
        rules = _WAITS_FOR_ALL if soft else (*_WAITS_FOR_ALL, *_WAITS_UNLESS_SKIPPED)
        if task.trigger_rule not in rules:
            rule = TriggerRule(task.trigger_rule).value
            raise ValueError(
                f"trigger_rule={rule!r} of {task.task_id!r} could start it though the gate of "
                f"{self.group_id!r} is shut: use 'all_success', or put the task outside."
            )

    def _ids_without_prefix(self) -> tuple[str, str]:
        return f"{self._group_id}_gate", f"{self._group_id}_release"


def quota_gate(
    calls: int | str | Mapping[str, Any] | XComArg,
    *,
    reserve: int | float | str | Mapping[str, Any] | None = None,
    lease: timedelta | float = timedelta(hours=2),
    salesforce_conn_id: str = "salesforce_default",
    store_conn_id: str | None = None,
    group_id: str | None = None,
    prefix_group_id: bool = True,
    tooltip: str = "",
    default_args: dict[str, Any] | None = None,
    **gate_options: Any,
) -> QuotaGate:
    """Run tasks only when an org has calls enough for them, and give back what they leave.

    ::

        with quota_gate(calls=5_000) as gate:
            extract() >> load(gate.reservation)

    The group begins with an ``ApiQuotaSensor`` (a setup) and ends with an ``ApiQuotaReleaseOperator`` (its teardown).
    The release comes when all tasks of the group have ended, however they did; a DAG run whose load failed fails. To
    clear a task of the group clears gate and release as well.

    :param calls: as for ``ApiQuotaSensor``, or the output of a task that works it out (templated).
    :param reserve: what stays free beside it, as for ``ApiQuotaSensor`` (templated).
    :param lease: how long the reservation holds unless it is released.
    :param salesforce_conn_id: connection of type ``salesforce`` (templated).
    :param store_conn_id: where readings and reservations are kept (templated).
    :param group_id: of the task group; default ``quota_gate``, with a number where a DAG has several.
    :param prefix_group_id: whether tasks of the group are called ``<group_id>.<task_id>``; without, the gate is
        ``<group_id>_gate``, and tasks that a DAG has already keep their names.
    :param tooltip: of the group.
    :param default_args: of the tasks inside, gate and release included.
    :param gate_options: further arguments of ``ApiQuotaSensor``, such as ``timeout``, ``soft_fail`` or ``priority``.
    """
    gate = {
        "calls": calls,
        "reserve": reserve,
        "lease": lease,
        "salesforce_conn_id": salesforce_conn_id,
        "store_conn_id": store_conn_id,
        **gate_options,
    }
    return QuotaGate(
        gate,
        group_id=group_id or "quota_gate",
        add_suffix_on_collision=group_id is None,
        prefix_group_id=prefix_group_id,
        tooltip=tooltip,
        default_args=default_args or {},
    )
