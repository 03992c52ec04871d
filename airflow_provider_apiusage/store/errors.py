"""What can go wrong with the store; none of it is an ``AirflowException``, so ``soft_fail`` hides none of it."""

from __future__ import annotations

from typing import Any


class StoreError(Exception):
    """Base of the store's errors.

    :param what: what happened, one sentence.
    :param store: the store's URL without its password.
    :param fix: what to do about it.
    """

    def __init__(self, what: str, store: str, fix: str) -> None:
        self.what, self.store, self.fix = what, store, fix
        super().__init__(f"{what} [store {store}] What to do: {fix}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.store, self.fix)


class StoreUnavailableError(StoreError):
    """The store cannot be reached, read or written."""


class StoreSchemaError(StoreError):
    """The store's schema is not one that this version knows."""
