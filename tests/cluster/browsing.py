"""Drives a real headless Chromium, for pages that sign in, navigate and load more data."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.reports.browser import CHROMIUM


class MovedOnError(Exception):
    """The page navigated away during a call."""


class Browser:
    """One tab of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        """Errors of scripts, and violations of the content security policy."""

    async def open(self, url: str) -> None:
        await self._tell("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """Return the value of an expression, which may be a promise."""
        answer = await self._tell("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str, timeout_s: float = 240.0) -> Any:
        """Wait until an expression has a value; returns it."""
        deadline = time.monotonic() + timeout_s
        value = None
        while not value:
            with suppress(MovedOnError):
                value = await self.run(script)
            assert time.monotonic() < deadline, (self.requests, self.complaints)
            await asyncio.sleep(0.2)
        return value

    async def start(self) -> None:
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self._tell(f"{domain}.enable")

    async def _tell(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message: dict[str, Any] = json.loads(await self._socket.receive_str(timeout=60))
            if message.get("id") == number:
                if "error" in message:
                    raise MovedOnError(message["error"])
                result: dict[str, Any] = message["result"]
                return result
            self._note(message.get("method"), message.get("params", {}))

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["source"] == "security":
            self.complaints.append(params["entry"]["text"])


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    assert CHROMIUM is not None
    profile = folder / "profile"
    process = await asyncio.create_subprocess_exec(
        *[
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-port=0"),
            *(f"--user-data-dir={profile}", "--window-size=1400,1000", "about:blank"),
        ],
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 240
        while not (port := _port_in(profile / "DevToolsActivePort")):
            assert time.monotonic() < deadline, "Chromium does not come up"
            await asyncio.sleep(0.1)
        async with aiohttp.ClientSession() as http:
            tabs = await (await http.get(f"http://127.0.0.1:{port}/json/list")).json()
            url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with http.ws_connect(url, max_msg_size=0) as socket:
                tab = Browser(socket)
                await tab.start()
                yield tab
    finally:
        process.terminate()
        await process.wait()


def _port_in(file: Path) -> int:
    """Return the port; 0 until the file is written."""
    return int(file.read_text().splitlines()[0]) if file.exists() and "\n" in file.read_text() else 0
