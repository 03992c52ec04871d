"""What a session spends of each limit, counted where it goes over the wire: calls, Bulk batches, Bulk query jobs.

Calls are counted as they are sent, retries and failures included. Batches and jobs are counted when the org has taken
them: a batch of Bulk API 1.0 with the answer to it, 10,000 rows begun of a Bulk API 2.0 ingest job once its client
reads that the job is done (simple-salesforce does), a query job of Bulk API 2.0 with the answer to its creation.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from airflow_provider_apiusage.salesforce.errors import ApiUsageError
from airflow_provider_apiusage.salesforce.metering import counts_against_allowance
from airflow_provider_apiusage.usage.cost import BULK_BATCHES, BULK_QUERY_JOBS
from airflow_provider_apiusage.usage.model import API_REQUESTS

COUNTED = (API_REQUESTS, BULK_BATCHES, BULK_QUERY_JOBS)
"""The limits that are counted here; of others nothing is known."""

BATCH_ROWS = 10_000
"""Rows of Bulk API 2.0 ingest that take one batch (App Limits cheat sheet, Bulk API)."""

_ENDED = ("JobComplete", "Failed", "Aborted")
_BATCH = re.compile(r"/services/async/[0-9.]+/job/\w+/batch/?")
_QUERY_JOB = re.compile(r"/services/data/v[0-9.]+/jobs/query/?")
_INGEST_JOB = re.compile(r"/services/data/v[0-9.]+/jobs/ingest/(\w+)/?")


class OverspentError(ApiUsageError):
    """A load wants to spend more than it was granted; raised before the call is sent."""

    kind = "overspent"
    fix = (
        "Ask for more in the gate (calls=...), correct the estimate by earlier runs (estimate_from_history), or let "
        "the load go on: on_overspend='extend' or 'warn'."
    )


class Spending:
    """Counts what goes through sessions, by limit; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals = dict.fromkeys(COUNTED, 0)
        self._ingested: dict[str, int] = {}

    @property
    def totals(self) -> dict[str, int]:
        """What has been spent so far, by limit name."""
        with self._lock:
            return dict(self._totals)

    def watch(self, session: requests.Session) -> None:
        """Count what goes through a session from now on.

        :param session: with its transport adapters in place.
        """
        for prefix in ("https://", "http://"):
            session.mount(prefix, SpendingAdapter(session.get_adapter(prefix), self))

    def sending(self, asked: Mapping[str, int]) -> None:
        """Count a call that is about to be sent.

        :param asked: what it spends if the org takes it.
        """
        with self._lock:
            self._totals[API_REQUESTS] += asked[API_REQUESTS]

    def answered(self, spent: Mapping[str, int]) -> None:
        """Count what the org has taken beside the call.

        :param spent: by limit name.
        """
        with self._lock:
            for name, number in spent.items():
                self._totals[name] = self._totals.get(name, 0) + number

    def ingested(self, job_id: str, rows: int) -> None:
        """Count the batches of a Bulk API 2.0 ingest job that is done, once.

        :param job_id: of the job.
        :param rows: that it processed, failed ones included.
        """
        with self._lock:
            new = -(-rows // BATCH_ROWS) - self._ingested.get(job_id[:15], 0)
            if new > 0:
                self._ingested[job_id[:15]] = self._ingested.get(job_id[:15], 0) + new
                self._totals[BULK_BATCHES] += new


class SpendingAdapter(BaseAdapter):
    """A transport over another one, which looks at what is sent and at what the org takes.

    :param inner: what sends.
    :param spending: what counts; what it raises before a call keeps the call from being sent.
    """

    def __init__(self, inner: BaseAdapter, spending: Spending) -> None:
        super().__init__()
        self._inner = inner
        self._spending = spending

    def send(self, request: PreparedRequest, stream: bool = False, *args: Any, **kwargs: Any) -> Response:
        """Send and count.

        :raises OverspentError: if the load may not spend more.
        """
        asked = asked_of(request)
        if asked:
            self._spending.sending(asked)
        response = self._inner.send(request, stream, *args, **kwargs)
        if asked and response.status_code < 300:
            besides = {name: number for name, number in asked.items() if name != API_REQUESTS}
            if besides:
                self._spending.answered(besides)
            job = None if stream else _ended_job(request, response)
            if job is not None:
                self._spending.ingested(*job)
        return response

    def close(self) -> None:
        """Close what sends."""
        self._inner.close()


def asked_of(request: PreparedRequest) -> dict[str, int]:
    """Return what a request spends of each limit if the org takes it; empty if it does not count.

    :param request: as it goes over the wire.
    """
    if not counts_against_allowance(request):
        return {}
    asked = {API_REQUESTS: 1}
    if request.method == "POST":
        path = urlsplit(request.url or "").path
        if _BATCH.fullmatch(path):
            asked[BULK_BATCHES] = 1
        elif _QUERY_JOB.fullmatch(path):
            asked[BULK_QUERY_JOBS] = 1
    return asked


def _ended_job(request: PreparedRequest, response: Response) -> tuple[str, int] | None:
    """Return id and rows of a Bulk API 2.0 ingest job that the org says is done."""
    path = _INGEST_JOB.fullmatch(urlsplit(request.url or "").path)
    if path is None or request.method != "GET":
        return None
    try:
        job = response.json()
        if job["state"] not in _ENDED:
            return None
        return path[1], int(job["numberRecordsProcessed"])
    except (ValueError, KeyError, TypeError, requests.RequestException):
        return None  # whoever asked will see what is wrong with the answer
