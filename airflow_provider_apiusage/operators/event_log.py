"""Event logs one file per task: list the files of a period, read each in a mapped task on whatever worker is free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_apiusage.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import Context

MOST_TASKS = 1_000
"""Mapped tasks that one listing asks for at most; Airflow's own default limit is 1,024 (``[core] max_map_length``)."""


class ApiUsageListEventLogsOperator(BaseOperator):
    """List the event log files of a period that are worth reading and not read yet: one item of work per file.

    Spends 1 API call per 2,000 files listed.

    XCom: a list to expand :class:`ApiUsageReadEventLogsOperator` over; each item is a list of files, one as a rule,
    more where a period has more than 1,000 files.

    :param start: first instant of the period, ISO; without a zone it is UTC (templated).
    :param end: the instant after it (templated).
    :param events: ``"auto"``, ``"hourly"`` or ``"daily"``; ``"auto"`` takes hourly files only for days that have no
        daily file (templated).
    :param salesforce_conn_id: connection of type ``salesforce`` (templated).
    :param store_conn_id: where counts are kept; default ``[apiusage] store_conn_id`` (templated).
    """

    template_fields: Sequence[str] = ("salesforce_conn_id", "store_conn_id", "start", "end", "events")
    ui_color = "#d5eef7"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        start: str | datetime,
        end: str | datetime,
        events: str = "auto",
        salesforce_conn_id: str = "salesforce_default",
        store_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.end = end
        self.events = events
        self.salesforce_conn_id = salesforce_conn_id
        self.store_conn_id = store_conn_id

    def execute(self, context: Context) -> list[list[dict[str, Any]]]:  # noqa: ARG002
        """List the files.

        :raises ValueError: if the period or ``events`` cannot be read.
        :raises ApiUsageError: if the org cannot be read, or the user may not see event log files.
        """
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
        from airflow_provider_apiusage.usage.arguments import instant
        from airflow_provider_apiusage.usage.event_log import file_to_json
        from airflow_provider_apiusage.usage.event_log_plan import EventSource

        start, end = instant("start", self.start), instant("end", self.end)
        if start is None or end is None or start >= end:
            raise ValueError(f"The period start={self.start!r}, end={self.end!r} is empty.")
        with ApiUsageHook(self.salesforce_conn_id, self.store_conn_id) as hook:
            files = hook.event_reader.find(start, end, EventSource(self.events))
            self.log.info(
                "%s event log file(s) of %s to %s UTC are to be read; %s API call(s) spent.",
                len(files), f"{start:%Y-%m-%d %H:%M}", f"{end:%Y-%m-%d %H:%M}", hook.api_calls,
            )  # fmt: skip
            width = -(-len(files) // MOST_TASKS) or 1
            return [[file_to_json(file) for file in files[at : at + width]] for at in range(0, len(files), width)]


class ApiUsageReadEventLogsOperator(BaseOperator):
    """Read event log files into the store, each whole or not at all, each once however often the task runs.

    Spends 1 API call for each file that is not in the store yet, up to 3 if the connection breaks.

    XCom: ``{"org_id": "00D...", "files_read": 1, "calls": 88614, "findings": [...], "api_calls": 1}``; ``calls`` are
    those that the files told, whatever the store knew before.

    :param files: files as :class:`ApiUsageListEventLogsOperator` lists them (templated).
    :param salesforce_conn_id: connection of type ``salesforce`` (templated).
    :param store_conn_id: where counts are kept; default ``[apiusage] store_conn_id`` (templated).
    """

    template_fields: Sequence[str] = ("salesforce_conn_id", "store_conn_id", "files")
    ui_color = "#d5eef7"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        files: Sequence[Mapping[str, Any]],
        salesforce_conn_id: str = "salesforce_default",
        store_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.files = files
        self.salesforce_conn_id = salesforce_conn_id
        self.store_conn_id = store_conn_id

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Read the files.

        :raises ValueError: if ``files`` is no such list.
        :raises ApiUsageError: if the org cannot be read, or a file did not arrive whole: the task can be retried.
        :raises StoreError: if the store cannot be used.
        """
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
        from airflow_provider_apiusage.usage.event_log import file_from_json

        with ApiUsageHook(self.salesforce_conn_id, self.store_conn_id) as hook:
            read = hook.read_event_logs([file_from_json(file) for file in self.files])
            self.log.info("%s file(s) read; %s API call(s) spent.", len(read.read), hook.api_calls)
            return {
                "org_id": hook.get_org_id(),
                "files_read": len(read.read),
                "calls": read.calls,
                "findings": [{"code": f.code, "severity": f.severity.value} for f in read.findings],
                "api_calls": hook.api_calls,
            }
