"""What Airflow asks a provider for. Read at every start of every Airflow process: no imports in here."""

from __future__ import annotations

from typing import Any

INTEGRATION = "Salesforce API usage"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, valid against Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-apiusage",
        "name": "Salesforce API usage",
        "description": "Reads, reconciles and gates the API calls of a Salesforce org.",
        "versions": ["0.1.0"],
        "state": "ready",
        "source-date-epoch": 1795478400,
        "integrations": [
            {
                "integration-name": INTEGRATION,
                "external-doc-url": "https://www.salesforce.com/",
                "tags": ["service"],
            }
        ],
        "hooks": [_modules("hooks.api_usage")],
        "operators": [
            _modules(
                "operators.snapshot",
                "operators.reconcile",
                "operators.event_log",
                "operators.quota",
                "operators.retention",
                "operators.forecast",
                "operators.alert",
            )
        ],
        "sensors": [_modules("sensors.quota")],
        "triggers": [_modules("triggers.quota", "triggers.quota_event")],
        "task-decorators": [
            {"class-name": "airflow_provider_apiusage.taskflow.decorator.quota_gated", "name": "quota_gated"}
        ],
        "extra-links": [
            f"airflow_provider_apiusage.links.{name}"
            for name in ("ApiUsagePageLink", "QuotaGateLink", "SystemOverviewLink")
        ],
        "connection-types": [
            {
                "connection-type": "salesforce_usage",
                "hook-class-name": "airflow_provider_apiusage.hooks.connection_form.SalesforceUsageHook",
                "hook-name": "Salesforce (API usage)",
                "conn-fields": {
                    "instance_url": _field("Instance URL (https://<My Domain>.my.salesforce.com)"),
                    "consumer_key": _field("Consumer Key"),
                    "consumer_secret": _field("Consumer Secret", secret=True),
                    "private_key": _field("Private Key (PEM)", secret=True),
                    "private_key_file_path": _field("Private Key File Path"),
                    "access_token": _field("Access Token", secret=True),
                    "refresh_token": _field("Refresh Token", secret=True),
                    "security_token": _field("Security Token", secret=True),
                    "organization_id": _field("Organization ID"),
                    "domain": _field("Domain (login, test, or the part before .salesforce.com)"),
                    "version": _field("API Version"),
                    "proxies": _field("Proxies (a URL, or a JSON object)", secret=True),
                    "client_id": _field("Client ID (SOAP login)"),
                },
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port", "extra", "host"],
                    "relabeling": {"login": "Username"},
                },
            }
        ],
        "cli": ["airflow_provider_apiusage.cli.definition.get_apiusage_commands"],
        "config": {
            "apiusage": {
                "description": "Where usage is kept, and how often an org may be asked.",
                "options": {
                    "store_conn_id": {
                        "description": (
                            "Airflow connection of the database that keeps readings, counts and reservations, for "
                            "every task that names none itself. Without it, a SQLite file apiusage.db under "
                            "AIRFLOW_HOME is used, which serves one host only: use PostgreSQL when tasks run on "
                            "several."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "apiusage_postgres",
                        "default": "",
                    },
                    "poll_interval": {
                        "description": (
                            "Seconds between two readings of one org by gates that wait; all gates of an org share "
                            "them. Each reading is one API call. A sensor's poke_interval overrides it."
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "120",
                        "default": "300",
                    },
                },
            }
        },
    }


def _field(label: str, *, secret: bool = False) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": ["string", "null"], **({"format": "password"} if secret else {})}
    return {"label": label, "schema": kind}


def _modules(*names: str) -> dict[str, Any]:
    return {
        "integration-name": INTEGRATION,
        "python-modules": [f"airflow_provider_apiusage.{name}" for name in names],
    }
