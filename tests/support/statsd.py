"""A StatsD server on loopback that keeps what it is sent."""

from __future__ import annotations

import socket
from contextlib import suppress


class StatsdServer:
    """Gauges keep their last value, counters add up, as in every StatsD server."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._values: dict[str, float] = {}

    def values(self) -> dict[str, float]:
        """What has come so far, by name as it was sent; tags of InfluxDB are a part of it."""
        with suppress(BlockingIOError):
            while True:
                for packet in self._socket.recv(65_536).decode().splitlines():
                    name, _, rest = packet.rpartition(":")
                    value, kind = rest.split("|")[:2]
                    before = self._values.get(name, 0.0) if kind == "c" else 0.0
                    self._values[name] = before + float(value)
        return dict(self._values)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
