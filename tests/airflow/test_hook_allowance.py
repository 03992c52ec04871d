"""The allowance through an Airflow connection."""

from __future__ import annotations

import pytest

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.sandbox import SandboxServer


def test_the_hook_reads_the_allowance_and_logs_its_findings(
    connected: SandboxServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Four calls, which the hook counts too; what is odd is in the log."""
    connected.org.change({"edition": "Enterprise Edition", "is_sandbox": False, "licences": {"SFDC": 15}})
    hook = ApiUsageHook()

    allowance = hook.get_allowance()

    assert allowance.org_id == hook.get_org_id()
    assert (allowance.kind.value, allowance.limit) == ("production", 100_000)
    assert hook.api_calls == allowance.api_calls == 4
    assert "limit-below-formula" in "".join(capfd.readouterr())
