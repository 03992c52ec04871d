"""``airflow apiusage``: what an org has used, whether a load may start, and what is wrong, from the command line."""
