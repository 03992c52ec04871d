"""What loads spend: what a reservation holds now, what was drawn from it, and an index to find earlier runs.

And the head start of a request in the queue.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

METERED = sa.text("spent IS NOT NULL")


def upgrade() -> None:
    """Add the columns; leases that are there were never metered."""
    for name in ("held", "spent", "draws", "estimate"):
        op.add_column("apiusage_lease", sa.Column(name, sa.JSON(), nullable=True))
    op.add_column("apiusage_lease", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.create_index(
        "ix_apiusage_lease_metered",
        "apiusage_lease",
        ["org_id", "dag_id", "task_id", "ended_at"],
        unique=False,
        sqlite_where=METERED,
        postgresql_where=METERED,
    )
