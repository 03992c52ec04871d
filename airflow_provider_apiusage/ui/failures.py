"""What the page answers when it cannot: a plain sentence as JSON, and nothing of the exception behind it."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from airflow_provider_apiusage.salesforce.errors import ConfigurationError
from airflow_provider_apiusage.store.errors import StoreError
from airflow_provider_apiusage.ui.answers import Failure

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Sent with every answer."""

_OF_STATUS = {
    401: ("not-logged-in", "Nobody is logged in.", "Log in to Airflow and load the page again."),
    403: ("forbidden", "Airflow does not let you see this.", "Log in again, or ask an administrator of Airflow."),
    404: ("not-found", "There is no such page.", None),
    405: ("method-not-allowed", "The page only shows things: it answers GET and nothing else.", None),
}


class Refused(Exception):
    """The page cannot or may not answer.

    :param status: of the answer.
    :param error: as :class:`Failure` lists them.
    :param message: a plain sentence.
    :param fix: what to do about it.
    """

    def __init__(self, status: int, error: str, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.failure = Failure(error=error, message=message, fix=fix)


def no_such_org() -> Refused:
    """Return the one answer for an org that is not there, and for one that the caller may not see."""
    return Refused(
        404,
        "not-found",
        "There is no such org, or you may not read any connection that leads to it.",
        "An org is shown to those who may read an Airflow connection with which it was read.",
    )


def answer_of(status: int, failure: Failure) -> JSONResponse:
    """Return a failure as an answer."""
    headers = {**HEADERS, "Cache-Control": "no-store"}
    if status == 405:
        headers["Allow"] = "GET, HEAD"
    return JSONResponse(failure.model_dump(), status, headers=headers)


def method_not_allowed() -> JSONResponse:
    """Return the answer to everything but GET and HEAD."""
    error, message, fix = _OF_STATUS[405]
    return answer_of(405, Failure(error=error, message=message, fix=fix))


async def on_refused(_request: Request, refused: Any) -> JSONResponse:
    """Answer a refusal of our own."""
    return answer_of(refused.status, refused.failure)


async def on_http(_request: Request, failed: Any) -> JSONResponse:
    """Answer what Airflow or Starlette refuses; what they say of it is kept to the log."""
    assert isinstance(failed, HTTPException)
    error, message, fix = _OF_STATUS.get(failed.status_code, ("failed", "This did not work.", None))
    return answer_of(failed.status_code, Failure(error=error, message=message, fix=fix))


async def on_parameters(_request: Request, failed: Any) -> JSONResponse:
    """Answer a parameter that makes no sense, naming it but not what was given."""
    assert isinstance(failed, RequestValidationError)
    names = ", ".join(sorted({str(each["loc"][-1]) for each in failed.errors()}))
    message = f"A parameter makes no sense: {names}."
    return answer_of(400, Failure(error="bad-parameter", message=message, fix=None))


async def on_store(_request: Request, failed: Any) -> JSONResponse:
    """Answer that the store cannot be used; what the database said is for the log, since it names hosts."""
    assert isinstance(failed, StoreError | ConfigurationError)
    log.warning("The page cannot read the store: %s", failed)
    return answer_of(
        503,
        Failure(
            error="store-unavailable",
            message="What is known of API usage cannot be read just now: the store does not answer.",
            fix="Look into the API server's log; check [apiusage] store_conn_id there, and that the database runs.",
        ),
    )


async def on_anything(_request: Request, failed: Any) -> JSONResponse:
    """Answer a fault of ours; Starlette logs it."""
    log.error("The page failed: %s", type(failed).__name__)
    return answer_of(
        500,
        Failure(
            error="failed",
            message="The page could not work this out: that is a fault of it.",
            fix="Look into the log of the API server, and report what it says there.",
        ),
    )
