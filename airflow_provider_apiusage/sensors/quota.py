"""``ApiQuotaSensor``: hold a load until enough of the org's allowance is left, and reserve it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow.sdk import timezone

from airflow_provider_apiusage.hooks.context import holder_of, tell
from airflow_provider_apiusage.hooks.metrics import tell_gate
from airflow_provider_apiusage.links import GATE_LINKS
from airflow_provider_apiusage.quota.arguments import (
    duration_from,
    needs_from,
    on_unknown_from,
    priority_from,
    reserve_from,
)
from airflow_provider_apiusage.quota.model import Decision, Grant, OnUnknown, QuotaRequest, Refuse
from airflow_provider_apiusage.quota.wire import request_to_json, reservation_to_json
from airflow_provider_apiusage.sensors.finishing import may_finish_in_triggerer, taken_up

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook


class GateError(Exception):
    """The trigger met an error that asking again cannot mend; ``soft_fail`` never hides it."""


class ApiQuotaSensor(BaseSensorOperator):
    """Wait until the org has enough calls left for a load, reserve them, and return the reservation.

    Granting is one transaction in the store, first come, first served for all DAGs that use the same store: two gates
    are never granted the same calls. While it waits, it holds no worker slot (deferred, the default; or
    ``mode="reschedule"``). It logs why it waits and the earliest time at which it can open. A need that can never fit
    is refused at once. Release the reservation when the load is done (``ApiQuotaReleaseOperator``); otherwise it lapses
    after ``lease``.

    Spends 1 API call per ``poke_interval`` (or ``max_age``, if that is shorter) and org, shared by all waiting gates,
    and none while a reading at hand tells that it cannot open.

    XCom: ``{"reservation_id", "org_id", "needs", "granted_at", "held_until", "holder"}``.

    :param calls: what the load needs: a whole number of ``DailyApiRequests``, or a mapping of limit names to needs,
        all or nothing (templated).
    :param reserve: what stays free beside it: whole calls of ``DailyApiRequests``, a share (``0.1``, ``"10%"``) of
        every limit asked for, or a mapping of names that ``calls`` has to whole numbers (templated).
    :param lease: how long a reservation holds unless it is released; ``timedelta`` or seconds.
    :param on_unknown: while nobody knows what is left: ``"wait"``, ``"fail"``, or ``"allow"``. A limit that the org
        does not report is refused unless it is ``"allow"``.
    :param max_age: how old a reading may be to grant on it; ``timedelta`` or seconds.
    :param salesforce_conn_id: connection of type ``salesforce`` (templated).
    :param store_conn_id: where readings and reservations are kept (templated).
    :param deferrable: wait in the triggerer; the default is True, whatever ``[operators] default_deferrable`` says,
        because a gate may wait for hours.
    :param poke_interval: seconds between two readings of the org; all gates of the org share them. Default:
        ``[apiusage] poll_interval``.
    :param priority: steps of head start in the queue, of two hours each; it makes nobody starve (templated).
    :param finish_in_triggerer: whether the triggerer ends the task when it is granted, without a worker; it never
        does if something would be lost by that (``docs/gate.md``).
    :param by_history: whether ``calls`` is an estimate that the latest metered runs of this gate correct
        (``docs/cost.md``): ``True``, or the arguments of ``estimate_from_history``, such as ``{"doubt": 1.2}``.
    """

    template_fields: Sequence[str] = (
        "calls",
        "reserve",
        "salesforce_conn_id",
        "store_conn_id",
        "on_unknown",
        "priority",
    )
    ui_color = "#ffe5b4"
    operator_extra_links = GATE_LINKS
    _poking: Context | None = None

    def __init__(
        self,
        *,
        calls: int | str | Mapping[str, Any],
        reserve: int | float | str | Mapping[str, Any] | None = None,
        lease: timedelta | float = timedelta(hours=2),
        on_unknown: str = "wait",
        max_age: timedelta | float = timedelta(minutes=15),
        salesforce_conn_id: str = "salesforce_default",
        store_conn_id: str | None = None,
        deferrable: bool = True,
        poke_interval: timedelta | float | None = None,
        priority: int | str = 0,
        finish_in_triggerer: bool = True,
        by_history: bool | Mapping[str, float] = False,
        **kwargs: Any,
    ) -> None:
        if poke_interval is None:
            poke_interval = conf.getfloat("apiusage", "poll_interval", fallback=300.0)
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.calls = calls
        self.reserve = reserve
        self.lease = lease
        self.on_unknown = on_unknown
        self.max_age = max_age
        self.salesforce_conn_id = salesforce_conn_id
        self.store_conn_id = store_conn_id
        self.deferrable = deferrable
        self.priority = priority
        self.finish_in_triggerer = finish_in_triggerer
        self.by_history = by_history

    def execute(self, context: Context) -> Any:
        """Ask once; then defer, or poke and reschedule as every sensor does.

        :raises AirflowFailException: if the need can never fit (skipped instead with ``soft_fail``).
        :raises ValueError: if an argument makes no sense.
        :raises ApiUsageError: if the org cannot be read for a reason that waiting does not mend, or cannot be reached
            and ``on_unknown`` is ``"fail"``.
        """
        if not self.deferrable:
            self._poking = context
            try:
                return super().execute(context)
            except (AirflowSensorTimeout, AirflowFailException, AirflowSkipException):
                self._leave(context, release=True)
                raise
        request, decision = self._ask(self._request(context))
        if isinstance(decision, Grant):
            return reservation_to_json(decision.reservation)
        self._defer(context, request)
        return None

    def poke(self, context: Context) -> PokeReturnValue:
        """Take one turn at the gate."""
        _, decision = self._ask(self._request(context))
        if isinstance(decision, Grant):
            return PokeReturnValue(is_done=True, xcom_value=reservation_to_json(decision.reservation))
        return PokeReturnValue(is_done=False)

    def on_kill(self) -> None:
        """Leave the queue when a task that pokes is killed; another try within a day stands where this one stood.

        Deferred ones leave through the triggerer; between two pokes nobody is there, and the request lapses by itself.
        """
        if self._poking is not None:
            self._leave(self._poking, keep_place=True)

    def execute_complete(self, context: Context, event: dict[str, Any] | str | None = None) -> Any:
        """Back from the triggerer: take up the grant (which starts its lease anew), or hear why there is none.

        The grant may have lapsed while the task waited for a worker; then it queues again. The org is not asked for any
        of this: a login that fails now must not leave a reservation that nobody releases.
        """
        if isinstance(event, str):
            event = None  # ``dag.test()`` comes back even from a trigger that has ended the task
        if event and event["status"] == "error":
            raise GateError(event["message"])
        if event and event["status"] == "refused":
            self._refuse(event["reason"])
        if event:
            self.log.info("The triggerer was granted what was asked for: %s", event["reason"])
            held = self._take_up(event["reservation"])
            if held is not None:
                return held
        return self.execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Leave the queue when the wait ends without a grant, so that nobody stands behind a ghost.

        Where the end is final, what was granted at the last moment is given back: nobody else will.
        """
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (AirflowSensorTimeout, AirflowFailException, AirflowSkipException):
            self._leave(context, release=True)
            raise
        except Exception:
            self._leave(context)
            raise

    def _ask(self, request: QuotaRequest) -> tuple[QuotaRequest, Decision | None]:
        """Take one turn at the gate.

        :returns: the request with the org's id as far as it could be learnt, and the decision; ``None`` if org or
            store could not be reached: that is waited through, now as later.
        """
        from airflow_provider_apiusage.gate import PASSING
        from airflow_provider_apiusage.salesforce.errors import AllowanceExhaustedError
        from airflow_provider_apiusage.store.errors import StoreUnavailableError

        try:
            request = self._corrected(replace(request, org_id=self.hook.get_org_id()))
            decision = self.hook.gate(timedelta(seconds=self.poke_interval)).turn(request)
        except (
            *PASSING,
            AllowanceExhaustedError,
        ) as away:  # before the gate could be asked: the login, or the org's id
            if request.on_unknown is OnUnknown.FAIL:
                raise
            self.log.warning("Waiting: %s", away)
            return request, None
        except StoreUnavailableError as away:
            self.log.warning("Waiting: %s", away)
            return request, None
        tell(decision, self.log)
        tell_gate(self.hook, request.org_id, {request.holder: decision})
        if isinstance(decision, Refuse):
            self._refuse(decision.reason)
        return request, decision

    def _corrected(self, request: QuotaRequest) -> QuotaRequest:
        """Return the request as earlier runs of this gate correct it, if they are to; it keeps what they corrected."""
        if not self.by_history:
            return request
        how = self.by_history if isinstance(self.by_history, Mapping) else {}
        holder = request.holder
        found = self.hook.estimate_from_history(request.needs, holder.dag_id, holder.task_id, **how)
        self.log.info("Corrected by earlier runs: %s", found.reason)
        return replace(request, needs=found.needs, estimate=request.needs)

    def _take_up(self, granted: dict[str, Any]) -> dict[str, Any] | None:
        return taken_up(granted, duration_from("lease", self.lease), self.store_conn_id)

    def _refuse(self, reason: str) -> NoReturn:
        """A refusal is a verdict about quota, so ``soft_fail`` skips; asking again cannot help, so nothing retries."""
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(reason)
        raise AirflowFailException(reason)

    def _defer(self, context: Context, request: QuotaRequest) -> None:
        from airflow_provider_apiusage.triggers.quota import ENDS_WITH_XCOMS, ApiQuotaTrigger

        wire = request_to_json(request)
        if self.finish_in_triggerer and may_finish_in_triggerer(self, as_written=ApiQuotaSensor):
            wire[ENDS_WITH_XCOMS] = ["return_value"] if self.do_xcom_push else []
        self.defer(
            trigger=ApiQuotaTrigger(
                salesforce_conn_id=self.salesforce_conn_id,
                store_conn_id=self.store_conn_id,
                request=wire,
                poll_interval=self.poke_interval,
            ),
            method_name="execute_complete",
            timeout=self._time_left(context),
        )

    def _time_left(self, context: Context) -> timedelta:
        """What remains of ``timeout`` since the first start of this try; deferrals do not start it anew."""
        started_at = context["ti"].start_date or timezone.utcnow()
        return max(timedelta(seconds=self.timeout) - (timezone.utcnow() - started_at), timedelta(seconds=1))

    def _request(self, context: Context) -> QuotaRequest:
        """Return what is asked for, of an org that is not known yet."""
        needs = needs_from(self.calls)
        return QuotaRequest(
            org_id="",
            holder=holder_of(context),
            needs=needs,
            requested_at=timezone.utcnow(),
            reserve=reserve_from(self.reserve, needs=needs),
            lease=duration_from("lease", self.lease),
            max_age=duration_from("max_age", self.max_age),
            on_unknown=on_unknown_from(self.on_unknown),
            priority=priority_from(self.priority),
        )

    def _leave(self, context: Context, *, release: bool = False, keep_place: bool = False) -> None:
        from airflow_provider_apiusage.hooks.store import open_ledger

        try:
            ledger = open_ledger(self.store_conn_id)
            ledger.leave(holder_of(context), timezone.utcnow(), release=release, keep_place=keep_place)
        except Exception as failed:
            self.log.warning("Could not leave the queue (%s); the request lapses by itself.", failed)

    @cached_property
    def hook(self) -> ApiUsageHook:
        """The hook of this run; it keeps its login between pokes."""
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

        return ApiUsageHook(self.salesforce_conn_id, self.store_conn_id)
