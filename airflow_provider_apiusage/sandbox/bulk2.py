"""Bulk API 2.0: ingest and query jobs with CSV data (Bulk API 2.0 guide).

Each HTTP request is counted as one call, as documented for Bulk API 1.0; ingest uses one batch unit for each
10,000 rows begun, a query uses one query job and as many bytes as its results have.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.sandbox.bulk import Job, has_room_for_batches
from airflow_provider_apiusage.sandbox.http import Answer, ApiError, Call
from airflow_provider_apiusage.sandbox.identity import long_id
from airflow_provider_apiusage.sandbox.queries import select
from airflow_provider_apiusage.sandbox.records import Records, RowError
from airflow_provider_apiusage.sandbox.soql import value_of

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

_BATCH_ROWS = 10_000
_DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
_CSV = "text/csv; charset=UTF-8"


def create_ingest(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``POST /jobs/ingest``."""
    job = _new_job(org, call, "ingest")
    job.object_name = Records.object_name(str(job.options.get("object", "")))
    if job.operation not in ("insert", "update", "upsert", "delete", "hardDelete"):
        raise ApiError(400, "INVALIDJOB", f"InvalidJob : no such operation: {job.operation}")
    return Answer.of(_body(org.jobs.keep(job), call, "ingest"))


def upload(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``PUT /jobs/ingest/{id}/batches``; one upload for each job."""
    job = _job(org, call)
    if job.state != "Open" or job.upload is not None:
        raise ApiError(400, "INVALIDJOBSTATE", "the job takes no more data")
    job.upload = call.request.body.decode(errors="replace").replace("\x00", "")
    return Answer(201)


def ingest(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET``, ``PATCH`` and ``DELETE /jobs/ingest/{id}``."""
    job, method = _job(org, call), call.request.method
    if method == "DELETE":
        if job.state in ("Open", "UploadComplete", "InProgress"):
            raise ApiError(400, "API_ERROR", f"a job in state {job.state} cannot be deleted")
        org.jobs.drop(job.id)
        return Answer(204)
    if method == "PATCH":
        wanted = _object(call).get("state")
        if job.state != "Open" or wanted not in ("UploadComplete", "Aborted"):
            raise ApiError(400, "INVALIDJOBSTATE", f"cannot go from {job.state} to {wanted}")
        job.state = str(wanted)
        shown = _body(job, call, "ingest")
        if wanted == "UploadComplete":
            job.polls_left = org.settings.bulk_polls
            _process(org, job)
        return Answer.of(shown)
    return Answer.of(_body(job, call, "ingest", in_progress=_still_running(job)))


def ingest_results(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /jobs/ingest/{id}/successfulResults``, ``failedResults`` and ``unprocessedrecords``."""
    job, kind = _job(org, call), call.parts["results"].lower()
    rows = {"successfulresults": job.succeeded, "failedresults": job.failed}.get(kind, job.unprocessed)
    lead = {"successfulresults": ["sf__Id", "sf__Created"], "failedresults": ["sf__Id", "sf__Error"]}.get(kind, [])
    names = lead + [name for name in job.options.get("header", []) if name not in lead]
    return Answer(200, _csv_text(job, names, rows), _CSV)


def create_query(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``POST /jobs/query``."""
    job = _new_job(org, call, "query")
    if org.used_in_window("bulk_query_jobs") + 1 > org.settings.bulk_query_job_limit:
        raise ApiError(400, "API_LIMIT_EXCEEDED", "Max number of query jobs per 24-hour period exceeded")
    query, rows = select(org, call, str(job.options.get("query", "")))
    org.use("bulk_query_jobs", 1)
    job.object_name = query.object_name
    job.options["header"] = list(query.fields)
    job.succeeded = [{name: value_of(row, name) for name in query.fields} for row in rows]
    job.state, job.polls_left = "JobComplete", org.settings.bulk_polls
    return Answer.of({**_body(job, call, "query"), "state": "UploadComplete"})


def query(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET``, ``PATCH`` (abort) and ``DELETE /jobs/query/{id}``."""
    job = _job(org, call)
    if call.request.method == "DELETE":
        org.jobs.drop(job.id)
        return Answer(204)
    if call.request.method == "PATCH":
        raise ApiError(400, "INVALIDJOBSTATE", f"cannot abort a job that is {job.state}")
    return Answer.of(_body(job, call, "query", in_progress=_still_running(job)))


def query_results(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /jobs/query/{id}/results`` page by page, with ``Sforce-Locator``."""
    job = _job(org, call)
    asked = call.request.query
    try:
        start, size = int(asked.get("locator") or 0), int(asked.get("maxRecords") or 50_000)
    except ValueError:
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator") from None
    rows = job.succeeded[start : start + size]
    end = start + len(rows)
    body = _csv_text(job, job.options["header"], rows)
    org.use("bulk_query_bytes", len(body))
    headers = {
        "Sforce-Locator": str(end) if end < len(job.succeeded) else "null",
        "Sforce-NumberOfRecords": str(len(rows)),
    }
    return Answer(200, body, _CSV, headers)


def _new_job(org: SandboxOrg, call: Call, kind: str) -> Job:
    options = _object(call)
    job = Job(
        org.jobs.id("750"),
        str(options.get("operation", "insert" if kind == "ingest" else "query")),
        "",
        org.timestamp(),
        long_id(call.session.user.id),
        str(options.get("externalIdFieldName") or ""),
        "CSV",
        options=options,
    )
    if options.get("columnDelimiter", "COMMA") not in _DELIMITERS:
        raise ApiError(400, "INVALIDJOB", "InvalidJob : no such columnDelimiter")
    return org.jobs.keep(job)


def _process(org: SandboxOrg, job: Job) -> None:
    reader = csv.DictReader(
        io.StringIO(job.upload or "", newline=""), delimiter=_DELIMITERS[job.options.get("columnDelimiter", "COMMA")]
    )
    rows = list(reader)
    job.options["header"] = list(reader.fieldnames or [])
    units = -(-len(rows) // _BATCH_ROWS)
    if not has_room_for_batches(org, units):
        job.state, job.message = "Failed", "ExceededQuota : ApiBatchItems Limit exceeded."
        job.unprocessed = list(rows)
        return
    org.use("bulk_batches", units)
    for row in rows:
        fields = {name: value for name, value in row.items() if name is not None and value != ""}
        try:
            record_id, created = org.records.save(
                job.operation, job.object_name, fields, job.external_id_field, org.timestamp()
            )
            job.succeeded.append({"sf__Id": record_id, "sf__Created": str(created).lower(), **row})
        except RowError as error:
            text = f"{error.code}:{error.message}:{','.join(error.fields) or '--'}"
            job.failed.append({"sf__Id": str(row.get("Id", "")), "sf__Error": text, **row})
    job.state = "JobComplete"


def _still_running(job: Job) -> bool:
    if job.state not in ("JobComplete", "Failed") or job.polls_left <= 0:
        return False
    job.polls_left -= 1
    return True


def _csv_text(job: Job, names: list[str], rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text,
        names,
        delimiter=_DELIMITERS[job.options.get("columnDelimiter", "COMMA")],
        lineterminator="\r\n" if job.options.get("lineEnding") == "CRLF" else "\n",
        quoting=csv.QUOTE_ALL,
        extrasaction="ignore",
    )
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _body(job: Job, call: Call, kind: str, *, in_progress: bool = False) -> dict[str, Any]:
    body = {
        "id": job.id,
        "operation": job.operation,
        "object": job.object_name,
        "createdById": job.created_by,
        "createdDate": job.created_at,
        "systemModstamp": job.created_at,
        "state": "InProgress" if in_progress else job.state,
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": float(call.version),
        "jobType": "V2Ingest" if kind == "ingest" else "V2Query",
        "lineEnding": job.options.get("lineEnding", "LF"),
        "columnDelimiter": job.options.get("columnDelimiter", "COMMA"),
        "numberRecordsProcessed": 0 if in_progress else len(job.succeeded) + len(job.failed),
        "retries": 0,
        "totalProcessingTime": 0,
    }
    if kind == "ingest":
        body["contentUrl"] = f"{call.base.lstrip('/')}/jobs/ingest/{job.id}/batches"
        body["numberRecordsFailed"] = 0 if in_progress else len(job.failed)
        if job.external_id_field:
            body["externalIdFieldName"] = job.external_id_field
    if job.message and not in_progress:
        body["errorMessage"] = job.message
    return body


def _job(org: SandboxOrg, call: Call) -> Job:
    found = org.jobs.find(call.parts["job"])
    if found is None:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    return found


def _object(call: Call) -> dict[str, Any]:
    body = call.request.json()
    if not isinstance(body, dict):
        raise ApiError(400, "JSON_PARSER_ERROR", "a JSON object is required")
    return body
