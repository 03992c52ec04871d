"""What one check of ``airflow apiusage doctor`` found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_apiusage.salesforce.errors import ApiUsageError
from airflow_provider_apiusage.store.errors import StoreError


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    """It works, but less well than it could."""
    FAIL = "fail"
    """Something does not work."""
    SKIP = "skip"
    """Not checked: what it needs does not work, or it was not asked for."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    :param name: stable, for programs.
    :param found: what is the case.
    :param means: what that means for whoever uses this; blank if all is well.
    :param fix: what to do about it; likewise.
    :param figures: for programs.
    """

    name: str
    state: State
    found: str
    means: str = ""
    fix: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-safe."""
        return {
            "name": self.name,
            "state": self.state.value,
            "found": self.found,
            "means": self.means,
            "fix": self.fix,
            "figures": dict(self.figures),
        }


def failed(name: str, error: ApiUsageError | StoreError, means: str, fix: str = "", state: State = State.FAIL) -> Check:
    """Return the check that met an error.

    :param fix: instead of what the error advises.
    """
    if isinstance(error, StoreError):
        return Check(name, state, error.what, means, fix or error.fix, {"store": error.store})
    return Check(name, state, error.what, means, fix or error.advice, {"kind": error.kind})
