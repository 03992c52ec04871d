"""Which orgs there are for a caller."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_apiusage import __version__
from airflow_provider_apiusage.store.org_connections import OrgConnection
from airflow_provider_apiusage.ui import words
from airflow_provider_apiusage.ui.access import Caller
from airflow_provider_apiusage.ui.answers import Health, Org, Orgs, State
from airflow_provider_apiusage.ui.known import Known

OVERVIEW = "/lightning/setup/SystemOverview/home"
"""Setup's System Overview below the org's address; where Setup has no such page it opens its own start."""

HOUR = timedelta(hours=1)


def org(known: Known, org_id: str, connections: tuple[OrgConnection, ...]) -> Org:
    """Return one org.

    :param connections: those through which the caller may see it.
    """
    newest = known.store.latest_reading(org_id)
    used, limit = (None, None) if newest is None else (newest.used, newest.limit)
    addresses = (each.instance_url for each in connections)
    # It becomes a link, so it is nothing but an address of the web.
    address = next((each for each in addresses if each is not None and each.startswith("https://")), None)
    return Org(
        org_id=org_id,
        connections=sorted(each.conn_id for each in connections),
        state=known.state_of(newest),
        observed_at=None if newest is None else newest.observed_at,
        used=used,
        limit=limit,
        share=used / limit if used is not None and limit else None,
        waiting=known.queries.waiting(org_id, known.now(), 0, 0).total,
        overview_url=None if address is None else f"{address.rstrip('/')}{OVERVIEW}",
    )


def all_orgs(known: Known | None, who: Caller) -> Orgs:
    """Return the orgs that a caller may see, fullest first."""
    seen = {} if known is None else known.orgs_of(who)
    orgs = [] if known is None else [org(known, org_id, through) for org_id, through in seen.items()]
    orgs.sort(key=lambda each: (each.share is None, -(each.share or 0), each.org_id))
    return Orgs(orgs=orgs, todo=None if orgs else words.NO_ORG)


def health(known: Known | None, who: Caller) -> Health:
    """Return whether there is anything to show."""
    seen = {} if known is None else known.orgs_of(who)
    readings = [] if known is None else [known.store.latest_reading(org_id) for org_id in seen]
    newest = max((each for each in readings if each is not None), key=lambda each: each.received_at, default=None)
    state = State.NONE if known is None else known.state_of(newest, HOUR)
    if known is None or newest is None:
        sentence, todo = "Nothing was read yet.", words.NO_ORG if not seen else words.NO_READING
    elif state is State.STALE:
        sentence, todo = f"The newest reading is {words.age(known.now() - newest.received_at)} old.", words.OLD_READING
    else:
        sentence, todo = f"{len(seen):,} org{'s' if len(seen) > 1 else ''} can be seen.", None
    return Health(version=__version__, user=who.name, orgs=len(seen), state=state, sentence=sentence, todo=todo)
