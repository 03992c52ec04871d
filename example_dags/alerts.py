"""Tell people when an org's allowance runs low: once when it does, and once when it is over.

Reads what ``api_usage_snapshot`` has kept and spends no API call; it runs by the clock and not on snapshots, so that
it also tells when none come. Any notifier of Airflow will do; here it is e-mail over the connection ``smtp_default``.
Other DAGs can be scheduled on the alerts: ``schedule=[AssetAlias("apiusage_alert")]``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk import DAG

from airflow_provider_apiusage.operators.alert import (
    ApiUsageAlertOperator,
    mute_between,
    mute_on,
    no_snapshot_for,
    rises_by,
    runs_out_before,
    used_above,
)

with DAG(
    dag_id="api_usage_alerts",
    schedule="5-59/15 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["apiusage"],
):
    ApiUsageAlertOperator(
        task_id="alerts",
        salesforce_conn_id="salesforce_default",
        rules=[
            used_above(0.8),
            used_above(0.95, severity="error"),
            used_above(0.8, "DailyBulkApiBatches"),
            rises_by(0.2, within=timedelta(hours=1)),
            runs_out_before("18:00", timezone="Europe/Paris"),
            no_snapshot_for(timedelta(hours=1)),
        ],
        mutes=[
            mute_between("22:00", "07:00", timezone="Europe/Paris"),
            mute_on(["sat", "sun"], timezone="Europe/Paris"),
        ],
        notifiers=[
            SmtpNotifier(
                from_email="airflow@example.com",
                to="salesforce-team@example.com",
                subject="[{{ alert.severity }}] {{ alert.title }}",
                html_content="<p>{{ alert.message }}</p><p>Open since {{ alert.since }}.</p>",
            )
        ],
    )
