"""The routes that have data. Each asks Airflow who the caller is; each about an org asks whether they may see it.

All are plain functions, since they wait for a database: FastAPI runs those in threads.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from airflow_provider_apiusage.store.org_connections import OrgConnection
from airflow_provider_apiusage.ui import bridge, gate, orgs, reconciled, series, spenders, summary
from airflow_provider_apiusage.ui.access import Caller, caller
from airflow_provider_apiusage.ui.answers import Answer
from airflow_provider_apiusage.ui.failures import Refused, no_such_org
from airflow_provider_apiusage.ui.known import Known
from airflow_provider_apiusage.usage.attribution import Dimension

data = APIRouter(dependencies=[Depends(caller)])
METHODS = ["GET", "HEAD"]
FURTHEST = 1_000_000

Who = Annotated[Caller, Depends(caller)]
Offset = Annotated[int, Query(ge=0, le=FURTHEST)]
Limit = Annotated[int, Query(ge=1, le=200)]
Few = Annotated[int, Query(ge=1, le=50)]

_CURSOR = re.compile(r"(\d{1,11})\.(\d{6})-(\d{1,18})")


class Seen:
    """An org that the caller may see.

    :param known: the store.
    :param org_id: the org.
    :param through: the connections through which they see it.
    :param who: the caller.
    """

    def __init__(self, known: Known, org_id: str, through: tuple[OrgConnection, ...], who: Caller) -> None:
        self.known, self.org_id, self.through, self.who = known, org_id, through, who


def seen(request: Request, org_id: str, who: Who) -> Seen:
    """Return the org that a path names; a dependency of every route about one.

    :raises Refused: 404 if there is none, or the caller may not see it.
    """
    known: Known | None = request.app.state.source.known()
    if known is None:
        raise no_such_org()
    return Seen(known, org_id, known.org_of(who, org_id), who)


SeenOrg = Annotated[Seen, Depends(seen)]


def reply(request: Request, answer: Answer) -> Response:
    """Return an answer with its ETag, or that the caller has it already."""
    body = answer.model_dump_json().encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization"}
    given = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if tag in given:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def place(before: str | None) -> tuple[datetime, int] | None:
    """Return the place in a list that ``next`` of the page before named.

    :raises Refused: 400 if it names none.
    """
    if not before:
        return None
    found = _CURSOR.fullmatch(before)
    if found is None:
        raise Refused(400, "bad-parameter", "A parameter makes no sense: before.")
    seconds, micros, row_id = (int(part) for part in found.groups())
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros), row_id


def number(text: str | None) -> int | None:
    """Return a whole number of 0 or more; ``None`` for anything else, such as a placeholder that nobody filled in."""
    return int(text) if text is not None and re.fullmatch(r"\d{1,9}", text) else None


@data.api_route("/health", methods=METHODS)
def get_health(request: Request, who: Who) -> Response:
    """Answer whether there is anything to show."""
    return reply(request, orgs.health(request.app.state.source.known(), who))


@data.api_route("/orgs", methods=METHODS)
def get_orgs(request: Request, who: Who) -> Response:
    """Answer which orgs the caller may see."""
    return reply(request, orgs.all_orgs(request.app.state.source.known(), who))


@data.api_route("/task", methods=METHODS)
def get_task(
    request: Request,
    who: Who,
    dag_id: str,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: str | None = None,
) -> Response:
    """Answer what a DAG, a run, a task or a task instance has to do with orgs."""
    known = request.app.state.source.known()
    return reply(request, gate.task(known, who, dag_id, run_id or None, task_id or None, number(map_index)))


@data.api_route("/orgs/{org_id}/summary", methods=METHODS)
def get_summary(request: Request, org: SeenOrg) -> Response:
    """Answer where the org stands."""
    return reply(request, summary.summary(org.known, org.org_id, org.through))


@data.api_route("/orgs/{org_id}/bridge", methods=METHODS)
def get_bridge(request: Request, org: SeenOrg) -> Response:
    """Answer how yesterday and today make the last 24 hours."""
    return reply(request, bridge.bridge(org.known, org.org_id))


@data.api_route("/orgs/{org_id}/series", methods=METHODS)
def get_series(request: Request, org: SeenOrg) -> Response:
    """Answer the week behind and the day ahead."""
    return reply(request, series.series(org.known, org.org_id))


@data.api_route("/orgs/{org_id}/spenders", methods=METHODS)
def get_spenders(
    request: Request,
    org: SeenOrg,
    by: Dimension = "user",
    day: str | None = None,
    sort: spenders.Sort = "calls",
    order: spenders.Order = "desc",
    offset: Offset = 0,
    limit: Limit = 25,
) -> Response:
    """Answer who spent the calls of a time."""
    try:
        wanted = date.fromisoformat(day) if day else None
    except ValueError:
        raise Refused(400, "bad-parameter", "A parameter makes no sense: day.") from None
    if wanted is not None and not 2000 <= wanted.year <= 2999:
        raise Refused(400, "bad-parameter", "A parameter makes no sense: day.")
    return reply(request, spenders.spenders(org.known, org.org_id, by, wanted, sort, order, offset, limit))


@data.api_route("/orgs/{org_id}/gate", methods=METHODS)
def get_gate(
    request: Request,
    org: SeenOrg,
    offset: Offset = 0,
    limit: Limit = 50,
    held_offset: Offset = 0,
    held_limit: Limit = 50,
) -> Response:
    """Answer who waits and who holds."""
    return reply(request, gate.gate(org.known, org.org_id, org.who, offset, limit, held_offset, held_limit))


@data.api_route("/orgs/{org_id}/decisions", methods=METHODS)
def get_decisions(request: Request, org: SeenOrg, before: str | None = None, limit: Limit = 50) -> Response:
    """Answer what the gate decided last."""
    return reply(request, gate.decisions(org.known, org.org_id, org.who, place(before), limit))


@data.api_route("/orgs/{org_id}/reconciliations", methods=METHODS)
def get_reconciliations(request: Request, org: SeenOrg, before: str | None = None, limit: Few = 7) -> Response:
    """Answer what the last reconciliations found."""
    return reply(request, reconciled.reconciliations(org.known, org.org_id, place(before), limit))
