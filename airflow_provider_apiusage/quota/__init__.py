"""The gate's rules. Pure: no I/O, no clock; ``now`` is an argument."""
