"""REST resources: versions, describe, records, collections and composite."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from airflow_provider_apiusage.sandbox.http import Answer, ApiError, Call, Request
from airflow_provider_apiusage.sandbox.queries import rows_of, shown
from airflow_provider_apiusage.sandbox.records import STANDARD_OBJECTS, Records, RowError

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

OLDEST_VERSION, NEWEST_VERSION = 31, 67
_COLLECTION_ROWS, _COMPOSITE_PARTS = 200, 25
_QUERY_ONLY = ("Organization", "User", "EventLogFile", "TenantUsageEntitlement")
_BASE_FIELDS = (("Id", "id"), ("Name", "string"), ("CreatedDate", "datetime"), ("LastModifiedDate", "datetime"))


def versions() -> Answer:
    """Answer ``GET /services/data``: free, and without the limit header (REST API guide, Versions)."""
    return Answer.of(
        [
            {"label": f"Version {number}", "url": f"/services/data/v{number}.0", "version": f"{number}.0"}
            for number in range(OLDEST_VERSION, NEWEST_VERSION + 1)
        ]
    )


def resources(_org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /services/data/vXX.0``."""
    names = ("sobjects", "query", "limits", "composite", "jobs", "analytics")
    return Answer.of({name: f"{call.base}/{name}" for name in names})


def global_describe(_org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /sobjects``."""
    names = sorted((*STANDARD_OBJECTS, *_QUERY_ONLY))
    return Answer.of({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": [_describe(call, name) for name in names]})


def describe(_org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /sobjects/{object}/describe`` and ``GET /sobjects/{object}``."""
    name = _described(call.parts["object"])
    description = _describe(call, name)
    if "describe" not in call.parts:
        return Answer.of({"objectDescribe": description, "recentItems": []})
    fields = [
        {"name": field, "type": kind, "label": field, "nillable": field != "Id", "length": 0}
        for field, kind in _BASE_FIELDS
    ]
    return Answer.of({**description, "fields": fields, "childRelationships": [], "recordTypeInfos": []})


def _described(name: str) -> str:
    known = {known.lower(): known for known in _QUERY_ONLY}
    try:
        return known.get(name.lower()) or Records.object_name(name)
    except ApiError:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist") from None


def _describe(call: Call, name: str) -> dict[str, Any]:
    writable = name not in _QUERY_ONLY
    return {
        "name": name,
        "label": name,
        "keyPrefix": STANDARD_OBJECTS.get(name, ("a00",))[0],
        "custom": name.endswith("__c"),
        "createable": writable,
        "updateable": writable,
        "deletable": writable,
        "queryable": True,
        "urls": {
            "sobject": f"{call.base}/sobjects/{name}",
            "describe": f"{call.base}/sobjects/{name}/describe",
        },
    }


def create_record(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``POST /sobjects/{object}``."""
    name = _described(call.parts["object"])
    try:
        record_id = org.records.insert(name, _object(call.request), org.timestamp())
    except RowError as error:
        raise ApiError(400, error.code, error.message, fields=error.fields) from None
    return Answer.of({"id": record_id, "success": True, "errors": []}, 201)


def one_record(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET``, ``PATCH`` and ``DELETE /sobjects/{object}/{id}``."""
    name, record_id = _described(call.parts["object"]), call.parts["id"]
    if call.request.method == "GET":
        row = _row(org, call, name, record_id)
        if row is None:
            raise ApiError(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible")
        wanted = call.request.query.get("fields", "")
        names = [field.strip() for field in wanted.split(",") if field.strip()] or list(row)
        return Answer.of(shown(call, name, row, tuple(names)))
    try:
        if call.request.method == "PATCH":
            org.records.update(name, record_id, _object(call.request), org.timestamp())
        else:
            org.records.delete(name, record_id)
    except RowError as error:
        raise ApiError(404, "NOT_FOUND", error.message) from None
    return Answer(204)


def _row(org: SandboxOrg, call: Call, name: str, record_id: str) -> dict[str, Any] | None:
    if name in _QUERY_ONLY:
        return next((row for row in rows_of(org, call, name) if str(row["Id"])[:15] == record_id[:15]), None)
    return org.records.find(name, record_id)


def upsert_record(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``PATCH /sobjects/{object}/{external id field}/{value}``."""
    name, key = _described(call.parts["object"]), call.parts["field"]
    fields = {**_object(call.request), key: call.parts["value"]}
    try:
        record_id, created = org.records.upsert(name, key, fields, org.timestamp())
    except RowError as error:
        raise ApiError(400, error.code, error.message, fields=error.fields) from None
    body = {"id": record_id, "success": True, "errors": [], "created": created}
    return Answer.of(body, 201 if created else 200)


def collections(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``/composite/sobjects``: up to 200 rows for one call (REST API guide, sObject Collections)."""
    if call.request.method == "DELETE":
        ids = [item for item in call.request.query.get("ids", "").split(",") if item]
        rows: list[Any] = [{"Id": item, "attributes": {"type": org.records.name_of(item)}} for item in ids]
    else:
        found = _object(call.request).get("records")
        rows = found if isinstance(found, list) else []
    if not rows or len(rows) > _COLLECTION_ROWS:
        raise ApiError(
            400, "LIMIT_EXCEEDED" if rows else "INVALID_INPUT",
            f"The maximum number of records allowed is {_COLLECTION_ROWS}" if rows else "no records given",
        )  # fmt: skip
    operation = {"POST": "insert", "DELETE": "delete"}.get(call.request.method, "update")
    key = call.parts.get("field", "")
    results: list[dict[str, Any]] = []
    for row in rows:
        fields = row if isinstance(row, dict) else {}
        attributes = fields.get("attributes")
        kind = attributes.get("type") if isinstance(attributes, dict) else None
        name = str(kind or call.parts.get("object", ""))
        fields = {**fields, "Id": fields.get("Id", fields.get("id"))}
        try:
            record_id, created = org.records.save(
                "upsert" if key else operation, Records.object_name(name), fields, key, org.timestamp()
            )
            extra = {"created": created} if key else {}
            results.append({"id": record_id, "success": True, "errors": [], **extra})
        except RowError as error:
            results.append({"success": False, "errors": [error.as_dict()]})
        except ApiError as error:
            wrong = {"statusCode": error.code, "message": error.message, "fields": []}
            results.append({"success": False, "errors": [wrong]})
    return Answer.of(results)


def composite(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``POST /composite``: up to 25 parts for one call (REST API guide, Composite)."""
    parts = _parts(call, "compositeRequest")
    answers: dict[str, Any] = {}
    results = []
    for part in parts:
        reference = str(part.get("referenceId", ""))
        answer = org.part(_part(call, part, answers), call.session)
        body = _parsed(answer)
        answers[reference] = body
        results.append({"body": body, "httpHeaders": {}, "httpStatusCode": answer.status, "referenceId": reference})
    return Answer.of({"compositeResponse": results})


def composite_batch(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``POST /composite/batch``: every part counts as a call (REST API guide, Composite Batch)."""
    try:
        parts = _parts(call, "batchRequests")
    except ApiError:
        org.admit(call)
        raise
    results = []
    for number, part in enumerate(parts):
        refused = org.admit(call, logged=number == 0)
        answer = refused.answer() if refused is not None else org.part(_part(call, part, {}), call.session)
        results.append({"statusCode": answer.status, "result": _parsed(answer)})
    return Answer.of({"hasErrors": any(result["statusCode"] >= 400 for result in results), "results": results})


def _parts(call: Call, name: str) -> list[dict[str, Any]]:
    parts = _object(call.request).get(name)
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise ApiError(400, "JSON_PARSER_ERROR", f"{name} is missing")
    if len(parts) > _COMPOSITE_PARTS:
        raise ApiError(400, "LIMIT_EXCEEDED", f"at most {_COMPOSITE_PARTS} parts are allowed")
    return parts


def _part(call: Call, part: Mapping[str, Any], answers: Mapping[str, Any]) -> Request:
    def fill(found: re.Match[str]) -> str:
        value: Any = answers
        for name in found[1].split("."):
            value = value.get(name, "") if isinstance(value, Mapping) else ""
        return str(value)

    url = urlsplit(re.sub(r"@\{([^}]+)\}", fill, str(part.get("url", ""))))
    body = json.dumps(part.get("body", part.get("richInput")) or {})
    return Request(
        str(part.get("method", "GET")).upper(),
        "/" + url.path.lstrip("/") if "/services/" in url.path else f"/services/data/{url.path.lstrip('/')}",
        dict(parse_qsl(url.query)),
        call.request.headers,
        re.sub(r"@\{([^}]+)\}", fill, body).encode(),
    )


def _parsed(answer: Answer) -> Any:
    return json.loads(answer.content() or b"null")


def _object(request: Request) -> dict[str, Any]:
    body = request.json()
    if not isinstance(body, dict):
        raise ApiError(400, "JSON_PARSER_ERROR", "The HTTP entity body is required to contain an object")
    return body
