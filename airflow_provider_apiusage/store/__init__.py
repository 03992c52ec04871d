"""Keeping readings, counts and reservations in a SQL database. No Airflow in here."""
