"""Options of the 7-day report through the hook."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.salesforce.errors import UnavailableError
from airflow_provider_apiusage.sandbox import SandboxServer


def test_a_run_in_the_background_is_bounded_as_asked(connected: SandboxServer) -> None:
    """How long to wait is handed on, and each look is counted; no look at all is refused before any call."""
    connected.org.change({"report_polls": 1_000})
    with ApiUsageHook() as hook:
        with pytest.raises(UnavailableError, match="'Running' when the time to wait was used up"):
            hook.get_daily_usage(connected.org.settings.report_id, run="async", patience=timedelta(milliseconds=20))
        assert hook.api_calls == 2
        with pytest.raises(ValueError, match="most_looks=0"):
            hook.get_daily_usage(connected.org.settings.report_id, run="async", most_looks=0)
        assert hook.api_calls == 2


def test_a_snapshot_hands_its_report_options_on(connected: SandboxServer) -> None:
    """A report that does not end in time is a finding, and the limits are kept."""
    connected.org.change({"report_polls": 1_000})
    with ApiUsageHook() as hook:
        snapshot = hook.take_snapshot(
            daily_report=connected.org.settings.report_id, run="async", patience=timedelta(milliseconds=20)
        )

    assert snapshot.reading() is not None
    assert [finding.code for finding in snapshot.findings] == ["daily-report-unread"]
    assert "'patience'" in snapshot.findings[0].message
    assert snapshot.api_calls == 3


def test_an_unknown_way_to_run_it_is_named(connected: SandboxServer) -> None:
    """With the choices, before any call."""
    with ApiUsageHook() as hook, pytest.raises(ValueError, match="'later' is none of auto, sync, async"):
        hook.get_daily_usage(connected.org.settings.report_id, run="later")
