"""The same Airflow and sandbox org as the tests of the tasks have."""

from tests.airflow.conftest import connected, metadata_database, run_dag, store_file

__all__ = ["connected", "metadata_database", "run_dag", "store_file"]
