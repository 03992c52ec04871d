"""An org's allowance of API calls: what it reports, what its edition and licences would give, and whether that fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from airflow_provider_apiusage.usage import allowance_findings as explain
from airflow_provider_apiusage.usage.allowance_formula import (
    ExpectedLimit,
    Licence,
    OrgKind,
    expected_limit,
)
from airflow_provider_apiusage.usage.model import Finding, LimitReading
from airflow_provider_apiusage.usage.window import iso_utc

MONTHLY_LABEL = "API Request Limit per Month"
"""``MasterLabel`` of the ``TenantUsageEntitlement`` row that is about API calls (Limits Quick Reference)."""


@dataclass(frozen=True, slots=True)
class Organization:
    """What an org says about itself (``Organization``).

    :param edition: ``OrganizationType``, such as ``Enterprise Edition``; ``None`` if it was not told.
    :param is_sandbox: ``IsSandbox``; ``None`` if it was not told.
    :param trial_expires_at: ``TrialExpirationDate``; ``None`` for an org that is no trial.
    """

    edition: str | None = None
    is_sandbox: bool | None = None
    trial_expires_at: datetime | None = None

    def kind(self, at: datetime) -> OrgKind:
        """Return what sort of org this is.

        A scratch org is a sandbox by ``IsSandbox``. A trial date that has passed in an org that still answers is left
        from before it was bought.

        :param at: the org's instant.
        """
        if self.is_sandbox is None:
            return OrgKind.UNKNOWN
        if self.is_sandbox:
            return OrgKind.SALESFORCE_SANDBOX
        if (self.edition or "").casefold().startswith("developer"):
            return OrgKind.DEVELOPER
        if self.trial_expires_at is not None and self.trial_expires_at > at:
            return OrgKind.TRIAL
        return OrgKind.UNKNOWN if self.edition is None else OrgKind.PRODUCTION


@dataclass(frozen=True, slots=True)
class MonthlyEntitlement:
    """Calls in 30 days, counted from the start of the contract, those beyond the daily limit included.

    :param allowed: ``CurrentAmountAllowed``; ``None`` if unknown.
    :param used: ``AmountUsed``, often blank: ``None`` is unknown, not 0.
    :param frequency: ``Frequency``, how often the org looks at it.
    :param starts_on: ``StartDate`` of the licences behind it.
    :param ends_on: ``EndDate`` of those licences.
    :param usage_at: ``UsageDate``, the last use that it counts.
    """

    allowed: int | None
    used: int | None = None
    frequency: str | None = None
    starts_on: date | None = None
    ends_on: date | None = None
    usage_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """An org's allowance of API calls.

    :param org_id: the 15-character id of the org.
    :param observed_at: the org's instant.
    :param kind: what sort of org it is.
    :param edition: ``OrganizationType``; ``None`` if unknown.
    :param limit: calls in 24 hours as the org reports them; ``None`` if unknown. This is the allowance.
    :param expected: what edition and licences would give, to compare.
    :param licences: the org's licences; ``None`` if they could not be read.
    :param monthly: the monthly entitlement; ``None`` if the org has none or does not show it.
    :param findings: whether the two limits fit, what the org's kind means for them, and what could not be read.
    :param api_calls: calls spent on reading it.
    """

    org_id: str
    observed_at: datetime
    kind: OrgKind
    edition: str | None
    limit: int | None
    expected: ExpectedLimit
    licences: tuple[Licence, ...] | None
    monthly: MonthlyEntitlement | None
    findings: tuple[Finding, ...] = ()
    api_calls: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-safe form, with ``None`` for every unknown."""
        expected, monthly = self.expected.limit, self.monthly
        return {
            "org_id": self.org_id,
            "observed_at": iso_utc(self.observed_at),
            "kind": self.kind.value,
            "edition": self.edition,
            "limit": self.limit,
            "expected": {
                "low": expected.low if expected else None,
                "high": expected.high if expected else None,
                "lines": [
                    {"what": line.what, "number": line.number, "calls_each": line.calls_each, "calls": line.calls}
                    for line in self.expected.lines
                ],
                "unsettled": list(self.expected.unsettled),
            },
            "licences": None
            if self.licences is None
            else [
                {
                    "name": licence.name,
                    "label": licence.label,
                    "key": licence.key,
                    "status": licence.status,
                    "total": licence.total,
                    "used": licence.used,
                }
                for licence in self.licences
            ],
            "monthly": monthly
            and {
                "allowed": monthly.allowed,
                "used": monthly.used,
                "frequency": monthly.frequency,
                "starts_on": monthly.starts_on and monthly.starts_on.isoformat(),
                "ends_on": monthly.ends_on and monthly.ends_on.isoformat(),
                "usage_at": monthly.usage_at and iso_utc(monthly.usage_at),
            },
            "findings": [
                {"code": finding.code, "severity": finding.severity.value, "message": finding.message}
                for finding in self.findings
            ],
            "api_calls": self.api_calls,
        }


def assess(
    *,
    org_id: str,
    observed_at: datetime,
    organization: Organization | None,
    licences: Sequence[Licence] | None,
    reading: LimitReading | None,
    monthly: MonthlyEntitlement | None,
    unread: Iterable[Finding] = (),
    api_calls: int = 0,
) -> Allowance:
    """Put together what was read and say whether it fits.

    :param org_id: the 15-character id of the org.
    :param observed_at: the org's instant.
    :param organization: ``None`` if it could not be read.
    :param licences: ``None`` if they could not be read.
    :param reading: the org-wide reading of ``DailyApiRequests``; ``None`` if there is none.
    :param monthly: ``None`` if there is none or it could not be read.
    :param unread: findings about what could not be read.
    :param api_calls: calls spent on reading.
    """
    about = organization or Organization()
    kind = about.kind(observed_at)
    expected = expected_limit(about.edition, licences, kind)
    limit = reading.limit if reading is not None else None
    findings = [
        *unread,
        *explain.about_kind(kind, about.trial_expires_at, observed_at),
        *(explain.about_edition(about.edition, kind) if organization is not None else ()),
        *explain.about_limit(limit, expected, kind, licences_known=licences is not None),
        *explain.about_unsettled(expected),
        *(explain.about_monthly(monthly.allowed, monthly.used) if monthly is not None else ()),
    ]
    return Allowance(
        org_id=org_id,
        observed_at=observed_at,
        kind=kind,
        edition=about.edition,
        limit=limit,
        expected=expected,
        licences=None if licences is None else tuple(licences),
        monthly=monthly,
        findings=tuple(findings),
        api_calls=api_calls,
    )
