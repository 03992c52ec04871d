"""A connection type of our own, for what the form of the official one does not offer: tokens, and a test by our hook.

``ApiUsageHook`` reads connections of either type; this one differs in its form and its test button only.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

FIELDS = {
    "instance_url": ("Instance URL (https://<My Domain>.my.salesforce.com)", False),
    "consumer_key": ("Consumer Key", False),
    "consumer_secret": ("Consumer Secret", True),
    "private_key": ("Private Key (PEM)", True),
    "private_key_file_path": ("Private Key File Path", False),
    "access_token": ("Access Token", True),
    "refresh_token": ("Refresh Token", True),
    "security_token": ("Security Token", True),
    "organization_id": ("Organization ID", False),
    "domain": ("Domain (login, test, or the part before .salesforce.com)", False),
    "version": ("API Version", False),
    "proxies": ("Proxies (a URL, or a JSON object)", True),
    "client_id": ("Client ID (SOAP login)", False),
}
"""Label, and whether it is secret; ``get_provider_info`` has the same for Airflow 3.2 and newer."""


class SalesforceUsageHook(ApiUsageHook):
    """``ApiUsageHook`` as the hook of the connection type ``salesforce_usage``."""

    conn_type = "salesforce_usage"
    hook_name = "Salesforce (API usage)"

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the fields of the form; Airflow 3.1 asks for them here."""
        from flask_appbuilder.fieldwidgets import (  # type: ignore[import-not-found]
            BS3PasswordFieldWidget,
            BS3TextFieldWidget,
        )
        from flask_babel import lazy_gettext  # type: ignore[import-not-found]
        from wtforms import PasswordField, StringField  # type: ignore[import-untyped]

        return {
            name: (
                PasswordField(lazy_gettext(label), widget=BS3PasswordFieldWidget())
                if secret
                else StringField(lazy_gettext(label), widget=BS3TextFieldWidget())
            )
            for name, (label, secret) in FIELDS.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return which of the usual fields the form has not, and what the others are called."""
        return {"hidden_fields": ["schema", "port", "extra", "host"], "relabeling": {"login": "Username"}}
