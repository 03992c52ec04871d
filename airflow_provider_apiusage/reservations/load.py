"""A load that knows what it may spend: counts, draws, and sees to it when it passes what it was granted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_apiusage.quota.drawing import needs_of, reservation_id_of
from airflow_provider_apiusage.quota.model import LeaseState
from airflow_provider_apiusage.reservations.topping_up import top_up
from airflow_provider_apiusage.salesforce.errors import Where
from airflow_provider_apiusage.salesforce.spending import OverspentError, Spending
from airflow_provider_apiusage.store.background_draws import EVERY, BackgroundDraws
from airflow_provider_apiusage.store.quota_ledger import Drawn, Extended, QuotaLedger
from airflow_provider_apiusage.usage.model import API_REQUESTS

log = logging.getLogger(__name__)

ON_OVERSPEND = ("warn", "extend", "fail")

ASK_AGAIN = timedelta(seconds=60)
"""How long a load that was refused more waits before it asks again."""


class MeteredLoad(Spending):
    """Counts what one load spends, draws it from its reservation, and sees to it when it is more than was granted.

    :param reservation: what the sensor returned, or its id.
    :param find_ledger: opens the store; called in another thread. What it raises must be fit to be logged.
    :param where: names connection and org in errors.
    :param on_overspend: ``warn`` (once), ``extend`` (by what was granted first, as often as it is passed and fits), or
        ``fail``, before a call is sent.
    :param estimate: what the formula said before any correction, if that is not what was asked for.
    :param every: how often the total is written at most.
    :param clock: our clock.
    :raises ValueError: if ``reservation`` is none, or ``on_overspend`` is none of the three.
    """

    def __init__(
        self,
        reservation: Any,
        find_ledger: Callable[[], QuotaLedger],
        *,
        where: Where,
        on_overspend: str = "warn",
        estimate: Mapping[str, int] | None = None,
        every: timedelta = EVERY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__()
        if on_overspend not in ON_OVERSPEND:
            raise ValueError(f"on_overspend={on_overspend!r} must be one of 'warn', 'extend' and 'fail'.")
        reservation_id = reservation_id_of(reservation)
        if reservation_id is None:
            raise ValueError("There is no reservation: give the sensor's XCom (gate.output), or its reservation id.")
        self.reservation_id = reservation_id
        self.where = where
        self._on_overspend = on_overspend
        self._find_ledger = find_ledger
        self._estimate = estimate
        self._every = every
        self._clock = clock
        self._held: Mapping[str, int] = needs_of(reservation) or {}
        self._first = dict(self._held)
        self._others: Mapping[str, int] = {}
        self._before: Mapping[str, int] = {}  # what was drawn for good before this load went on after a close
        self._draws: BackgroundDraws | None = None
        self._asking = self._warned = self._told_refusal = self._told_end = False
        self._refused_at: datetime | None = None

    @property
    def held(self) -> dict[str, int]:
        """What the reservation holds, as far as is known here; empty while nobody has told."""
        with self._lock:
            return dict(self._held)

    def begin(self) -> None:
        """Tell the store that this load draws; until it has told its last total, all of it may be spent."""
        with self._lock:
            self._open_draws().touch()

    def add(self, spent: Mapping[str, int]) -> None:
        """Count what was spent elsewhere than in a watched session.

        :param spent: by limit name, since the last time.
        :raises OverspentError: if it is more than was granted, and ``on_overspend`` is ``"fail"``.
        """
        self.answered(spent)
        self.begin()
        self._check({})

    def sending(self, asked: Mapping[str, int]) -> None:
        """Count a call that is about to be sent.

        :raises OverspentError: if it would be more than was granted, and ``on_overspend`` is ``"fail"``.
        """
        self._check(asked)
        self.begin()

    def close(self, *, failed: bool = False) -> bool:
        """Draw the rest; waits for the store 5 seconds at most. The load may go on afterwards, and be closed again.

        :param failed: whether the load ended before its work was done.
        :returns: whether the store knows the final total.
        """
        with self._lock:
            draws = self._open_draws(again=False)
        written = draws.close(failed=failed)
        if not written:
            log.warning(
                "The last total of reservation %s is not in the store: after its release, all that it was granted "
                "stays outstanding until a later reading shows what was spent.",
                self.reservation_id,
            )
        return written

    def end(self) -> None:
        """Draw the rest without waiting for it; called by the garbage collector, in whatever thread it runs."""
        if self._draws is not None:
            self._draws.end()

    def _open_draws(self, *, again: bool = True) -> BackgroundDraws:
        """Return what draws; a new one if the last has told its final total and there may be more."""
        if self._draws is not None and self._draws.written and again:
            self._before = _plus(self._before, self._draws.told)
            self._draws = None
        if self._draws is None:
            self._draws = BackgroundDraws(
                self._find_ledger,
                self.reservation_id,
                self._own_totals,
                told=self._hear,
                extended=self._hear_extended,
                extend=top_up,
                estimate=self._estimate,
                every=self._every,
                clock=self._clock,
            )
        return self._draws

    def _own_totals(self) -> dict[str, int]:
        with self._lock:
            return self._own()

    def _own(self) -> dict[str, int]:
        return {name: total - self._before.get(name, 0) for name, total in self._totals.items()}

    def _check(self, asked: Mapping[str, int]) -> None:
        """Count a call if there is one, and do what is to be done if the grant is passed."""
        more: dict[str, int] = {}
        warning = ""
        with self._lock:
            spent = _plus(_plus(self._own(), self._others), asked)
            over = [name for name, held in self._held.items() if spent.get(name, 0) > held]
            if over and self._on_overspend == "fail":
                name = over[0]
                done = spent[name] - asked.get(name, 0)
                raise OverspentError(
                    f"Reservation {self.reservation_id} was granted {self._held[name]:,} {name}; {done:,} are spent, "
                    f"and the load wants to go on.",
                    self.where,
                )
            self._totals[API_REQUESTS] += asked.get(API_REQUESTS, 0)
            if over and self._on_overspend == "warn" and not self._warned:
                self._warned = True
                warning = ", ".join(f"{spent[name]:,} of {self._held[name]:,} {name}" for name in over)
            if over and self._on_overspend == "extend" and not self._asking and self._may_ask_again():
                self._asking = True
                more = {name: max(1, self._first.get(name, 0)) for name in over}
            held, draws = self._held, self._draws
        if warning:
            log.warning(
                "The load spends more than reservation %s was granted: %s; it goes on. Ask for more in the gate, or "
                "set on_overspend='extend' or 'fail'.",
                self.reservation_id,
                warning,
            )
        if more and draws is not None:
            draws.ask_for(more, held)

    def _may_ask_again(self) -> bool:
        return self._refused_at is None or not timedelta(0) <= self._clock() - self._refused_at < ASK_AGAIN

    def _hear(self, drawn: Drawn, told: Mapping[str, int]) -> None:
        """Learn where the reservation stands after a draw."""
        with self._lock:
            self._held = drawn.held
            self._first = self._first or dict(drawn.held)
            self._others = {name: total - told.get(name, 0) for name, total in drawn.spent.items()}
            ended = drawn.state is not LeaseState.GRANTED and not self._told_end
            self._told_end = self._told_end or ended
        if ended:
            log.warning(
                "Reservation %s has %s, though its load still runs: others may be granted what it spends.",
                self.reservation_id,
                "lapsed" if drawn.state is LeaseState.LAPSED else "ended",
            )

    def _hear_extended(self, outcome: Extended | None) -> None:
        """Learn what came of asking for more."""
        with self._lock:
            self._asking = False
            extended = outcome is not None and outcome.extended
            self._refused_at = None if extended else self._clock()
            if outcome is not None and extended:
                self._held = outcome.held
            told, self._told_refusal = self._told_refusal, outcome is not None and not extended
        if outcome is None:
            return
        if extended:
            held = ", ".join(f"{number:,} {name}" for name, number in outcome.held.items())
            log.info("Reservation %s was extended; it holds %s. %s", self.reservation_id, held, outcome.reason)
        elif not told:
            log.warning(
                "The load spends more than reservation %s was granted, and there is no more for it now; it goes on. %s",
                self.reservation_id,
                outcome.reason,
            )


def _plus(some: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: some.get(name, 0) + more.get(name, 0) for name in {**some, **more}}
