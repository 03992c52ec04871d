"""What the org was sold: edition, licences and entitlements by query."""

from __future__ import annotations

from typing import Any

import pytest

LICENCES = "SELECT Name, LicenseDefinitionKey, Status, TotalLicenses, UsedLicenses FROM UserLicense"


def records(client: Any, text: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "attributes"} for row in client.query(text)["records"]]


def test_the_organization_is_what_the_settings_say(client: Any) -> None:
    """Edition, kind and trial can be set, also to nothing."""
    text = "SELECT OrganizationType, IsSandbox, TrialExpirationDate FROM Organization"
    assert records(client, text) == [
        {"OrganizationType": "Developer Edition", "IsSandbox": True, "TrialExpirationDate": None}
    ]

    end = "2026-11-01T00:00:00.000+0000"
    client.control("POST", "/config", {"edition": "Unlimited Edition", "is_sandbox": False, "trial_expires_at": end})
    assert records(client, text) == [
        {"OrganizationType": "Unlimited Edition", "IsSandbox": False, "TrialExpirationDate": end}
    ]
    client.org.change({"edition": None, "is_sandbox": None})
    assert records(client, "SELECT OrganizationType, IsSandbox FROM Organization") == [
        {"OrganizationType": None, "IsSandbox": None}
    ]


def test_licences_are_what_the_settings_say(client: Any) -> None:
    """A number by key, or any fields; keys that Salesforce documents have their names."""
    assert records(client, LICENCES) == []

    disabled = {"Name": "Old", "Status": "Disabled", "TotalLicenses": 3, "UsedLicenses": 0}
    client.control("POST", "/config", {"licences": {"SFDC": 15, "AUL": 2, "Mine": 1, "Other": disabled}})
    assert [tuple(row.values()) for row in records(client, LICENCES)] == [
        ("Salesforce", "SFDC", "Active", 15, 15),
        ("Salesforce Platform", "AUL", "Active", 2, 2),
        ("Mine", "Mine", "Active", 1, 1),
        ("Old", "Other", "Disabled", 3, 0),
    ]
    assert records(client, "SELECT Name FROM UserLicense WHERE TotalLicenses > 2 ORDER BY Name DESC") == [
        {"Name": "Salesforce"},
        {"Name": "Old"},
    ]


def test_the_monthly_entitlement_can_be_blank_or_absent(client: Any) -> None:
    """Its row is one of several; the amount used can be null, and the row can be missing."""
    text = "SELECT MasterLabel, AmountUsed FROM TenantUsageEntitlement"
    label = "API Request Limit per Month"
    present = {row["MasterLabel"]: row["AmountUsed"] for row in records(client, text)}
    assert present[label] > 0
    assert len(present) == 2

    client.org.change({"monthly_entitlement": "blank"})
    assert {row["MasterLabel"]: row["AmountUsed"] for row in records(client, text)}[label] is None
    client.org.change({"monthly_entitlement": "absent"})
    assert label not in {row["MasterLabel"] for row in records(client, text)}
    assert len(records(client, text)) == 1
    client.org.change({"monthly_entitlement": "renewed"})
    days = [row["StartDate"] for row in records(client, "SELECT StartDate FROM TenantUsageEntitlement")]
    assert days == ["2025-01-01", "2027-01-01", "2026-01-01", "2020-01-01"]


@pytest.mark.parametrize("clause", ["WHERE MasterLabel = 'API Request Limit per Month'", "ORDER BY MasterLabel"])
def test_labels_of_entitlements_cannot_be_filtered(client: Any, clause: str) -> None:
    """As documented, ``MasterLabel`` is neither filterable nor sortable; other fields are."""
    refused = client.get("query", params={"q": f"SELECT AmountUsed FROM TenantUsageEntitlement {clause}"})

    assert (refused.status_code, refused.json()[0]["errorCode"]) == (400, "INVALID_FIELD")
    text = "SELECT MasterLabel FROM TenantUsageEntitlement WHERE CurrentAmountAllowed > 1000000"
    assert records(client, text) == [{"MasterLabel": "API Request Limit per Month"}]


@pytest.mark.parametrize(
    ("setting", "name", "hidden"),
    [
        ("organization_access", "Organization", "TrialExpirationDate"),
        ("licence_access", "UserLicense", "TotalLicenses"),
        ("entitlement_access", "TenantUsageEntitlement", "AmountUsed"),
    ],
)
def test_access_can_be_refused_in_three_ways(client: Any, setting: str, name: str, hidden: str) -> None:
    """A 403, an unknown object, or one hidden field while the others can be read."""
    whole, part = f"SELECT Id, {hidden} FROM {name}", f"SELECT Id FROM {name}"

    def told(text: str) -> tuple[int, str]:
        answer = client.get("query", params={"q": text})
        return answer.status_code, answer.json()[0]["errorCode"] if answer.status_code >= 400 else "read"

    assert told(whole) == (200, "read")
    for access, refusal in (("denied", (403, "INSUFFICIENT_ACCESS")), ("no_object", (400, "INVALID_TYPE"))):
        client.org.change({setting: access})
        assert told(whole) == told(part) == refusal
    client.org.change({setting: "no_field"})
    assert (told(whole), told(part)) == ((400, "INVALID_FIELD"), (200, "read"))
