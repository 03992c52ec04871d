"""Attributes that are worked out once per hook."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any, Generic, Self, TypeVar, overload

_T = TypeVar("_T")


class once(Generic[_T]):
    """An attribute that is worked out when it is first asked for, once even if several threads of a hook ask.

    Until Python 3.12, ``functools.cached_property`` holds one lock for all instances of a class meanwhile: a login that
    hangs would hold up the logins of all other hooks of the process. Here each instance has a lock of its own.
    """

    def __init__(self, work_out: Callable[[Any], _T]) -> None:
        self._work_out = work_out
        self.__doc__ = work_out.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> _T: ...

    def __get__(self, instance: object | None, owner: type) -> Self | _T:
        """Return what was worked out; later it is found in the instance itself."""
        if instance is None:
            return self
        kept = instance.__dict__
        with kept.setdefault("_once_lock", RLock()):
            if self._name not in kept:
                kept[self._name] = self._work_out(instance)
            found: _T = kept[self._name]
            return found
