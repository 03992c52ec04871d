"""Triggers: wait for quota without a worker."""
