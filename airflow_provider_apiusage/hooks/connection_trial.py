"""What the test button says: which org a connection reaches, as whom, and what is used of its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_apiusage.salesforce.errors import AllowanceExhaustedError, ApiUsageError
from airflow_provider_apiusage.usage.model import API_REQUESTS

if TYPE_CHECKING:
    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
    from airflow_provider_apiusage.salesforce.org import OrgClient


def try_connection(hook: ApiUsageHook, org: OrgClient) -> str:
    """Read the limits of the org. Spends 1 API call, one more if the token does not tell the org's id.

    :returns: a sentence or two, without any secret.
    :raises ApiUsageError: if the org cannot be read.
    """
    try:
        readings = hook.get_limits()
    except AllowanceExhaustedError:
        return f"Connected to org {hook.get_org_id()}, but its API calls of 24 hours are used up."
    user = user_of(org)
    there = f"Connected to org {hook.get_org_id()}" + (f" as {user}" if user else "")
    spent = f"This test has spent {hook.api_calls} API call{'' if hook.api_calls == 1 else 's'}."
    reading = next((each for each in readings if each.name == API_REQUESTS and not each.scope), None)
    if reading is None or reading.used is None or reading.limit is None:
        return f"{there}, but it does not report {API_REQUESTS}. {spent}"
    return (
        f"{there}: {reading.used:,} of {reading.limit:,} API calls used in the 24 hours up to "
        f"{reading.observed_at:%Y-%m-%d %H:%M:%S} UTC. {spent}"
    )


def user_of(org: OrgClient) -> str | None:
    """Ask whose the token is, which is no call of the API; ``None`` if the org does not say, as it need not."""
    try:
        told = org.get("/services/oauth2/userinfo", "asking whose the token is").body
    except ApiUsageError:
        return None
    name = told.get("preferred_username") if isinstance(told, dict) else None
    return name if isinstance(name, str) and name else None
