"""Reading an org's allowance: three queries and ``/limits``, each of which may be refused without the others.

Sources: Object reference, Organization, UserLicense and TenantUsageEntitlement. ``MasterLabel`` of the last cannot be
filtered on, so all its rows are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from airflow_provider_apiusage.salesforce.errors import (
    ApiUsageError,
    MalformedAnswerError,
    NotFoundError,
    PermissionDeniedError,
)
from airflow_provider_apiusage.salesforce.limits import reading_from_header, readings_from_limits
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.usage.allowance import (
    MONTHLY_LABEL,
    Allowance,
    MonthlyEntitlement,
    Organization,
    assess,
)
from airflow_provider_apiusage.usage.allowance_formula import Licence
from airflow_provider_apiusage.usage.model import API_REQUESTS, Finding, LimitReading, Severity

ORGANIZATION = "SELECT Id, OrganizationType, IsSandbox, TrialExpirationDate FROM Organization"
LICENCES = "SELECT Name, MasterLabel, LicenseDefinitionKey, Status, TotalLicenses, UsedLicenses FROM UserLicense"
ENTITLEMENTS = (
    "SELECT MasterLabel, Frequency, CurrentAmountAllowed, AmountUsed, StartDate, EndDate, UsageDate "
    "FROM TenantUsageEntitlement"
)

Row = Mapping[str, Any]


def read_allowance(org: OrgClient) -> Allowance:
    """Read an org's allowance. Spends 4 API calls: the org, ``/limits``, its licences, its entitlements.

    One more is spent where the org cannot be queried and the token does not tell its id.

    What the user may not see becomes a finding that names the object and the permission, and the rest is read.

    :raises AllowanceExhaustedError: if the org refuses because its allowance is used up.
    :raises ApiUsageError: by the kind of failure, for everything that is not about one object.
    """
    calls_before = org.session.calls
    unread: list[Finding] = []
    rows = _rows(org, ORGANIZATION, "organization", unread)
    row = None if rows is None else next(iter(rows), {})
    told_id = _text((row or {}).get("Id"))
    org_id = told_id[:15] if told_id else org.org_id()
    reading = _reading(org, org_id, unread)
    licences = _rows(org, LICENCES, "licences", unread)
    entitlements = _rows(org, ENTITLEMENTS, "entitlement", unread)
    observed_at = org.now()
    return assess(
        org_id=org_id,
        observed_at=observed_at,
        organization=None if row is None else _organization(row),
        licences=None if licences is None else sorted(map(_licence, licences), key=lambda licence: licence.name),
        reading=reading,
        monthly=None if entitlements is None else _monthly(entitlements, observed_at, unread),
        unread=unread,
        api_calls=org.session.calls - calls_before,
    )


def _rows(org: OrgClient, soql: str, what: str, unread: list[Finding]) -> list[Row] | None:
    """Return the rows of a query, or ``None`` and a finding if the user may not see the object or one of its fields."""
    name = soql.rpartition(" ")[2]
    try:
        return [row for row in org.query(soql, f"querying {name}")[0] if isinstance(row, Mapping)]
    except (PermissionDeniedError, NotFoundError, MalformedAnswerError) as refused:
        unread.append(_unread(refused, what, name))
        return None


def _reading(org: OrgClient, org_id: str, unread: list[Finding]) -> LimitReading | None:
    """Return the org-wide reading of API requests; where ``/limits`` is refused, the refusal's header may tell it."""
    try:
        answer = org.get("limits", "reading /limits")
        readings, findings = readings_from_limits(
            answer.body, org_id=org_id, observed_at=answer.observed_at, received_at=answer.received_at
        )
    except (PermissionDeniedError, NotFoundError) as refused:
        unread.append(_unread(refused, "limits", "/limits"))
        now = org.session.now()
        return reading_from_header(
            refused.limit_info,
            org_id=org_id,
            observed_at=refused.observed_at or now,
            received_at=refused.received_at or now,
        )
    except ValueError as malformed:
        raise MalformedAnswerError(f"/limits: {malformed}", org.where) from None
    unread.extend(finding for finding in findings if finding.figures.get("name") == API_REQUESTS)
    return next((r for r in readings if r.name == API_REQUESTS and not r.scope), None)


def _unread(refused: ApiUsageError, what: str, name: str) -> Finding:
    return Finding(
        f"{what}-unread",
        Severity.WARNING,
        f"{name} could not be read, and what it tells is unknown: {refused.what} Give the user of connection "
        f"{refused.where.connection!r} the permission 'View Setup and Configuration', and check the fields that its "
        "profile hides.",
        {"object": name, "permission": "View Setup and Configuration", "kind": refused.kind},
    )


def _organization(row: Row) -> Organization:
    is_sandbox = row.get("IsSandbox")
    return Organization(
        edition=_text(row.get("OrganizationType")),
        is_sandbox=is_sandbox if isinstance(is_sandbox, bool) else None,
        trial_expires_at=_instant(row.get("TrialExpirationDate")),
    )


def _licence(row: Row) -> Licence:
    label = _text(row.get("MasterLabel"))
    key = _text(row.get("LicenseDefinitionKey"))
    return Licence(
        name=_text(row.get("Name")) or label or key or "a licence without a name",
        label=label,
        key=key,
        status=_text(row.get("Status")),
        total=_whole(row.get("TotalLicenses")),
        used=_whole(row.get("UsedLicenses")),
    )


def _monthly(rows: list[Row], at: datetime, findings: list[Finding]) -> MonthlyEntitlement | None:
    """Return the entitlement for API calls: of several, one that holds at ``at``, and of these the newest."""
    label = MONTHLY_LABEL.casefold()
    found = [_entitlement(row) for row in rows if (_text(row.get("MasterLabel")) or "").casefold() == label]
    if not found:
        findings.append(
            Finding(
                "entitlement-absent",
                Severity.INFO,
                f"The org shows no entitlement {MONTHLY_LABEL!r} among {len(rows)}: it has none, or its name is shown "
                "in another language. The daily limit is not affected.",
            )
        )
        return None
    today = at.astimezone(UTC).date()
    return max(
        found,
        key=lambda each: (
            (each.starts_on or date.min) <= today <= (each.ends_on or date.max),
            each.starts_on or date.min,
            each.allowed or 0,
        ),
    )


def _entitlement(row: Row) -> MonthlyEntitlement:
    return MonthlyEntitlement(
        allowed=_whole(row.get("CurrentAmountAllowed")),
        used=_whole(row.get("AmountUsed")),
        frequency=_text(row.get("Frequency")),
        starts_on=_day(row.get("StartDate")),
        ends_on=_day(row.get("EndDate")),
        usage_at=_instant(row.get("UsageDate")),
    )


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    """Return a count as ``int``; amounts come as ``4200000.0``. What is no whole number of 0 or more is unknown."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != value // 1:
        return None
    return int(value)


def _instant(value: Any) -> datetime | None:
    try:
        instant = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None
