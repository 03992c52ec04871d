"""Alerts: which are open, whom they were told, and how far each task has evaluated its rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INSTANT = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN = sa.text("resolved_at IS NULL")


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "apiusage_alert",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("scope", sa.String(length=600), nullable=False),
        sa.Column("rule", sa.String(length=250), nullable=False),
        sa.Column("limit_name", sa.Text(), nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("resolved_at", INSTANT, nullable=True),
        sa.Column("due_at", INSTANT, nullable=True),
        sa.Column("claimed_until", INSTANT, nullable=True),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.Column("opened", sa.JSON(), nullable=False),
        sa.Column("resolved", sa.JSON(), nullable=True),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apiusage_alert")),
    )
    op.create_index(
        "uq_apiusage_alert_open",
        "apiusage_alert",
        ["org_id", "scope", "rule"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_index(
        op.f("ix_apiusage_alert_org_id_scope_finished_at"),
        "apiusage_alert",
        ["org_id", "scope", "finished_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_apiusage_alert_org_id_resolved_at"), "apiusage_alert", ["org_id", "resolved_at"], unique=False
    )
    op.create_table(
        "apiusage_alert_watch",
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("scope", sa.String(length=600), nullable=False),
        sa.Column("evidence_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("org_id", "scope", name=op.f("pk_apiusage_alert_watch")),
    )
