"""Reading an org: its session, its answers and what they mean. No Airflow in here."""
