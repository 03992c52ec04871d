"""Bodies of ``/limits`` and values of ``Sforce-Limit-Info`` -> readings.

Sources: REST API guide, Limits resource (``{"Max", "Remaining"}`` per limit, some with nested entries per
connected app, where 0 of 0 means that the app has no quota of its own) and Sforce-Limit-Info header; pilot
documentation of ``per-app-api-usage``. ``DailyBulkApiRequests`` of v48 and before is today's
``DailyBulkApiBatches``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from airflow_provider_apiusage.usage.model import (
    API_REQUESTS,
    Finding,
    LimitReading,
    ReadingSource,
    Severity,
)

RENAMED = {"DailyBulkApiRequests": "DailyBulkApiBatches"}
"""Former limit names and what they are called since v49."""

_COUNT = r"[0-9]{1,18}"
_KNOWN = r"(?:api-usage|per-app-api-usage|api-bursts)"
_PAIR = rf"(?P<first>{_COUNT})\s*/\s*(?P<second>{_COUNT})"
_SEGMENT = re.compile(rf"\s*(?P<key>{_KNOWN})\s*=\s*{_PAIR}\s*", re.I)
_KNOWN_KEY = re.compile(rf"\s*{_KNOWN}\b", re.I)
_REST = re.compile(r"[^;,]*")
# A name may hold any of `;=()`: it ends at the first parenthesis that a further segment or the end follows.
_APP_NAME = re.compile(rf"\(appName=(?P<name>.*?)\)\s*(?=$|[;,]\s*{_KNOWN}\s*=)", re.I | re.S)


class AppUsage(NamedTuple):
    """Calls of one connected app against its own quota; ``name`` is ``""`` where the header does not tell it."""

    name: str
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class LimitInfo:
    """What a ``Sforce-Limit-Info`` header says.

    :param used: calls of the org in the window, possibly more than ``limit``; ``None`` if unknown.
    :param limit: the org's allocation; ``None`` if unknown.
    :param per_app: usage of the calling app, where it has a quota.
    :param bursts: use beyond the limit and its entitlement, as reported (Salesforce does not explain the
        unit).
    :param malformed: whether a part known by name could not be read.
    """

    used: int | None = None
    limit: int | None = None
    per_app: tuple[AppUsage, ...] = ()
    bursts: tuple[int, int] | None = None
    malformed: bool = False


def parse_limit_info(value: str | None) -> LimitInfo:
    """Read a ``Sforce-Limit-Info`` header.

    Parts may come in any order, further kinds of parts are ignored, and of a part that comes twice the first
    counts (an app may have chosen its name to look like one).

    :param value: the header's value; ``None`` or blank if the response had none.
    :return: what could be read; an unreadable number is unknown, never 0.
    """
    pairs: dict[str, tuple[int, int]] = {}
    per_app: list[AppUsage] = []
    malformed = False
    text, position = value or "", 0
    while position < len(text):
        segment = _SEGMENT.match(text, position)
        name = None
        if segment is not None:
            position = segment.end()
            if segment["key"].lower() == "per-app-api-usage":
                name = _APP_NAME.match(text, position)
                position = name.end() if name is not None else position
        rest = _REST.match(text, position)
        if rest is not None and (rest[0] if segment is not None else _KNOWN_KEY.match(rest[0])):
            malformed = True
        elif segment is not None:
            key, pair = segment["key"].lower(), (int(segment["first"]), int(segment["second"]))
            pairs.setdefault(key, pair)
            if key == "per-app-api-usage":
                per_app.append(AppUsage(name["name"] if name is not None else "", *pair))
        position = 1 + (rest.end() if rest is not None else position)
    used, limit = pairs.get("api-usage", (None, None))
    return LimitInfo(used, limit, tuple(per_app), pairs.get("api-bursts"), malformed)


def reading_from_header(
    value: str | None, *, org_id: str, observed_at: datetime, received_at: datetime
) -> LimitReading | None:
    """Return the reading of ``DailyApiRequests`` that a ``Sforce-Limit-Info`` header holds.

    :param value: the header's value.
    :param org_id: the 15-character id of the org.
    :param observed_at: the ``Date`` header of the response.
    :param received_at: our instant when it arrived.
    :return: ``None`` if the header is absent or tells no usable ``api-usage``.
    """
    info = parse_limit_info(value)
    if info.used is None or info.limit is None:
        return None
    return LimitReading(
        org_id=org_id,
        name=API_REQUESTS,
        source=ReadingSource.HEADER,
        observed_at=observed_at,
        received_at=received_at,
        limit=info.limit,
        remaining=info.limit - info.used,
        used=info.used,
    )


def reading_exhausted(
    *,
    org_id: str,
    observed_at: datetime,
    received_at: datetime,
    limit: int | None = None,
    name: str = API_REQUESTS,
) -> LimitReading:
    """Return the reading that an error such as ``REQUEST_LIMIT_EXCEEDED`` amounts to: nothing remains.

    :param org_id: the 15-character id of the org.
    :param observed_at: the ``Date`` header of the response.
    :param received_at: our instant when it arrived.
    :param limit: the allocation if another reading told it; ``used`` is then as large, the least it can be.
    :param name: the limit that is used up.
    """
    return LimitReading(
        org_id=org_id,
        name=name,
        source=ReadingSource.EXHAUSTED,
        observed_at=observed_at,
        received_at=received_at,
        limit=limit,
        remaining=0,
        used=limit,
    )


def reading_of_refusal(
    limit_info: str | None, *, org_id: str, observed_at: datetime, received_at: datetime
) -> LimitReading:
    """Return what a refusal for want of allowance says: its header if that agrees, else that nothing is left.

    :param limit_info: the header's value, if the refusal had one.
    :param org_id: the 15-character id of the org.
    :param observed_at: the ``Date`` header of the response.
    :param received_at: our instant when it arrived.
    """
    said = reading_from_header(limit_info, org_id=org_id, observed_at=observed_at, received_at=received_at)
    if said is not None and said.remaining is not None and said.remaining <= 0:
        return said
    return reading_exhausted(org_id=org_id, observed_at=observed_at, received_at=received_at)


def readings_from_limits(
    body: Any, *, org_id: str, observed_at: datetime, received_at: datetime
) -> tuple[tuple[LimitReading, ...], tuple[Finding, ...]]:
    """Read the body of ``GET /services/data/vXX.0/limits``.

    Every limit becomes a reading, and so does every entry nested in one (``scope`` is its name) unless it is
    0 of 0, which sets no quota. ``Remaining`` is kept as reported, also if negative. A number that cannot be
    one is unknown, with a finding.

    :param body: the parsed JSON.
    :param org_id: the 15-character id of the org.
    :param observed_at: the ``Date`` header of the response.
    :param received_at: our instant when it arrived.
    :return: the readings in the order of the body, and what is odd.
    :raises ValueError: if the body is not a JSON object.
    """
    if not isinstance(body, Mapping):
        raise ValueError(f"A JSON object of limits was expected, not {type(body).__name__}: {str(body)[:200]}")
    readings: list[LimitReading] = []
    findings: list[Finding] = []
    for reported, entry in body.items():
        name = RENAMED.get(reported) or str(reported)
        if name != reported:
            if name in body:
                continue
            findings.append(
                Finding(
                    "limit-renamed",
                    Severity.INFO,
                    f"{reported} is kept under its present name, {name}: the API version asked for is 48 or older.",
                    {"reported": reported, "name": name},
                )
            )
        if not isinstance(entry, Mapping):
            findings.append(_unknown(name, "", "the entry", entry))
            continue
        scopes = {"": entry} | {k: v for k, v in entry.items() if k and isinstance(v, Mapping)}
        scopes = {k: v for k, v in scopes.items() if k not in ("Max", "Remaining")}
        for scope, pair in scopes.items():
            if scope and pair.get("Max") == 0 and pair.get("Remaining") == 0:
                continue
            limit, remaining, odd = _figures(name, scope, pair)
            findings += odd
            used = None if limit is None or remaining is None or remaining > limit else limit - remaining
            readings.append(
                LimitReading(
                    org_id=org_id,
                    name=name,
                    source=ReadingSource.LIMITS,
                    observed_at=observed_at,
                    received_at=received_at,
                    limit=limit,
                    remaining=remaining,
                    used=used,
                    scope=scope,
                )
            )
    findings += _about_api_requests(readings)
    return tuple(readings), tuple(findings)


def _figures(name: str, scope: str, pair: Mapping[str, Any]) -> tuple[int | None, int | None, list[Finding]]:
    """Return limit and remaining of one entry, unknown where they are no whole numbers."""
    limit, remaining = _whole(pair.get("Max")), _whole(pair.get("Remaining"))
    odd = []
    if limit is None or limit < 0:
        odd.append(_unknown(name, scope, "Max", pair.get("Max")))
        limit = None
    if remaining is None:
        odd.append(_unknown(name, scope, "Remaining", pair.get("Remaining")))
    if limit is not None and remaining is not None and remaining > limit:
        odd.append(
            Finding(
                "remaining-above-limit",
                Severity.WARNING,
                f"{_label(name, scope)} has {remaining:,} remaining of {limit:,}, so how many are used is "
                "unknown; the limit may just have been lowered. Read it again later.",
                {"limit": limit, "remaining": remaining},
            )
        )
    return limit, remaining, odd


def _whole(value: Any) -> int | None:
    """Return a JSON number that is whole, however written, else ``None``; a boolean is no number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _label(name: str, scope: str) -> str:
    return f"{name} ({scope})" if scope else name


def _unknown(name: str, scope: str, part: str, value: Any) -> Finding:
    return Finding(
        "limit-malformed",
        Severity.ERROR if name == API_REQUESTS and not scope else Severity.WARNING,
        f"{part} of {_label(name, scope)} should be a whole number in an object of Max and Remaining but is "
        f"{str(value)[:80]!r}: taken as unknown.",
        {"name": name, "scope": scope},
    )


def _about_api_requests(readings: list[LimitReading]) -> list[Finding]:
    """Explain an allowance of API requests that is missing or empty."""
    reading = next((r for r in readings if r.name == API_REQUESTS and not r.scope), None)
    if reading is None:
        return [
            Finding(
                "limit-missing",
                Severity.ERROR,
                f"The org did not report {API_REQUESTS}, so its usage is unknown. The user needs the "
                "permission View Setup and Configuration.",
                {"name": API_REQUESTS},
            )
        ]
    if reading.limit == 0:
        return [
            Finding(
                "limit-zero",
                Severity.WARNING,
                f"The org's allocation of {API_REQUESTS} is 0: its edition has no API access, or the add-on ended.",
                {"name": API_REQUESTS},
            )
        ]
    return []
