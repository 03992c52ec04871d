"""Salesforce API usage for Apache Airflow: read it, reconcile it, and gate loads on what is left."""

__version__ = "0.1.0"
