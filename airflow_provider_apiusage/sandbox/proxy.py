"""An HTTP CONNECT proxy that leads every ``*.salesforce.com:443`` to the sandbox org, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import re

_HEAD_LIMIT = 16_384
_ALLOWED = re.compile(rb"CONNECT ([A-Za-z0-9-]+\.)+salesforce\.com:443 HTTP/1\.[01]", re.IGNORECASE)
_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def start_proxy(port: int, org_port: int) -> asyncio.Server:
    """Listen on loopback ``port`` (0: any) and tunnel to the org's TLS port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            if not _ALLOWED.fullmatch(head.partition(b"\r\n")[0]):
                writer.write(_REFUSED)
                await writer.drain()
            else:
                org_reader, org_writer = await asyncio.open_connection("127.0.0.1", org_port)
                writer.write(_OPEN)
                await asyncio.gather(_copy(reader, org_writer), _copy(org_reader, writer))
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", port, limit=_HEAD_LIMIT)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(65_536):
            writer.write(block)
            await writer.drain()
    writer.close()
