"""Sensors: hold a load until enough quota remains."""
