"""What the org was sold: its edition, its user licences and its usage-based entitlements, as queries show them.

Fields from the Object reference: Organization, UserLicense, TenantUsageEntitlement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.sandbox.http import ApiError, Call
from airflow_provider_apiusage.sandbox.identity import long_id

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

#: Objects that are answered here, and the field of each that ``no_field`` hides.
OBJECTS = {
    "organization": ("Organization", "TrialExpirationDate"),
    "userlicense": ("UserLicense", "TotalLicenses"),
    "tenantusageentitlement": ("TenantUsageEntitlement", "AmountUsed"),
}

#: Names of the licences whose keys the Object reference lists; another key is its own name.
LICENCE_NAMES = {
    "SFDC": "Salesforce",
    "AUL": "Salesforce Platform",
    "FDC_ONE": "Lightning Platform - One App",
    "PID_CHATTER": "Chatter Only",
    "PID_Customer_Community": "Customer Community",
    "PID_Customer_Community_Login": "Customer Community Login",
    "PID_Partner_Community": "Partner Community",
    "PID_Partner_Community_Login": "Partner Community Login",
}


def rows(org: SandboxOrg, call: Call, lowered: str) -> list[dict[str, Any]]:
    """Return all records of one of these objects, if its access setting lets them be seen.

    :param lowered: the object's name in lower case, a key of ``OBJECTS``.
    :raises ApiError: 403, or 400 ``INVALID_TYPE`` or ``INVALID_FIELD``, by the setting; 400 ``INVALID_FIELD`` for a
        condition on ``TenantUsageEntitlement.MasterLabel``, which cannot be filtered.
    """
    name, hidden = OBJECTS[lowered]
    settings = org.settings
    access = {
        "organization": settings.organization_access,
        "userlicense": settings.licence_access,
        "tenantusageentitlement": settings.entitlement_access,
    }[lowered]
    text = call.request.query.get("q", "")
    if access == "denied":
        raise ApiError(403, "INSUFFICIENT_ACCESS", "insufficient access rights on cross-reference id")
    if access == "no_object":
        raise ApiError(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
    if access == "no_field" and re.search(rf"\b{hidden}\b", text, re.IGNORECASE):
        raise ApiError(400, "INVALID_FIELD", f"No such column '{hidden}' on entity '{name}'.")
    if lowered == "organization":
        return [_organization(org)]
    if lowered == "userlicense":
        return _user_licences(org)
    if re.search(r"\b(where|order\s+by)\b.*\bMasterLabel\b", text, re.IGNORECASE | re.DOTALL):
        raise ApiError(400, "INVALID_FIELD", "field 'MasterLabel' can not be filtered in a query call")
    return _entitlements(org)


def _organization(org: SandboxOrg) -> dict[str, Any]:
    return {
        "Id": long_id(org.identity.org_id),
        "Name": org.identity.org_name,
        "OrganizationType": org.settings.edition,
        "IsSandbox": org.settings.is_sandbox,
        "InstanceName": "SBX1",
        "NamespacePrefix": None,
        "TrialExpirationDate": org.settings.trial_expires_at,
        "TimeZoneSidKey": "GMT",
        "LanguageLocaleKey": "en_US",
        "DefaultLocaleSidKey": org.settings.report_locale,
        "CreatedDate": "2020-01-01T00:00:00.000+0000",
    }


def _user_licences(org: SandboxOrg) -> list[dict[str, Any]]:
    made = []
    for number, (key, told) in enumerate((org.settings.licences or {}).items(), start=1):
        details = told if isinstance(told, Mapping) else {"TotalLicenses": told, "UsedLicenses": told}
        name = LICENCE_NAMES.get(key, key)
        made.append(
            {
                "Id": long_id(f"100SB{number:010d}"),
                "Name": name,
                "MasterLabel": name,
                "LicenseDefinitionKey": key,
                "Status": "Active",
                "TotalLicenses": None,
                "UsedLicenses": None,
                **details,
            }
        )
    return made


def _entitlements(org: SandboxOrg) -> list[dict[str, Any]]:
    other = {
        "Id": "0kWSB0000000002AAA", "MasterLabel": "Platform Events Limit per Month", "Frequency": "Monthly",
        "Setting": "force.PlatformEvents", "CurrentAmountAllowed": 250_000.0, "AmountUsed": 0.0,
        "StartDate": "2020-01-01", "EndDate": None, "UsageDate": None,
    }  # fmt: skip
    if org.settings.monthly_entitlement == "absent":
        return [other]
    monthly = org.monthly_entitlement()
    if org.settings.monthly_entitlement == "blank":
        monthly |= {"AmountUsed": None, "UsageDate": None}
    if org.settings.monthly_entitlement == "renewed":
        year = org.now().year - 1
        dates = {"StartDate": f"{year}-01-01", "EndDate": f"{year}-12-31"}
        later = {"StartDate": f"{year + 2}-01-01", "EndDate": f"{year + 2}-12-31"}
        return [monthly | dates, monthly | later, monthly, other]
    return [monthly, other]
