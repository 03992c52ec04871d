"""The formula against Salesforce's own examples, and what a reported limit beside it means."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.allowance import Allowance, MonthlyEntitlement, Organization, assess
from airflow_provider_apiusage.usage.allowance_formula import (
    BASE,
    EDITION_GROUPS,
    RATES,
    Licence,
    Line,
    OrgKind,
    edition_group,
    expected_limit,
    rate_of,
)
from airflow_provider_apiusage.usage.model import Interval
from tests.usage.evidence import AT, ORG, reading

ENTERPRISE = "Enterprise Edition"


def salesforce(total: int | None, **changes: Any) -> Licence:
    return replace(Licence("Salesforce", "SFDC", "Active", total, total), **changes)


def about(
    limit: int | None = 115_000,
    *licences: Licence,
    edition: str | None = ENTERPRISE,
    is_sandbox: bool | None = False,
    monthly: MonthlyEntitlement | None = None,
    **changes: Any,
) -> Allowance:
    given: dict[str, Any] = {
        "org_id": ORG,
        "observed_at": AT,
        "organization": Organization(edition, is_sandbox, changes.pop("trial_expires_at", None)),
        "licences": licences,
        "reading": reading(0, limit=limit),
        "monthly": monthly,
    }
    return assess(**given | changes)


def codes(allowance: Allowance) -> dict[str, str]:
    return {finding.code: finding.severity.value for finding in allowance.findings}


@pytest.mark.parametrize(
    ("edition", "number", "limit"),
    [
        (ENTERPRISE, 15, 115_000),  # Salesforce's example
        (ENTERPRISE, 40, 140_000),  # a real org
        ("Professional Edition", 15, 115_000),
        ("Unlimited Edition", 15, 175_000),
        ("Performance Edition", 15, 175_000),
    ],
)
def test_salesforces_examples_come_out(edition: str, number: int, limit: int) -> None:
    """The documented example and the limit of a real org are what the formula gives, as a lower bound."""
    expected = expected_limit(edition, [salesforce(number)], OrgKind.PRODUCTION)

    assert expected.limit == Interval(limit, None)
    assert expected.lines == (
        Line("Edition", calls=100_000),
        Line("Salesforce", number, (limit - 100_000) // number, limit - 100_000),
    )


@pytest.mark.parametrize(
    ("licence", "enterprise", "unlimited"),
    [
        (Licence("Salesforce", "SFDC", total=1), 1_000, 5_000),
        (Licence("Salesforce Platform", "AUL", total=1), 1_000, 5_000),
        (Licence("Lightning Platform - One App", "FDC_ONE", total=1), 200, 200),
        (Licence("Force.com - One App", total=1), 200, 200),
        (Licence("Lightning Platform Starter", total=1), 200, 200),
        (Licence("Lightning Platform Plus", total=1), 1_000, 5_000),
        (Licence("Customer Community", "PID_Customer_Community", total=1), 0, 0),
        (Licence("Customer Community Login", "PID_Customer_Community_Login", total=1), 0, 0),
        (Licence("Customer Community Plus", total=1), 200, 200),
        (Licence("Customer Community Plus Login", total=1), 10, 10),
        (Licence("Partner Community", "PID_Partner_Community", total=1), 200, 200),
        (Licence("Partner Community Login", "PID_Partner_Community_Login", total=1), 10, 10),
    ],
)
def test_each_licence_brings_what_the_table_says(licence: Licence, enterprise: int, unlimited: int) -> None:
    """Every row of Salesforce's table, in both of its columns."""
    for edition, calls in ((ENTERPRISE, enterprise), ("Unlimited Edition", unlimited)):
        expected = expected_limit(edition, [licence], OrgKind.PRODUCTION)
        assert expected.limit == Interval(BASE + calls, None)
        assert expected.unsettled == ()


def test_a_key_decides_before_a_name() -> None:
    """A licence shown in another language is known by its key; one without a key by its name, however written."""
    found = [rate_of(Licence("Lizenz", "sfdc")), rate_of(Licence("x", label="SALESFORCE platform"))]

    assert [rate.licence for rate in found if rate] == ["Salesforce", "Salesforce Platform"]
    assert rate_of(Licence("Partner Community", "SFDC")) == RATES[0]
    assert rate_of(Licence("Salesforce Integration", "PID_Integration")) is None


def test_editions_are_known_with_and_without_the_word() -> None:
    """``OrganizationType`` ends in "Edition"; that and the case do not matter."""
    assert edition_group("ENTERPRISE") == edition_group("Enterprise Edition") == EDITION_GROUPS["enterprise"]
    assert [edition_group(name) for name in (None, "", "Edition", "Group Edition", "Enterprise Plus")] == [None] * 5


@given(
    st.sampled_from(["Enterprise Edition", "Unlimited Edition"]),
    st.lists(
        st.builds(
            Licence,
            name=st.sampled_from([*(rate.licence for rate in RATES), "Chatter Free", "Identity"]),
            status=st.sampled_from(["Active", "Disabled", None]),
            total=st.none() | st.integers(0, 10**6),
            used=st.none() | st.integers(0, 10**6),
        ),
        max_size=8,
    ),
)
def test_the_lines_add_up(edition: str, licences: list[Licence]) -> None:
    """The known subtotals are the lower bound; every licence the org has is a line, and unsettled if it has none."""
    expected = expected_limit(edition, licences, OrgKind.PRODUCTION)

    assert expected.limit is not None
    assert expected.limit.low == sum(line.calls or 0 for line in expected.lines) >= BASE
    assert [line.what for line in expected.lines[1:]] == [each.name for each in licences if each.total != 0]
    assert set(expected.unsettled) == {line.what for line in expected.lines if line.calls is None}
    for line in expected.lines[1:]:
        assert line.calls is None or line.calls == (line.number or 0) * (line.calls_each or 0)


@given(st.lists(st.integers(0, 10**5), max_size=5), st.integers(1, 10**5))
def test_more_licences_never_lower_the_limit(numbers: list[int], more: int) -> None:
    """The formula is monotonous."""
    before = expected_limit(ENTERPRISE, [salesforce(n) for n in numbers], OrgKind.PRODUCTION).limit
    after = expected_limit(ENTERPRISE, [salesforce(n) for n in (*numbers, more)], OrgKind.PRODUCTION).limit

    assert before is not None
    assert after == Interval(before.low + 1_000 * more, None)


def test_what_the_table_does_not_settle_is_named_and_left_out() -> None:
    """An External Identity pack, an unknown licence, a disabled one: no calls are made up for them, and none hidden."""
    licences = [
        Licence("External Identity", total=25_000),
        Licence("Chatter Free", "PID_CHATTER", total=5_000),
        Licence("Not bought any more", total=0),
        salesforce(3, status="Disabled"),
        Licence("Customer Community", status="Disabled", total=7),
        Licence("Partner Community", total=None, used=4),
    ]
    allowance = about(100_800, *licences)

    assert allowance.expected.limit == Interval(100_800, None)
    assert allowance.expected.unsettled == ("External Identity", "Chatter Free", "Salesforce")
    assert codes(allowance) == {"limit-as-expected": "info", "licences-unsettled": "info"}
    assert all(name in allowance.findings[-1].message for name in allowance.expected.unsettled)


@pytest.mark.parametrize(
    ("limit", "code", "severity", "difference"),
    [
        (115_000, "limit-as-expected", "info", 0),
        (125_000, "limit-above-formula", "info", 10_000),
        (15_000, "limit-below-formula", "warning", -100_000),
    ],
)
def test_the_reported_limit_is_compared(limit: int, code: str, severity: str, difference: int) -> None:
    """As expected, more (add-on calls), or less; the figures and the sum are in the message."""
    allowance = about(limit, salesforce(15))

    assert codes(allowance) == {code: severity}
    assert allowance.limit == limit
    (finding,) = allowance.findings
    assert finding.figures["difference"] == difference
    assert "100,000 + 15 Salesforce x 1,000 = 115,000" in finding.message
    assert f"{limit:,}" in finding.message


def test_a_surplus_names_the_other_explanation() -> None:
    """Where licences are unsettled, more than the sum may come from them instead of add-on calls."""
    (above, _) = about(170_000, Licence("External Identity", total=25_000)).findings

    assert above.code == "limit-above-formula"
    assert "70,000 more" in above.message
    assert "External Identity" in above.message


def test_without_licences_there_is_no_verdict_but_a_floor() -> None:
    """Licences that could not be read leave the base: a limit above it proves nothing, one below it is odd."""
    assert codes(about(140_000, licences=None)) == {}
    assert about(140_000, licences=None).expected.limit == Interval(BASE, None)
    assert codes(about(99_999, licences=None)) == {"limit-below-formula": "warning"}


@pytest.mark.parametrize("limit", [15_000, 100_000, 5_000_000])
def test_a_salesforce_sandbox_proves_nothing(limit: int) -> None:
    """No sum is made for it; that of a Full sandbox is recognised, any other is no mismatch."""
    allowance = about(limit, salesforce(15), is_sandbox=True)

    assert allowance.kind is OrgKind.SALESFORCE_SANDBOX
    assert allowance.expected.limit is None
    assert [line.calls for line in allowance.expected.lines] == [5_000_000]
    as_expected = {"limit-as-expected": "info"} if limit == 5_000_000 else {}
    assert codes(allowance) == {"salesforce-sandbox": "warning", **as_expected}


def test_developer_edition_is_flat_and_has_no_leeway() -> None:
    """15,000 calls whatever the licences, both bounds."""
    allowance = about(15_000, salesforce(2), edition="Developer Edition")

    assert (allowance.kind, allowance.expected.limit) == (OrgKind.DEVELOPER, Interval(15_000, 15_000))
    assert codes(allowance) == {"developer-edition": "info", "limit-as-expected": "info"}
    assert codes(about(5_000, edition="Developer Edition", licences=None))["limit-below-formula"] == "warning"
    assert codes(about(20_000, edition="Developer Edition", licences=None))["limit-above-formula"] == "info"


def test_a_trial_is_named_with_its_end() -> None:
    """A trial has no documented sum; one that has ended and still answers was bought."""
    trial = about(15_000, salesforce(5), trial_expires_at=AT + timedelta(days=20))
    bought = about(115_000, salesforce(15), trial_expires_at=AT - timedelta(days=20))

    assert (trial.kind, trial.expected.limit, codes(trial)) == (OrgKind.TRIAL, None, {"trial-org": "warning"})
    assert "2026-10-27" in trial.findings[0].message
    assert (bought.kind, codes(bought)) == (OrgKind.PRODUCTION, {"limit-as-expected": "info"})


def test_a_scratch_org_is_a_sandbox_that_ends() -> None:
    """``IsSandbox`` with a trial date, even in Developer Edition."""
    scratch = about(15_000, edition="Developer Edition", is_sandbox=True, trial_expires_at=AT + timedelta(days=7))

    assert scratch.kind is OrgKind.SALESFORCE_SANDBOX
    assert codes(scratch) == {"salesforce-sandbox": "warning", "trial-org": "warning"}


@pytest.mark.parametrize(
    ("edition", "is_sandbox", "kind", "code"),
    [
        ("Group Edition", False, OrgKind.PRODUCTION, "edition-unknown"),
        (None, False, OrgKind.UNKNOWN, "edition-unknown"),
        (None, None, OrgKind.UNKNOWN, "edition-unknown"),
        (ENTERPRISE, None, OrgKind.UNKNOWN, "org-kind-unknown"),
    ],
)
def test_what_the_org_does_not_tell_leaves_the_reported_limit_alone(
    edition: str | None, is_sandbox: bool | None, kind: OrgKind, code: str
) -> None:
    """Without a known edition and kind there is no comparison, and a finding says why."""
    allowance = about(10_000, salesforce(15), edition=edition, is_sandbox=is_sandbox)

    assert (allowance.kind, allowance.limit, allowance.expected.limit) == (kind, 10_000, None)
    assert codes(allowance) == {code: "info"}


def test_an_unread_organization_is_unknown_without_a_second_finding() -> None:
    """Whoever could not read it has said so already; an unknown limit is no limit of 0."""
    allowance = about(organization=None, reading=None)

    assert (allowance.kind, allowance.edition, allowance.limit, codes(allowance)) == (OrgKind.UNKNOWN, None, None, {})


@pytest.mark.parametrize(
    ("used", "code"),
    [(450_001, "over-monthly-entitlement"), (450_000, None), (0, None), (None, "monthly-usage-unknown")],
)
def test_the_monthly_entitlement_is_judged(used: int | None, code: str | None) -> None:
    """More than the entitlement is a warning with the figures; blank is unknown, not 0."""
    allowance = about(100_000, monthly=MonthlyEntitlement(450_000, used))

    assert (code in codes(allowance)) if code else codes(allowance) == {"limit-as-expected": "info"}
    if code == "over-monthly-entitlement":
        assert allowance.findings[-1].figures == {"used": 450_001, "allowed": 450_000, "over": 1}


def test_the_dictionary_is_json_and_keeps_unknowns() -> None:
    """Everything goes through JSON unchanged; what is unknown is null."""
    monthly = MonthlyEntitlement(4_200_000, None, "Monthly", date(2026, 2, 1), date(2027, 1, 31), AT)
    known = about(115_000, salesforce(15), monthly=monthly, api_calls=4).as_dict()
    unknown = about(organization=None, licences=None, reading=None).as_dict()

    assert json.loads(json.dumps(known)) == known
    assert known["expected"]["lines"][1] == {
        "what": "Salesforce", "number": 15, "calls_each": 1_000, "calls": 15_000,
    }  # fmt: skip
    assert known["monthly"] == {
        "allowed": 4_200_000, "used": None, "frequency": "Monthly", "starts_on": "2026-02-01",
        "ends_on": "2027-01-31", "usage_at": "2026-10-07T14:30:00Z",
    }  # fmt: skip
    assert json.loads(json.dumps(unknown)) == unknown
    assert (unknown["limit"], unknown["licences"], unknown["monthly"]) == (None, None, None)
    assert unknown["expected"] == {"low": None, "high": None, "lines": [], "unsettled": []}


def test_the_document_shows_the_same_table() -> None:
    """``docs/allowance.md`` has each row of the table with its figures, and no other, and names every finding."""
    root = Path(__file__).parents[2]
    text = (root / "docs" / "allowance.md").read_text(encoding="utf-8")
    table = text.partition("| licence | Enterprise")[2].partition("\n\n")[0].splitlines()[2:]
    source = (root / "airflow_provider_apiusage" / "usage" / "allowance_findings.py").read_text(encoding="utf-8")

    def cell(calls: int | None) -> str:
        return "not settled" if calls is None else f"{calls:,}"

    assert table == [f"| {rate.licence} | {cell(rate.enterprise)} | {cell(rate.unlimited)} |" for rate in RATES]
    found = re.findall(r'Finding\(\s*"([a-z-]+)"', source)
    assert len(found) >= 10
    assert [code for code in found if f"`{code}`" not in text] == []
