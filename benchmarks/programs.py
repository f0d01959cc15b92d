"""The product and the bare server as processes of their own, and the clients that ask them."""

import asyncio
import json
import os
import re
import sys
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from benchmarks.machine import ROOT
from testio_mcp.app import App, open_app
from testio_mcp.settings import load_settings

PRODUCT = ("-m", "testio_mcp")
HTTP = (*PRODUCT, "serve", "--transport", "http", "--port", "0")
BARE = ("-m", "benchmarks.bare_server")
_ADDRESS = re.compile(rb"MCP at (http://[^/]+)/mcp")


_FRESH: dict[str, object] = {
    # Nothing is asked: the copy counts as fresh for longer than any machine's clock is off.
    "customer_api_base_url": "http://127.0.0.1:9/",
    "customer_api_token": "benchmark",
    "database_url": None,
    "http_requests_per_minute": 0,
    "refresh_after_minutes": 100 * 365 * 24 * 60,
}


def served(db: Path) -> AbstractAsyncContextManager[App]:
    """The account as a server opens it: with a token, so that every question asks whether the copy is fresh."""
    return open_app(load_settings(db_path=db, **_FRESH), refreshes=True)


def environment(db: Path | None = None) -> dict[str, str]:
    """Variables of a server's process: nothing of this machine's settings but where Python finds its modules."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    modules = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    return {"HOME": "/nonexistent", "PYTHONPATH": modules, **kept, **(_variables(db) if db else {})}


def _variables(db: Path) -> dict[str, str]:
    values = {"db_path": db, **_FRESH}
    return {f"TESTIO_{name.upper()}": str(value) for name, value in values.items() if value is not None}


@asynccontextmanager
async def stdio_client(arguments: tuple[str, ...], db: Path | None, folder: Path) -> AsyncIterator[Client]:
    """An MCP client whose server is a new process."""
    server = StdioServerParameters(command=sys.executable, args=list(arguments), env=environment(db), cwd=folder)
    async with Client(server) as client:
        yield client


class Server(NamedTuple):
    """A server on loopback: its address and the number of its process."""

    url: str
    process: int


@asynccontextmanager
async def http_server(arguments: tuple[str, ...], db: Path | None, folder: Path) -> AsyncIterator[Server]:
    """A new server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env=environment(db),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    draining: asyncio.Task[bytes] | None = None
    try:
        while not (found := _ADDRESS.search(line := await process.stderr.readline())):
            assert line, "the server ended before it listened"
        draining = asyncio.create_task(process.stderr.read())
        yield Server(found[1].decode(), process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if draining is not None:
            await draining


class RestCaller:
    """One connection that stays open, and as little around it as HTTP allows: the server is what is measured."""

    def __init__(self, url: str) -> None:
        self._address = urllib.parse.urlsplit(url)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str, arguments: Mapping[str, Any]) -> Any:
        """The JSON of an answer."""
        if self._streams is None or self._streams[0].at_eof():  # servers hang up on those who rest too long
            self.close()
            address = self._address
            self._streams = await asyncio.open_connection(address.hostname, address.port, limit=2**20)
        reader, writer = self._streams
        query = urllib.parse.urlencode(arguments, doseq=True)
        writer.write(f"GET {path}?{query} HTTP/1.1\r\nHost: {self._address.netloc}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert head.startswith(b"HTTP/1.1 200") and length is not None, head
        return json.loads(await reader.readexactly(int(length[1])))

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
