"""Operators: snapshot, reconcile, release."""
