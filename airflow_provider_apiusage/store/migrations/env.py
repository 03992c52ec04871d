"""Alembic's way in: always on the connection of the caller, inside the caller's transaction and lock."""

from __future__ import annotations

from alembic import context

from airflow_provider_apiusage.store.engine import VERSION_TABLE
from airflow_provider_apiusage.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
