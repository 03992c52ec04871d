"""What Salesforce documents as an org's allowance of API calls in 24 hours: the one table, and the sum it gives.

A plausibility check, nothing more: what ``/limits`` reports is the allowance, whatever this says.

Sources, named beside each row:

- ``CHEAT_SHEET``: Salesforce Developer Limits and Allocations Quick Reference, API Request Limits and Allocations,
  Total API Request Allocations (edition of API 67). It gives 115,000 for an Enterprise Edition org with 15 Salesforce
  licences as its example.
- ``LICENCE_KEYS``: Object reference, UserLicense, the values of LicenseDefinitionKey.
- ``LABEL``: no key is documented, so the licence is known by its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_apiusage.usage.model import Interval

CHEAT_SHEET = "Limits Quick Reference, Total API Request Allocations"
LICENCE_KEYS = "Object reference, UserLicense"
LABEL = "name only"


class OrgKind(StrEnum):
    """What sort of org it is, as far as its figures are concerned."""

    PRODUCTION = "production"
    """Paid and active: may go past its limit for a while, to a hard cap that Salesforce does not tell."""
    SALESFORCE_SANDBOX = "salesforce_sandbox"
    """A copy of production, or a scratch org: its limits say nothing about production's."""
    TRIAL = "trial"
    """Not bought yet."""
    DEVELOPER = "developer"
    """Developer Edition."""
    UNKNOWN = "unknown"
    """The org did not tell."""


class EditionGroup(StrEnum):
    """Editions that share a column of the table."""

    ENTERPRISE = "enterprise"
    """Enterprise; Professional with API access, which an org that answers has."""
    UNLIMITED = "unlimited"
    """Unlimited and Performance."""


EDITION_GROUPS = {
    "enterprise": EditionGroup.ENTERPRISE,
    "professional": EditionGroup.ENTERPRISE,
    "unlimited": EditionGroup.UNLIMITED,
    "performance": EditionGroup.UNLIMITED,
}
"""Column by edition (CHEAT_SHEET). Other editions are not in the table."""

BASE = 100_000
"""What an org in one of these editions has before any licence (CHEAT_SHEET)."""

DEVELOPER_EDITION = 15_000
"""Flat (CHEAT_SHEET)."""

FULL_SANDBOX = 5_000_000
"""Flat, for a Full sandbox that was not made from a template (CHEAT_SHEET); no field of an org tells that it is one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls per 24 hours that one licence brings.

    :param licence: as the table names it.
    :param enterprise: calls in Enterprise and Professional Edition; ``None`` if the table does not settle it.
    :param unlimited: calls in Unlimited and Performance Edition; likewise.
    :param key: ``LicenseDefinitionKey``, where one is documented.
    :param names: other names that orgs show for it.
    :param source: where the key comes from; the calls of all rows come from CHEAT_SHEET.
    """

    licence: str
    enterprise: int | None
    unlimited: int | None
    key: str | None = None
    names: tuple[str, ...] = ()
    source: str = LABEL

    def calls(self, group: EditionGroup) -> int | None:
        """Return the calls per licence in a group of editions."""
        return self.enterprise if group is EditionGroup.ENTERPRISE else self.unlimited


RATES = (
    Rate("Salesforce", 1_000, 5_000, "SFDC", source=LICENCE_KEYS),
    Rate("Salesforce Platform", 1_000, 5_000, "AUL", source=LICENCE_KEYS),
    Rate("Lightning Platform - One App", 200, 200, "FDC_ONE", ("Force.com - One App",), LICENCE_KEYS),
    Rate("Lightning Platform Starter", 200, 200),
    Rate("Lightning Platform Plus", 1_000, 5_000),
    Rate("Customer Community", 0, 0, "PID_Customer_Community", source=LICENCE_KEYS),
    Rate("Customer Community Login", 0, 0, "PID_Customer_Community_Login", source=LICENCE_KEYS),
    Rate("Customer Community Plus", 200, 200),
    Rate("Customer Community Plus Login", 10, 10),
    Rate("Partner Community", 200, 200, "PID_Partner_Community", source=LICENCE_KEYS),
    Rate("Partner Community Login", 10, 10, "PID_Partner_Community_Login", source=LICENCE_KEYS),
    # Sold in sizes of 25,000, 250,000 and 1,000,000, for 70,000, 750,000 and 4,000,000 calls. A licence does not tell
    # which, and Salesforce says to ask.
    Rate("External Identity", None, None),
)
"""Calls per licence."""


@dataclass(frozen=True, slots=True)
class Licence:
    """One user licence of an org (``UserLicense``).

    :param name: as the org names it.
    :param key: ``LicenseDefinitionKey``; ``None`` if it was not told.
    :param status: ``Active`` or ``Disabled``; ``None`` if it was not told.
    :param total: how many the org has; ``None`` if unknown.
    :param used: how many of them are assigned to active users; ``None`` if unknown.
    :param label: ``MasterLabel``, which may be in the user's language.
    """

    name: str
    key: str | None = None
    status: str | None = None
    total: int | None = None
    used: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the sum.

    :param what: the licence, or what else brings calls.
    :param number: how many of it; ``None`` for a flat amount, and where the org does not tell.
    :param calls_each: calls per licence; ``None`` for a flat amount, and where the table does not settle it.
    :param calls: the subtotal; ``None`` if unknown.
    """

    what: str
    number: int | None = None
    calls_each: int | None = None
    calls: int | None = None


@dataclass(frozen=True, slots=True)
class ExpectedLimit:
    """What the table makes of an org.

    :param limit: bounds of the allowance. The upper one is open where add-on calls may have been bought, which no
        query tells. ``None`` where the table does not apply.
    :param lines: the sum. Where ``limit`` is known, the subtotals that are known add up to its lower bound.
    :param unsettled: licences whose calls are unknown, by name.
    """

    limit: Interval | None
    lines: tuple[Line, ...] = ()
    unsettled: tuple[str, ...] = ()


def edition_group(edition: str | None) -> EditionGroup | None:
    """Return the column of the table for ``Organization.OrganizationType``; ``None`` if it has none."""
    words = (edition or "").casefold().removesuffix("edition").split()
    return EDITION_GROUPS.get(" ".join(words))


def rate_of(licence: Licence) -> Rate | None:
    """Return a licence's row: by its key, else by its name or label; ``None`` if the table does not know it."""
    for rate in RATES:
        if rate.key is not None and licence.key is not None and rate.key.casefold() == licence.key.casefold():
            return rate
    told = {_plain(name) for name in (licence.name, licence.label) if name}
    return next((rate for rate in RATES if told & {_plain(name) for name in (rate.licence, *rate.names)}), None)


def expected_limit(edition: str | None, licences: Sequence[Licence] | None, kind: OrgKind) -> ExpectedLimit:
    """Return what the table gives: base, plus licences times calls per licence, plus add-on calls (unknown, 0 or more).

    :param edition: ``Organization.OrganizationType``.
    :param licences: the org's licences; ``None`` if they could not be read, which leaves the base.
    :param kind: a Salesforce sandbox and a trial have no sum: the first follows its template, of the second nothing
        is documented.
    """
    if kind is OrgKind.SALESFORCE_SANDBOX:
        return ExpectedLimit(None, (Line("Full sandbox that was not made from a template", calls=FULL_SANDBOX),))
    if kind is OrgKind.DEVELOPER:
        return ExpectedLimit(
            Interval(DEVELOPER_EDITION, DEVELOPER_EDITION), (Line("Developer Edition", calls=DEVELOPER_EDITION),)
        )
    group = edition_group(edition)
    if group is None or kind is not OrgKind.PRODUCTION:
        return ExpectedLimit(None)
    of_licences = [_line(licence, group) for licence in licences or () if licence.total != 0]
    lines = (Line("Edition", calls=BASE), *of_licences)
    return ExpectedLimit(
        Interval(sum(line.calls or 0 for line in lines)),
        lines,
        tuple(dict.fromkeys(line.what for line in of_licences if line.calls is None)),
    )


def _line(licence: Licence, group: EditionGroup) -> Line:
    rate = rate_of(licence)
    each = None if rate is None else rate.calls(group)
    # An org has at least as many licences as it uses. Whether disabled ones still bring calls is not documented.
    number = licence.used if licence.total is None else licence.total
    disabled = (licence.status or "").casefold() == "disabled"
    settled = each == 0 or not disabled
    return Line(licence.name, number, each, None if each is None or number is None or not settled else number * each)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
