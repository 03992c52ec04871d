"""Reading the allowance from the sandbox org, whatever of it the user may see."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from airflow_provider_apiusage.salesforce.allowance import read_allowance
from airflow_provider_apiusage.salesforce.errors import (
    AllowanceExhaustedError,
    AuthenticationError,
    MalformedAnswerError,
    PermissionDeniedError,
    Where,
)
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.usage.allowance import Allowance
from airflow_provider_apiusage.usage.allowance_formula import Licence, OrgKind
from airflow_provider_apiusage.usage.model import Interval

PRODUCTION = {"edition": "Enterprise Edition", "is_sandbox": False, "licences": {"SFDC": 15}, "limit": 115_000}


@pytest.fixture
def connect(sandbox: SandboxServer) -> Callable[..., OrgClient]:
    """Makes clients of the sandbox org, with some of its settings changed."""

    def client(**settings: Any) -> OrgClient:
        sandbox.org.change({**PRODUCTION, **settings})
        where = Where("sf_test", "sandbox org")
        return OrgClient(
            MeteredSession(where, sleep=lambda seconds: None),
            instance_url=sandbox.url,
            token=sandbox.connection("access_token")["extra"]["access_token"],
            version="62.0",
            where=where,
        )

    return client


def codes(allowance: Allowance) -> dict[str, str]:
    return {finding.code: finding.severity.value for finding in allowance.findings}


def test_a_production_org_is_read_in_four_calls(sandbox: SandboxServer, connect: Callable[..., OrgClient]) -> None:
    """Org, limit, licences and entitlement, for four calls that the org counted as well."""
    used_before = sandbox.org.used
    allowance = read_allowance(connect())

    assert allowance.org_id == sandbox.org.identity.org_id
    assert (allowance.kind, allowance.edition) == (OrgKind.PRODUCTION, "Enterprise Edition")
    assert (allowance.limit, allowance.expected.limit) == (115_000, Interval(115_000, None))
    assert allowance.licences == (Licence("Salesforce", "SFDC", "Active", 15, 15, "Salesforce"),)
    assert allowance.monthly is not None
    assert (allowance.monthly.allowed, allowance.monthly.frequency) == (3_450_000, "Monthly")
    assert (allowance.monthly.starts_on, allowance.monthly.ends_on) == (date(2026, 1, 1), date(2026, 12, 31))
    assert allowance.monthly.usage_at == datetime(2026, 10, 7, 14, 30, tzinfo=UTC)
    assert codes(allowance) == {"limit-as-expected": "info"}
    assert allowance.api_calls == sandbox.org.used - used_before == 4
    assert abs((allowance.observed_at - sandbox.org.now()).total_seconds()) < 60
    assert json.loads(json.dumps(allowance.as_dict())) == allowance.as_dict()


def test_an_opaque_token_costs_no_fifth_call(connect: Callable[..., OrgClient]) -> None:
    """Where the token does not tell the org's id, the query of the org does."""
    allowance = read_allowance(connect(session_id_style="opaque"))

    assert allowance.org_id == "00DSB0000000042"
    assert allowance.api_calls == 4


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        ({"is_sandbox": True}, OrgKind.SALESFORCE_SANDBOX, None),
        ({"edition": "Developer Edition"}, OrgKind.DEVELOPER, Interval(15_000, 15_000)),
        ({"trial_expires_at": "2026-11-01T00:00:00.000+0000"}, OrgKind.TRIAL, None),
        ({"is_sandbox": None}, OrgKind.UNKNOWN, None),
    ],
)
def test_other_orgs_are_named(
    connect: Callable[..., OrgClient], settings: dict[str, Any], kind: OrgKind, expected: Interval | None
) -> None:
    """A Salesforce sandbox, Developer Edition and a trial are told from production."""
    org = connect(**settings, limit_overrides={"DailyApiRequests": {"Max": 50_000, "Remaining": 1}})
    allowance = read_allowance(org)

    assert (allowance.kind, allowance.limit, allowance.expected.limit) == (kind, 50_000, expected)


ACCESSES = ["denied", "no_object", "no_field"]


@pytest.mark.parametrize("access", ACCESSES)
def test_licences_that_may_not_be_seen_are_a_finding(connect: Callable[..., OrgClient], access: str) -> None:
    """A 403, ``INVALID_TYPE`` or ``INVALID_FIELD`` names object and permission; the rest is read."""
    allowance = read_allowance(connect(licence_access=access))

    assert codes(allowance) == {"licences-unread": "warning"}
    assert allowance.licences is None
    assert allowance.expected.limit == Interval(100_000, None)
    (finding,) = allowance.findings
    assert finding.figures["object"] == "UserLicense"
    assert "UserLicense" in finding.message
    assert "'View Setup and Configuration'" in finding.message
    assert "sf_test" in finding.message
    assert (allowance.limit, allowance.monthly is not None, allowance.api_calls) == (115_000, True, 4)


@pytest.mark.parametrize("access", ACCESSES)
def test_an_entitlement_that_may_not_be_seen_is_a_finding(connect: Callable[..., OrgClient], access: str) -> None:
    """It is unread, which is not absent."""
    allowance = read_allowance(connect(entitlement_access=access))

    assert codes(allowance) == {"entitlement-unread": "warning", "limit-as-expected": "info"}
    assert allowance.findings[0].figures["object"] == "TenantUsageEntitlement"
    assert allowance.monthly is None


@pytest.mark.parametrize("access", ACCESSES)
def test_an_org_that_may_not_be_seen_is_a_finding(connect: Callable[..., OrgClient], access: str) -> None:
    """Kind and edition are unknown, the id comes from the token; limit and licences are read."""
    allowance = read_allowance(connect(organization_access=access))

    assert codes(allowance) == {"organization-unread": "warning"}
    assert (allowance.org_id, allowance.kind, allowance.edition) == ("00DSB0000000042", OrgKind.UNKNOWN, None)
    assert (allowance.limit, allowance.expected.limit, allowance.api_calls) == (115_000, None, 4)
    assert allowance.licences is not None


def test_a_hidden_field_costs_an_opaque_token_one_call_more(connect: Callable[..., OrgClient]) -> None:
    """Where the query of the org fails for one field, the id is asked for by itself; where it is refused, so are we."""
    allowance = read_allowance(connect(session_id_style="opaque", organization_access="no_field"))

    assert (allowance.org_id, allowance.api_calls) == ("00DSB0000000042", 5)
    with pytest.raises(PermissionDeniedError, match="org's id"):
        read_allowance(connect(session_id_style="opaque", organization_access="denied"))


@pytest.mark.parametrize(("header", "limit"), [(True, 115_000), (False, None)])
def test_limits_that_may_not_be_seen_are_a_finding(
    connect: Callable[..., OrgClient], header: bool, limit: int | None
) -> None:
    """The refusal of ``/limits`` may carry the limit in its header; without it the limit is unknown."""
    allowance = read_allowance(connect(limits_access="denied", limit_header_on_errors=header))

    assert allowance.limit == limit
    assert allowance.findings[0].code == "limits-unread"
    assert ("limit-as-expected" in codes(allowance)) is header


def test_everything_refused_is_four_findings(connect: Callable[..., OrgClient]) -> None:
    """A user without any of the permissions gets an allowance of unknowns, not an exception."""
    refused = {"organization_access": "denied", "licence_access": "denied", "entitlement_access": "denied"}
    allowance = read_allowance(connect(**refused, limits_access="denied", limit_header_on_errors=False))

    assert list(codes(allowance)) == ["organization-unread", "limits-unread", "licences-unread", "entitlement-unread"]
    assert (allowance.limit, allowance.licences, allowance.monthly, allowance.edition) == (None, None, None, None)
    assert json.loads(json.dumps(allowance.as_dict())) == allowance.as_dict()


def test_a_missing_limit_is_said(connect: Callable[..., OrgClient]) -> None:
    """An org whose ``/limits`` leaves out API requests: unknown, with the reader's own finding."""
    allowance = read_allowance(connect(limit_overrides={"DailyApiRequests": None}))

    assert allowance.limit is None
    assert [finding.figures["name"] for finding in allowance.findings] == ["DailyApiRequests"]


def test_an_absent_entitlement_is_said(connect: Callable[..., OrgClient]) -> None:
    """No such row among the org's entitlements: information, no failure."""
    allowance = read_allowance(connect(monthly_entitlement="absent"))

    assert codes(allowance) == {"entitlement-absent": "info", "limit-as-expected": "info"}
    assert allowance.monthly is None


def test_the_entitlement_that_holds_now_is_taken(connect: Callable[..., OrgClient]) -> None:
    """Of rows that have ended, hold and are yet to begin, the one that holds at the org's instant."""
    monthly = read_allowance(connect(monthly_entitlement="renewed")).monthly

    assert monthly is not None
    assert monthly.starts_on == date(2026, 1, 1)


def test_a_blank_amount_is_unknown(connect: Callable[..., OrgClient]) -> None:
    """``AmountUsed`` may be null; that is no use of 0."""
    allowance = read_allowance(connect(monthly_entitlement="blank"))

    assert allowance.monthly is not None
    assert (allowance.monthly.used, allowance.monthly.usage_at) == (None, None)
    assert codes(allowance) == {"monthly-usage-unknown": "info", "limit-as-expected": "info"}


def test_the_monthly_entitlement_can_be_overrun(connect: Callable[..., OrgClient]) -> None:
    """More calls made than the month allows is a warning."""
    assert codes(read_allowance(connect(monthly_limit=20_000)))["over-monthly-entitlement"] == "warning"


def test_odd_licences_do_not_stop_the_reading(connect: Callable[..., OrgClient]) -> None:
    """Blank names, missing totals, amounts as decimals, negative or no numbers at all: unknown, never 0."""
    rows = {
        "SFDC": {"TotalLicenses": 15.0, "UsedLicenses": None},
        "AUL": {"TotalLicenses": -1, "UsedLicenses": "3"},
        "X": {"Name": None, "MasterLabel": " ", "LicenseDefinitionKey": None, "TotalLicenses": True},
    }
    allowance = read_allowance(connect(licences=rows))

    assert allowance.licences is not None
    assert [(each.name, each.total, each.used) for each in allowance.licences] == [
        ("Salesforce", 15, None),
        ("Salesforce Platform", None, None),
        ("a licence without a name", None, None),
    ]
    assert allowance.expected.limit == Interval(115_000, None)
    assert allowance.expected.unsettled == ("Salesforce Platform", "a licence without a name")


def test_many_licences_come_in_pages(connect: Callable[..., OrgClient]) -> None:
    """Every page is read and counted."""
    allowance = read_allowance(connect(licences={f"K{n}": 1 for n in range(5)}, query_page_size=2))

    assert allowance.licences is not None
    assert len(allowance.licences) == 5
    assert allowance.api_calls == 6


def test_what_is_not_about_one_object_is_raised(sandbox: SandboxServer, connect: Callable[..., OrgClient]) -> None:
    """A used-up allowance, a dead session and a page in place of ``/limits`` end the reading, each as what it is."""
    with pytest.raises(AllowanceExhaustedError):
        read_allowance(connect(limit=25_000))
    sandbox.org.faults.order(Fault("html", path="/limits", count=1))
    with pytest.raises(MalformedAnswerError, match="limits"):
        read_allowance(connect())
    dead = connect()
    sandbox.org.sessions.expire()
    with pytest.raises(AuthenticationError):
        read_allowance(dead)
