"""Event logs: the files, who made the calls in them, and the hourly counts that come of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INSTANT = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables of the event logs, and when an org's were last listed."""
    op.add_column("apiusage_org", sa.Column("logs_listed_at", INSTANT, nullable=True))
    op.add_column("apiusage_org", sa.Column("logs_listed_since", INSTANT, nullable=True))
    op.create_table(
        "apiusage_event_file",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("file_id", sa.String(length=18), nullable=False),
        sa.Column("interval", sa.String(length=10), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("starts_at", INSTANT, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=True),
        sa.Column("seen_at", INSTANT, nullable=False),
        sa.Column("retry_at", INSTANT, nullable=True),
        sa.Column("read_at", INSTANT, nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("repeated", sa.BigInteger(), nullable=True),
        sa.Column("unread", sa.BigInteger(), nullable=True),
        sa.Column("scheme", sa.String(length=16), nullable=True),
        sa.Column("findings", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apiusage_event_file")),
        sa.UniqueConstraint(
            "org_id", "file_id", "created_at", name=op.f("uq_apiusage_event_file_org_id_file_id_created_at")
        ),
    )
    op.create_index(
        op.f("ix_apiusage_event_file_org_id_starts_at"), "apiusage_event_file", ["org_id", "starts_at"], unique=False
    )
    op.create_table(
        "apiusage_caller",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("app", sa.Text(), nullable=True),
        sa.Column("client", sa.Text(), nullable=True),
        sa.Column("family", sa.Text(), nullable=True),
        sa.Column("resource", sa.Text(), nullable=True),
        sa.Column("counted", sa.Boolean(), nullable=True),
        sa.Column("user_name", sa.Text(), nullable=True),
        sa.Column("app_name", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apiusage_caller")),
        sa.UniqueConstraint("org_id", "digest", name=op.f("uq_apiusage_caller_org_id_digest")),
    )
    op.create_table(
        "apiusage_event_part",
        sa.Column("event_file_id", SERIAL, nullable=False),
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("starts_at", INSTANT, nullable=False),
        sa.Column("caller_id", SERIAL, nullable=False),
        sa.Column("told_apart", sa.BigInteger(), nullable=False),
        sa.Column("nameless", sa.BigInteger(), nullable=False),
        sa.Column("fingerprints", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_file_id"],
            ["apiusage_event_file.id"],
            name=op.f("fk_apiusage_event_part_event_file_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["caller_id"], ["apiusage_caller.id"], name=op.f("fk_apiusage_event_part_caller_id")),
        sa.PrimaryKeyConstraint("event_file_id", "starts_at", "caller_id", name=op.f("pk_apiusage_event_part")),
    )
    op.create_index(
        op.f("ix_apiusage_event_part_org_id_starts_at"), "apiusage_event_part", ["org_id", "starts_at"], unique=False
    )
    op.create_table(
        "apiusage_hourly_count",
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("starts_at", INSTANT, nullable=False),
        sa.Column("caller_id", SERIAL, nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["caller_id"], ["apiusage_caller.id"], name=op.f("fk_apiusage_hourly_count_caller_id")),
        sa.PrimaryKeyConstraint("org_id", "starts_at", "caller_id", name=op.f("pk_apiusage_hourly_count")),
    )
