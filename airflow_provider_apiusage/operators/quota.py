"""``ApiQuotaReleaseOperator``: give a reservation back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator
from airflow.sdk import timezone

from airflow_provider_apiusage.links import GATE_LINKS
from airflow_provider_apiusage.quota.drawing import reservation_id_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class ApiQuotaReleaseOperator(BaseOperator):
    """Release what an ``ApiQuotaSensor`` reserved, whether the load went well or not. Spends no API call.

    Of a metered load (``ApiUsageHook(reservation=...)``) what it has not spent is free at once. Otherwise all of it
    stays outstanding until a reading shows what was spent, some five minutes later.

    Made to be a teardown: ``gate.as_setup() >> load >> release.as_teardown(setups=gate)``. Releasing twice, or a
    reservation that has lapsed, changes nothing and is no error; nor is having nothing to release, as when the gate
    never opened.

    XCom: ``{"reservation_id", "released", "state", "api_calls", "spent", "given_back"}``; ``released`` tells whether it
    was still held, and ``api_calls`` is always 0. ``spent`` is what metered loads have drawn, by limit name, and
    ``given_back`` what was free at once; either is ``None`` if it is not known.

    :param reservation: the sensor's XCom (``gate.output``), or a reservation id (templated).
    :param store_conn_id: the store that the sensor used (templated).
    """

    template_fields: Sequence[str] = ("reservation", "store_conn_id")
    ui_color = "#e2efda"
    operator_extra_links = GATE_LINKS

    def __init__(
        self, *, reservation: Mapping[str, Any] | str | None, store_conn_id: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.reservation = reservation
        self.store_conn_id = store_conn_id

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow passes it
        """Release it.

        :raises ValueError: if the store knows no such reservation.
        :raises StoreError: if the store could not be written.
        """
        from airflow_provider_apiusage.hooks.store import open_ledger

        reservation_id = reservation_id_of(self.reservation)
        if reservation_id is None:
            self.log.info("There is no reservation to release: the gate granted none.")
            return {
                "reservation_id": None,
                "released": False,
                "state": None,
                "api_calls": 0,
                "spent": None,
                "given_back": None,
            }
        outcome = open_ledger(self.store_conn_id).release(reservation_id, timezone.utcnow())
        if outcome is None:
            raise ValueError(
                f"The store knows no reservation {reservation_id!r}: give the sensor's XCom (gate.output) as "
                "'reservation', and the same store_conn_id as the sensor's."
            )
        return {
            "reservation_id": reservation_id,
            "released": outcome.released,
            "state": outcome.state.value,
            "api_calls": 0,
            "spent": _copied(outcome.spent),
            "given_back": _copied(outcome.given_back),
        }


def _copied(calls: Mapping[str, int] | None) -> dict[str, int] | None:
    return None if calls is None else dict(calls)
