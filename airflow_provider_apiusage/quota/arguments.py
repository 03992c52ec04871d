"""What DAG authors write, read strictly: numbers, templated text, mappings. A wrong value names its field."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from airflow_provider_apiusage.quota.model import OnUnknown, Reserve
from airflow_provider_apiusage.usage.model import API_REQUESTS


def needs_from(calls: Any) -> dict[str, int]:
    """Read ``calls``: a whole number of ``DailyApiRequests``, or a mapping of limit names to whole numbers.

    :param calls: ``30000``, ``"30000"`` or ``"30,000"`` (a rendered template), a mapping, or a mapping as JSON text.
        Text with a decimal point, or with commas that part no groups of three, is refused: notations differ.
    :returns: needs by limit name, each at least 1.
    :raises ValueError: if a need is no whole number of at least 1, or none is given.
    """
    calls = _parsed(calls, _as_written)
    if not isinstance(calls, Mapping):
        return {API_REQUESTS: _whole("calls", calls, least=1)}
    if not calls:
        raise ValueError("calls is empty: say how many calls the load needs, such as calls=30000.")
    return {str(name): _whole(f"calls[{name!r}]", need, least=1) for name, need in calls.items()}


def reserve_from(reserve: Any, *, needs: Mapping[str, int]) -> Reserve:
    """Read ``reserve``: what the gate never grants.

    :param reserve: a whole number (calls of ``DailyApiRequests``), a share such as ``0.1`` or ``"10%"`` (of every limit
        asked for), a mapping of limit names to whole numbers, or any of these as text; ``None`` for nothing.
    :param needs: what is asked for; a reserve of another limit would keep nothing.
    :raises ValueError: if it is negative, no number, a share of 1 or more, or names a limit that is not asked for.
    """
    reserve = _parsed(reserve, _as_written)
    if reserve is None or reserve == "":
        return Reserve()
    if isinstance(reserve, Mapping):
        calls = {str(name): _whole(f"reserve[{name!r}]", kept, least=0) for name, kept in reserve.items()}
        return Reserve(_asked_for(calls, calls, needs))
    if isinstance(reserve, str) and reserve.endswith("%"):
        return Reserve(share=_share(reserve, reserve[:-1], 100))
    if isinstance(reserve, float) or (isinstance(reserve, str) and "." in reserve):
        return Reserve(share=_share(reserve, reserve, 1))
    kept = _whole("reserve", reserve, least=0)
    return Reserve(_asked_for({API_REQUESTS: kept}, [API_REQUESTS] if kept else [], needs))


def _asked_for(reserve: dict[str, int], names: Iterable[str], needs: Mapping[str, int]) -> dict[str, int]:
    for name in names:
        if name not in needs:
            raise ValueError(
                f"reserve names {name!r}, but the load asks for {', '.join(needs)} only, so it would keep nothing."
            )
    return reserve


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


def priority_from(value: Any) -> int:
    """Return the priority that a DAG author wrote.

    :raises ValueError: if it is not a whole number.
    """
    try:
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"priority must be a whole number, not {value!r}.")


def _parsed(value: Any, parse_float: Callable[[str], Any] = float) -> Any:
    """Undo what a template made of a number or mapping; other text stays as it is.

    A mapping renders to JSON if the template says so (``| tojson``), and else to Python's own text.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        return json.loads(text, parse_float=parse_float)
    except ValueError:
        mapping = _python_mapping(text) if text.startswith("{") else None
        return text if mapping is None else mapping


def _python_mapping(text: str) -> dict[Any, Any] | None:
    try:
        read = literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(read, dict):
        return None
    # What has a decimal point is not taken for a whole number, as in JSON.
    return {name: repr(value) if isinstance(value, float) else value for name, value in read.items()}


def _as_written(number: str) -> Any:
    """Keep a number with a decimal point as text: ``30.000`` is thirty to some and thirty thousand to others."""
    return number if "." in number else float(number)


def _whole(field: str, value: Any, *, least: int) -> int:
    number = value
    if isinstance(value, str) and re.fullmatch(r"[0-9]+|[0-9]{1,3}(?:([,_ ])[0-9]{3})(?:\1[0-9]{3})*", value.strip()):
        number = int(re.sub("[,_ ]", "", value))
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
