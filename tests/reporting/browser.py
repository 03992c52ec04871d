"""A headless Chromium, spoken to in its own protocol: what it loads, what it complains of, what it draws."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome")
START = 30


def program() -> str:
    """Return the browser's program; without one the tests fail, and say what to install."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    assert found, "No Chromium on the PATH: apt-get install --no-install-recommends chromium"
    return found


class Page:
    """One tab. Every request it tries and everything it complains of is kept."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session_id: str) -> None:
        self._socket, self._session_id = socket, session_id
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self._sent: dict[str, str] = {}
        self.blocked: list[str] = []
        self.complaints: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return what it answers."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params, "sessionId": self._session_id}
        await self._socket.send_json(message)
        answer = await asyncio.wait_for(self._answers[number], START)
        assert "error" not in answer, (method, answer)
        return dict(answer["result"])

    async def run(self, script: str) -> Any:
        """Evaluate an expression in the page and return its value."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def open(self, file: Path, *, width: int, scheme: str, scripts: bool = True) -> None:
        """Open a file with the network off, as wide and in such a colour scheme."""
        for domain in ("Network", "Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )
        await self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        await self.colour(scheme)
        self._loaded.clear()
        await self.call("Page.navigate", url=file.as_uri())
        await asyncio.wait_for(self._loaded.wait(), START)

    @property
    def requests(self) -> list[str]:
        """What was asked for and not stopped by the page's own policy."""
        return list(self._sent.values())

    async def drawn(self) -> None:
        """Wait until what has changed is on the screen."""
        await self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    async def colour(self, scheme: str) -> None:
        """Choose the colour scheme that the reader's system prefers."""
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await self.drawn()

    async def picture(self) -> bytes:
        """Return the whole page as PNG."""
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def hear(self, message: dict[str, Any]) -> None:
        """Take an answer or an event."""
        params = message.get("params", {})
        match message.get("method"):
            case None:
                self._answers.pop(message["id"]).set_result(message)
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.requestWillBeSent":
                self._sent[params["requestId"]] = params["request"]["url"]
            case "Network.loadingFailed" if params.get("blockedReason") == "csp":
                self.blocked.append(self._sent.pop(params["requestId"]))
            case "Runtime.consoleAPICalled":
                self.complaints.append(str(params["args"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Log.entryAdded":
                self.complaints.append(str(params["entry"]["text"]))


@asynccontextmanager
async def tab(home: Path) -> AsyncIterator[Page]:
    """Start a browser with one tab, and end it.

    :param home: an empty folder for what it keeps.
    """
    process = await asyncio.create_subprocess_exec(
        program(),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--remote-debugging-port=0",
        f"--user-data-dir={home}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        address = await asyncio.wait_for(_address(process), START)
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            page = await _attach(socket)
            listener = asyncio.create_task(_listen(socket, page))
            yield page
            listener.cancel()
    finally:
        process.terminate()
        await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    """Return where the browser listens, as it says itself."""
    assert process.stderr is not None
    async for line in process.stderr:
        words = line.decode(errors="replace").strip()
        if words.startswith("DevTools listening on "):
            return words.removeprefix("DevTools listening on ")
    raise AssertionError("The browser ended before it listened.")


async def _attach(socket: aiohttp.ClientWebSocketResponse) -> Page:
    await socket.send_json({"id": 0, "method": "Target.getTargets"})
    targets = (await _answer(socket, 0))["targetInfos"]
    target = next(each["targetId"] for each in targets if each["type"] == "page")
    attach = {"targetId": target, "flatten": True}
    await socket.send_json({"id": 0, "method": "Target.attachToTarget", "params": attach})
    return Page(socket, (await _answer(socket, 0))["sessionId"])


async def _answer(socket: aiohttp.ClientWebSocketResponse, number: int) -> dict[str, Any]:
    while True:
        message = await socket.receive_json(timeout=START)
        if message.get("id") == number:
            return dict(message["result"])


async def _listen(socket: aiohttp.ClientWebSocketResponse, page: Page) -> None:
    async for message in socket:
        page.hear(message.json())
