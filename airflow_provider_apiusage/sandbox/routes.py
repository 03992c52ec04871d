"""Which resource a path leads to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from airflow_provider_apiusage.sandbox import bulk, bulk2, event_log, limits, queries, rest, usage_report
from airflow_provider_apiusage.sandbox.http import Answer, Call, Request

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

    Handler = Callable[[SandboxOrg, Call], Answer]

Access = Literal["open", "identity", "page", "api", "bulk_1"]


@dataclass(frozen=True, slots=True)
class Route:
    """One resource: its class in the truth, its path, and how one gets in."""

    name: str
    pattern: re.Pattern[str]
    methods: frozenset[str]
    handler: Handler | None = None
    access: Access = "api"


def _route(name: str, methods: str, path: str, handler: Handler | None = None, access: Access = "api") -> Route:
    prefix = {"api": r"/services/data/v(?P<version>\d+)\.0", "bulk_1": r"/services/async/(?P<version>\d+)\.0"}
    return Route(name, re.compile(prefix.get(access, "") + path), frozenset(methods.split()), handler, access)


_ID = r"(?P<id>[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?)"
_JOB = r"/job/(?P<job>\w+)"
_REPORT = r"/analytics/reports/(?P<report>\w+)"
_OBJECT = r"/sobjects/(?P<object>\w+)"

ROUTES = (
    _route("versions", "GET", r"/services/data", access="open"),
    _route("token", "POST", r"/services/oauth2/token", access="open"),
    _route("login_soap", "POST", r"/services/Soap/[uc]/(?P<version>\d+)(?:\.0)?(?:/\w+)?", access="open"),
    _route("user_info", "GET POST", r"/services/oauth2/userinfo", access="identity"),
    _route("user_info", "GET POST", r"/id/\w+/\w+", access="identity"),
    _route("report_export", "GET", r"/(?P<report>00O\w{12}(?:\w{3})?)", access="page"),
    _route("limits", "GET", r"/limits", limits.get_limits),
    _route("resources", "GET", r"", rest.resources),
    _route("query", "GET", r"/query(?:All)?", queries.query),
    _route("query_more", "GET", r"/query(?:All)?/(?P<locator>[\w-]+)", queries.query_more),
    _route("describe_global", "GET", r"/sobjects", rest.global_describe),
    _route("event_log_file", "GET", r"/sobjects/EventLogFile/(?P<id>\w+)/LogFile", event_log.download),
    _route("describe", "GET", _OBJECT + r"(?P<describe>/describe)", rest.describe),
    _route("describe", "GET", _OBJECT, rest.describe),
    _route("record", "POST", _OBJECT, rest.create_record),
    _route("record", "GET PATCH DELETE", _OBJECT + "/" + _ID, rest.one_record),
    _route("record", "PATCH", _OBJECT + r"/(?P<field>\w+)/(?P<value>[^/]+)", rest.upsert_record),
    _route("collections", "POST PATCH DELETE", r"/composite/sobjects", rest.collections),
    _route("collections", "PATCH", r"/composite" + _OBJECT + r"/(?P<field>\w+)", rest.collections),
    _route("composite", "POST", r"/composite", rest.composite),
    _route("composite_batch", "POST", r"/composite/batch", rest.composite_batch),
    _route("report", "GET", r"/analytics/reports", usage_report.listed),
    _route("report", "GET POST", _REPORT, usage_report.run),
    _route("report", "GET", _REPORT + r"/describe", usage_report.describe),
    _route("report", "GET POST", _REPORT + r"/instances", usage_report.instances),
    _route("report", "GET", _REPORT + r"/instances/(?P<instance>\w+)", usage_report.instance),
    _route("bulk_2_ingest", "POST", r"/jobs/ingest", bulk2.create_ingest),
    _route("bulk_2_ingest", "PUT", r"/jobs/ingest/(?P<job>\w+)/batches", bulk2.upload),
    _route("bulk_2_ingest", "GET PATCH DELETE", r"/jobs/ingest/(?P<job>\w+)", bulk2.ingest),
    _route("bulk_2_ingest", "GET", r"/jobs/ingest/(?P<job>\w+)/(?P<results>\w+)", bulk2.ingest_results),
    _route("bulk_2_query", "POST", r"/jobs/query", bulk2.create_query),
    _route("bulk_2_query", "GET PATCH DELETE", r"/jobs/query/(?P<job>\w+)", bulk2.query),
    _route("bulk_2_query", "GET", r"/jobs/query/(?P<job>\w+)/results", bulk2.query_results),
    _route("bulk_1", "POST", r"/job", bulk.create_job, "bulk_1"),
    _route("bulk_1", "GET POST", _JOB, bulk.job, "bulk_1"),
    _route("bulk_1", "POST", _JOB + r"/batch", bulk.add_batch, "bulk_1"),
    _route("bulk_1", "GET", _JOB + r"/batch", bulk.batches, "bulk_1"),
    _route("bulk_1", "GET", _JOB + r"/batch/(?P<batch>\w+)", bulk.batch, "bulk_1"),
    _route("bulk_1", "GET", _JOB + r"/batch/(?P<batch>\w+)/request", bulk.batch_request, "bulk_1"),
    _route("bulk_1", "GET", _JOB + r"/batch/(?P<batch>\w+)/result", bulk.batch_result, "bulk_1"),
    _route("bulk_1", "GET", _JOB + r"/batch/(?P<batch>\w+)/result/(?P<result>\w+)", bulk.batch_result, "bulk_1"),
)


def find_route(request: Request) -> tuple[Route | None, Mapping[str, str]]:
    """Return the route of a request and the named parts of its path; ``None`` if there is none."""
    path = request.path.rstrip("/")
    for route in ROUTES:
        found = route.pattern.fullmatch(path)
        if found and request.method in route.methods:
            return route, {name: value for name, value in found.groupdict().items() if value is not None}
    return None, {}
