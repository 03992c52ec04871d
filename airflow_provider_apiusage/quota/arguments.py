"""What DAG authors write, read strictly: numbers, templated text, mappings. A wrong value names its field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow_provider_apiusage.quota.model import OnUnknown, Reserve
from airflow_provider_apiusage.usage.model import API_REQUESTS


def needs_from(calls: Any) -> dict[str, int]:
    """Read ``calls``: a whole number of ``DailyApiRequests``, or a mapping of limit names to whole numbers.

    :param calls: ``30000``, ``"30000"`` or ``"30,000"`` (a rendered template), a mapping, or a mapping as JSON text.
    :returns: needs by limit name, each at least 1.
    :raises ValueError: if a need is no whole number of at least 1, or none is given.
    """
    calls = _parsed(calls)
    if not isinstance(calls, Mapping):
        return {API_REQUESTS: _whole("calls", calls, least=1)}
    if not calls:
        raise ValueError("calls is empty: say how many calls the load needs, such as calls=30000.")
    return {str(name): _whole(f"calls[{name!r}]", need, least=1) for name, need in calls.items()}


def reserve_from(reserve: Any) -> Reserve:
    """Read ``reserve``: what the gate never grants.

    :param reserve: a whole number (calls of ``DailyApiRequests``), a share such as ``0.1`` or ``"10%"`` (of every limit
        asked for), a mapping of limit names to whole numbers, or any of these as text; ``None`` for nothing.
    :raises ValueError: if it is negative, no number, or a share of 1 or more.
    """
    reserve = _parsed(reserve)
    if reserve is None or reserve == "":
        return Reserve()
    if isinstance(reserve, Mapping):
        return Reserve({str(name): _whole(f"reserve[{name!r}]", kept, least=0) for name, kept in reserve.items()})
    if isinstance(reserve, str) and reserve.endswith("%"):
        return Reserve(share=_share(reserve, reserve[:-1], 100))
    if isinstance(reserve, float):
        return Reserve(share=_share(reserve, reserve, 1))
    return Reserve({API_REQUESTS: _whole("reserve", reserve, least=0)})


def duration_from(field: str, value: Any) -> timedelta:
    """Read a duration: a ``timedelta`` or seconds, more than zero.

    :param field: the argument's name, for the message.
    :raises ValueError: if it is neither or not positive.
    """
    value = _parsed(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta) or value <= timedelta(0):
        raise ValueError(f"{field}={value!r} must be a timedelta, or seconds, of more than zero.")
    return value


def on_unknown_from(value: Any) -> OnUnknown:
    """Read ``on_unknown``.

    :raises ValueError: if it is none of ``wait``, ``fail`` and ``allow``.
    """
    try:
        return OnUnknown(value)
    except ValueError:
        raise ValueError(f"on_unknown={value!r} must be one of 'wait', 'fail' and 'allow'.") from None


def _parsed(value: Any) -> Any:
    """Undo what a template made of a number or mapping; other text stays as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        return json.loads(text)
    except ValueError:
        return text


def _whole(field: str, value: Any, *, least: int) -> int:
    number = value
    if isinstance(value, str):
        digits = value.replace(",", "").replace("_", "").replace(" ", "")
        number = int(digits) if digits.isdigit() else value
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{field}={value!r} is no whole number; write it like {field}=30000.")
    if number < least:
        raise ValueError(f"{field}={value!r} must be at least {least}.")
    return number


def _share(written: Any, value: Any, whole: int) -> float:
    try:
        share = float(value) / whole
    except ValueError:
        raise ValueError(f"reserve={written!r} is no share; write it like 0.1 or '10%'.") from None
    if not 0 <= share < 1:
        raise ValueError(f"reserve={written!r} must be a share from 0 up to, but not including, 1 (100%).")
    return share
