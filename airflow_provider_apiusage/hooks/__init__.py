"""Hooks: an Airflow connection becomes a metered session, a source of readings, and a store."""
