"""A gate around tasks in one line: :func:`quota_gate` for several, :func:`quota_gated` for one."""

from __future__ import annotations

from airflow_provider_apiusage.taskflow.decorator import quota_gated as quota_gated
from airflow_provider_apiusage.taskflow.group import QuotaGate as QuotaGate
from airflow_provider_apiusage.taskflow.group import quota_gate as quota_gate
