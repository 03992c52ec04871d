"""What a count of API calls is, and how counts relate. Pure: no I/O, no clock; ``now`` is an argument."""
