"""An HTTP CONNECT proxy that leads every ``*.salesforce.com:443`` to the sandbox org, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

_HEAD_LIMIT = 16_384
_ALLOWED = re.compile(rb"CONNECT ([A-Za-z0-9-]+\.)+salesforce\.com:443 HTTP/1\.[01]", re.IGNORECASE)
_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ConnectProxy:
    """The proxy; use it within the event loop that serves the org.

    :param org_port: the org's TLS port, to which all tunnels lead.
    """

    def __init__(self, org_port: int) -> None:
        self._org_port = org_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> int:
        """Listen on loopback ``port`` (0: any) and return the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, limit=_HEAD_LIMIT)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and cut all tunnels."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            if not _ALLOWED.fullmatch(head.partition(b"\r\n")[0]):
                writer.write(_REFUSED)
                await writer.drain()
                return
            org_reader, org_writer = await asyncio.open_connection("127.0.0.1", self._org_port)
            async with self._closing(org_writer):
                writer.write(_OPEN)
                await asyncio.gather(_copy(reader, org_writer), _copy(org_reader, writer))

    @contextlib.asynccontextmanager
    async def _closing(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                yield
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(65_536):
            writer.write(block)
            await writer.drain()
    writer.close()
