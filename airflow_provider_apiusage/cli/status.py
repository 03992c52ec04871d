"""``airflow apiusage status``."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_apiusage.cli.standing import Standing, standing
from airflow_provider_apiusage.cli.subject import Subject
from airflow_provider_apiusage.cli.told import FINE, NO, NotKnownError, Table, Told, command, counts, iso, when
from airflow_provider_apiusage.quota.arguments import needs_from, reserve_from
from airflow_provider_apiusage.quota.model import LimitFigures, Refuse, Wait
from airflow_provider_apiusage.quota.policy import Approve
from airflow_provider_apiusage.reporting.words import number, percent
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading


@command
def run(args: Namespace) -> Told:
    """Say where an org stands, and with ``--needs`` whether the gate would let a load start."""
    needs = None if args.needs is None else needs_from(args.needs)
    reserve = reserve_from(args.reserve, needs=needs or {API_REQUESTS: 1})
    subject = Subject(args)
    spent = subject.refresh() if args.refresh else 0
    now = datetime.now(UTC)
    org_id = subject.org_id
    stands = standing(subject.engine, org_id, now, needs=needs, reserve=reserve)
    reading = stands.readings.get(API_REQUESTS)
    if reading is None:
        raise NotKnownError(
            f"Nothing has been read of org {org_id} yet: run 'airflow apiusage snapshot --conn-id {subject.conn_id}', "
            "or give --refresh."
        )
    data = {
        "org_id": org_id,
        "at": iso(now + reading.skew),
        **_figures(reading, now),
        "grantable": stands.grantable,
        "waiting": len(stands.waiting),
        "request": None if needs is None else _request(stands, needs),
        "limits": [{"name": name, **_figures(each, now)} for name, each in sorted(stands.readings.items())],
        "api_calls": spent,
    }
    refused = needs is not None and not isinstance(stands.verdict, Approve)
    return Told(data, _lines(data, stands, reading, now), NO if refused else FINE)


def _figures(reading: LimitReading, now: datetime) -> dict[str, Any]:
    limit, remaining, used = reading.limit, reading.remaining, reading.used
    if remaining is None and limit is not None and used is not None:
        remaining = limit - used
    return {
        "used": used,
        "limit": limit,
        "remaining": remaining,
        "share": round(used / limit, 4) if used is not None and limit else None,
        "observed_at": iso(reading.observed_at),
        "age_seconds": _age(reading, now) // timedelta(seconds=1),
        "source": reading.source.value,
    }


def _age(reading: LimitReading, now: datetime) -> timedelta:
    return max(timedelta(0), now - reading.received_at)


def _request(stands: Standing, needs: dict[str, int]) -> dict[str, Any]:
    verdict = stands.verdict
    return {
        "needs": needs,
        "granted": isinstance(verdict, Approve),
        "ever": not isinstance(verdict, Refuse),
        "reason": verdict.reason,
        "opens_at": iso(verdict.opens_at) if isinstance(verdict, Wait) else None,
        "figures": [_sum(each) for each in verdict.figures],
    }


def _sum(figures: LimitFigures) -> dict[str, Any]:
    names = ("name", "need", "remaining", "reserve", "outstanding", "expired", "expected", "margin", "peak", "headroom")
    return {name: getattr(figures, name) for name in names}


def _lines(data: dict[str, Any], stands: Standing, reading: LimitReading, now: datetime) -> list[str | Table]:
    age = _age(reading, now)
    lines: list[str | Table] = [f"Org {data['org_id']}, read {_ago(age)} ago ({when(reading.observed_at)})."]
    if data["request"] is None:
        lines.append(_grantable(stands))
    else:
        word = {True: "Yes", False: "Not now" if data["request"]["ever"] else "Never"}[data["request"]["granted"]]
        lines.append(f"{word}: {counts(data['request']['needs'])}. {stands.verdict.reason}")
        if data["request"]["opens_at"]:
            lines.append(f"Earliest opening: {when(getattr(stands.verdict, 'opens_at', None))}.")
    figures = next((each for each in stands.figures if each.name == API_REQUESTS), None)
    rows = [("used", number(data["used"]), "" if data["share"] is None else percent(data["share"]))]
    rows += [("limit", number(data["limit"]), ""), ("remaining", number(data["remaining"]), "")]
    if figures is not None:
        rows += [("reserve", number(figures.reserve), ""), ("outstanding", number(figures.outstanding), "")]
        rows += [("headroom", number(figures.headroom), "")]
    rows.append(("grantable now", number(stands.grantable), f"{len(stands.waiting)} waiting" if stands.waiting else ""))
    lines.append(Table((API_REQUESTS, "calls", ""), rows))
    others = [each for each in data["limits"] if each["name"] != API_REQUESTS and each["used"]]
    told = [(each["name"], number(each["used"]), number(each["limit"]), _share(each["share"])) for each in others]
    lines.append(Table(("other limits in use", "used", "limit", "share"), told))
    return lines


def _grantable(stands: Standing) -> str:
    if stands.grantable is None:
        return f"How much can be granted is not known. {stands.verdict.reason}"
    if stands.grantable:
        return f"{stands.grantable:,} calls can be granted now."
    return f"Nothing can be granted now. {stands.verdict.reason}"


def _share(share: float | None) -> str:
    return "" if share is None else percent(share)


def _ago(age: timedelta) -> str:
    seconds = age // timedelta(seconds=1)
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}s"
    return f"{seconds} seconds"
