"""The questions we ask an org, each one HTTP request, each answer checked before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests
from requests import Response

from airflow_provider_apiusage.salesforce.errors import (
    AllowanceExhaustedError,
    ApiUsageError,
    ConfigurationError,
    MalformedAnswerError,
    UnavailableError,
    Where,
    error_from,
)
from airflow_provider_apiusage.salesforce.limits import (
    reading_of_refusal,
    readings_from_limits,
)
from airflow_provider_apiusage.salesforce.metering import LIMIT_INFO, date_of, org_id_in
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.usage.model import Finding, LimitReading


@dataclass(frozen=True, slots=True)
class Answer:
    """A body together with the two clocks of the response that brought it.

    :param observed_at: the org's instant (the ``Date`` header; ours if it is absent).
    :param received_at: our instant.
    """

    body: Any
    observed_at: datetime
    received_at: datetime


class OrgClient:
    """Reads one org through one session.

    :param session: carries the requests.
    :param instance_url: ``https://host[:port]`` of the org.
    :param token: the access token at the start; the session swaps it when it is renewed.
    :param version: API version such as ``62.0``.
    :param where: connection and org, for errors.
    """

    def __init__(self, session: MeteredSession, *, instance_url: str, token: str, version: str, where: Where) -> None:
        self.session = session
        self.instance_url = instance_url
        self.version = version
        self.where = where
        self._token = token
        self._org_id = org_id_in(token)
        self.skew = timedelta(0)

    def now(self) -> datetime:
        """Return the org's time: our clock plus the skew that its last answer showed."""
        return self.session.now() + self.skew

    def org_id(self) -> str:
        """Return the org's 15-character id: free if the token or the login tells it, otherwise one query.

        :raises ApiUsageError: if the query fails.
        """
        self._org_id = self._org_id or self.session.org_id
        if self._org_id is None:
            try:
                answer = self.get("query", "asking for the org's id", params={"q": "SELECT Id FROM Organization"})
            except AllowanceExhaustedError:
                self._org_id = self._org_id_of_user()
                if self._org_id is None:
                    raise
                return self._org_id
            try:
                self._org_id = str(answer.body["records"][0]["Id"])[:15]
            except (KeyError, IndexError, TypeError):
                raise MalformedAnswerError("The query for the org's id gave no record.", self.where) from None
        return self._org_id

    def _org_id_of_user(self) -> str | None:
        """Ask whose the token is, which is no call of the API; ``None`` if the org does not say, as it need not."""
        try:
            told = self.get("/services/oauth2/userinfo", "asking whose the token is").body
        except ApiUsageError:
            return None
        org_id = told.get("organization_id") if isinstance(told, dict) else None
        return org_id[:15] if isinstance(org_id, str) and org_id.startswith("00D") else None

    def limits(self) -> tuple[tuple[LimitReading, ...], tuple[Finding, ...], Answer]:
        """Read ``/limits``: exactly one API call (REST API guide, Limits resource).

        :raises ApiUsageError: by the kind of failure; :class:`AllowanceExhaustedError` if the org refuses because
            the allowance is gone.
        """
        answer = self.get("limits", "reading /limits")
        try:
            readings, findings = readings_from_limits(
                answer.body,
                org_id=self.org_id(),
                observed_at=answer.observed_at,
                received_at=answer.received_at,
            )
        except ValueError as malformed:
            raise MalformedAnswerError(f"/limits: {malformed}", self.where) from None
        return readings, findings, answer

    def reading_of_refusal(self, observed_at: datetime, received_at: datetime, limit_info: str | None) -> LimitReading:
        """Return what "allowance exhausted" says about the allowance: the header if it came along, else 0 left."""
        return reading_of_refusal(limit_info, org_id=self.org_id(), observed_at=observed_at, received_at=received_at)

    def query(self, soql: str, doing: str) -> tuple[list[dict[str, Any]], datetime]:
        """Run a SOQL query, all its pages. Spends 1 API call per page of up to 2,000 records.

        :param soql: the query; at most about 15,000 characters.
        :param doing: for messages.
        :returns: the records, and the org's instant of the first page.
        :raises ApiUsageError: by the kind of failure.
        """
        answer = self.get("query", doing, params={"q": soql})
        observed_at, records = answer.observed_at, []
        while True:
            try:
                records.extend(answer.body["records"])
                following = None if answer.body["done"] else answer.body["nextRecordsUrl"]
            except (KeyError, TypeError):
                raise MalformedAnswerError(f"The answer while {doing} is no page of records.", self.where) from None
            if following is None:
                return records, observed_at
            answer = self.get(following, doing)

    def stream(self, path: str, *, headers: dict[str, str]) -> Response:
        """GET a resource without reading its body; the caller closes the response.

        :param path: as for :meth:`get`.
        :param headers: besides the authorization.
        :raises requests.RequestException: if no answer begins.
        """
        headers = {"Authorization": f"Bearer {self._token}", **headers}
        response = self.session.get(self._url(path), headers=headers, stream=True)
        self._clocks(response)
        return response

    def _clocks(self, response: Response) -> tuple[datetime, datetime]:
        """Return the org's instant and ours of an answer, and remember how far they are apart."""
        received_at = self.session.now()
        observed_at = date_of(response) or received_at
        self.skew = observed_at - received_at
        return observed_at, received_at

    def _url(self, path: str) -> str:
        """Return the URL of a path under the version's root, or of one from the host's root (``/services/...``)."""
        root = "" if path.startswith("/") else f"/services/data/v{self.version}/"
        return f"{self.instance_url}{root}{path}"

    def get(self, path: str, doing: str, *, params: dict[str, str] | None = None) -> Answer:
        """GET a JSON resource under ``/services/data/vXX.0/``.

        :param path: relative to the version's root, or from the host's root if it begins with a slash.
        :param doing: for messages, such as ``"reading /limits"``.
        :raises ApiUsageError: by the kind of failure.
        """
        return self._ask("GET", path, doing, params=params)

    def post(self, path: str, doing: str, body: Any, *, params: dict[str, str] | None = None) -> Answer:
        """POST JSON; as :meth:`get`, and never repeated by itself."""
        return self._ask("POST", path, doing, params=params, json=body)

    def _ask(self, method: str, path: str, doing: str, **options: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        try:
            response = self.session.request(method, self._url(path), headers=headers, **options)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as unfit:
            # Of the org or of a proxy. An unreadable URL is not shown: it may hold a password.
            said = type(unfit).__name__ if isinstance(unfit, requests.exceptions.InvalidURL) else _reason(unfit)
            raise ConfigurationError(f"No request can be sent while {doing}: {said}.", self.where) from None
        except requests.RequestException as broken:
            raise UnavailableError(
                f"No usable answer while {doing}: {type(broken).__name__}: {_reason(broken)}.", self.where
            ) from None
        except OSError as unfit:  # of TLS: a bundle that is missing
            raise ConfigurationError(f"No request can be sent while {doing}: {unfit}.", self.where) from None
        observed_at, received_at = self._clocks(response)
        if response.status_code not in (200, 201, 202):
            error = error_from(response.status_code, response.text, self.where, doing=doing)
            error.observed_at, error.received_at = observed_at, received_at
            error.limit_info = response.headers.get(LIMIT_INFO)
            raise error
        return Answer(self._json(response, doing), observed_at, received_at)

    def _json(self, response: Response, doing: str) -> Any:
        content_type = response.headers.get("Content-Type", "")
        try:
            if "html" in content_type:
                raise ValueError("HTML")
            return response.json()
        except ValueError:
            raise MalformedAnswerError(
                f"The org answered 200 while {doing}, but with {content_type or 'no content type'} of "
                f"{len(response.content)} bytes that is no JSON.",
                self.where,
            ) from None


def _reason(broken: requests.RequestException) -> str:
    """The innermost cause: requests wraps it in two layers of class names."""
    text = str(broken.args[0]) if broken.args else ""
    inner = getattr(broken.args[0], "reason", None) if broken.args else None
    return str(inner or text)[:300]
