"""The main job, shown on this machine: a sandbox org, a real Airflow, and the example DAGs."""
