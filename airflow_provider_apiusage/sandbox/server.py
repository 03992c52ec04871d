"""The sandbox org on loopback: TLS port, control port and CONNECT proxy, in a thread of their own."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from airflow_provider_apiusage.sandbox.certificates import server_context
from airflow_provider_apiusage.sandbox.connections import FLOWS, connection
from airflow_provider_apiusage.sandbox.control import Control, control_app
from airflow_provider_apiusage.sandbox.faults import Fault
from airflow_provider_apiusage.sandbox.http import Answer, ApiError, Request
from airflow_provider_apiusage.sandbox.org import SandboxOrg
from airflow_provider_apiusage.sandbox.proxy import ConnectProxy

log = logging.getLogger(__name__)

_MAXIMUM_BODY = 160 * 1024 * 1024
_START_SECONDS = 30
_COMPRESSED_FROM = 1_024


class SandboxServer:
    """Serves an org until closed; a context manager.

    :param org: the org to serve.
    :param port: loopback port of the org (TLS); 0 takes any free one, as for the other two.
    :param control_port: loopback port of the control port (plain HTTP).
    :param proxy_port: loopback port of the CONNECT proxy.
    :param state_dir: where the authority's certificate ``ca.pem`` is written; a temporary directory if left out.
    :raises OSError: on ``start``, if a port is taken.
    """

    def __init__(
        self,
        org: SandboxOrg,
        port: int = 0,
        control_port: int = 0,
        proxy_port: int = 0,
        state_dir: str | Path | None = None,
    ) -> None:
        self.org = org
        self._ports = (port, control_port, proxy_port)
        self._state_dir = state_dir
        self._stack = ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.url = self.control_url = self.proxy_url = ""
        self.ca_file = Path()

    def __enter__(self) -> SandboxServer:
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen on all three ports; return when they are open."""
        if self._state_dir is None:
            directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-org-")))
        else:
            directory = Path(self._state_dir)
            directory.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._run, args=(directory,), name="sandbox-org", daemon=True)
        self._thread.start()
        if not self._started.wait(_START_SECONDS):
            raise TimeoutError("the sandbox org did not start")
        if self._failure is not None:
            self._thread.join()
            self._stack.close()
            raise self._failure

    def stop(self) -> None:
        """Close the ports and end the thread."""
        if self._loop is not None and self._stopping is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None
        self._stack.close()

    def connections(self) -> dict[str, dict[str, Any]]:
        """Return Airflow connections by flow; see :func:`connections.connection`."""
        return {flow: self.connection(flow) for flow in FLOWS}

    def connection(self, flow: str = "access_token") -> dict[str, Any]:
        """Return one Airflow connection, ready for ``AIRFLOW_CONN_...`` once dumped as JSON.

        :raises KeyError: if there is no such flow.
        """
        return connection(self.org, self.url, self.proxy_url, flow)

    def describe(self) -> dict[str, Any]:
        """Return all addresses, as written to a ready file."""
        return {
            "url": self.url,
            "control_url": self.control_url,
            "proxy_url": self.proxy_url,
            "ca_file": str(self.ca_file),
            "org_id": self.org.identity.org_id,
        }

    def _run(self, directory: Path) -> None:
        asyncio.run(self._serve(directory))

    async def _serve(self, directory: Path) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as stack:
            try:
                await self._open(stack, directory)
            except BaseException as error:
                self._failure = error
                self._started.set()
                return
            self._started.set()
            await self._stopping.wait()

    async def _open(self, stack: AsyncExitStack, directory: Path) -> None:
        context, self.ca_file = server_context(directory)
        runners = []
        app = web.Application(client_max_size=_MAXIMUM_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        for application in (app, control_app(Control(self.org, self.connections))):
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(_close, runner)
            runners.append(runner)
        port, control_port, proxy_port = self._ports
        await web.TCPSite(runners[0], "127.0.0.1", port, ssl_context=context).start()
        await web.TCPSite(runners[1], "127.0.0.1", control_port).start()
        org_port = runners[0].addresses[0][1]
        proxy = ConnectProxy(org_port)
        stack.push_async_callback(proxy.stop)
        self.url = f"https://localhost:{org_port}"
        self.control_url = f"http://127.0.0.1:{runners[1].addresses[0][1]}"
        self.proxy_url = f"http://127.0.0.1:{await proxy.start(proxy_port)}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        plain = Request(
            request.method,
            request.path,
            dict(request.query),
            {name.lower(): value for name, value in request.headers.items()},
            await request.read(),
        )
        try:
            outcome = await asyncio.to_thread(self.org.handle, plain)
        except Exception:  # a request that trips the org must still get an answer, with the org's date
            log.exception("The sandbox org failed on %s %s", plain.method, plain.path)
            unknown = ApiError(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred")
            return await self._respond(request, unknown.answer())
        for fault in outcome.faults:
            if fault.kind == "delay":
                await asyncio.sleep(fault.seconds)
            elif fault.breaks_off:
                return await self._break_off(request, outcome.answer, fault)
            elif fault.kind == "reset" and request.transport is not None:
                request.transport.abort()
                return web.Response(status=500)
        return await self._respond(request, outcome.answer)

    async def _respond(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        headers = self._headers(answer)
        compress = _may_compress(request, answer)
        if isinstance(answer.body, bytes):
            response = web.Response(status=answer.status, body=answer.body, headers=headers)
            if compress and len(answer.body) > _COMPRESSED_FROM:
                response.enable_compression(web.ContentCoding.gzip)
            return response
        stream = web.StreamResponse(status=answer.status, headers=headers)
        if compress:
            stream.enable_compression(web.ContentCoding.gzip)
        await stream.prepare(request)
        chunks: Iterator[bytes] = iter(answer.body)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            await stream.write(chunk)
        await stream.write_eof()
        return stream

    async def _break_off(self, request: web.Request, answer: Answer, fault: Fault) -> web.StreamResponse:
        """Send a part of a body: under the length of all of it or in chunks, as if it were all or cut short."""
        body, headers = answer.content(), self._headers(answer)
        if _may_compress(request, answer) and len(body) > _COMPRESSED_FROM:
            body, headers = gzip.compress(body), {**headers, "Content-Encoding": "gzip"}
        stream = web.StreamResponse(status=answer.status, headers=headers)
        part = body[: int(len(body) * (0.5 if fault.share is None else fault.share))]
        if fault.share is None:
            part = part or b"{"
        if fault.chunked:
            stream.enable_chunked_encoding()
        else:
            stream.content_length = len(part) if fault.kind == "cut" else max(len(body), 2)
        stream.force_close()
        await stream.prepare(request)
        await stream.write(part)
        if fault.kind == "cut":
            await stream.write_eof()
        elif request.transport is not None:
            await _sent(request.transport)
            request.transport.abort() if fault.kind == "reset" else request.transport.close()
        return stream

    def _headers(self, answer: Answer) -> dict[str, str]:
        date = format_datetime(self.org.clock.now().replace(microsecond=0), usegmt=True)
        return {"Content-Type": answer.content_type, "Date": date, "Server": "sandbox-org", **answer.headers}


def _may_compress(request: web.Request, answer: Answer) -> bool:
    """Whether the client takes gzip, and the answer neither comes in parts nor forbids it (RFC 9111, 5.2.2.6)."""
    fixed = "Accept-Ranges" in answer.headers or answer.headers.get("Cache-Control") == "no-transform"
    return "gzip" in request.headers.get("Accept-Encoding", "") and not fixed


async def _sent(transport: asyncio.Transport) -> None:
    """Wait until what was written has left, or the client is gone; aborting drops the rest."""
    while transport.get_write_buffer_size() and not transport.is_closing():
        await asyncio.sleep(0.001)


async def _close(runner: web.AppRunner) -> None:
    """Stop serving; cut the connections that clients keep open, whose TLS would wait for their farewell."""
    server = runner.server
    transports = [handler.transport for handler in server.connections] if server else []
    await runner.cleanup()
    for transport in transports:
        if transport is not None:
            transport.abort()
    await asyncio.sleep(0)


def airflow_connection(server: SandboxServer, flow: str = "access_token") -> str:
    """Return one Airflow connection as the text of an ``AIRFLOW_CONN_...`` variable."""
    return json.dumps(server.connection(flow))
