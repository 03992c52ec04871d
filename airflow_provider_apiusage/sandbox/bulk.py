"""Bulk API 1.0 (JSON) and what both Bulk APIs share: jobs, rows and batch accounting.

Every HTTP request is one call; every batch is one unit of the daily batch allocation (Bulk API guide, limits).
"""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.sandbox.http import Answer, ApiError, Call
from airflow_provider_apiusage.sandbox.identity import long_id, numbered_id
from airflow_provider_apiusage.sandbox.queries import select
from airflow_provider_apiusage.sandbox.records import Records, RowError
from airflow_provider_apiusage.sandbox.soql import value_of

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

_BATCH_ROWS = 10_000


@dataclass(slots=True)
class Batch:
    """A batch of a Bulk API 1.0 job: what was sent and what became of it."""

    id: str
    request: Any
    results: list[dict[str, Any]]
    state: str = "Completed"
    message: str = ""
    polls_left: int = 0


@dataclass(slots=True)
class Job:
    """A job of either Bulk API."""

    id: str
    operation: str
    object_name: str
    created_at: str
    created_by: str
    external_id_field: str = ""
    content_type: str = "JSON"
    state: str = "Open"
    message: str = ""
    batches: dict[str, Batch] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    upload: str | None = None
    succeeded: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    unprocessed: list[dict[str, Any]] = field(default_factory=list)
    polls_left: int = 0


class Jobs:
    """Bulk jobs by id. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._jobs: dict[str, Job] = {}

    def id(self, prefix: str) -> str:
        """Return a new 18-character id."""
        with self._lock:
            return long_id(numbered_id(prefix, next(self._numbers)))

    def keep(self, job: Job) -> Job:
        """Keep a job."""
        with self._lock:
            self._jobs[job.id[:15]] = job
        return job

    def find(self, job_id: str) -> Job | None:
        """Return a job by its id of 15 or 18 characters."""
        with self._lock:
            return self._jobs.get(job_id[:15])

    def drop(self, job_id: str) -> None:
        """Forget a job."""
        with self._lock:
            self._jobs.pop(job_id[:15], None)


class BulkError(ApiError):
    """An error in the shape of Bulk API 1.0: an object with ``exceptionCode`` and ``exceptionMessage``."""

    def answer(self) -> Answer:
        """Return the answer as JSON."""
        return Answer.of({"exceptionCode": self.code, "exceptionMessage": self.message}, self.status)


def has_room_for_batches(org: SandboxOrg, batches: int) -> bool:
    """Whether the daily batch allocation holds ``batches`` more."""
    return org.used_in_window("bulk_batches") + batches <= org.settings.bulk_batch_limit


def create_job(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``POST /services/async/XX/job``."""
    body = _body(call)
    try:
        name = str(body.get("object", ""))
        if body.get("operation") not in ("query", "queryAll"):
            name = Records.object_name(name)
    except ApiError as error:
        raise BulkError(400, "InvalidJob", error.message) from None
    job = Job(
        org.jobs.id("750"),
        str(body.get("operation", "insert")),
        name,
        org.timestamp(),
        long_id(call.session.user.id),
        str(body.get("externalIdFieldName") or ""),
        str(body.get("contentType", "JSON")),
    )
    if job.content_type != "JSON":
        raise BulkError(400, "InvalidJob", "the sandbox org takes Bulk API 1.0 jobs as JSON only")
    return Answer.of(_job_body(org.jobs.keep(job), call), 201)


def job(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET`` and ``POST /services/async/XX/job/{id}``; the latter closes or aborts."""
    found = _job(org, call)
    if call.request.method == "POST":
        state = str(_body(call).get("state", ""))
        if state not in ("Closed", "Aborted"):
            raise BulkError(400, "InvalidJobState", f"cannot set state {state!r}")
        found.state = state
    return Answer.of(_job_body(found, call))


def add_batch(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``POST .../job/{id}/batch``. A batch sent to a closed job is used up all the same."""
    found = _job(org, call)
    if not has_room_for_batches(org, 1):
        raise BulkError(400, "ExceededQuota", "ApiBatchItems Limit exceeded.")
    org.use("bulk_batches", 1)
    if found.state != "Open":
        raise BulkError(400, "InvalidJobState", f"job is {found.state}")
    batch = Batch(org.jobs.id("751"), None, [], polls_left=org.settings.bulk_polls)
    if found.operation in ("query", "queryAll"):
        _run_query(org, call, batch)
    else:
        batch.request = _rows(call)
        for row in batch.request:
            batch.results.append(_save(org, found, row))
    found.batches[batch.id[:15]] = batch
    return Answer.of(_batch_body(found, batch, "Queued"), 201)


def batches(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET .../job/{id}/batch``."""
    found = _job(org, call)
    return Answer.of({"batchInfo": [_batch_body(found, batch) for batch in found.batches.values()]})


def batch(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET .../job/{id}/batch/{id}``."""
    found, one = _batch(org, call)
    if one.polls_left > 0:
        one.polls_left -= 1
        return Answer.of(_batch_body(found, one, "InProgress"))
    return Answer.of(_batch_body(found, one))


def batch_request(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET .../batch/{id}/request``."""
    return Answer.of(_batch(org, call)[1].request)


def batch_result(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET .../batch/{id}/result`` and, for queries, ``.../result/{id}``."""
    found, one = _batch(org, call)
    if found.operation in ("query", "queryAll") and "result" not in call.parts:
        return Answer.of([f"752{one.id[3:]}"])
    return Answer.of(one.results)


def _run_query(org: SandboxOrg, call: Call, batch: Batch) -> None:
    text = batch.request = call.request.body.decode(errors="replace")
    try:
        query, rows = select(org, call, text)
    except ApiError as error:
        batch.state, batch.message = "Failed", f"InvalidBatch : Failed to process query: {error.message}"
        return
    batch.results = [
        {"attributes": {"type": query.object_name}, **{name: value_of(row, name) for name in query.fields}}
        for row in rows
    ]


def _save(org: SandboxOrg, found: Job, row: dict[str, Any]) -> dict[str, Any]:
    try:
        record_id, created = org.records.save(
            found.operation, found.object_name, row, found.external_id_field, org.timestamp()
        )
    except RowError as error:
        return {
            "success": False,
            "created": False,
            "id": None,
            "errors": [{**error.as_dict(), "extendedErrorDetails": None}],
        }
    return {"success": True, "created": created, "id": record_id, "errors": []}


def _rows(call: Call) -> list[dict[str, Any]]:
    try:
        rows = json.loads(call.request.body)
    except ValueError:
        raise BulkError(400, "InvalidBatch", "the batch is not JSON") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BulkError(400, "InvalidBatch", "the batch is not a list of objects")
    if len(rows) > _BATCH_ROWS:
        raise BulkError(400, "InvalidBatch", f"Records not processed: more than {_BATCH_ROWS}")
    return rows


def _body(call: Call) -> dict[str, Any]:
    try:
        body = json.loads(call.request.body or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise BulkError(400, "InvalidJob", "the job is not a JSON object")
    return body


def _job(org: SandboxOrg, call: Call) -> Job:
    found = org.jobs.find(call.parts["job"])
    if found is None:
        raise BulkError(400, "InvalidJob", f"Unable to find job: {call.parts['job']}")
    return found


def _batch(org: SandboxOrg, call: Call) -> tuple[Job, Batch]:
    found = _job(org, call)
    one = found.batches.get(call.parts["batch"][:15])
    if one is None:
        raise BulkError(400, "InvalidBatch", f"Unable to find batch: {call.parts['batch']}")
    return found, one


def _job_body(found: Job, call: Call) -> dict[str, Any]:
    return {
        "id": found.id,
        "operation": found.operation,
        "object": found.object_name,
        "createdById": found.created_by,
        "createdDate": found.created_at,
        "systemModstamp": found.created_at,
        "state": found.state,
        "concurrencyMode": "Parallel",
        "contentType": found.content_type,
        "externalIdFieldName": found.external_id_field or None,
        "numberBatchesQueued": 0,
        "numberBatchesInProgress": 0,
        "numberBatchesCompleted": sum(one.state == "Completed" for one in found.batches.values()),
        "numberBatchesFailed": sum(one.state == "Failed" for one in found.batches.values()),
        "numberBatchesTotal": len(found.batches),
        "numberRecordsProcessed": sum(len(one.results) for one in found.batches.values()),
        "numberRecordsFailed": sum(_failures(one) for one in found.batches.values()),
        "numberRetries": 0,
        "apiVersion": float(call.version),
    }


def _batch_body(found: Job, one: Batch, state: str = "") -> dict[str, Any]:
    return {
        "id": one.id,
        "jobId": found.id,
        "state": state or one.state,
        "stateMessage": one.message or None,
        "createdDate": found.created_at,
        "systemModstamp": found.created_at,
        "numberRecordsProcessed": 0 if state else len(one.results),
        "numberRecordsFailed": 0 if state else _failures(one),
        "apexProcessingTime": 0,
        "apiActiveProcessingTime": 0,
        "totalProcessingTime": 0,
    }


def _failures(one: Batch) -> int:
    return sum(result.get("success") is False for result in one.results)
