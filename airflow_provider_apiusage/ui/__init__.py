"""What Airflow's own UI gets from us."""
