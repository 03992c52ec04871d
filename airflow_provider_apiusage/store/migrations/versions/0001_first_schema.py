"""The first schema: readings and counts, requests and reservations, decisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LIVE = sa.text("state IN ('waiting', 'granted')")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "apiusage_decision",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("reservation_id", sa.String(length=36), nullable=False),
        sa.Column("decided_at", INSTANT, nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apiusage_decision")),
    )
    op.create_index(
        op.f("ix_apiusage_decision_org_id_decided_at"), "apiusage_decision", ["org_id", "decided_at"], unique=False
    )
    op.create_index(
        op.f("ix_apiusage_decision_reservation_id_id"), "apiusage_decision", ["reservation_id", "id"], unique=False
    )
    op.create_table(
        "apiusage_lease",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("reservation_id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("dag_id", sa.String(length=250), nullable=False),
        sa.Column("run_id", sa.String(length=250), nullable=False),
        sa.Column("task_id", sa.String(length=250), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("needs", sa.JSON(), nullable=False),
        sa.Column("reserve_calls", sa.JSON(), nullable=False),
        sa.Column("reserve_share", sa.Float(), nullable=False),
        sa.Column("lease_seconds", sa.Float(), nullable=False),
        sa.Column("max_age_seconds", sa.Float(), nullable=False),
        sa.Column("on_unknown", sa.String(length=10), nullable=False),
        sa.Column("requested_at", INSTANT, nullable=False),
        sa.Column("granted_at", INSTANT, nullable=True),
        sa.Column("held_until", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apiusage_lease")),
        sa.UniqueConstraint("reservation_id", name=op.f("uq_apiusage_lease_reservation_id")),
    )
    op.create_index(op.f("ix_apiusage_lease_org_id_ended_at"), "apiusage_lease", ["org_id", "ended_at"], unique=False)
    op.create_index(op.f("ix_apiusage_lease_org_id_state"), "apiusage_lease", ["org_id", "state"], unique=False)
    op.create_index(
        "uq_apiusage_lease_live_holder",
        "apiusage_lease",
        ["org_id", "dag_id", "run_id", "task_id", "map_index"],
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    )
    op.create_table(
        "apiusage_org",
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("poll_claimed_until", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("org_id", name=op.f("pk_apiusage_org")),
    )
    op.create_table(
        "apiusage_reconciliation",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("consistent", sa.Boolean(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apiusage_reconciliation")),
    )
    op.create_index(
        op.f("ix_apiusage_reconciliation_org_id_at"), "apiusage_reconciliation", ["org_id", "at"], unique=False
    )
    op.create_table(
        "apiusage_snapshot",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("observed_at", INSTANT, nullable=False),
        sa.Column("taken_by", sa.String(length=1000), nullable=True),
        sa.Column("api_calls", sa.Integer(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apiusage_snapshot")),
        sa.UniqueConstraint("org_id", "taken_by", name=op.f("uq_apiusage_snapshot_org_id_taken_by")),
    )
    op.create_index(
        op.f("ix_apiusage_snapshot_org_id_observed_at"), "apiusage_snapshot", ["org_id", "observed_at"], unique=False
    )
    op.create_table(
        "apiusage_daily_count",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("snapshot_id", SERIAL, nullable=False),
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("coverage", sa.String(length=10), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("observed_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["apiusage_snapshot.id"],
            name=op.f("fk_apiusage_daily_count_snapshot_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apiusage_daily_count")),
    )
    op.create_index(
        op.f("ix_apiusage_daily_count_org_id_day_observed_at"),
        "apiusage_daily_count",
        ["org_id", "day", "observed_at"],
        unique=False,
    )
    op.create_index(op.f("ix_apiusage_daily_count_snapshot_id"), "apiusage_daily_count", ["snapshot_id"], unique=False)
    op.create_table(
        "apiusage_reading",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("snapshot_id", SERIAL, nullable=True),
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("observed_at", INSTANT, nullable=False),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("limit", sa.BigInteger(), nullable=True),
        sa.Column("remaining", sa.BigInteger(), nullable=True),
        sa.Column("used", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["apiusage_snapshot.id"], name=op.f("fk_apiusage_reading_snapshot_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apiusage_reading")),
        sa.UniqueConstraint(
            "org_id", "name", "scope", "observed_at", "received_at", "source", name="uq_apiusage_reading"
        ),
    )
    op.create_index(op.f("ix_apiusage_reading_snapshot_id"), "apiusage_reading", ["snapshot_id"], unique=False)
    op.create_index(
        op.f("ix_apiusage_reading_org_id_source_received_at"),
        "apiusage_reading",
        ["org_id", "source", "received_at"],
        unique=False,
    )


def downgrade() -> None:
    """Drop all tables; everything kept in them is lost."""
    op.drop_index(op.f("ix_apiusage_reading_org_id_source_received_at"), table_name="apiusage_reading")
    op.drop_index(op.f("ix_apiusage_reading_snapshot_id"), table_name="apiusage_reading")
    op.drop_table("apiusage_reading")
    op.drop_index(op.f("ix_apiusage_daily_count_snapshot_id"), table_name="apiusage_daily_count")
    op.drop_index(op.f("ix_apiusage_daily_count_org_id_day_observed_at"), table_name="apiusage_daily_count")
    op.drop_table("apiusage_daily_count")
    op.drop_index(op.f("ix_apiusage_snapshot_org_id_observed_at"), table_name="apiusage_snapshot")
    op.drop_table("apiusage_snapshot")
    op.drop_index(op.f("ix_apiusage_reconciliation_org_id_at"), table_name="apiusage_reconciliation")
    op.drop_table("apiusage_reconciliation")
    op.drop_table("apiusage_org")
    op.drop_index(
        "uq_apiusage_lease_live_holder", table_name="apiusage_lease", sqlite_where=LIVE, postgresql_where=LIVE
    )
    op.drop_index(op.f("ix_apiusage_lease_org_id_state"), table_name="apiusage_lease")
    op.drop_index(op.f("ix_apiusage_lease_org_id_ended_at"), table_name="apiusage_lease")
    op.drop_table("apiusage_lease")
    op.drop_index(op.f("ix_apiusage_decision_reservation_id_id"), table_name="apiusage_decision")
    op.drop_index(op.f("ix_apiusage_decision_org_id_decided_at"), table_name="apiusage_decision")
    op.drop_table("apiusage_decision")
