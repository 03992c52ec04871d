"""Bodies of /limits and values of Sforce-Limit-Info."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.salesforce.limits import (
    AppUsage,
    LimitInfo,
    parse_limit_info,
    reading_exhausted,
    reading_from_header,
    readings_from_limits,
)
from airflow_provider_apiusage.usage.model import Finding, LimitReading, ReadingSource, Severity

ORG = "00DAA0000000001"
OBSERVED_AT = datetime(2026, 10, 7, 14, 30, tzinfo=UTC)
RECEIVED_AT = OBSERVED_AT + timedelta(milliseconds=400)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("api-usage=18/5000", LimitInfo(18, 5_000), id="plain"),
        pytest.param("api-usage=0/15000", LimitInfo(0, 15_000), id="nothing-used"),
        pytest.param(
            "api-usage=25/5000; per-app-api-usage=17/250(appName=sample-connected-app)",
            LimitInfo(25, 5_000, (AppUsage("sample-connected-app", 17, 250),)),
            id="per-app",
        ),
        pytest.param(
            "api-usage=25/5000; per-app-api-usage=17/250",
            LimitInfo(25, 5_000, (AppUsage("", 17, 250),)),
            id="per-app-without-a-name",
        ),
        pytest.param(
            "api-usage=141002/140000; api-bursts=1/750",
            LimitInfo(141_002, 140_000, bursts=(1, 750)),
            id="bursts-and-more-than-the-limit",
        ),
        pytest.param("api-bursts=1/750; api-usage=7/100", LimitInfo(7, 100, bursts=(1, 750)), id="bursts-first"),
        pytest.param(
            "api-usage=5/100;per-app-api-usage=2/10(appName=A; B (x)=y)",
            LimitInfo(5, 100, (AppUsage("A; B (x)=y", 2, 10),)),
            id="name-of-delimiters",
        ),
        pytest.param(
            "per-app-api-usage=2/10(appName=a (1); b); api-usage=5/100",
            LimitInfo(5, 100, (AppUsage("a (1); b", 2, 10),)),
            id="name-before-the-rest",
        ),
        pytest.param(
            "api-usage=99/100; per-app-api-usage=2/10(appName=x); api-usage=0/100)",
            LimitInfo(99, 100, (AppUsage("x", 2, 10),), malformed=True),
            id="a-name-that-looks-like-usage",
        ),
        pytest.param("API-Usage = 3 / 100 ;", LimitInfo(3, 100), id="spaces-and-capitals"),
        pytest.param("api-usage=3/100; something-new=4", LimitInfo(3, 100), id="unknown-part"),
        pytest.param("api-usage=3/100, api-bursts=0/5", LimitInfo(3, 100, bursts=(0, 5)), id="folded-headers"),
        pytest.param("", LimitInfo(), id="empty"),
        pytest.param(None, LimitInfo(), id="absent"),
        pytest.param("api-usage=x/100", LimitInfo(malformed=True), id="no-number"),
        pytest.param("api-usage=-1/100", LimitInfo(malformed=True), id="negative"),
        pytest.param("api-usage=1/100x", LimitInfo(malformed=True), id="trailing-letters"),
        pytest.param("api-usage=1.5/100", LimitInfo(malformed=True), id="fraction"),
        pytest.param("api-usage=", LimitInfo(malformed=True), id="cut-off"),
        pytest.param("api-usage=1/" + "9" * 30, LimitInfo(malformed=True), id="absurdly-large"),
        pytest.param("api-usage=x/100; api-bursts=1/750", LimitInfo(bursts=(1, 750), malformed=True), id="partly"),
        pytest.param(
            "api-usage=5/100; per-app-api-usage=2/10(appName=never closed",
            LimitInfo(5, 100, malformed=True),
            id="unclosed-name",
        ),
    ],
)
def test_every_variant_of_the_header(value: str | None, expected: LimitInfo) -> None:
    """Each documented and each broken form of the header reads as it should; a bad number is never 0."""
    assert parse_limit_info(value) == expected


COUNTS = st.integers(0, 10**12)
PLAIN_NAMES = st.text(st.characters(exclude_characters=")", exclude_categories=["Cs"]), max_size=20)


@given(
    COUNTS,
    COUNTS,
    st.lists(st.tuples(PLAIN_NAMES, COUNTS, COUNTS), max_size=2),
    st.none() | st.tuples(COUNTS, COUNTS),
)
def test_what_is_rendered_is_read_back(
    used: int, limit: int, apps: list[tuple[str, int, int]], bursts: tuple[int, int] | None
) -> None:
    """Any counts and any app names without a closing parenthesis survive the header."""
    parts = [f"api-usage={used}/{limit}"]
    parts += [f"per-app-api-usage={n}/{quota}(appName={name})" for name, n, quota in apps]
    parts += [f"api-bursts={bursts[0]}/{bursts[1]}"] if bursts else []

    assert parse_limit_info("; ".join(parts)) == LimitInfo(used, limit, tuple(AppUsage(*app) for app in apps), bursts)


@given(st.text(alphabet="api-usgebrt=/0123456789;, ()NmP", max_size=60) | st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    """Whatever a proxy makes of the header, the answer is a value and used and limit are known together."""
    info = parse_limit_info(text)

    assert (info.used is None) == (info.limit is None)


def test_a_header_is_a_reading() -> None:
    """The header's two numbers are used and limit, and remaining is their difference, sign kept."""
    assert reading_from_header(
        "api-usage=110018/100000; api-bursts=1/750",
        org_id=ORG,
        observed_at=OBSERVED_AT,
        received_at=RECEIVED_AT,
    ) == LimitReading(
        org_id=ORG,
        name="DailyApiRequests",
        source=ReadingSource.HEADER,
        observed_at=OBSERVED_AT,
        received_at=RECEIVED_AT,
        limit=100_000,
        remaining=-10_018,
        used=110_018,
    )


@pytest.mark.parametrize("value", [None, "", "api-usage=x/100", "api-bursts=1/750"])
def test_a_header_without_usage_is_no_reading(value: str | None) -> None:
    """An absent or unreadable header is unknown, not a reading of 0."""
    assert reading_from_header(value, org_id=ORG, observed_at=OBSERVED_AT, received_at=RECEIVED_AT) is None


def test_exhaustion_is_a_reading_of_nothing_left() -> None:
    """A refusal says that 0 remain; how many are used is known only with the limit."""
    blind = reading_exhausted(org_id=ORG, observed_at=OBSERVED_AT, received_at=RECEIVED_AT)
    informed = reading_exhausted(
        org_id=ORG,
        observed_at=OBSERVED_AT,
        received_at=RECEIVED_AT,
        limit=15_000,
        name="DailyBulkApiBatches",
    )

    assert (blind.name, blind.source) == ("DailyApiRequests", ReadingSource.EXHAUSTED)
    assert (blind.limit, blind.remaining, blind.used) == (None, 0, None)
    assert (informed.name, informed.limit, informed.remaining, informed.used) == (
        "DailyBulkApiBatches",
        15_000,
        0,
        15_000,
    )


def read(
    body: Any,
) -> tuple[dict[tuple[str, str], tuple[int | None, int | None, int | None]], tuple[Finding, ...]]:
    """Return (limit, remaining, used) by (name, scope), and the findings."""
    readings, findings = readings_from_limits(body, org_id=ORG, observed_at=OBSERVED_AT, received_at=RECEIVED_AT)
    return {(r.name, r.scope): (r.limit, r.remaining, r.used) for r in readings}, findings


def codes(findings: tuple[Finding, ...]) -> list[str]:
    """Return the codes of findings."""
    return [finding.code for finding in findings]


def test_every_limit_becomes_a_reading() -> None:
    """All keys are read; nested entries get a scope, and connected apps without a quota are left out."""
    figures, findings = read(
        {
            "DailyApiRequests": {
                "Max": 140_000,
                "Remaining": 41_333,
                "Nightly ELT": {"Max": 0, "Remaining": 0},
                "Dataloader Bulk": {"Max": 5_000, "Remaining": 4_000},
            },
            "DailyBulkApiBatches": {"Max": 15_000, "Remaining": 14_880},
            "MonthlyPlatformEventsUsageEntitlement": {"Max": 0, "Remaining": 0},
            "PermissionSets": {
                "Max": 1_500,
                "Remaining": 1_496,
                "CreateCustom": {"Max": 1_000, "Remaining": 996},
            },
        }
    )

    assert figures == {
        ("DailyApiRequests", ""): (140_000, 41_333, 98_667),
        ("DailyApiRequests", "Dataloader Bulk"): (5_000, 4_000, 1_000),
        ("DailyBulkApiBatches", ""): (15_000, 14_880, 120),
        ("MonthlyPlatformEventsUsageEntitlement", ""): (0, 0, 0),
        ("PermissionSets", ""): (1_500, 1_496, 4),
        ("PermissionSets", "CreateCustom"): (1_000, 996, 4),
    }
    assert findings == ()


def test_a_reading_of_limits_carries_its_instants() -> None:
    """The org's instant, ours and the source are kept."""
    (reading,), _ = readings_from_limits(
        {"DailyApiRequests": {"Max": 5, "Remaining": 5}},
        org_id=ORG,
        observed_at=OBSERVED_AT,
        received_at=RECEIVED_AT,
    )

    assert (reading.org_id, reading.source) == (ORG, ReadingSource.LIMITS)
    assert (reading.observed_at, reading.received_at) == (OBSERVED_AT, RECEIVED_AT)


@pytest.mark.parametrize("remaining", [0, -18, -10_018])
def test_an_exhausted_or_exceeded_limit_is_not_unused(remaining: int) -> None:
    """Nothing or less than nothing remaining means all or more than all used."""
    figures, findings = read({"DailyApiRequests": {"Max": 100_000, "Remaining": remaining}})

    assert figures["DailyApiRequests", ""] == (100_000, remaining, 100_000 - remaining)
    assert findings == ()


def test_a_missing_allowance_is_an_error() -> None:
    """Without DailyApiRequests its usage is unknown, and the finding names the permission."""
    figures, (finding,) = read({"DailyBulkApiBatches": {"Max": 1, "Remaining": 1}})

    assert ("DailyApiRequests", "") not in figures
    assert (finding.code, finding.severity) == ("limit-missing", Severity.ERROR)
    assert "View Setup and Configuration" in finding.message
    assert codes(read({})[1]) == ["limit-missing"]


def test_an_allowance_of_none_is_told() -> None:
    """An org without API access has a limit of 0, which is not unknown."""
    figures, findings = read({"DailyApiRequests": {"Max": 0, "Remaining": 0}})

    assert figures["DailyApiRequests", ""] == (0, 0, 0)
    assert codes(findings) == ["limit-zero"]


@pytest.mark.parametrize("value", ["15000", True, 1.5, None, [1], {"Max": 1}, float("inf")])
def test_what_is_no_whole_number_is_unknown(value: Any) -> None:
    """Text, booleans, fractions and gaps become an unknown with a finding, in either place."""
    figures, findings = read({"DailyApiRequests": {"Max": 15_000, "Remaining": value}})
    assert figures["DailyApiRequests", ""] == (15_000, None, None)
    assert codes(findings) == ["limit-malformed"]
    assert findings[0].severity is Severity.ERROR

    figures, findings = read({"DailyApiRequests": {"Max": value, "Remaining": 7}})
    assert figures["DailyApiRequests", ""] == (None, 7, None)
    assert codes(findings) == ["limit-malformed"]


def test_a_whole_number_written_as_a_float_is_one() -> None:
    """15000.0 is 15,000."""
    figures, findings = read({"DailyApiRequests": {"Max": 15_000.0, "Remaining": 14_999.0}})

    assert figures["DailyApiRequests", ""] == (15_000, 14_999, 1)
    assert findings == ()


@pytest.mark.parametrize("pair", [{"Max": -1, "Remaining": -1}, {"Max": 10, "Remaining": 11}])
def test_impossible_pairs_leave_used_unknown(pair: dict[str, int]) -> None:
    """A negative limit, or more remaining than there is, says nothing about use."""
    figures, findings = read({"DailyApiRequests": pair})

    assert figures["DailyApiRequests", ""][2] is None
    assert len(findings) == 1


def test_an_entry_that_is_no_object_is_told_and_left_out() -> None:
    """A limit that is not a pair makes a finding and no reading; extra keys of a pair are ignored."""
    figures, findings = read({"DailyApiRequests": {"Max": 9, "Remaining": 9, "Note": "x"}, "HourlyODataCallout": 3})

    assert list(figures) == [("DailyApiRequests", "")]
    assert codes(findings) == ["limit-malformed"]
    assert "HourlyODataCallout" in findings[0].message


def test_an_app_named_like_a_number_of_the_limit_is_no_scope() -> None:
    """An app called "Max" cannot be told from the limit, which is then unknown."""
    figures, findings = read({"DailyApiRequests": {"Max": {"Max": 7, "Remaining": 7}, "Remaining": 5}})

    assert figures == {("DailyApiRequests", ""): (None, 5, None)}
    assert codes(findings) == ["limit-malformed"]


def test_a_former_name_is_kept_under_the_present_one() -> None:
    """DailyBulkApiRequests of v48 is DailyBulkApiBatches, unless both are there."""
    allowance = {"DailyApiRequests": {"Max": 9, "Remaining": 9}}
    old, new = {"Max": 10_000, "Remaining": 1}, {"Max": 15_000, "Remaining": 2}

    figures, findings = read({**allowance, "DailyBulkApiRequests": old})
    assert figures["DailyBulkApiBatches", ""] == (10_000, 1, 9_999)
    assert codes(findings) == ["limit-renamed"]
    figures, findings = read({**allowance, "DailyBulkApiRequests": old, "DailyBulkApiBatches": new})
    assert figures["DailyBulkApiBatches", ""] == (15_000, 2, 14_998)
    assert findings == ()


@pytest.mark.parametrize("body", [None, [], "<html>", 7, [{"errorCode": "INVALID_SESSION_ID"}]])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    """An error list or a page is not an answer without limits."""
    with pytest.raises(ValueError, match="JSON object of limits"):
        read(body)
