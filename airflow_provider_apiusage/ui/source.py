"""Where the page's data come from: the configured store, opened with the first question."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_apiusage.hooks.store import configured_store, default_path, open_engine
from airflow_provider_apiusage.ui.known import Known

if TYPE_CHECKING:
    from sqlalchemy import Engine

LOOK_AGAIN_AFTER = timedelta(minutes=1)


def _now() -> datetime:
    return datetime.now(UTC)


class Source:
    """The store as the page sees it.

    :param engine: of a store, prepared and migrated; the default is the configured one.
    :param clock: our clock, aware UTC.
    """

    def __init__(self, engine: Engine | None = None, clock: Callable[[], datetime] = _now) -> None:
        self._engine = engine
        self.now = clock
        self._known: Known | None = None
        self._opened_at: datetime | None = None

    def known(self) -> Known | None:
        """Return what the store knows; ``None`` if there is no store yet, which the page does not make.

        :raises ConfigurationError: if the connection of the store is missing or of no use.
        :raises StoreError: if the store cannot be reached.
        """
        now, opened_at = self.now(), self._opened_at
        if self._known is not None and opened_at is not None and timedelta(0) <= now - opened_at < LOOK_AGAIN_AFTER:
            return self._known
        if self._engine is None and configured_store(None) is None and not default_path().exists():
            return None
        # The connection is looked up again now and then: somebody may have corrected it. Engines are kept by address.
        engine = self._engine or open_engine()
        if self._known is None or self._known.engine is not engine:
            self._known = Known(engine, self.now)
        self._opened_at = now
        return self._known
