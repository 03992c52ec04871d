"""The Airflow plugin. Airflow loads it in every process, so it imports nothing else of the package."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowPlugin


class ApiUsagePlugin(AirflowPlugin):
    """Registers the provider's name with Airflow; it adds no page yet."""

    name = "apiusage"
