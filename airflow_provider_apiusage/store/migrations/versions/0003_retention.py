"""Retention: indexes by which callers that nobody refers to are found, and each day's observations are told apart."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes; that of daily counts now holds all that an observation is known by."""
    op.create_index(op.f("ix_apiusage_hourly_count_caller_id"), "apiusage_hourly_count", ["caller_id"], unique=False)
    op.create_index(op.f("ix_apiusage_event_part_caller_id"), "apiusage_event_part", ["caller_id"], unique=False)
    op.create_index(
        "ix_apiusage_daily_count_observation",
        "apiusage_daily_count",
        ["org_id", "day", "observed_at", "source", "snapshot_id"],
        unique=False,
    )
    op.drop_index(op.f("ix_apiusage_daily_count_org_id_day_observed_at"), table_name="apiusage_daily_count")
