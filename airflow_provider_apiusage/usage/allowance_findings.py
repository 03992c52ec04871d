"""What an allowance means, in words: the kind of org, the limit beside the formula, the monthly entitlement."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from airflow_provider_apiusage.usage.allowance_formula import (
    BASE,
    FULL_SANDBOX,
    ExpectedLimit,
    OrgKind,
    edition_group,
)
from airflow_provider_apiusage.usage.model import Finding, Severity


def about_kind(kind: OrgKind, trial_expires_at: datetime | None, at: datetime) -> Iterator[Finding]:
    """Say what this kind of org proves; only a paid, active one may go past its limit (Limits Quick Reference).

    :param trial_expires_at: when the trial (or scratch org) ends; ``None`` if never.
    :param at: the org's instant.
    """
    if kind is OrgKind.SALESFORCE_SANDBOX:
        yield Finding(
            "salesforce-sandbox",
            Severity.WARNING,
            "This is a Salesforce sandbox or a scratch org: it has an allowance of its own, which proves nothing about "
            f"production's (a Full sandbox has {FULL_SANDBOX:,}, others what their template says), and it is refused "
            "at its limit. Plan with the allowance of the production org.",
        )
    elif kind is OrgKind.DEVELOPER:
        yield Finding(
            "developer-edition",
            Severity.INFO,
            "This is a Developer Edition org: it is refused at its limit, without the leeway that a paid org has.",
        )
    if trial_expires_at is not None and trial_expires_at > at:
        yield Finding(
            "trial-org",
            Severity.WARNING,
            f"This org ends on {trial_expires_at.astimezone(UTC):%Y-%m-%d}, unless it is bought before. It is refused "
            "at its limit, and its limit proves nothing about the org that may follow.",
            {"expires_on": trial_expires_at.astimezone(UTC).date().isoformat()},
        )


def about_edition(edition: str | None, kind: OrgKind) -> Iterator[Finding]:
    """Say so where the formula cannot be used because edition or kind is not known."""
    if kind not in (OrgKind.PRODUCTION, OrgKind.UNKNOWN):
        return
    if edition_group(edition) is None:
        named = f"The edition {edition!r} is" if edition else "The org does not tell its edition, so it is"
        yield Finding(
            "edition-unknown",
            Severity.INFO,
            f"{named} not in Salesforce's table of allocations; the reported limit stands without a comparison.",
            {"edition": edition},
        )
    elif kind is OrgKind.UNKNOWN:
        yield Finding(
            "org-kind-unknown",
            Severity.INFO,
            "The org does not tell whether it is a Salesforce sandbox; the reported limit stands without a comparison.",
        )


def about_limit(
    limit: int | None, expected: ExpectedLimit, kind: OrgKind, *, licences_known: bool
) -> Iterator[Finding]:
    """Compare the reported limit with the sum of edition and licences. The reported one is right in any case.

    :param limit: as reported; ``None`` if unknown.
    :param expected: what the table gives.
    :param kind: what sort of org it is.
    :param licences_known: whether the sum is of all licences or only of the edition.
    """
    if kind is OrgKind.SALESFORCE_SANDBOX and limit == FULL_SANDBOX:
        yield Finding(
            "limit-as-expected", Severity.INFO, f"The limit of {limit:,} is that of a Full sandbox.", {"limit": limit}
        )
    bounds = expected.limit
    if limit is None or bounds is None:
        return
    figures = {"limit": limit, "expected": bounds.low, "difference": limit - bounds.low}
    if limit < bounds.low:
        yield Finding(
            "limit-below-formula",
            Severity.WARNING,
            f"The org reports a limit of {limit:,}, {bounds.low - limit:,} less than {_sum(expected)}. Licences that "
            "bring fewer calls than their name says, or a contract older than the formula, can be the cause. "
            "Count on the reported limit; Salesforce's account team can say which it is.",
            figures,
        )
    elif not licences_known and not bounds.exact:
        return
    elif limit == bounds.low:
        yield Finding("limit-as-expected", Severity.INFO, f"The limit of {limit:,} is {_sum(expected)}.", figures)
    else:
        others = f", or come with {', '.join(expected.unsettled)}" if expected.unsettled else ""
        yield Finding(
            "limit-above-formula",
            Severity.INFO,
            f"The org reports a limit of {limit:,}, {limit - bounds.low:,} more than {_sum(expected)}: add-on calls "
            f"were probably bought{others}.",
            figures,
        )


def about_unsettled(expected: ExpectedLimit) -> Iterator[Finding]:
    """Name the licences whose calls nobody knows."""
    if expected.unsettled:
        yield Finding(
            "licences-unsettled",
            Severity.INFO,
            f"What these licences bring is not settled by Salesforce's table, and is left out of the sum: "
            f"{', '.join(expected.unsettled)}.",
            {"licences": list(expected.unsettled)},
        )


def about_monthly(allowed: int | None, used: int | None) -> Iterator[Finding]:
    """Say how the monthly entitlement stands.

    :param allowed: calls in 30 days; ``None`` if unknown.
    :param used: ``None`` if the org leaves it blank.
    """
    if allowed is None or used is None:
        blank = " and ".join(name for name, value in (("allows", allowed), ("has used", used)) if value is None)
        yield Finding(
            "monthly-usage-unknown",
            Severity.INFO,
            f"The monthly entitlement does not tell what it {blank}; the org fills it in when it next counts.",
        )
    elif used > allowed:
        yield Finding(
            "over-monthly-entitlement",
            Severity.WARNING,
            f"The org has used {used:,} API calls of {allowed:,} in its 30 days, {used - allowed:,} too many. "
            "Salesforce does not say that calls are refused for it, but may ask for more to be bought.",
            {"used": used, "allowed": allowed, "over": used - allowed},
        )


def _sum(expected: ExpectedLimit) -> str:
    """Return the sum as a phrase: ``100,000 + 15 Salesforce x 1,000 = 115,000``."""
    lines = [line for line in expected.lines if line.calls]
    terms = [
        f"{line.calls:,}" if line.calls_each is None else f"{line.number:,} {line.what} x {line.calls_each:,}"
        for line in lines
    ]
    total = sum(line.calls or 0 for line in lines)
    if len(terms) == 1:
        return f"the {total:,} of its edition" + (" alone" if total == BASE else "")
    return f"{' + '.join(terms)} = {total:,} by edition and licences"
