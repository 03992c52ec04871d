"""A Salesforce org to try things on: quota-true, with faults, over HTTPS on loopback.

It knows nothing of the rest of the package. It needs the ``sandbox`` extra (aiohttp, cryptography).
"""

from __future__ import annotations

from airflow_provider_apiusage.sandbox.event_log_writer import EventLogTruth, write_event_log
from airflow_provider_apiusage.sandbox.faults import Fault
from airflow_provider_apiusage.sandbox.ledger import Caller, UsageLedger
from airflow_provider_apiusage.sandbox.org import SandboxOrg
from airflow_provider_apiusage.sandbox.report_csv import UsageRow, report_csv
from airflow_provider_apiusage.sandbox.server import SandboxServer
from airflow_provider_apiusage.sandbox.settings import OrgSettings

__all__ = [
    "Caller",
    "EventLogTruth",
    "Fault",
    "OrgSettings",
    "SandboxOrg",
    "SandboxServer",
    "UsageLedger",
    "UsageRow",
    "report_csv",
    "write_event_log",
]
