"""A load through its hook: what it spends is counted, and drawn from its reservation."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.hooks import store as stores
from airflow_provider_apiusage.hooks.forecasting import ForecastHook
from airflow_provider_apiusage.hooks.once import once
from airflow_provider_apiusage.quota.drawing import reservation_id_of
from airflow_provider_apiusage.reservations.load import ON_OVERSPEND, MeteredLoad
from airflow_provider_apiusage.salesforce.errors import ApiUsageError, Where
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.salesforce.spending import Spending

if TYPE_CHECKING:
    from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
    from airflow_provider_apiusage.usage.cost_history import CorrectedCost


class LoadHook(ForecastHook):
    """What :class:`~airflow_provider_apiusage.hooks.api_usage.ApiUsageHook` knows of the load that runs through it.

    :param reservation: what ``ApiQuotaSensor`` returned (``gate.output``), or a reservation id: what this hook spends
        is drawn from it, and it is renewed as long as the hook is open. Nothing is drawn if it is none.
    :param on_overspend: if the load passes what it was granted: ``"warn"`` once and go on; ``"extend"`` the reservation
        by as much as was granted first, if it fits; or ``"fail"`` before the next call is sent.
    :param estimate: what ``estimate_cost`` said, if the gate was asked for something else; not needed with a gate that
        corrected it by itself (``by_history``).
    """

    def __init__(
        self,
        *args: Any,
        reservation: Mapping[str, Any] | str | None = None,
        on_overspend: str = "warn",
        estimate: Mapping[str, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if on_overspend not in ON_OVERSPEND:
            raise ValueError(f"on_overspend={on_overspend!r} must be one of 'warn', 'extend' and 'fail'.")
        self.reservation = reservation
        self.on_overspend = on_overspend
        self.estimate = estimate

    @property
    def spent(self) -> dict[str, int]:
        """What this hook has spent so far, by limit name: calls, Bulk batches, and Bulk query jobs."""
        return self._spending.totals

    def estimate_from_history(
        self, estimate: Mapping[str, int], dag_id: str, task_id: str, **how: Any
    ) -> CorrectedCost:
        """Correct an estimate by what the latest metered runs of a gate spent, as ``ApiQuotaSensor(by_history=True)``.

        Reads the store and nothing else, so it spends no call; if the access token does not tell the org's id, that
        costs one. A gate that asks for what comes of it must say so, or its corrections would add up: give
        ``estimate=`` to the hook that draws from its reservation.

        :param estimate: what ``estimate_cost`` returned, by limit name.
        :param dag_id: of the gate.
        :param task_id: of the gate, whatever its run and map index.
        :param how: ``quantile``, ``doubt``, ``least`` and ``most`` of
            :func:`~airflow_provider_apiusage.usage.cost_history.estimate_from_history`.
        :raises ValueError: if one of these makes no sense.
        :raises StoreError: if the store cannot be used.
        """
        from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
        from airflow_provider_apiusage.usage.cost_history import estimate_from_history

        runs = QuotaLedger(self._engine).past_runs(self.get_org_id(), dag_id, task_id)
        return estimate_from_history(runs, estimate, **how)

    def close(self, *, failed: bool = False) -> None:
        """Draw the rest, keep the last reading (waits for each 5 seconds at most), and close the connections.

        :param failed: whether the load ended before its work was done; the end of a ``with`` block knows it.
        """
        super().close()
        if isinstance(self._spending, MeteredLoad):
            self._spending.close(failed=failed)

    def __exit__(self, *failure: object) -> None:
        """Close the hook."""
        self.close(failed=bool(failure) and failure[0] is not None)

    @once
    def _spending(self) -> Spending:
        """What counts; where the store is, is found out now, in the caller's thread, and told when it is needed."""
        if reservation_id_of(self.reservation) is None:
            return Spending()
        place: Any = None
        unfound: Exception | None = None
        try:
            place = self._store_connection() or stores.default_path()
        except Exception as failed:
            unfound = failed

        def find() -> QuotaLedger:
            from airflow_provider_apiusage.store.errors import StoreError, StoreUnavailableError
            from airflow_provider_apiusage.store.quota_ledger import QuotaLedger

            try:
                if unfound is not None:
                    raise unfound
                return QuotaLedger(stores.engine_of(place))
            except StoreError:
                raise
            except ApiUsageError as unfit:
                raise StoreUnavailableError(unfit.what, str(unfit.where), unfit.advice) from None
            except Exception as unforeseen:  # its text may hold anything, so it is not shown
                raise StoreUnavailableError(
                    f"The store cannot be used: {type(unforeseen).__name__}.",
                    str(getattr(place, "conn_id", place) or "of [apiusage] store_conn_id"),
                    "Check the connection in [apiusage] store_conn_id.",
                ) from None

        load = MeteredLoad(
            self.reservation,
            find,
            where=Where(self.conn_id),
            on_overspend=self.on_overspend,
            estimate=self.estimate,
        )
        load.begin()
        return load

    @once
    def _session(self) -> MeteredSession:
        session: MeteredSession = super()._session
        self._spending.watch(session)
        if isinstance(self._spending, MeteredLoad):
            weakref.finalize(session, self._spending.end).atexit = False  # it sees to its own exit
        return session
