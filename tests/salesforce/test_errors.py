"""What an org's answer means."""

from __future__ import annotations

import json
import pickle

import pytest

from airflow_provider_apiusage.salesforce.errors import (
    AllowanceExhaustedError,
    ApiUsageError,
    AuthenticationError,
    ConcurrencyLimitError,
    ConfigurationError,
    MalformedAnswerError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
    Where,
    error_from,
)

WHERE = Where("sf_prod", "https://acme.my.salesforce.com")


def rest(code: str, message: str = "said") -> str:
    return json.dumps([{"errorCode": code, "message": message}])


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, rest("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), AllowanceExhaustedError),
        (403, rest("REQUEST_LIMIT_EXCEEDED", "A message nobody has seen yet"), AllowanceExhaustedError),
        (
            403,
            rest("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
            ConcurrencyLimitError,
        ),
        (403, rest("REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded."), ConcurrencyLimitError),
        (
            400,
            json.dumps({"exceptionCode": "ExceededQuota", "exceptionMessage": "ApiBatchItems Limit exceeded."}),
            AllowanceExhaustedError,
        ),
        (401, rest("INVALID_SESSION_ID"), AuthenticationError),
        (400, "<error><exceptionCode>InvalidSessionId</exceptionCode></error>", AuthenticationError),
        (403, rest("INSUFFICIENT_ACCESS"), PermissionDeniedError),
        (403, "<html>no</html>", PermissionDeniedError),
        (403, rest("API_DISABLED_FOR_ORG"), PermissionDeniedError),
        (404, rest("NOT_FOUND"), NotFoundError),
        (400, rest("INVALID_TYPE"), NotFoundError),
        (503, "<html>maintenance</html>", UnavailableError),
        (500, rest("UNKNOWN_EXCEPTION"), UnavailableError),
        (420, "", UnavailableError),
        (410, rest("UNSUPPORTED_API_VERSION"), ConfigurationError),
        (302, "", MalformedAnswerError),
        (400, "[]", MalformedAnswerError),
    ],
)
def test_the_kind_is_chosen_by_code_and_message(status: int, body: str, kind: type[ApiUsageError]) -> None:
    """An exhausted allowance, too many calls at once and a missing permission are all 403, yet three kinds."""
    error = error_from(status, body, WHERE, doing="reading /limits")

    assert type(error) is kind


def test_an_error_names_connection_org_and_what_to_do() -> None:
    """Whoever reads it at night knows where to look and what to change."""
    text = str(error_from(403, rest("INSUFFICIENT_ACCESS", "no access"), WHERE, doing="reading /limits"))

    for part in ("sf_prod", "acme.my.salesforce.com", "403", "reading /limits", "no access", "What to do: Give the"):
        assert part in text


def test_no_kind_is_an_airflow_exception() -> None:
    """``soft_fail`` turns AirflowExceptions into skips; a broken credential must not vanish that way."""
    from airflow.exceptions import AirflowException

    kinds = set(ApiUsageError.__subclasses__())
    kinds |= {kind for each in kinds for kind in each.__subclasses__()}

    assert len(kinds) >= 8
    assert not any(issubclass(kind, AirflowException) for kind in kinds)


def test_errors_survive_pickling() -> None:
    """Airflow hands exceptions between processes."""
    error = AuthenticationError("refused.", WHERE, "Try this.")

    assert str(pickle.loads(pickle.dumps(error))) == str(error)
