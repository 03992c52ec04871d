"""Which Airflow connections lead to an org, and an index to find what a DAG has asked of gates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INSTANT = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Add both; which connections orgs were read with so far is not known, and shows with their next use."""
    op.create_table(
        "apiusage_org_connection",
        sa.Column("org_id", sa.String(length=18), nullable=False),
        sa.Column("conn_id", sa.String(length=250), nullable=False),
        sa.Column("instance_url", sa.Text(), nullable=True),
        sa.Column("seen_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("org_id", "conn_id", name=op.f("pk_apiusage_org_connection")),
    )
    op.create_index(
        op.f("ix_apiusage_lease_dag_id_requested_at"), "apiusage_lease", ["dag_id", "requested_at"], unique=False
    )
